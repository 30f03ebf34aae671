"""Relays in real processes on one Redis, one of which is killed."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.relay_fleet import Consumed, RelayProcess, consume, owner_of, send
from tests.support.relay_world import ends_of, logged, text_of
from trio_mix.relay import RedisLog
from trio_mix.relay._records import Audience, TurnState
from trio_mix.testing import MixServer, Say, Turn, WaitFor

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.redis_server import RedisServer


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs SIGSTOP")
@pytest.mark.parametrize("how", ["SIGKILL", "SIGSTOP", "SIGTERM"])
async def test_another_relay_goes_on_when_the_owner_ends_in_the_middle_of_an_answer(
    how: str, redis: RedisServer, tmp_path: Path
) -> None:
    go_on = trio.Event()
    settings = "lease_ttl = 1\ndrain_timeout = 0\nheartbeat = 0.5\n"
    async with MixServer() as server:
        session = server.create_session()
        server.script("long", Turn(Say("begun "), WaitFor(go_on), Say("ended")))
        relays = [RelayProcess(server.url, redis.url, tmp_path, settings) for _ in range(2)]
        consumers = [Consumed(session), Consumed(session)]
        try:
            with trio.fail_after(120):
                async with trio.open_nursery() as nursery:
                    for relay in relays:
                        nursery.start_soon(relay.start)
                async with trio.open_nursery() as nursery:
                    for number, consumed in enumerate(consumers):
                        nursery.start_soon(consume, consumed, relays, number)
                    turn_id = await send(relays, session, "long")
                    async with RedisLog(redis.url) as log:
                        await until_text(log, session, turn_id, "begun ")
                        owner = await owner_of(relays)
                        owner.notify(signal.Signals[how])
                        # What is accepted now is answered by the other one.
                        other = [relay for relay in relays if relay is not owner]
                        go_on.set()
                        last = await send(other, session, "last")
                        await until_over(log, last)
                        record = await log.outbox.turn(turn_id)
                        events = await log.read(session, 0, max_bytes=2**30)
                        due = [each.id for each in events if each.audience is Audience.ALL]
                        while any(each.ids[-1:] != due[-1:] for each in consumers):
                            await trio.lowlevel.checkpoint()
                    nursery.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):
                for relay in relays:
                    await relay.end()
        assert record is not None
        assert record.state is TurnState.DONE
        frames = logged(events)
        assert text_of(frames, turn_id) == "begun ended"
        assert sorted(end.turn_id for end in ends_of(frames)) == sorted([turn_id, last])
        for consumed in consumers:
            assert consumed.first is not None
            assert consumed.ids == [each for each in due if each > consumed.first]
            assert consumed.gaps == 0
        assert (server.runs("long"), server.runs("last")) == (1, 1)


async def until_text(log: RedisLog, session: str, turn_id: str, text: str) -> None:
    while text_of(logged(await log.read(session, 0)), turn_id) != text:
        await trio.lowlevel.checkpoint()


async def until_over(log: RedisLog, turn_id: str) -> None:
    while (turn := await log.outbox.turn(turn_id)) is None or not turn.state.over:
        await trio.lowlevel.checkpoint()
