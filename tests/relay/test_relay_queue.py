"""The queue of a session's messages: its limit, and messages that are stored while it closes."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import trio

from trio_mix.relay._errors import Draining, QueueFull
from trio_mix.relay._records import SendRequest
from trio_mix.relay._settings import HubSettings
from trio_mix.relay._turn_queue import TurnQueue

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trio_mix.relay._records import Sent, TurnRecord


class SlowLog:
    """A log that takes a second to store a message."""

    @property
    def outbox(self) -> SlowLog:
        return self

    async def accept(self, record: TurnRecord) -> TurnRecord:
        await trio.sleep(1)
        return record


def queue(most: int) -> TurnQueue:
    log: Any = SlowLog()
    appender: Any = SimpleNamespace(add=list)
    settings = HubSettings(queue_max=most, answer_wait=0.1)
    return TurnQueue("s", log, settings, appender, wall_clock=lambda: 0.0)


async def send(to: TurnQueue) -> Sent:
    return await to.send(SendRequest(text="hi"), body='{"text": "hi"}', key=None, subject="")


async def test_senders_at_the_same_time_do_not_exceed_the_limit(autojump_clock: MockClock) -> None:
    sends = queue(most=3)
    refused = 0

    async def one() -> None:
        nonlocal refused
        try:
            await send(sends)
        except QueueFull:
            refused += 1

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(one)
    assert (len(sends.turns), refused) == (3, 7)


async def test_a_message_that_is_stored_while_the_queue_closes_is_not_waited_for(
    autojump_clock: MockClock,
) -> None:
    sends = queue(most=3)

    async def close() -> None:
        await trio.sleep(0.5)
        sends.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(close)
        sent = await send(sends)
    with trio.fail_after(10), pytest.raises(Draining):
        await sends.wait_turn(sent.turn.turn_id)
