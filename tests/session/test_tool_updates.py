"""`Message.tool_updates`: every tool call twice, on every generation; usage and results."""

from __future__ import annotations

import itertools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import pytest

from trio_mix import Mix, ToolCall, Usage, errors
from trio_mix.testing import (
    AskPermission,
    Drop,
    Fail,
    MixServer,
    Pause,
    Say,
    SubAgent,
    Think,
    Turn,
    UseTool,
    UseTools,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock

    from trio_mix import SessionStream
    from trio_mix.testing import Api

GENERATIONS: list[tuple[Api, str | None]] = [
    ("pipeline-oldest", None),
    ("pipeline", "0.6.4"),
    ("pipeline", "0.6.9"),
    ("blocking", "0.7.0"),
    ("async", "0.7.4"),
    ("async", "0.11.4"),
]

WORK = Turn(
    Think("Hm."),
    UseTool("glob", {"pattern": "*.py", "deep": [1, {"a": None}]}),
    Say("One. "),
    UseTools(UseTool("read", {"path": "ü"}), UseTool("bash", {}, success=False)),
    Say("Done."),
)


@asynccontextmanager
async def opened(
    api: Api, version: str | None = None, *turns: Turn, **options: bool
) -> AsyncIterator[tuple[MixServer, SessionStream]]:
    async with (
        MixServer(
            api,
            version=version,
            listen=False,
            pace=0.0,
            tool_results=options.get("tool_results", False),
            usage=options.get("usage", False),
        ) as server,
        Mix(server.url, network=server.network) as mix,
    ):
        server.script("go", *turns)
        async with mix.open_stream(server.create_session()) as session:
            yield server, session


async def updates_of(session: SessionStream) -> list[ToolCall]:
    async with session.send("go") as message:
        found = [call async for call in message.tool_updates()]
        assert message.reply.text
        last = {call.tool_call_id: call for call in found}
        assert tuple(last.values()) == message.reply.tool_calls
    return found


def outline(updates: list[ToolCall]) -> list[tuple[str, object, bool]]:
    return [(call.name, call.parsed_input, call.finished) for call in updates]


@pytest.mark.parametrize(("api", "version"), GENERATIONS)
async def test_every_call_is_returned_twice_and_the_same_on_every_generation(
    api: Api, version: str | None, autojump_clock: MockClock
) -> None:
    async with opened(api, version, WORK) as (_, session):
        updates = await updates_of(session)
    begun = [call for call in updates if not call.finished]
    finished = [call for call in updates if call.finished]
    expected = [
        ("glob", {"pattern": "*.py", "deep": [1, {"a": None}]}),
        ("read", {"path": "ü"}),
        ("bash", {}),
    ]
    for calls, is_finished in ((begun, False), (finished, True)):
        assert outline(calls) == [(name, params, is_finished) for name, params in expected]
    assert all(call.input_complete for call in updates)
    assert all(call.success is None for call in begun)
    for call in begun:
        same = [each for each in updates if each.tool_call_id == call.tool_call_id]
        assert [each.finished for each in same] == [False, True]
    if api != "pipeline-oldest":  # without the events of an execution, nothing shows its success
        assert [call.success for call in finished] == [True, True, False]


async def test_updates_arrive_while_the_turn_runs(autojump_clock: MockClock) -> None:
    async with opened("async", None, Turn(UseTool("glob"), Say("x"))) as (server, session):
        async with session.send("go") as message:
            updates = message.tool_updates()
            first = await anext(updates)
            assert not first.finished
            assert not message.finished or server.running_turns == 0
            second = await anext(updates)
            assert (second.tool_call_id, second.finished) == (first.tool_call_id, True)
            with pytest.raises(StopAsyncIteration):
                await anext(updates)
            with pytest.raises(StopAsyncIteration):
                await anext(updates)


async def test_calls_of_sub_agents_have_their_parent(autojump_clock: MockClock) -> None:
    turn = Turn(SubAgent(UseTool("grep", {"for": "x"}), task="Look"), Say("Found."))
    async with opened("async", None, turn) as (_, session):
        updates = await updates_of(session)
    task = updates[0]
    inner = [call for call in updates if call.name == "grep"]
    assert [call.parent_tool_call_id for call in inner] == [task.tool_call_id] * 2
    assert [call.finished for call in updates] == [False, False, True, True]


async def test_calls_that_a_lost_connection_took_are_returned_at_the_end(
    autojump_clock: MockClock,
) -> None:
    # In a second the stream is connected again: it takes part of the call, or all.
    apis: tuple[Api, ...] = ("pipeline", "async")
    for api, steps in itertools.product(apis, ([Pause(1)], [])):
        tool = UseTool("glob", {"a": 1}, result="x", steps=steps)
        turn = Turn(Say("I look. "), Drop(), tool, Say("Done."))
        async with opened(api, None, turn) as (_, session):
            updates = await updates_of(session)
        assert outline(updates) == [("glob", {"a": 1}, False), ("glob", {"a": 1}, True)]
        assert [call.result for call in updates] == [None, "x"]


async def test_a_failed_turn_raises_after_the_updates_that_it_had(
    autojump_clock: MockClock,
) -> None:
    async with opened("async", None, Turn(UseTool("glob"), Fail("boom"))) as (_, session):
        seen: list[ToolCall] = []
        async with session.send("go") as message:
            with pytest.raises(errors.AgentError, match="boom"):
                async for call in message.tool_updates():
                    seen.append(call)  # noqa: PERF401 - it raises
    assert [call.finished for call in seen] == [False, True]


async def test_a_permission_request_that_is_dropped_is_logged(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened("async", None, Turn(AskPermission("bash"), Say("x"))) as (_, session):
        assert await updates_of(session) == []
    assert "nothing answers it: pass on_permission" in caplog.text


async def test_the_results_and_the_usage_of_a_blocking_answer_are_in_the_reply(
    autojump_clock: MockClock,
) -> None:
    turn = Turn(UseTool("glob", {}, result="a.py"), UseTool("read", {}), Say("one two three"))
    async with opened("blocking", None, turn, usage=True) as (_, session):
        reply = await session.ask("go")
        assert [call.result for call in reply.tool_calls] == ["a.py", None]
        assert reply.usage is not None
        assert (reply.usage.input_tokens, reply.usage.output_tokens) == (100, 3)
        assert reply.usage.cost == pytest.approx(0.003)
        assert reply.usage.cache_read_tokens is None
    async with opened("blocking", None, turn) as (_, session):
        assert (await session.ask("go")).usage is None
    async with opened("async", None, turn, usage=True) as (_, session):
        assert (await session.ask("go")).usage is None  # no event has it


def test_a_usage_without_numbers_has_none() -> None:
    assert attrs.asdict(Usage()) == dict.fromkeys(attrs.asdict(Usage()))
