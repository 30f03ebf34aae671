"""Each documented error of every operation, and operations that a generation lacks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.cases import case
from tests.support.contract_cases import CASES, PROVOKED
from tests.support.contract_world import (
    CLIENTS,
    GROUPS,
    HOWS,
    caller_of,
    have,
    lack,
    path_of,
    world_of,
)
from tests.support.rest_operations import OPERATIONS
from trio_mix import errors
from trio_mix.testing import Answered

if TYPE_CHECKING:
    from tests.support.contract_world import World


def test_the_errors_to_provoke_are_documented_ones() -> None:
    assert set(PROVOKED) <= {(name, s) for name, each in OPERATIONS.items() for s in each.errors}


@pytest.mark.parametrize("group", GROUPS)
async def test_a_documented_error_of_the_server_is_an_error_response(group: str) -> None:
    for name, generation in have(group):
        provoked = [status for status in OPERATIONS[name].errors if (name, status) in PROVOKED]
        if not provoked:
            continue
        async with world_of(generation) as world:
            for client in CLIENTS:
                async with caller_of(world.server, client) as caller:
                    for status in provoked:
                        for how in HOWS:
                            with case(name, generation, client, status, how), trio.fail_after(10):
                                with pytest.raises(errors.ErrorResponse) as caught:
                                    await caller(name, how, **PROVOKED[name, status](world))
                                check(caught.value, name, status)
                                log = [r for r in world.server.log if isinstance(r, Answered)]
                                assert log[-1].status == status, "not refused by the server"


@pytest.mark.parametrize("group", GROUPS)
async def test_a_documented_error_that_the_server_is_made_to_send_is_one_too(group: str) -> None:
    for name, generation in have(group):
        canned = [status for status in OPERATIONS[name].errors if (name, status) not in PROVOKED]
        if not canned:
            continue
        for client in CLIENTS:
            async with world_of(generation) as world, caller_of(world.server, client) as caller:
                for status in canned:
                    for how in HOWS:
                        with case(name, generation, client, status, how), trio.fail_after(10):
                            await CASES[name].before(world, caller)
                            refuse(world, name, status)
                            with pytest.raises(errors.ErrorResponse, match="Wrong") as caught:
                                await caller(name, how, **CASES[name].args(world))
                            check(caught.value, name, status)
                            assert caught.value.error.type == "internal_error"


def refuse(world: World, name: str, status: int) -> None:
    error = {"code": status, "message": "Something is Wrong", "type": "internal_error"}
    world.server.answer_next(path_of(name), status, body=json.dumps({"error": error}).encode())


def check(error: errors.ErrorResponse, name: str, status: int) -> None:
    assert error.status_code == error.error.code == status
    assert error.error.message
    assert error.error.type
    assert error.request.operation == OPERATIONS[name].name
    for part in (OPERATIONS[name].name, error.request.url, f"HTTP {status}", error.error.message):
        assert part in str(error)


@pytest.mark.parametrize("group", GROUPS)
async def test_the_error_of_an_operation_that_the_server_lacks_names_the_apis_that_have_it(
    group: str,
) -> None:
    for name, generation in lack(group):
        async with world_of(generation) as world, caller_of(world.server) as caller:
            world.noted["id"] = "n1"
            for how in HOWS:
                with case(name, generation, how), trio.fail_after(10):
                    with pytest.raises(errors.MixDefaultError) as caught:
                        await caller(name, how, **CASES[name].args(world))
                    assert caught.value.status_code in (404, 405)
                    assert caught.value.headers["content-type"].startswith("text/plain")
                    text = str(caught.value)
                    versions = ", ".join(OPERATIONS[name].generations)
                    assert f"The operation is part of API {versions}" in text
                    assert "system.health_check" in text
                    assert "Check the id" not in text


@pytest.mark.parametrize("generation", ["0.6.4", "0.6.9"])
async def test_a_refusal_of_the_pipeline_in_plain_text_is_a_default_error(generation: str) -> None:
    """The specification promises an error object here; real servers do not keep it."""
    async with world_of(generation) as world, caller_of(world.server) as caller:
        for how in HOWS:
            with pytest.raises(errors.MixDefaultError, match="content is required") as caught:
                await caller("streaming.send_streaming_message", how, id=world.session, content="")
            assert caught.value.status_code == 400


async def test_a_message_without_a_provider_key_is_refused_with_a_remedy() -> None:
    async with (
        world_of("0.11.4", provider_key=False) as world,
        caller_of(world.server) as caller,
    ):
        for how in HOWS:
            with pytest.raises(errors.ErrorResponse, match="store the provider's key") as caught:
                await caller("messages.send", how, id=world.session, text="hello")
            assert caught.value.status_code == 401
