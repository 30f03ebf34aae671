"""Structured concurrency: exceptions that leave the scopes, and waits that end with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from trio_mix import Mix, SessionStream, errors
from trio_mix.testing import Hang, MessageRun, MixServer, Say, Turn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def server() -> AsyncIterator[MixServer]:
    async with MixServer(pace=0.0) as server:
        server.script("hang", Turn(Say("so far "), Hang()))
        yield server


@pytest.fixture
async def mix(server: MixServer) -> AsyncIterator[Mix]:
    async with Mix(server.url) as mix:
        yield mix


class OwnError(Exception):
    pass


async def test_an_exception_of_the_body_leaves_a_stream_unchanged(
    server: MixServer, mix: Mix
) -> None:
    mine, cause = OwnError("mine"), ValueError("because")
    with pytest.raises(OwnError) as caught:
        async with mix.open_stream(server.create_session()):
            try:
                raise cause
            except ValueError:
                raise mine  # noqa: B904 - the implicit context is checked below
    assert caught.value is mine
    assert caught.value.__context__ is cause


async def test_an_exception_of_the_body_leaves_a_message_unchanged(
    server: MixServer, mix: Mix
) -> None:
    mine = OwnError("mine")
    with trio.fail_after(10), pytest.raises(OwnError) as caught:
        async with mix.open_stream(server.create_session()) as session, session.send("hang"):
            raise mine
    assert caught.value is mine
    assert caught.value.__context__ is None


async def test_an_exception_group_of_the_body_is_not_unwrapped(server: MixServer, mix: Mix) -> None:
    mine = ExceptionGroup("mine", [OwnError("one"), OwnError("two")])
    with pytest.raises(ExceptionGroup) as caught:
        async with mix.open_stream(server.create_session()):
            raise mine
    assert caught.value is mine


async def test_an_outer_cancellation_of_stream_and_message_is_not_a_group(
    server: MixServer, mix: Mix
) -> None:
    with trio.CancelScope() as scope:
        async with mix.open_stream(server.create_session()) as session:
            async with session.send("hang") as message:
                async for _ in message:
                    scope.cancel()
    assert scope.cancelled_caught


@pytest.mark.parametrize("urgent", [KeyboardInterrupt, SystemExit])
async def test_an_interrupt_in_the_body_leaves_unwrapped(
    server: MixServer, mix: Mix, urgent: type[BaseException]
) -> None:
    with pytest.raises(urgent):
        async with mix.open_stream(server.create_session()):
            raise urgent


async def test_the_error_of_a_second_stream_suggests_to_share_the_first(
    server: MixServer, mix: Mix
) -> None:
    session_id = server.create_session()
    async with mix.open_stream(session_id):
        with pytest.raises(errors.StreamAlreadyOpen, match="Share that one"):
            async with mix.open_stream(session_id):
                raise AssertionError("opened")
        assert server.open_streams == 1
    async with mix.open_stream(session_id):
        pass  # the first one is closed


async def test_closing_the_stream_raises_a_typed_error_in_every_wait(
    server: MixServer, mix: Mix
) -> None:
    outcome: dict[str, BaseException | None] = {}

    async def record(name: str, session: SessionStream, waits: trio.Event) -> None:
        outcome[name] = None
        try:
            if name == "ask":
                await session.ask("queued behind the other")
            elif name == "message":
                async with session.send("hang") as message:
                    waits.set()
                    await message.wait()
            else:
                async with session.subscribe() as everything:
                    async for _ in everything:
                        pass
        except errors.TrioMixError as exc:
            outcome[name] = exc

    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            async with mix.open_stream(server.create_session()) as session:
                running = trio.Event()
                nursery.start_soon(record, "message", session, running)
                await running.wait()
                nursery.start_soon(record, "ask", session, running)
                nursery.start_soon(record, "subscriber", session, running)
                await trio.testing.wait_all_tasks_blocked()
    assert isinstance(outcome["message"], errors.StreamClosed)
    assert isinstance(outcome["ask"], errors.StreamClosed)
    assert outcome["subscriber"] is None  # a clean end


async def test_iterating_a_message_in_two_tasks_is_an_error(server: MixServer, mix: Mix) -> None:
    async with mix.open_stream(server.create_session()) as session, session.send("hang") as message:

        async def iterate(first: trio.Event | None) -> None:
            async for _ in message:
                if first is not None:
                    first.set()

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                started = trio.Event()
                nursery.start_soon(iterate, started)
                await started.wait()
                await server.wait_for(MessageRun)
                await trio.testing.wait_all_tasks_blocked()
                with pytest.raises(trio.BusyResourceError):
                    while True:
                        await message.__anext__()
                nursery.cancel_scope.cancel()


async def test_the_reply_of_a_running_message_is_an_error_with_a_remedy(
    server: MixServer, mix: Mix
) -> None:
    async with mix.open_stream(server.create_session()) as session, session.send("hang") as message:
        with pytest.raises(errors.MessageNotFinished, match="Iterate it to its end"):
            _ = message.reply


async def test_a_message_outside_its_scope_is_an_error_with_a_remedy(
    server: MixServer, mix: Mix
) -> None:
    async with mix.open_stream(server.create_session()) as session:
        message = session.send("hello")
        with pytest.raises(errors.UsageError, match="async with session.send"):
            await message.__anext__()
        async with message:
            await message.wait()
        with pytest.raises(errors.StreamClosed, match="was left"):
            await message.__anext__()
        with pytest.raises(errors.UsageError, match="can be entered once"):
            async with message:
                raise AssertionError("entered")
    with pytest.raises(errors.StreamClosed, match="open a new one"):
        session.send("hello")


async def test_a_shell_command_is_refused_without_allow_shell(server: MixServer, mix: Mix) -> None:
    async with mix.open_stream(server.create_session()) as session:
        for text in ("!ls", "  !ls"):
            with pytest.raises(errors.MessageRejected, match="allow_shell=True"):
                session.send(text)
        session.send("!ls", allow_shell=True)
        with pytest.raises(errors.MessageRejected, match="empty"):
            session.send("  ")


async def test_open_session_deletes_the_session_also_after_an_exception(
    server: MixServer, mix: Mix
) -> None:
    with pytest.raises(OwnError):
        async with mix.open_session(title="Scratch") as session:
            assert [s.id for s in await mix.sessions.list()] == [session.session_id]
            assert (await session.ask("Hello")).text
            raise OwnError
    assert await mix.sessions.list() == []


async def test_any_number_of_tasks_wait_for_the_connection(server: MixServer, mix: Mix) -> None:
    async with mix.open_stream(server.create_session()) as session:
        await server.drop_streams(session.session_id)
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                for _ in range(3):
                    nursery.start_soon(session.wait_connected)
        assert session.state.value == "connected"


async def test_a_stream_has_a_state_and_statistics(server: MixServer, mix: Mix) -> None:
    opening = mix.open_stream(server.create_session())
    assert opening.state.value == "connecting"
    async with opening as session:
        assert session.state.value == "connected"
        await session.wait_connected()
        await session.ask("Hello")
        statistics = session.statistics()
        assert statistics.connects == 1
        assert statistics.messages == 1
        assert statistics.events > 2
        assert statistics.bytes > 100
        assert not statistics.turn_running
    assert session.state.value == "closed"
