"""Replaying a recording: order, timing, and requests that were not recorded."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_mix import Mix, ReconnectPolicy, errors
from trio_mix.events import PermissionEvent
from trio_mix.testing import (
    AskPermission,
    Drop,
    Fail,
    MixServer,
    Pause,
    RecordingError,
    Say,
    Think,
    Turn,
    UseTool,
    record,
    replay,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from trio.testing import MockClock

    from trio_mix import Reply
    from trio_mix.testing import Recorder, Replay


pytestmark = pytest.mark.mix_server(strict=False)  # the default agent is recorded too


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recording.jsonl"


@pytest.fixture
async def recorder(mix_server: MixServer, path: Path) -> AsyncIterator[Recorder]:
    async with record(mix_server, path) as recorder:
        yield recorder


async def talk(
    server: Recorder | Replay, session_id: str, *texts: str, think: float = 3.0
) -> tuple[list[Reply], float]:
    """Send messages, grant each permission after a pause; return the replies and the seconds."""
    network = server.network if server.in_memory else None
    start = trio.current_time()
    replies = []
    async with Mix(server.url, network=network) as mix, mix.open_stream(session_id) as session:
        for text in texts:
            async with session.send(text) as message:
                async for event in message:
                    if isinstance(event, PermissionEvent):
                        await trio.sleep(think)
                        await message.grant(event)
                replies.append(message.reply)
    return replies, trio.current_time() - start


WORK = Turn(
    Think("Let me see."),
    Pause(20),
    UseTool("glob", {"pattern": "*"}, result="a.txt"),
    AskPermission("bash", then=[Say("I ran it. ")]),
    Pause(5),
    Say("All done."),
)
SIMPLE = Turn(Think("Hm."), Pause(20), UseTool("glob"), Say("All done."))


@pytest.mark.parametrize(
    "mix_server", ["async", "blocking", "pipeline", "pipeline-oldest"], indirect=True
)
async def test_the_same_program_gets_the_same_replies_in_the_same_time(
    mix_server: MixServer, recorder: Recorder, path: Path, autojump_clock: MockClock
) -> None:
    mix_server.script("work", WORK if mix_server.api != "pipeline-oldest" else SIMPLE)
    session = mix_server.create_session()
    before, took = await talk(recorder, session, "work", "Hello")
    await wait_all_tasks_blocked()
    async with replay(path, listen=False) as server:
        after, again = await talk(server, session, "work", "Hello")
        assert (server.unexpected, server.unused, server.waiting) == ([], [], [])
    assert after == before
    assert again == pytest.approx(took, abs=0.2)


async def test_a_faster_replay_keeps_the_order(
    mix_server: MixServer, recorder: Recorder, path: Path, autojump_clock: MockClock
) -> None:
    mix_server.script("work", WORK)
    session = mix_server.create_session()
    before, took = await talk(recorder, session, "work", think=0)
    async with replay(path, listen=False, speed=5) as server:
        after, again = await talk(server, session, "work", think=0)
        assert after == before
        assert again == pytest.approx(took / 5, abs=0.5)
    async with replay(path, listen=False, speed=math.inf) as server:
        after, again = await talk(server, session, "work", think=0)
        assert after == before
        assert again < 0.5


async def test_a_response_after_a_request_waits_for_that_request(
    mix_server: MixServer, recorder: Recorder, path: Path, autojump_clock: MockClock
) -> None:
    mix_server.script("work", WORK)
    session = mix_server.create_session()
    _, took = await talk(recorder, session, "work", think=3)
    async with replay(path, listen=False) as server:
        waiting: list[str] = []

        async def look() -> None:
            await trio.sleep(60)
            waiting.extend(server.waiting)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            _, again = await talk(server, session, "work", think=100)
    assert waiting == ["POST /api/permissions/permission-1/grant"]
    assert again == pytest.approx(took + 97, abs=0.5)


async def test_a_lost_connection_is_replayed_and_recovered(
    mix_server: MixServer, recorder: Recorder, path: Path, autojump_clock: MockClock
) -> None:
    mix_server.script("work", Turn(Say("Hello "), Drop("reset"), Pause(2), Say("there")))
    session = mix_server.create_session()
    (before,), _ = await talk(recorder, session, "work")
    assert before.recovered
    async with replay(path, listen=False) as server:
        (after,), _ = await talk(server, session, "work")
        streams = server.requests("GET", "/stream")
    assert (after.text, after.recovered) == ("Hello there", True)
    assert len(streams) == 2


async def test_an_error_is_replayed(
    mix_server: MixServer, recorder: Recorder, path: Path, autojump_clock: MockClock
) -> None:
    mix_server.script("work", Turn(Fail("no more money", "billing_error")))
    session = mix_server.create_session()
    with pytest.raises(errors.AgentError, match="no more money"):
        await talk(recorder, session, "work")
    async with replay(path, listen=False) as server:
        with pytest.raises(errors.AgentError, match="no more money"):
            await talk(server, session, "work")


async def test_it_works_over_sockets(mix_server: MixServer, recorder: Recorder, path: Path) -> None:
    session = mix_server.create_session()
    before, _ = await talk(recorder, session, "Hello")
    async with replay(path) as server:
        assert server.url.startswith("http://127.0.0.1:")
        with trio.fail_after(10):
            after, _ = await talk(server, session, "Hello")
    assert after == before


async def test_a_request_that_was_not_recorded_is_a_410_and_listed(
    mix_server: MixServer, recorder: Recorder, path: Path, autojump_clock: MockClock
) -> None:
    session = mix_server.create_session()
    await talk(recorder, session, "Hello")
    async with replay(path, listen=False) as server, Mix(server.url, network=server.network) as mix:
        assert "POST /api/sessions/session-1/messages" in server.unused
        with pytest.raises(errors.MixError, match="has this request not at all") as failed:
            await mix.sessions.delete(id=session)
        assert failed.value.status_code == 410
        await talk(server, session, "Hello")
        assert not server.unused
        policy = ReconnectPolicy(max_elapsed_time=1)
        with pytest.raises(errors.TrioMixError, match="only 1 times"):
            async with mix.open_stream(session, reconnect=policy):
                pass
        assert server.unexpected[0].startswith("DELETE /api/sessions/session-1: ")
        assert "GET /api" in server.timeline


async def test_requests_with_different_bodies_differ_unless_bodies_are_ignored(
    mix_server: MixServer, recorder: Recorder, path: Path
) -> None:
    async with Mix(recorder.url, network=recorder.network) as mix:
        before = await mix.sessions.create(title="Monday", browser_mode="local-browser-service")
    async with replay(path, listen=False) as server, Mix(server.url, network=server.network) as mix:
        with pytest.raises(errors.MixError, match="in the recording.*Monday.*not .*Tuesday"):
            await mix.sessions.create(title="Tuesday", browser_mode="local-browser-service")
        (line,) = server.unexpected
        assert line.startswith("POST /api/sessions: in the recording the body is ")
    async with (
        replay(path, listen=False, ignore_bodies=True) as server,
        Mix(server.url, network=server.network) as mix,
    ):
        after = await mix.sessions.create(title="Tuesday", browser_mode="local-browser-service")
    assert (after, server.unexpected) == (before, [])


async def test_further_gets_receive_the_last_response_again(
    mix_server: MixServer, recorder: Recorder, path: Path
) -> None:
    async with Mix(recorder.url, network=recorder.network) as mix:
        assert await mix.sessions.list() == []
        mix_server.create_session()
        (session,) = await mix.sessions.list()
    async with replay(path, listen=False) as server, Mix(server.url, network=server.network) as mix:
        seen = [await mix.sessions.list() for _ in range(4)]
    assert seen == [[], [session], [session], [session]]


async def test_requests_with_masked_secrets_are_recognized(
    mix_server: MixServer, recorder: Recorder, path: Path
) -> None:
    key = "body-secret-3"
    async with Mix(recorder.url, network=recorder.network) as mix:
        before = await mix.authentication.store_api_key(api_key=key, provider="anthropic")
    async with replay(path, listen=False) as server, Mix(server.url, network=server.network) as mix:
        after = await mix.authentication.store_api_key(api_key=key, provider="anthropic")
    assert (after, server.unexpected) == (before, [])


def test_a_file_that_is_not_a_recording_is_refused(path: Path) -> None:
    files = [
        ("", "is not a recording"),
        ('{"a": 1}\n', "is not a recording"),
        ("hello\n", "line 1: not a JSON object"),
        ('{"trio_mix_recording": 1}\n[]x\n', "line 2: not a JSON object"),
        ('{"trio_mix_recording": 99}\n', "version 99, and this trio_mix reads 1"),
        ('{"trio_mix_recording": 1}\n{"no": 1}\n', "a line lacks"),
        ('{"trio_mix_recording": 1}\n{"no": 1, "at": 0, "n": 7, "end": "cut"}\n', "a line lacks"),
    ]
    for content, message in files:
        path.write_text(content, encoding="utf-8")
        with pytest.raises(RecordingError, match=message) as failed:
            replay(path)
        assert str(path) in str(failed.value)


def test_a_speed_that_is_not_positive_is_refused(path: Path) -> None:
    path.write_text('{"trio_mix_recording": 1}\n', encoding="utf-8")
    for speed in (0, -1.0, math.nan):
        with pytest.raises(ValueError, match="speed must be positive"):
            replay(path, speed=speed)
    with pytest.raises(ValueError, match="port must be"):
        replay(path, port=70000)


def remove_ends(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").split("\n")
    kept = [line for line in lines if line and json.loads(line).get("end") is None]
    path.write_text("\n".join(kept), encoding="utf-8")


async def test_responses_without_a_recorded_end_stay_open(
    mix_server: MixServer, recorder: Recorder, path: Path, autojump_clock: MockClock
) -> None:
    session = mix_server.create_session()
    await talk(recorder, session, "Hello")
    remove_ends(path)
    async with replay(path, listen=False) as server, Mix(server.url, network=server.network) as mix:
        # Even the response to the detection of the generation never ends.
        with trio.move_on_after(30) as patience:
            async with mix.open_stream(session) as opened:
                await opened.ask("Hello")
        assert patience.cancelled_caught
