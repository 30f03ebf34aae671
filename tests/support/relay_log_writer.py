"""A program that appends to a log until it is killed, and prints what was acknowledged.

Run as ``python -m tests.support.relay_log_writer PATH SYNCHRONOUS``. Each printed line is the
session, the epoch and the sequence number of the last event whose append has returned.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING, Literal, cast

import trio

from trio_mix.relay import Retention, SqliteLog
from trio_mix.relay._ids import IdSequence, sequence_of
from trio_mix.relay._records import Audience, LoggedEvent, encode_frame

if TYPE_CHECKING:
    from trio_mix.relay._log import Log

SESSIONS = 4


async def write(log: Log, name: str) -> None:
    lease = await log.acquire(name)
    ids = IdSequence(lease.epoch)
    while True:
        events = []
        for _ in range(1 + sequence_of(ids.newest) % 7):
            event_id = ids.take()
            frame = encode_frame(event_id, "content", f"{name} {event_id} " + "x" * 500)
            events.append(LoggedEvent(event_id, Audience.ALL, frame))
        await lease.append(events)
        print(name, lease.epoch, sequence_of(ids.newest), flush=True)


async def main(path: str, synchronous: Literal["normal", "full"]) -> None:
    keep = Retention(events=300)
    async with (
        SqliteLog(path, synchronous=synchronous, retention=keep) as log,
        trio.open_nursery() as nursery,
    ):
        for number in range(SESSIONS):
            nursery.start_soon(write, log, f"s{number}")


if __name__ == "__main__":
    trio.run(partial(main, sys.argv[1], cast('Literal["normal", "full"]', sys.argv[2])))
