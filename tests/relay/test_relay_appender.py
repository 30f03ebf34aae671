"""When the events of a session are appended."""

from __future__ import annotations

import trio
import trio.testing

from tests.support.relay_memory_log import MemoryLog
from trio_mix.relay._appender import Appender
from trio_mix.relay._cursor import Ring
from trio_mix.relay._outbox import Draft


async def test_an_event_is_appended_at_once_and_what_follows_is_gathered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with MemoryLog() as log, trio.open_nursery() as nursery:
        lease = await log.acquire("s")
        ring = Ring(lease.newest, size=100, pipeline=False)
        seen: list[tuple[float, int]] = []
        began = trio.current_time()

        def appended() -> None:
            seen.append((round(trio.current_time() - began, 1), ring.newest - lease.newest))

        appender = Appender(lease, ring, {None: appended}, interval=1.0)
        nursery.start_soon(appender.run)
        for pause in (0.0, 0.3, 0.6, 5.0, 0.2):
            await trio.sleep(pause)
            appender.add([Draft("content", "{}")])
        await trio.sleep(3)
        assert seen == [(0.0, 1), (1.0, 3), (5.9, 4), (6.9, 5)]
        nursery.cancel_scope.cancel()
