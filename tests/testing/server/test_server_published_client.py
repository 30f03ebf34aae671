"""The published client, mix-python-sdk, drives the bundled server: is the server honest?

It is synchronous, so it runs in a thread; it is generated from the specification of 0.6.9.
"""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from mix_python_sdk import Mix, errors

from trio_mix.testing import AskPermission, MixServer, RateLimit, Say, Think, Turn, UseTool

TURN = Turn(
    Think("Let me see."),
    UseTool("glob", {"pattern": "*"}, result="README.md"),
    AskPermission(
        "bash",
        then=[UseTool("bash", {"command": "ls"}), Say("All done, I think.")],
        params={"command": "ls"},
    ),
)


def _client(url: str) -> Any:
    """Return the client, untyped: type checkers cannot narrow its unions."""
    return Mix(server_url=url, timeout_ms=10_000)


def _converse(url: str) -> list[Any]:
    """Create a session, open its stream, send, grant, and read to the end."""
    with _client(url) as mix:
        assert mix.system.get_health().version
        session = mix.sessions.create(title="Published")
        events: list[Any] = []
        with mix.streaming.stream_events(session_id=session.id).result as stream:
            for event in stream:
                events.append(event)
                if event.event == "connected":
                    ack = mix.streaming.send_streaming_message(
                        id=session.id, content=json.dumps({"text": "go"})
                    )
                    assert (ack.status, ack.session_id) == ("broadcasted", session.id)
                elif event.event == "permission":
                    assert mix.permissions.grant(id=event.data.id).granted
                elif event.event == "complete":
                    break
        stored = mix.messages.list_session(id=session.id)
        assert [row.role for row in stored] == ["user", *["assistant", "tool"] * 2, "assistant"]
        assert stored[-1].assistant_response == "All done, I think."
        assert mix.sessions.get(id=session.id).tool_call_count == 2
        export = mix.sessions.export_session(id=session.id).result
        assert export.messages[-1].finish_reason == "end_turn"
        assert [row.id for row in mix.sessions.list()] == [session.id]
        assert mix.sessions.cancel_processing(id=session.id) is not None
        mix.sessions.delete(id=session.id)
        return events


async def test_it_reads_a_whole_turn_with_its_own_streaming_operations() -> None:
    async with MixServer("pipeline") as server:
        server.script("go", TURN)
        with trio.fail_after(30):
            events = await trio.to_thread.run_sync(_converse, server.url)
        assert server.runs("go") == 1
    names = [event.event for event in events]
    assert names[0] == "connected"
    assert names[-1] == "complete"
    text = "".join(event.data.content for event in events if event.event == "content")
    assert text == events[-1].data.content == "All done, I think."
    thought = "".join(event.data.content for event in events if event.event == "thinking")
    assert thought == "Let me see."
    assert names.count("tool") == 6
    assert names.count("tool_execution_complete") == 2
    assert [int(event.id) for event in events] == list(range(1, len(events) + 1))
    assert {event.retry for event in events} == {30000}


def _error_of_unknown_session(url: str) -> Any:
    try:
        with (
            _client(url) as mix,
            mix.streaming.stream_events(session_id="nobody").result as stream,
        ):
            return next(iter(stream))
    except errors.ErrorResponse as error:
        return error  # its class is frozen, so it cannot be raised through a context manager


async def test_it_receives_the_error_event_of_an_unknown_session() -> None:
    async with MixServer("pipeline") as server:
        event = await trio.to_thread.run_sync(_error_of_unknown_session, server.url)
    assert (event.event, event.id, event.retry) == ("error", "1", 750)
    assert "nobody" in event.data.error


async def test_it_raises_its_own_error_for_a_response_by_the_specification() -> None:
    async with MixServer("pipeline", unknown_session="404") as server:
        error = await trio.to_thread.run_sync(_error_of_unknown_session, server.url)
    assert isinstance(error, errors.ErrorResponse)
    assert error.status_code == 404


def _stream_until(url: str, session_id: str, last: str) -> list[Any]:
    events: list[Any] = []
    with (
        _client(url) as mix,
        mix.streaming.stream_events(session_id=session_id).result as stream,
    ):
        for event in stream:
            events.append(event)
            if event.event == "connected":
                content = json.dumps({"text": "go"})
                mix.streaming.send_streaming_message(id=session_id, content=content)
            if event.event == last:
                break
    return events


async def test_it_breaks_on_the_event_that_the_specification_does_not_have() -> None:
    """Real servers send ``rate_limit_error``; the published client knows no such event."""
    async with MixServer("pipeline") as server:
        server.script("go", Turn(RateLimit()))
        session_id = server.create_session()
        with pytest.raises(Exception, match="rate_limit_error"):
            await trio.to_thread.run_sync(_stream_until, server.url, session_id, "complete")


def _blocking(url: str, session_id: str) -> Any:
    with _client(url) as mix:
        return mix.messages.send(id=session_id, text="go")


async def test_it_receives_the_response_of_a_blocking_send() -> None:
    async with MixServer("blocking") as server:
        server.script("go", Turn(Say("done")))
        message = await trio.to_thread.run_sync(_blocking, server.url, server.create_session())
    assert message.assistant_response == "done"
