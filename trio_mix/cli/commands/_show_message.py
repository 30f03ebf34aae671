"""Shows one message while it runs, and answers its permission requests and notifications."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
import trio

from trio_mix._terminal_text import clean
from trio_mix.cli.ui._transcript import Piece, Transcript
from trio_mix.errors import ErrorResponse
from trio_mix.events import ErrorEvent, NotificationEvent, PermissionEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trio_mix import Message, Reply
    from trio_mix.cli.commands._permissions import PermissionDecisions
    from trio_mix.cli.ui._screen import Screen
    from trio_mix.events import Event


_AT_ONCE: Final = 256
"""The characters of a text that are shown between two checkpoints: many small blocks at most."""


async def show_message(
    message: Message,
    screen: Screen | None,
    permissions: PermissionDecisions,
    on_event: Callable[[Event], None] | None = None,
) -> Reply:
    """Show the events of a message to its end and return the reply.

    Args:
      message: the message, which was sent.
      screen: shows the events; None: nothing is shown.
      permissions: answers permission requests and notifications.
      on_event: called with every event.

    Raises:
      TrioMixError: the message failed.
    """
    transcript = Transcript()
    try:
        async for event in message:
            if on_event is not None:
                on_event(event)
            if screen and not _is_shown_elsewhere(event, permissions):
                await show_pieces(screen, transcript.feed(event))
            if isinstance(event, PermissionEvent):
                if screen:
                    screen.finish()
                granted = await _answer(message, event, permissions)
                if screen and granted is not None:
                    screen.show([Piece("permission", "granted" if granted else "denied")])
            elif isinstance(event, NotificationEvent):
                if screen:
                    screen.finish()
                outcome = await _respond(message, event, permissions)
                if screen:
                    screen.show([Piece("notice", outcome)])
        reply = message.reply
        if screen:
            await show_pieces(screen, _rest(reply, transcript.text))
        return reply
    finally:
        if screen:
            screen.finish()


async def show_pieces(screen: Screen, pieces: Sequence[Piece]) -> None:
    """Show pieces, of a long one only a part between two checkpoints."""
    await trio.lowlevel.checkpoint()
    for piece in pieces:
        screen.show([attrs.evolve(piece, text=piece.text[:_AT_ONCE])])
        for at in range(_AT_ONCE, len(piece.text), _AT_ONCE):
            await trio.lowlevel.checkpoint()
            screen.show([attrs.evolve(piece, text=piece.text[at : at + _AT_ONCE], fresh=False)])


def _is_shown_elsewhere(event: Event, permissions: PermissionDecisions) -> bool:
    """Return whether the event is raised as an error, or shown as a question to the user."""
    if isinstance(event, PermissionEvent | NotificationEvent):
        return permissions.asks(event)
    return isinstance(event, ErrorEvent) and event.parent_tool_call_id is None


async def _answer(
    message: Message, event: PermissionEvent, permissions: PermissionDecisions
) -> bool | None:
    granted = await permissions.decide(event)
    if granted:
        await message.grant(event)
    elif granted is not None:
        await message.deny(event)
    return granted


async def _respond(
    message: Message, event: NotificationEvent, permissions: PermissionDecisions
) -> str:
    """Respond to a notification if there is a response, and return the outcome."""
    response = await permissions.respond(event)
    if response is None:
        return "no response"
    try:
        await message.respond(event, response.value)
    except ErrorResponse as exc:
        if exc.status_code != 404:
            raise
        return "too late: the agent has continued"
    return "acknowledged" if event.response_type == "acknowledge" else "response sent"


def _rest(reply: Reply, shown: str) -> list[Piece]:
    """Return the text that was in no event: a recovered end, or a reply in the HTTP response."""
    rest = clean(reply.text.removeprefix(shown))
    return [Piece("text", rest)] if rest else []
