"""Each documented error of every operation, and operations that a generation has not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.contract_cases import CASES, PROVOKED
from tests.support.contract_world import CLIENTS, HAVE, HOWS, LACK, caller_of, path_of, world_of
from tests.support.rest_operations import OPERATIONS
from trio_mix import errors
from trio_mix.testing import Answered, MixServer

if TYPE_CHECKING:
    from tests.support.contract_world import Client, How, World

DOCUMENTED = [
    (name, generation, status)
    for name, generation in HAVE
    for status in OPERATIONS[name].errors
    if (name, status) in PROVOKED
]
CANNED = [
    (name, generation, status)
    for name, generation in HAVE
    for status in OPERATIONS[name].errors
    if (name, status) not in PROVOKED
]


def test_the_errors_to_provoke_are_documented_ones() -> None:
    assert set(PROVOKED) <= {(name, s) for name, each in OPERATIONS.items() for s in each.errors}


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(("name", "generation", "status"), DOCUMENTED)
async def test_a_documented_error_of_the_server_is_an_error_response(
    name: str, generation: str, status: int, client: Client
) -> None:
    async with world_of(generation) as world, caller_of(world.server, client) as caller:
        for how in HOWS:
            with trio.fail_after(10), pytest.raises(errors.ErrorResponse) as caught:
                await caller(name, how, **PROVOKED[name, status](world))
            check(caught.value, name, status)
            answered = [r for r in world.server.log if isinstance(r, Answered)]
            assert answered[-1].status == status, "the server must have said it, not the client"


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(("name", "generation", "status"), CANNED)
async def test_a_documented_error_that_is_put_into_the_servers_mouth_is_one_too(
    name: str, generation: str, status: int, client: Client
) -> None:
    async with world_of(generation) as world, caller_of(world.server, client) as caller:
        for how in HOWS:
            await CASES[name].before(world, caller)
            refuse(world, name, status)
            with trio.fail_after(10), pytest.raises(errors.ErrorResponse, match="Wrong") as caught:
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
    for told in (OPERATIONS[name].name, error.request.url, f"HTTP {status}", error.error.message):
        assert told in str(error)


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize(("name", "generation"), LACK)
async def test_an_operation_that_the_servers_api_has_not_says_so(
    name: str, generation: str, how: How
) -> None:
    async with world_of(generation) as world, caller_of(world.server) as caller:
        world.noted["id"] = "n1"
        with trio.fail_after(10), pytest.raises(errors.MixDefaultError) as caught:
            await caller(name, how, **CASES[name].args(world))
    assert caught.value.status_code in (404, 405)
    assert caught.value.headers["content-type"].startswith("text/plain")
    text = str(caught.value)
    assert f"The operation is part of API {', '.join(OPERATIONS[name].generations)}" in text
    assert "system.health_check" in text
    assert "Check the id" not in text


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", [name for name in OPERATIONS if not name.startswith("streaming.")])
async def test_the_oldest_servers_have_no_rest_and_the_error_says_where_nothing_answers(
    name: str, how: How
) -> None:
    async with MixServer("pipeline-oldest") as server, caller_of(server) as caller:
        async with world_of("0.11.4") as world:
            world.noted |= {"id": "x1", "state": "s1", "spare": "x2"}
            args = CASES[name].args(world)
        with trio.fail_after(10), pytest.raises(errors.MixDefaultError, match="404") as caught:
            await caller(name, how, **args)
    assert server.url in str(caught.value)
    assert caught.value.request.operation == OPERATIONS[name].name


@pytest.mark.parametrize("how", HOWS)
async def test_the_oldest_servers_stream_and_take_messages(how: How) -> None:
    async with MixServer("pipeline-oldest", pace=0.0) as server, caller_of(server) as caller:
        session = server.create_session()
        first = await caller("streaming.stream_events", how, session_id=session)
        assert first.session_id == session
        ack = await caller(
            "streaming.send_streaming_message", how, id=session, content='{"text": "hi"}'
        )
        assert ack.status == "broadcasted"


@pytest.mark.parametrize("generation", ["0.6.4", "0.6.9"])
async def test_what_the_pipeline_refuses_in_plain_text_is_a_default_error(generation: str) -> None:
    """The specification promises an error object here; real servers do not keep it."""
    async with world_of(generation) as world, caller_of(world.server) as caller:
        for how in HOWS:
            with pytest.raises(errors.MixDefaultError, match="content is required") as caught:
                await caller("streaming.send_streaming_message", how, id=world.session, content="")
            assert caught.value.status_code == 400


async def test_a_message_without_a_provider_key_is_refused_with_what_to_do() -> None:
    async with (
        world_of("0.11.4", provider_key=False) as world,
        caller_of(world.server) as caller,
    ):
        for how in HOWS:
            with pytest.raises(errors.ErrorResponse, match="store the provider's key") as caught:
                await caller("messages.send", how, id=world.session, text="hello")
            assert caught.value.status_code == 401
