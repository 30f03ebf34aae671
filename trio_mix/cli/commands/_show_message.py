"""Shows one message while it runs, and answers its permission requests."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, TypeAlias

import trio

from trio_mix.cli.ui._text import clean
from trio_mix.cli.ui._transcript import Piece, Transcript, ask_for
from trio_mix.events import ErrorEvent, PermissionEvent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_mix import Message, Reply
    from trio_mix.cli.ui._line_reader import LineReader
    from trio_mix.cli.ui._screen import Screen
    from trio_mix.events import Event

Decide: TypeAlias = "Callable[[PermissionEvent], Awaitable[bool]]"


async def show_message(
    message: Message,
    screen: Screen | None,
    decide: Decide,
    on_event: Callable[[Event], None] | None = None,
) -> Reply:
    """Show the events of a message to its end and return the reply.

    Args:
      message: the message, which was sent.
      screen: shows the events; None: nothing is shown.
      decide: answers permission requests.
      on_event: called with every event.

    Raises:
      TrioMixError: the message failed.
    """
    transcript = Transcript()
    try:
        async for event in message:
            if on_event is not None:
                on_event(event)
            # A top-level error is also raised, as an exception with more information.
            if screen and not (isinstance(event, ErrorEvent) and event.parent_tool_call_id is None):
                screen.show(transcript.feed(event))
            if isinstance(event, PermissionEvent):
                granted = await _answer(message, event, decide)
                if screen:
                    screen.show([Piece("permission", "granted" if granted else "denied")])
        reply = message.reply
        if screen:
            screen.show(_rest(reply, transcript.text))
        return reply
    finally:
        if screen:
            screen.finish()


async def _answer(message: Message, event: PermissionEvent, decide: Decide) -> bool:
    granted = await decide(event)
    if granted:
        await message.grant(event)
    else:
        await message.deny(event)
    return granted


def _rest(reply: Reply, shown: str) -> list[Piece]:
    """Return the text that was in no event: a recovered end, or a reply in the HTTP response."""
    rest = clean(reply.text.removeprefix(shown))
    return [Piece("text", rest)] if rest else []


async def grant_all(event: PermissionEvent) -> bool:
    """Grant every request."""
    del event
    await trio.lowlevel.checkpoint()
    return True


async def deny_all(event: PermissionEvent) -> bool:
    """Deny every request, and print how to grant it."""
    print(
        f"trio-mix: denied {ask_for(event)} (--yes grants every request)",
        file=sys.stderr,
        flush=True,
    )
    await trio.lowlevel.checkpoint()
    return False


def ask_person(reader: LineReader) -> Decide:
    """Return a policy that asks the user; no answer means no."""

    async def decide(event: PermissionEvent) -> bool:
        print(f"Allow {ask_for(event)}? [y/N] ", end="", file=sys.stderr, flush=True)
        answer = await reader.line()
        return answer is not None and answer.strip().lower() in ("y", "yes")

    return decide
