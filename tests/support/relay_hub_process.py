"""A relay's hub on a SQLite log, without HTTP, until it is killed.

Run as ``python -m tests.support.relay_hub_process SERVER LOG SESSION TEXT...``. It sends each
text with itself as the idempotency key, and prints ``accepted TURN TEXT`` for each one, then
``over`` when all turns are over.
"""

from __future__ import annotations

import sys
from functools import partial
from typing import TYPE_CHECKING

import trio

from trio_mix import Mix
from trio_mix.relay import SqliteLog
from trio_mix.relay._hub import Hub
from trio_mix.relay._records import SendRequest
from trio_mix.relay._settings import HubSettings

if TYPE_CHECKING:
    from collections.abc import Sequence


async def main(server: str, log: str, session: str, texts: Sequence[str]) -> None:
    settings = HubSettings(answer_wait=0.1, settle_timeout=5.0)
    async with Mix(server) as mix, Hub(mix, SqliteLog(log), settings) as hub:
        async with hub.session(session) as feed, trio.open_nursery() as nursery:
            for text in texts:
                sent = await feed.send(SendRequest(text=text), body=text, key=text, subject="")
                print("accepted", sent.turn.turn_id, text, flush=True)
                nursery.start_soon(feed.wait_turn, sent.turn.turn_id)
        print("over", flush=True)


if __name__ == "__main__":
    server, log, session, *texts = sys.argv[1:]
    trio.run(partial(main, server, log, session, texts))
