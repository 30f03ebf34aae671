"""``watch``: prints every event of sessions."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import trio

from trio_mix._terminal_text import clean
from trio_mix.cli._client import open_client
from trio_mix.cli._errors import FAILED, error_line
from trio_mix.cli._run import end_with_reader
from trio_mix.cli.ui._json import print_event
from trio_mix.cli.ui._screen import LineScreen, line_screen
from trio_mix.cli.ui._text import excerpt, print_error
from trio_mix.cli.ui._transcript import Transcript
from trio_mix.errors import TrioMixError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix import Mix
    from trio_mix.cli._client import Connection
    from trio_mix.cli.ui._screen import Screen


async def watch(server: Connection, sessions: Sequence[str], *, jsonl: bool) -> int:
    """Show every event of the sessions until interrupted or until all streams have ended.

    Of several sessions, a line begins with the session's id, and the loss of one is reported.

    Raises:
      TrioMixError: the stream of the only session failed.
    """
    sessions = list(dict.fromkeys(sessions))
    async with open_client(server) as mix, trio.open_nursery() as nursery:
        nursery.start_soon(end_with_reader)
        async with trio.open_nursery() as streams:
            for session in sessions:
                if len(sessions) == 1:
                    await _watch(mix, session, line_screen(), jsonl=jsonl)
                else:
                    streams.start_soon(_watch_one_of_several, mix, session, jsonl)
        nursery.cancel_scope.cancel(reason="the streams have ended")
    return FAILED


async def _watch_one_of_several(mix: Mix, session: str, jsonl: bool) -> None:
    screen = LineScreen(sys.stdout, prefix=f"{excerpt(session)} ")
    try:
        await _watch(mix, session, screen, jsonl=jsonl)
    except* TrioMixError as group:
        await trio.lowlevel.checkpoint()
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        print_error(f"session {session}: {error_line(error)}")


async def _watch(mix: Mix, session: str, screen: Screen, *, jsonl: bool) -> None:
    async with mix.open_stream(session) as stream, stream.subscribe() as everything:
        print(f"watching session {clean(session)}", file=sys.stderr, flush=True)
        transcript = Transcript(users=True)
        async for event in everything:
            if jsonl:
                print_event(event, session=session)
            else:
                screen.show(transcript.feed(event))
        screen.finish()
    print_error(f"the stream of session {session} has ended")
