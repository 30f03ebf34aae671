"""``watch``: prints every event of a session."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import trio

from trio_mix.cli._client import open_client
from trio_mix.cli._errors import FAILED
from trio_mix.cli._run import end_with_reader
from trio_mix.cli.ui._json import print_event
from trio_mix.cli.ui._screen import line_screen
from trio_mix.cli.ui._text import clean, print_error
from trio_mix.cli.ui._transcript import Transcript

if TYPE_CHECKING:
    from trio_mix.cli._client import Connection


async def watch(server: Connection, session: str, *, jsonl: bool) -> int:
    """Show every event of a session until interrupted or until the stream ends."""
    async with (
        open_client(server) as mix,
        mix.open_stream(session) as stream,
        stream.subscribe() as everything,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(end_with_reader)
        print(f"watching session {clean(session)}", file=sys.stderr, flush=True)
        transcript, screen = Transcript(users=True), line_screen()
        async for event in everything:
            if jsonl:
                print_event(event)
            else:
                screen.show(transcript.feed(event))
        screen.finish()
        nursery.cancel_scope.cancel(reason="the stream has ended")
    print_error(f"the stream of session {session} has ended")
    return FAILED
