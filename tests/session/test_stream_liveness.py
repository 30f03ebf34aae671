"""A dead connection is detected, although it is not closed; a silent connection is not lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.networks import WrappedNetwork, WrappedStream
from tests.support.raw_session import RawSession, connected, frame, opened
from trio_mix import Mix
from trio_mix import events as ev
from trio_mix.testing import MixServer, Pause, Say, Turn

if TYPE_CHECKING:
    import httpcore
    from trio.testing import MockClock

    from trio_mix.testing import Api


class _FreezableStream(WrappedStream):
    def __init__(self, inner: httpcore.AsyncNetworkStream, network: FreezableNetwork) -> None:
        super().__init__(inner)
        self._network = network
        self._frozen = trio.Event()
        network.streams.append(self._frozen)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        while True:
            data = await self._inner.read(max_bytes, timeout)
            if not self._frozen.is_set():
                return data


class FreezableNetwork(WrappedNetwork):
    """A network whose connections can stop delivering data without being closed."""

    def __init__(self, inner: httpcore.AsyncNetworkBackend) -> None:
        super().__init__(inner)
        self.streams: list[trio.Event] = []

    def freeze(self) -> None:
        for frozen in self.streams:
            frozen.set()

    def wrap(self, stream: httpcore.AsyncNetworkStream) -> httpcore.AsyncNetworkStream:
        return _FreezableStream(stream, self)


async def test_a_silent_connection_is_lost_after_the_usual_interval(
    autojump_clock: MockClock,
) -> None:
    async with MixServer(listen=False, pace=0.0, heartbeat_interval=10.0) as server:
        network = FreezableNetwork(server.network)
        session_id = server.create_session()
        async with Mix(server.url, network=network) as mix, mix.open_stream(session_id) as session:
            await trio.sleep(35)
            network.freeze()
            await trio.sleep(19)  # the last beat came at 30, so silence may last until 55
            assert session.statistics().losses == 0
            await trio.sleep(15)
            assert session.statistics().losses == 1
            assert "nothing came" in (session.statistics().last_loss or "")
            assert session.state.value == "connected"
            assert (await session.ask("hello")).text


async def test_silence_before_any_heartbeat_is_not_a_loss(autojump_clock: MockClock) -> None:
    async with MixServer(listen=False, pace=0.0, heartbeat_interval=None) as server:
        session_id = server.create_session()
        async with (
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(session_id, max_connection_age=None) as session,
        ):
            await trio.sleep(86_400)
            assert session.statistics().losses == 0


@pytest.mark.parametrize("api", ["async", "pipeline"])
async def test_a_long_silent_turn_is_kept_on_a_server_without_heartbeats_during_turns(
    api: Api, autojump_clock: MockClock
) -> None:
    async with MixServer(api, listen=False, pace=0.0, heartbeat_interval=10.0) as server:
        server.script("think", Turn(Pause(200), Say("Done thinking.")))
        session_id = server.create_session()
        async with (
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(session_id) as session,
        ):
            await session.ask("hello")
            await trio.sleep(35)
            assert (await session.ask("think")).text == "Done thinking."
            assert session.statistics().losses == 0


async def test_a_numeric_idle_timeout_is_that_number_of_seconds(autojump_clock: MockClock) -> None:
    async with MixServer(listen=False, pace=0.0, heartbeat_interval=None) as server:
        session_id = server.create_session()
        async with (
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(session_id, idle_timeout=5.0) as session,
        ):
            await trio.sleep(5.5)
            assert session.statistics().losses == 1


async def test_a_slow_consumer_is_not_silence(autojump_clock: MockClock) -> None:
    async with MixServer(listen=False, pace=0.0, heartbeat_interval=3.0) as server:
        server.script("tell", Turn(Say("a b c d e f g"), Pause(10), Say(" and the end")))
        session_id = server.create_session()
        async with (
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(session_id, idle_timeout=5.0) as session,
        ):
            async with session.send("tell") as message:
                async for _ in message:
                    await trio.sleep(4)
            assert message.reply.text == "a b c d e f g and the end"
            assert session.statistics().losses == 0


async def test_events_whose_passing_on_outlasts_the_deadline_are_passed_on_once(
    autojump_clock: MockClock,
) -> None:
    world = RawSession(connected("1"))
    async with (
        opened(world, idle_timeout=1.0) as session,
        session.subscribe(buffer=2) as everything,
    ):
        texts: list[str] = []

        async def busy() -> None:
            async for event in everything:
                if isinstance(event, ev.ContentEvent):
                    texts.append(event.content)
                    autojump_clock.jump(0.5)
                    if event.content == "9":
                        return

        async with trio.open_nursery() as nursery:
            nursery.start_soon(busy)
            await trio.sleep(0.5)
            await world.send(
                b"".join(frame("content", f'{{"content":"{number}"}}') for number in range(10))
            )
        assert texts == [str(number) for number in range(10)]
        assert session.statistics().losses == 0
