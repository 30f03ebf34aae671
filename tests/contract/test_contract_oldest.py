"""Every operation on a server of the oldest generation: by JSON-RPC, or refused with a reason."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
import trio

from tests.support.cases import case
from tests.support.contract_cases import CASES
from tests.support.contract_world import HOWS, World, caller_of, world_of
from tests.support.rest_operations import OPERATIONS
from trio_mix import errors
from trio_mix.testing import (
    AskPermission,
    Hang,
    MessageFinished,
    MessageRun,
    MixServer,
    PermissionAsked,
    Say,
    Turn,
    UseTool,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable


async def _nothing(_: World) -> None: ...


@attrs.frozen
class Work:
    """An operation that these servers have: its arguments, and what holds of its value."""

    args: Callable[[World], dict[str, Any]]
    holds: Callable[[Any, World], object]
    before: Callable[[World], Awaitable[None]] = _nothing


@asynccontextmanager
async def oldest_world() -> AsyncIterator[World]:
    async with MixServer("pipeline-oldest", pace=0.0) as server:
        server.script("go", Turn(UseTool("glob"), Say("Done.")))
        server.script("hang", Turn(Hang()))
        server.script("ask", Turn(AskPermission("bash")))
        session = server.create_session("Contract")
        server.run_message(session, "go")
        await server.wait_for(MessageFinished)
        yield World(server, "oldest", session, "")


async def _permission(world: World) -> None:
    asked = sum(isinstance(record, PermissionAsked) for record in world.server.log)
    world.server.run_message(world.session, "ask")
    record = await world.server.wait_for(PermissionAsked, count=asked + 1)
    world.noted["id"] = record.permission_id


async def _running(world: World) -> None:
    asked = world.server.runs("hang")
    world.server.run_message(world.session, "hang")
    await world.server.wait_for(MessageRun, text="hang", count=asked + 1)


async def _spare(world: World) -> None:
    world.noted["spare"] = world.server.create_session("Spare")


def _none(_: World) -> dict[str, Any]:
    return {}


def _session(world: World) -> dict[str, Any]:
    return {"id": world.session}


def _asked(world: World) -> dict[str, Any]:
    return {"id": world.noted["id"]}


def _texts(rows: Any, _: World) -> bool:
    texts = [(row.role, row.user_input, row.assistant_response) for row in rows]
    tools = [call.name for row in rows for call in row.tool_calls or ()]
    answers = [("assistant", "", ""), ("tool", "", ""), ("assistant", "", "Done.")]
    return texts == [("user", "go", None), *answers] and tools == ["glob"]


WORK: Final = {
    "authentication.store_api_key": Work(
        lambda _: {"api_key": "sk-contract", "provider": "anthropic"},
        lambda value, _: value.status == "success",
    ),
    "messages.cancel_processing": Work(
        _session,
        lambda value, _: (value.cancelled, value.status) == (True, "cancelled"),
        _running,
    ),
    "messages.get_history": Work(
        lambda _: {"limit": 5, "offset": 0}, lambda value, _: value[-1].user_input == "go"
    ),
    "messages.get_session": Work(_session, _texts),
    "messages.send": Work(
        lambda world: {"id": world.session, "text": "go", "plan_mode": False, "apps": []},
        lambda value, _: (value.status_code, value.message.assistant_response) == (200, "Done."),
    ),
    "permissions.deny": Work(_asked, lambda value, _: value.granted is False, _permission),
    "permissions.grant": Work(_asked, lambda value, _: value.granted is True, _permission),
    "sessions.create": Work(lambda _: {"title": "New"}, lambda value, _: value.title == "New"),
    "sessions.delete": Work(
        lambda world: {"id": world.noted["spare"]}, lambda value, _: value is None, _spare
    ),
    "sessions.fork": Work(
        lambda world: {"id": world.session, "message_index": 1, "title": "Copy"},
        lambda value, _: (value.title, value.tool_call_count) == ("Copy", 1),
    ),
    "sessions.get": Work(_session, lambda value, _: value.title == "Contract"),
    "sessions.list": Work(_none, lambda value, _: value[0].title == "Contract"),
    "system.get_command": Work(
        lambda _: {"name": "help"}, lambda value, _: (value.name, bool(value.description))
    ),
    "system.list_commands": Work(_none, lambda value, _: value[0].description),
    "system.list_mcp_servers": Work(_none, lambda value, _: value[1].tools[0].name),
}
"""Each operation that has a method in JSON-RPC."""


def test_every_operation_with_a_method_in_json_rpc_is_called() -> None:
    assert set(WORK) == {name for name, each in OPERATIONS.items() if each.rpc is not None}


async def test_the_operations_in_json_rpc_work_as_those_in_rest() -> None:
    for name, work in WORK.items():
        async with oldest_world() as world, caller_of(world.server) as caller:
            for how in HOWS:
                with case(name, how), trio.fail_after(10):
                    await work.before(world)
                    assert work.holds(await caller(name, how, **work.args(world)), world)


async def test_an_operation_that_json_rpc_lacks_is_refused_and_never_taken_for_done() -> None:
    lacking = [name for name in OPERATIONS if name not in WORK and name[:10] != "streaming."]
    async with oldest_world() as oldest, caller_of(oldest.server) as caller:
        async with world_of("0.11.4") as world:
            world.noted |= {"id": "x1", "state": "s1", "spare": "x2"}
            for name in lacking:
                for how in HOWS:
                    with case(name, how), trio.fail_after(10):
                        with pytest.raises(errors.NoSuchOperation) as caught:
                            await caller(name, how, **CASES[name].args(world))
                        assert caught.value.request.operation == OPERATIONS[name].name
                        assert oldest.server.url in str(caught.value)
                        assert "JSON-RPC" in str(caught.value)


async def test_the_streaming_operations_are_the_same() -> None:
    async with oldest_world() as world, caller_of(world.server) as caller:
        for how in HOWS:
            first = await caller("streaming.stream_events", how, session_id=world.session)
            assert first.session_id == world.session
            text = '{"text": "hi"}'
            name = "streaming.send_streaming_message"
            assert (await caller(name, how, id=world.session, content=text)).status == "broadcasted"


async def test_what_does_not_exist_is_refused_as_by_a_server_with_rest() -> None:
    refused: list[tuple[str, dict[str, Any], int]] = [
        ("sessions.get", {"id": "nobody"}, 404),
        ("sessions.delete", {"id": "nobody"}, 404),
        ("sessions.fork", {"id": "nobody", "message_index": 0}, 404),
        ("messages.send", {"id": "nobody", "text": "go"}, 404),
        ("system.get_command", {"name": "nothing"}, 404),
        ("sessions.create", {"title": ""}, 400),
    ]
    async with oldest_world() as world, caller_of(world.server) as caller:
        for name, args, status in refused:
            for how in HOWS:
                with case(name, how), pytest.raises(errors.ErrorResponse) as caught:
                    await caller(name, how, **args)
                assert caught.value.status_code == caught.value.error.code == status, name
                assert caught.value.request.operation == name
                assert caught.value.request.url == f"{world.server.url}/rpc"
                assert "JSON-RPC; the error's code is -32" in str(caught.value)
