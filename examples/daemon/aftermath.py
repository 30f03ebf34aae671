"""What became of a prompt whose sender was killed: asked of its session.

What it knows: stored messages, and what events are signs of life. What it must never know: files.

trio_mix finds out by itself what became of a message whose *connection* was lost. When its
*process* was lost, the next one has to, and all it has is the session's id.
"""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
import trio

from trio_mix.errors import MixError, SessionNotFound
from trio_mix.events import CompleteEvent, ConnectedEvent, ErrorEvent, HeartbeatEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix import Mix, ReconnectPolicy
    from trio_mix.models import ExportMessage

__all__ = ["Doubt", "Finished", "NotRun", "answer_of", "judge", "look"]

_BROKEN_OFF = ("error", "canceled", "cancelled", "aborted")
_GOES_ON = ("", "tool_use", "tool_calls", "unknown")


@attrs.frozen
class Finished:
    """It ran, and this is the answer."""

    text: str
    tools: list[str]


@attrs.frozen
class NotRun:
    """It never arrived, or was broken off: it has to be sent again."""


@attrs.frozen
class Doubt:
    """Nobody can tell."""

    why: str


_ANOTHERS = Doubt("its session's id is another's now, and what would tell is gone")


async def look(
    mix: Mix, session: str, prompt: str, *, settle: float, reconnect: ReconnectPolicy
) -> Finished | NotRun | Doubt:
    """Find out what became of the only prompt of a session.

    While the agent is still at it, this waits; it gives up after ``settle`` seconds without a
    sign of life: an event, or growth of what is stored. What it raises says nothing about the
    prompt: look again later.
    """
    try:
        return await _follow(mix, session, prompt, settle, reconnect)
    except SessionNotFound:
        return Doubt("its session is gone, and with it what would tell")
    except MixError as error:
        return Doubt(f"its session cannot be read: {error}")


async def _follow(
    mix: Mix, session: str, prompt: str, settle: float, reconnect: ReconnectPolicy
) -> Finished | NotRun | Doubt:
    async with (
        mix.open_stream(session, reconnect=reconnect) as stream,
        stream.subscribe() as events,
    ):
        stored, sign = "", trio.current_time()
        while trio.current_time() - sign < settle:
            messages = (await mix.sessions.export_session(id=session)).messages
            if _is_of_another(messages, prompt):
                return _ANOTHERS
            fate = judge(messages)
            if fate is not None:
                return fate
            if repr(messages) != stored:
                stored, sign = repr(messages), trio.current_time()
            with trio.move_on_after(min(2.0, settle / 4)):
                async for event in events:
                    if not isinstance(event, ConnectedEvent | HeartbeatEvent):
                        sign = trio.current_time()
                    if isinstance(event, CompleteEvent | ErrorEvent):
                        break
    return Doubt(f"it began to run, and there was no sign of life for {settle:g} s")


def judge(messages: Sequence[ExportMessage]) -> Finished | NotRun | None:
    """Say what the stored messages prove, if anything; a message that merely looks whole does not.

    Rows grow while the agent works: only the last one's finish reason tells that it is over.
    """
    if not messages:
        return NotRun()
    answers = [row for row in messages if row.role == "assistant"]
    finish = (answers[-1].finish_reason or "") if answers else ""
    if finish in _BROKEN_OFF:
        return NotRun()
    if finish in _GOES_ON:
        return None
    return Finished(
        "".join(row.content for row in answers),
        [call.name for row in answers for call in row.tool_calls or ()],
    )


def _is_of_another(messages: Sequence[ExportMessage], prompt: str) -> bool:
    """Whether others use the session: a server that forgot all may give an id out once more."""
    asked = [_text(row.content) for row in messages if row.role == "user"]
    return bool(asked) and not any(prompt.strip() in text for text in asked)


def _text(content: str) -> str:
    with suppress(ValueError, TypeError, KeyError):  # older servers store what they were sent
        return str(json.loads(content)["text"])
    return content


async def answer_of(mix: Mix, session: str, prompt: str) -> Finished | Doubt | None:
    """Return the answer of a prompt that was told to stop, where it came all the same.

    A doubt is about the session: it is not the prompt's, and must be let alone.
    """
    try:
        messages = (await mix.sessions.export_session(id=session)).messages
    except MixError:
        return None
    if _is_of_another(messages, prompt):
        return _ANOTHERS
    fate = judge(messages)
    return fate if isinstance(fate, Finished) else None
