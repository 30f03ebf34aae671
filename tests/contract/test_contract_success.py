"""Every operation, on every generation that has it, as method and function, through each client."""

from __future__ import annotations

import pytest
import trio

from tests.support.cases import case
from tests.support.contract_cases import CASES
from tests.support.contract_world import CLIENTS, GROUPS, HOWS, caller_of, have, world_of
from tests.support.rest_operations import OPERATIONS
from trio_mix.testing import Answered, RequestReceived


def test_every_operation_has_a_case() -> None:
    assert set(CASES) == set(OPERATIONS)
    assert {generation for group in GROUPS for _, generation in have(group)} == {
        "0.6.4",
        "0.6.9",
        "0.11.4",
    }


@pytest.mark.parametrize("group", GROUPS)
async def test_an_operation_does_on_the_server_what_is_declared(group: str) -> None:
    for name, generation in have(group):
        operation, call = OPERATIONS[name], CASES[name]
        for client in CLIENTS:
            with case(name, generation, client), trio.fail_after(20):
                async with world_of(generation) as world, caller_of(world.server, client) as caller:
                    for how in HOWS:
                        await call.before(world, caller)
                        seen = len(world.server.log)
                        value = await caller(name, how, **call.args(world))
                        assert call.holds(value, world), value
                        new = world.server.log[seen:]
                        asked = [each for each in new if isinstance(each, RequestReceived)]
                        answered = [each for each in new if isinstance(each, Answered)]
                        assert [each.method for each in asked] == [operation.method]
                        assert _fits(asked[0].path, operation.path), asked[0].path
                        assert [each.status in operation.answers for each in answered] == [True]


def _fits(path: str, template: str) -> bool:
    pairs = zip(path.split("/"), template.split("/"), strict=True)
    return all(mine == theirs or theirs.startswith("{") for mine, theirs in pairs)


@pytest.mark.parametrize("group", GROUPS)
async def test_operations_of_both_neighbours_work_on_the_blocking_generation(group: str) -> None:
    for name in dict.fromkeys(name for name, _ in have(group)):
        if not {"0.6.9", "0.11.4"} <= set(OPERATIONS[name].generations):
            continue
        call = CASES[name]
        for version in ("0.7.0", "0.7.3"):
            with case(name, version), trio.fail_after(20):
                async with world_of("0.7", version=version) as world:
                    async with caller_of(world.server) as caller:
                        for how in HOWS:
                            await call.before(world, caller)
                            value = await caller(name, how, **call.args(world))
                            if name == "system.health_check":
                                assert value.version == version
                            else:
                                assert call.holds(value, world), value
