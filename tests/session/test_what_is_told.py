"""What somebody reads when a session is gone, nobody answers, or the server stays away.

Rules:

1. A session that was there is not told of as one that was never created.
2. A message that was under way says what can be known of it.
3. A permission request that nobody can answer is told of once, on one short line.
4. A connection that stays lost while a message waits for it is told of once, and its return.
"""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Literal

import pytest
import trio

from trio_mix import Mix, ReconnectPolicy, errors
from trio_mix.events import PermissionEvent
from trio_mix.testing import AskPermission, MessageRun, MixServer, Pause, Say, Turn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from trio.testing import MockClock

    from trio_mix import Message, SessionStream


GONE = "does not know the session any more: it was deleted, or the server was restarted"


@pytest.mark.parametrize("says", ["stream", "404"])
async def test_a_session_that_is_gone_is_not_told_of_as_one_that_never_was(
    says: Literal["stream", "404"], autojump_clock: MockClock
) -> None:
    async with (
        MixServer("async", unknown_session=says, listen=False, pace=0.0) as server,
        Mix(server.url, network=server.network) as mix,
    ):
        session = server.create_session()
        async with mix.open_stream(session) as stream:
            await stream.ask("hello")
            await server.restart(keep_sessions=False)
            with pytest.raises(errors.SessionNotFound, match=GONE) as caught:
                await stream.ask("go")
            text = str(caught.value)
            assert "Open a new one" in text
            assert "Create the session first" not in text
            assert "message" not in text.split("restarted")[1]
        with pytest.raises(errors.SessionNotFound, match="Create the session first") as never:
            async with mix.open_stream(session):
                pass
        assert "any more" not in str(never.value)


async def test_a_message_whose_session_is_gone_says_that_its_fate_cannot_be_known(
    autojump_clock: MockClock,
) -> None:
    async with (
        MixServer("async", listen=False, pace=0.0) as server,
        Mix(server.url, network=server.network) as mix,
        trio.open_nursery() as nursery,
    ):
        server.script("go", Turn(Say("It began"), Pause(60)))
        session = server.create_session()
        async with mix.open_stream(session) as stream:

            async def restart() -> None:
                await server.wait_for(MessageRun)
                await server.restart(keep_sessions=False)

            nursery.start_soon(restart)
            with pytest.raises(errors.SessionNotFound, match=GONE) as caught:
                await stream.ask("go")
            assert "message had been sent, and its outcome is unknown" in str(caught.value)
            with pytest.raises(errors.SessionNotFound, match=GONE) as later:
                await stream.wait_connected()
            assert "message had been sent" not in str(later.value)


async def _ask(stream: SessionStream) -> None:
    await stream.ask("go")


async def _deltas(stream: SessionStream) -> None:
    async with stream.send("go") as message:
        async for _ in message.text_deltas():
            pass
        assert message.reply.text


async def _wait(stream: SessionStream) -> None:
    async with stream.send("go") as message:
        await message.wait()


async def _iterate(stream: SessionStream) -> None:
    async with stream.send("go") as message:
        async for event in message:
            if isinstance(event, PermissionEvent):
                await message.grant(event)


async def _subscribed(stream: SessionStream) -> None:
    async with stream.subscribe():
        await stream.ask("go")


async def _asked(
    use: Callable[[SessionStream], Awaitable[None]],
    *,
    on_permission: Callable[[PermissionEvent, Message], Awaitable[bool]] | None = None,
    tool_name: str = "bash",
    description: str = "Run a command",
) -> None:
    ask = AskPermission(
        tool_name,
        description=description,
        params={"command": "cat key-of-mine"},
        then=[Say("Yes.")],
    )
    async with (
        MixServer("async", listen=False, pace=0.0) as server,
        Mix(server.url, network=server.network) as mix,
    ):
        server.script("go", Turn(ask, ask, Say("Done.")))
        async with mix.open_stream(server.create_session(), on_permission=on_permission) as stream:
            await use(stream)


@pytest.mark.parametrize("use", [_ask, _deltas, _wait])
async def test_a_permission_request_that_nobody_can_answer_is_told_of_once(
    use: Callable[[SessionStream], Awaitable[None]],
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await _asked(use)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("trio_mix", "WARNING")
    said = record.getMessage()
    assert "asks for permission (bash: Run a command) on session session-1" in said
    assert "nothing answers it: pass on_permission=..., or iterate the message" in said


async def test_a_request_is_told_of_on_one_short_line_without_its_parameters(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    description = "one\ntwo http://me:hidden@host/ \x1b[31m" + "d" * 5000
    await _asked(_ask, tool_name="t" * 5000, description=description)
    (record,) = caplog.records
    said = record.getMessage()
    assert "one two" in said
    assert said.isprintable()
    assert len(said) < 500
    assert "key-of-mine" not in said
    assert "hidden" not in said


@pytest.mark.parametrize("use", [_iterate, _subscribed])
async def test_a_request_that_somebody_sees_is_not_told_of(
    use: Callable[[SessionStream], Awaitable[None]],
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await _asked(use)
    assert not caplog.records


async def test_a_request_that_a_policy_answers_is_not_told_of(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def grant(request: PermissionEvent, message: Message) -> bool:
        await trio.lowlevel.checkpoint()
        return True

    await _asked(_ask, on_permission=grant)
    assert not caplog.records


@asynccontextmanager
async def _open(
    reconnect: ReconnectPolicy | None = None,
) -> AsyncIterator[tuple[MixServer, SessionStream]]:
    async with (
        MixServer("async", listen=False, pace=0.0) as server,
        Mix(server.url, network=server.network) as mix,
    ):
        server.script("go", Turn(Say("It began, "), Pause(30), Say("and ended.")))
        policy = reconnect or ReconnectPolicy()
        async with mix.open_stream(server.create_session(), reconnect=policy) as stream:
            yield server, stream


async def _away(server: MixServer, seconds: float) -> None:
    await server.stop()
    await trio.sleep(seconds)
    await server.start()


@pytest.mark.parametrize("cut", ["under way", "not sent yet"])
async def test_a_connection_that_stays_lost_under_a_message_is_told_of_once(
    cut: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trio_mix")
    async with _open() as (server, stream), trio.open_nursery() as nursery:
        if cut == "under way":

            async def lose() -> None:
                await server.wait_for(MessageRun)
                await _away(server, 50)

            nursery.start_soon(lose)
        else:
            await server.stop()
            await trio.sleep(20)
            assert not caplog.records
            nursery.start_soon(_away, server, 30)
        with pytest.raises(errors.MessageInterrupted) if cut == "under way" else nullcontext():
            await stream.ask("go")
    lost, back = caplog.records
    assert (lost.name, lost.levelname) == ("trio_mix", "WARNING")
    said = lost.getMessage()
    assert said.startswith("The connection of session session-1 was lost (")
    assert said.endswith("); reconnecting, for up to 600 s.")
    assert back.levelname == "INFO"
    assert back.getMessage() == "The connection of session session-1 is back."


async def test_each_loss_that_lasts_is_told_of(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    policy = ReconnectPolicy(max_elapsed_time=None)
    async with _open(policy) as (server, stream), trio.open_nursery() as nursery:
        for _ in range(2):
            await server.stop()
            nursery.start_soon(_away, server, 30)
            await stream.ask("hello")
    said = [record.getMessage() for record in caplog.records]
    assert [line.endswith("reconnecting, without a limit.") for line in said] == [True, True]


async def test_a_connection_that_is_soon_back_is_not_told_of(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    policy = ReconnectPolicy(initial_interval=0.1, max_interval=0.1)
    async with _open(policy) as (server, stream), trio.open_nursery() as nursery:

        async def lose() -> None:
            await server.wait_for(MessageRun)
            for _ in range(3):
                await server.drop_streams()
                await trio.sleep(1.5)

        nursery.start_soon(lose)
        await stream.ask("go")
    assert not caplog.records


async def test_a_connection_that_no_message_waits_for_is_not_told_of(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with _open() as (server, stream):
        await stream.ask("hello")
        await _away(server, 60)
        await stream.wait_connected()
        await server.stop()
        with trio.move_on_after(1):
            await stream.ask("hello")
        await trio.sleep(60)
    assert not caplog.records


async def test_a_stream_that_does_not_come_back_says_so_by_its_error_alone(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trio_mix")
    async with _open(ReconnectPolicy(max_elapsed_time=30)) as (server, stream):
        await server.stop()
        with pytest.raises(errors.ReconnectFailed):
            await stream.ask("go")
    (lost,) = caplog.records
    assert lost.getMessage().endswith("reconnecting, for up to 30 s.")
