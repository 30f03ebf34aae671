"""Shows one message while it runs, and answers its permission requests.

What it knows: the client's message and its events.
What it must never know: what it is shown on, where the answers come from.
"""

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
    """Show a message's events to its end and return the reply; errors come out as they are.

    Args:
      message: the message, sent.
      screen: what to show it on, if anything.
      decide: who answers permission requests.
      on_event: is called with every event.
    """
    transcript = Transcript()
    try:
        async for event in message:
            if on_event is not None:
                on_event(event)
            # A top-level error comes out as an exception, which says more: once is enough.
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
    """Return what no event brought: a recovered end, or an answer in the HTTP response."""
    rest = clean(reply.text.removeprefix(shown))
    return [Piece("text", rest)] if rest else []


async def grant_all(event: PermissionEvent) -> bool:
    """Grant whatever is asked."""
    del event
    await trio.lowlevel.checkpoint()
    return True


async def deny_all(event: PermissionEvent) -> bool:
    """Deny whatever is asked, and say how to grant it."""
    print(f"trio-mix: denied {ask_for(event)} (--yes grants)", file=sys.stderr, flush=True)
    await trio.lowlevel.checkpoint()
    return False


def ask_person(reader: LineReader) -> Decide:
    """Make a policy that asks whoever sits at the keyboard; no answer means no."""

    async def decide(event: PermissionEvent) -> bool:
        print(f"Allow {ask_for(event)}? [y/N] ", end="", file=sys.stderr, flush=True)
        answer = await reader.line()
        return answer is not None and answer.strip().lower() in ("y", "yes")

    return decide
