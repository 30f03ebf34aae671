"""The assertions, and the texts of their failures."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING

import pytest
import trio

from trio_mix.events import CompleteEvent, ContentEvent, ErrorEvent, ThinkingEvent
from trio_mix.testing import (
    Hang,
    LeftBehindError,
    MessageRun,
    MixServer,
    Say,
    Think,
    Turn,
    assert_nothing_left,
    assert_ran_once,
    assert_requested,
    cancel_at_every_checkpoint,
    expect_events,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from trio.testing import MockClock

    from trio_mix import Mix


async def test_assert_ran_once_fails_for_none_and_for_two_runs(
    mix: Mix, mix_server: MixServer, autojump_clock: MockClock
) -> None:
    mix_server.script("Hi", Turn(Think("I greet."), Say("Hello to you")))
    async with mix.open_session() as session:
        with pytest.raises(AssertionError, match=r"^'Hi' never ran, not once\.\nThe server's"):
            assert_ran_once(mix_server, "Hi")
        await session.ask("Hi")
        assert_ran_once(mix_server, "Hi")
        assert_ran_once(mix_server, re.compile("^H"), session.session_id)
        assert_ran_once(mix_server, lambda text: text == "Hi")
        with pytest.raises(AssertionError, match="never ran in session other"):
            assert_ran_once(mix_server, "Hi", "other")
        await session.ask("Hi")
        with pytest.raises(AssertionError, match="'Hi' ran 2 times, not once") as failed:
            assert_ran_once(mix_server, "Hi")
    shown = str(failed.value)
    assert "> POST /api/sessions/session-1/messages" in shown
    assert "the agent runs 'Hi' (run 2)" in shown
    assert re.search(r"< stream 1: user_message_created, thinking x\d+, content x\d+", shown)


async def test_requests_are_counted(mix: Mix, mix_server: MixServer) -> None:
    assert_requested(mix_server, "GET", "/api/sessions", times=0)
    with pytest.raises(AssertionError, match=r"GET /api/sessions… was requested 0 times, not"):
        assert_requested(mix_server, "GET", "/api/sessions")
    await mix.sessions.list()
    assert_requested(mix_server, "GET", "/api/sessions")
    assert_requested(mix_server, "GET", "/api/sessions", times=1)
    with pytest.raises(AssertionError, match="requested 1 times, not 0 times"):
        assert_requested(mix_server, "GET", "/api/sessions", times=0)


async def test_what_is_left_is_named_after_the_time_limit(
    mix: Mix, mix_server: MixServer, autojump_clock: MockClock
) -> None:
    mix_server.script("Hi", Turn(Hang()))
    async with mix.open_session() as session, session.send("Hi"):
        await mix_server.wait_for(MessageRun)
        before = trio.current_time()
        with pytest.raises(
            AssertionError, match="on the server: 1 open streams, 1 running turns"
        ) as e:
            await assert_nothing_left(mix_server, within=3)
        assert trio.current_time() - before == pytest.approx(3)
        assert "the agent runs 'Hi'" in str(e.value)
    await assert_nothing_left(mix_server)


async def test_a_failure_inside_the_server_counts_as_left(mix: Mix) -> None:
    with pytest.raises(ZeroDivisionError):
        async with MixServer(listen=False) as server:
            server.script(lambda _: bool(1 // 0), Turn())
            server.run_message(server.create_session(), "go")
            await trio.testing.wait_all_tasks_blocked()
            with pytest.raises(AssertionError, match="1 failures"):
                await assert_nothing_left(server, within=0.01)


async def test_expected_events_are_found_in_order_with_others_between(
    mix: Mix, mix_server: MixServer
) -> None:
    mix_server.script("Hi", Turn(Think("hm hm"), Say("one two")))
    async with mix.open_session() as session, session.send("Hi") as message:
        found = await expect_events(
            message, ThinkingEvent, lambda e: isinstance(e, ContentEvent) and e.content == "two"
        )
        assert [getattr(event, "content", None) for event in found] == ["hm ", "two"]
        # Later events stay in the message.
        assert [type(event) async for event in message] == [CompleteEvent]


async def test_the_failure_lists_the_received_events_if_they_end_too_early(
    mix: Mix, mix_server: MixServer
) -> None:
    mix_server.script("Hi", Turn(Say("one")))
    async with mix.open_session() as session, session.send("Hi") as message:
        with pytest.raises(AssertionError) as failed:
            await expect_events(message, ContentEvent, ErrorEvent, server=mix_server)
    shown = str(failed.value)
    assert shown.startswith(
        "ErrorEvent was not received before the end (expected: ContentEvent, then ErrorEvent)."
    )
    assert re.search(r"\d\.\d{3} \* ContentEvent\(.*content='one'", shown)
    assert re.search(r"\d\.\d{3}   CompleteEvent\(", shown)
    assert "> POST /api/sessions/session-1/messages" in shown


async def test_waiting_for_events_is_bounded(autojump_clock: MockClock) -> None:
    class Silent:
        def __aiter__(self) -> AsyncIterator[str]:
            return self

        async def __anext__(self) -> str:
            await trio.sleep_forever()
            raise AssertionError

    with pytest.raises(
        AssertionError, match=r"^str was not received within 7 s .*\nReceived: nothing"
    ):
        await expect_events(Silent(), str, within=7)
    assert trio.current_time() == pytest.approx(7)


async def test_an_exception_of_the_iteration_has_a_note_of_the_received_events(
    autojump_clock: MockClock,
) -> None:
    class Failing:
        def __init__(self) -> None:
            self.left = [1, 2]

        def __aiter__(self) -> Failing:
            return self

        async def __anext__(self) -> int:
            await trio.lowlevel.checkpoint()
            if not self.left:
                raise OSError("gone")
            return self.left.pop(0)

    with pytest.raises(OSError, match="gone") as failed:
        await expect_events(Failing(), str)
    assert re.search(r"0\.000   1\n +0\.000   2$", failed.value.__notes__[0])


async def test_a_long_message_is_shortened_in_the_timeline(mix_server: MixServer) -> None:
    with pytest.raises(AssertionError) as failed:
        assert_ran_once(mix_server, "x" * 1000)
    assert len(str(failed.value).partition("\n")[0]) < 120


async def test_a_sweep_that_finds_an_open_file_names_no_task(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    files: list[int] = []

    async def forgets_to_close() -> None:
        files.append(os.open(tmp_path, os.O_RDONLY))
        await trio.lowlevel.checkpoint()
        os.close(files.pop())

    try:
        with pytest.raises(LeftBehindError, match="0 tasks and 1 open files behind: in a finally"):
            await cancel_at_every_checkpoint(forgets_to_close)
    finally:
        os.close(files.pop())
