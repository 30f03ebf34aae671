"""Every operation, on every generation that has it, as method and function, through each client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.contract_cases import CASES
from tests.support.contract_world import CLIENTS, HAVE, HOWS, caller_of, world_of
from tests.support.rest_operations import OPERATIONS
from trio_mix.testing import Answered, RequestReceived

if TYPE_CHECKING:
    from tests.support.contract_world import Client, How


def test_every_operation_of_the_table_has_a_case() -> None:
    assert set(CASES) == set(OPERATIONS)
    assert {generation for _, generation in HAVE} == {"0.6.4", "0.6.9", "0.11.4"}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(("name", "generation"), HAVE)
async def test_an_operation_does_on_the_server_what_the_table_says(
    name: str, generation: str, client: Client
) -> None:
    operation = OPERATIONS[name]
    case = CASES[name]
    with trio.fail_after(20):
        async with world_of(generation) as world, caller_of(world.server, client) as caller:
            for how in HOWS:
                await case.before(world, caller)
                seen = len(world.server.log)
                value = await caller(name, how, **case.args(world))
                assert case.holds(value, world), value
                asked = [r for r in world.server.log[seen:] if isinstance(r, RequestReceived)]
                answered = [r for r in world.server.log[seen:] if isinstance(r, Answered)]
                assert [r.method for r in asked] == [operation.method]
                assert _fits(asked[0].path, operation.path), asked[0].path
                assert [r.status in operation.answers for r in answered] == [True]


def _fits(path: str, template: str) -> bool:
    pairs = zip(path.split("/"), template.split("/"), strict=True)
    return all(mine == theirs or theirs.startswith("{") for mine, theirs in pairs)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("version", ["0.7.0", "0.7.3"])
@pytest.mark.parametrize(
    "name", [n for n, each in OPERATIONS.items() if {"0.6.9", "0.11.4"} <= set(each.generations)]
)
async def test_what_the_neighbours_have_works_on_the_blocking_generation_between_them(
    name: str, how: How, version: str
) -> None:
    case = CASES[name]
    settings = {"version": version}
    with trio.fail_after(20):
        async with world_of("0.7", **settings) as world, caller_of(world.server) as caller:
            await case.before(world, caller)
            value = await caller(name, how, **case.args(world))
            if name == "system.health_check":
                assert value.version == version
            else:
                assert case.holds(value, world), value
