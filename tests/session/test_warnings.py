"""Errors and warnings about lost sessions, unanswered requests and lost connections.

Rules:

1. The error about a session that was deleted differs from that about one that never existed.
2. The error of a message that was running contains what is known about the message.
3. A permission request that nothing can answer is logged once, on one short line.
4. A connection that stays lost while a message waits for it is logged once, as is its return.
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


@pytest.mark.parametrize("reports", ["stream", "404"])
async def test_the_error_about_a_deleted_session_differs_from_that_about_an_unknown_one(
    reports: Literal["stream", "404"], autojump_clock: MockClock
) -> None:
    async with (
        MixServer("async", unknown_session=reports, listen=False, pace=0.0) as server,
        Mix(server.url, network=server.network) as mix,
    ):
        session_id = server.create_session()
        async with mix.open_stream(session_id) as session:
            await session.ask("hello")
            await server.restart(keep_sessions=False)
            with pytest.raises(errors.SessionNotFound, match=GONE) as caught:
                await session.ask("go")
            text = str(caught.value)
            assert "Open a new one" in text
            assert "Create the session first" not in text
            assert "message" not in text.split("restarted")[1]
        with pytest.raises(errors.SessionNotFound, match="Create the session first") as never:
            async with mix.open_stream(session_id):
                pass
        assert "any more" not in str(never.value)


async def test_the_error_of_a_message_whose_session_was_deleted_has_its_outcome(
    autojump_clock: MockClock,
) -> None:
    async with (
        MixServer("async", listen=False, pace=0.0) as server,
        Mix(server.url, network=server.network) as mix,
        trio.open_nursery() as nursery,
    ):
        server.script("go", Turn(Say("It began"), Pause(60)))
        session_id = server.create_session()
        async with mix.open_stream(session_id) as session:

            async def restart() -> None:
                await server.wait_for(MessageRun)
                await server.restart(keep_sessions=False)

            nursery.start_soon(restart)
            with pytest.raises(errors.SessionNotFound, match=GONE) as caught:
                await session.ask("go")
            assert "message had been sent, and its outcome is unknown" in str(caught.value)
            with pytest.raises(errors.SessionNotFound, match=GONE) as later:
                await session.wait_connected()
            assert "message had been sent" not in str(later.value)


async def _ask(session: SessionStream) -> None:
    await session.ask("go")


async def _deltas(session: SessionStream) -> None:
    async with session.send("go") as message:
        async for _ in message.text_deltas():
            pass
        assert message.reply.text


async def _wait(session: SessionStream) -> None:
    async with session.send("go") as message:
        await message.wait()


async def _iterate(session: SessionStream) -> None:
    async with session.send("go") as message:
        async for event in message:
            if isinstance(event, PermissionEvent):
                await message.grant(event)


async def _subscribed(session: SessionStream) -> None:
    async with session.subscribe():
        await session.ask("go")


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
        async with mix.open_stream(server.create_session(), on_permission=on_permission) as session:
            await use(session)


@pytest.mark.parametrize("use", [_ask, _deltas, _wait])
async def test_a_permission_request_that_nothing_can_answer_is_logged_once(
    use: Callable[[SessionStream], Awaitable[None]],
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await _asked(use)
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("trio_mix", "WARNING")
    text = record.getMessage()
    assert "asks for permission (bash: Run a command) on session session-1" in text
    assert "nothing answers it: pass on_permission=..., or iterate the message" in text


async def test_a_request_is_logged_on_one_short_line_without_its_parameters(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    description = "one\ntwo http://me:hidden@host/ \x1b[31m" + "d" * 5000
    await _asked(_ask, tool_name="t" * 5000, description=description)
    (record,) = caplog.records
    text = record.getMessage()
    assert "one two" in text
    assert text.isprintable()
    assert len(text) < 500
    assert "key-of-mine" not in text
    assert "hidden" not in text


@pytest.mark.parametrize("use", [_iterate, _subscribed])
async def test_a_request_that_the_program_receives_is_not_logged(
    use: Callable[[SessionStream], Awaitable[None]],
    autojump_clock: MockClock,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await _asked(use)
    assert not caplog.records


async def test_a_request_that_a_policy_answers_is_not_logged(
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
        async with mix.open_stream(server.create_session(), reconnect=policy) as session:
            yield server, session


async def _away(server: MixServer, seconds: float) -> None:
    await server.stop()
    await trio.sleep(seconds)
    await server.start()


@pytest.mark.parametrize("cut", ["running", "not sent yet"])
async def test_a_connection_that_stays_lost_while_a_message_waits_is_logged_once(
    cut: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trio_mix")
    async with _open() as (server, session), trio.open_nursery() as nursery:
        if cut == "running":

            async def lose() -> None:
                await server.wait_for(MessageRun)
                await _away(server, 50)

            nursery.start_soon(lose)
        else:
            await server.stop()
            await trio.sleep(20)
            assert not caplog.records
            nursery.start_soon(_away, server, 30)
        with pytest.raises(errors.MessageInterrupted) if cut == "running" else nullcontext():
            await session.ask("go")
    lost, back = caplog.records
    assert (lost.name, lost.levelname) == ("trio_mix", "WARNING")
    text = lost.getMessage()
    assert text.startswith("The connection of session session-1 was lost (")
    assert text.endswith("); reconnecting, for up to 600 s.")
    assert back.levelname == "INFO"
    assert back.getMessage() == "The connection of session session-1 is back."


async def test_each_loss_that_lasts_is_logged(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    policy = ReconnectPolicy(max_elapsed_time=None)
    async with _open(policy) as (server, session), trio.open_nursery() as nursery:
        for _ in range(2):
            await server.stop()
            nursery.start_soon(_away, server, 30)
            await session.ask("hello")
    warned = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert [line.endswith("reconnecting, without a limit.") for line in warned] == [True, True]


async def test_a_connection_that_is_soon_back_is_not_logged(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    policy = ReconnectPolicy(initial_interval=0.1, max_interval=0.1)
    async with _open(policy) as (server, session), trio.open_nursery() as nursery:

        async def lose() -> None:
            await server.wait_for(MessageRun)
            for _ in range(3):
                await server.drop_streams()
                await trio.sleep(1.5)

        nursery.start_soon(lose)
        await session.ask("go")
    assert not caplog.records


async def test_a_loss_that_no_message_waits_for_is_not_logged(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with _open() as (server, session):
        await session.ask("hello")
        await _away(server, 60)
        await session.wait_connected()
        await server.stop()
        with trio.move_on_after(1):
            await session.ask("hello")
        await trio.sleep(60)
    assert not caplog.records


async def test_the_return_of_a_connection_that_stays_lost_is_not_logged(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "trio_mix")
    async with _open(ReconnectPolicy(max_elapsed_time=30)) as (server, session):
        await server.stop()
        with pytest.raises(errors.ReconnectFailed):
            await session.ask("go")
    (lost,) = caplog.records
    assert lost.getMessage().endswith("reconnecting, for up to 30 s.")
