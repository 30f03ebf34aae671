"""The default agent, and replay by event ids."""

from __future__ import annotations

import pytest
import trio

from tests.support.wire_client import call, open_frames, send
from trio_mix import Mix
from trio_mix.testing import (
    Do,
    Drop,
    Emit,
    MixServer,
    Pause,
    Raw,
    Say,
    Turn,
)
from trio_mix.testing.server._default_agent import plausible_turn
from trio_mix.testing.server._traits import traits_for


async def test_the_default_agent_lists_files_asks_for_commands_and_answers_briefly() -> None:
    async with MixServer(pace=0) as server:
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            await send(server, session_id, "Hello")
            plain = await frames.until("complete")
            await send(server, session_id, "List the files here")
            files = await frames.until("complete")
            await send(server, session_id, "Run the tests")
            shell = await frames.until("permission")
            permission_id = shell[-1].data["id"]
            assert shell[-1].data["toolName"] == "Bash"
            await call(server, "POST", f"/api/permissions/{permission_id}/grant")
            shell += await frames.until("complete")
    assert "thinking" in [each.event for each in plain]
    assert "tool_use_start" not in [each.event for each in plain]
    assert "tool_use_start" in [each.event for each in files]
    assert "permission" not in [each.event for each in files]
    assert "tool_execution_complete" in [each.event for each in shell]


async def test_the_default_agent_separates_the_text_before_and_after_a_tool() -> None:
    async def grant(*_: object) -> bool:
        await trio.lowlevel.checkpoint()
        return True

    async with MixServer(pace=0) as server, Mix(server.url) as mix:
        async with mix.open_session(on_permission=grant) as session:
            reply = await session.ask("List the files and run a command")
    assert "files. I found 5" in reply.text
    assert "command. The command says" in reply.text
    assert "  " not in reply.text


async def test_the_default_agent_sends_a_story_word_by_word_at_its_pace() -> None:
    pauses: dict[int, float] = {}
    words: list[str] = []
    for pace in (0, 1, 2):
        steps = plausible_turn("Tell me a story", traits_for("async", None), pace).steps
        words = [step.text for step in steps if isinstance(step, Say)]
        assert len(words) > 50
        assert all(len(word.split()) == 1 for word in words)
        pauses[pace] = sum(step.seconds for step in steps if isinstance(step, Pause))
    assert pauses[0] == 0
    assert pauses[1] > 10
    assert pauses[2] == pytest.approx(2 * pauses[1])
    async with MixServer(pace=0) as server, Mix(server.url) as mix:
        async with mix.open_session() as session:
            story = (await session.ask("Tell me a story")).text
    assert story == "".join(words)


async def test_the_default_agent_is_deterministic() -> None:
    turns = []
    for _ in range(2):
        async with MixServer("blocking", pace=0) as server:
            turns.append((await send(server, server.create_session(), "List the files")).json)
    assert turns[0] == turns[1]


@pytest.mark.parametrize("connected_id", [True, False])
async def test_replay_sends_the_events_after_the_last_event_id(connected_id: bool) -> None:
    async with MixServer(replay=True, connected_id=connected_id) as server:
        server.script("go", Turn(Say("a b c "), Drop(), Say("d e f ")))
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            await send(server, session_id, "go")
            before = await frames.rest()
        mark = before[-2].id  # the client lost the last frame
        async with open_frames(server, session_id, mark, connected=False) as frames:
            connected, *after = await frames.until("complete")
    assert connected.event == "connected"
    assert (connected.id is not None) == connected_id
    ids = [int(frame.id or 0) for frame in (*before[:-1], *after)]
    assert ids == sorted(set(ids))
    sent = [f.data["content"] for f in (*before[:-1], *after) if f.event == "content"]
    assert "".join(sent) == "a b c d e f "


async def test_ids_can_continue_over_connections_without_replay() -> None:
    async with MixServer(restart_ids=False) as server:
        session_id = server.create_session()
        async with open_frames(server, session_id, connected=False) as frames:
            assert (await frames.next()).id == "1"
        async with open_frames(server, session_id, "0", connected=False) as frames:
            assert (await frames.next()).id == "2"


def test_contradicting_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="restart_ids"):
        MixServer(replay=True, restart_ids=True)
    with pytest.raises(ValueError, match="needs event ids"):
        MixServer("pipeline-oldest", replay=True)


async def test_replay_works_on_a_pipeline_server_whose_stream_was_cut_during_a_turn() -> None:
    async with MixServer("pipeline", replay=True) as server:
        go = trio.Event()
        server.script("go", Turn(Say("a "), Drop(), Do(go.wait), Say("b")))
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            await send(server, session_id, "go")
            before = await frames.rest()
        async with open_frames(server, session_id, before[-1].id) as frames:
            go.set()
            after = await frames.until("complete")
    assert [f.data["content"] for f in (*before, *after)] == ["a ", "b", "a b"]


async def test_a_pipeline_turn_waits_until_its_raw_bytes_are_sent() -> None:
    async with MixServer("pipeline", listen=False) as server:
        gone_on = trio.Event()

        async def go_on() -> None:
            gone_on.set()

        server.script("go", Turn(Raw(b": x" + bytes(200_000) + b"\n\n"), Do(go_on), Emit("end")))
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            await send(server, session_id, "go")
            await trio.testing.wait_all_tasks_blocked()
            assert not gone_on.is_set()  # the network is full and the client does not read
            await frames.until("end")
            assert gone_on.is_set()
