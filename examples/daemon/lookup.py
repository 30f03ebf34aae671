"""Find the outcome of a prompt whose sender was killed, in the stored messages of its session.

trio_mix itself finds the outcome of a message whose *connection* was lost. If its *process* was
lost, the next process has to, and all that it has is the session's id.
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

__all__ = ["Finished", "NotRun", "Unknown", "find_answer", "find_outcome", "outcome_of"]

_ABORTED = ("error", "canceled", "cancelled", "aborted")
_NOT_FINAL = ("", "tool_use", "tool_calls", "unknown")


@attrs.frozen
class Finished:
    """The prompt ran, and this is its answer."""

    text: str
    tools: list[str]


@attrs.frozen
class NotRun:
    """The prompt never arrived, or was aborted: it has to be sent again."""


@attrs.frozen
class Unknown:
    """The outcome cannot be known."""

    reason: str


_REUSED = Unknown("its session's id now belongs to another session")


async def find_outcome(
    mix: Mix, session_id: str, prompt: str, *, settle: float, reconnect: ReconnectPolicy
) -> Finished | NotRun | Unknown:
    """Return the outcome of the only prompt of a session; wait while the agent works on it.

    After ``settle`` seconds without an event and without a change of the stored messages the
    outcome is `Unknown`. An error says nothing about the prompt: try again later.
    """
    try:
        return await _follow(mix, session_id, prompt, settle, reconnect)
    except SessionNotFound:
        return Unknown("its session is gone")
    except MixError as error:
        return Unknown(f"its session cannot be read: {error}")


async def _follow(
    mix: Mix, session_id: str, prompt: str, settle: float, reconnect: ReconnectPolicy
) -> Finished | NotRun | Unknown:
    async with (
        mix.open_stream(session_id, reconnect=reconnect) as session,
        session.subscribe() as events,
    ):
        stored, last_activity = "", trio.current_time()
        while trio.current_time() - last_activity < settle:
            messages = (await mix.sessions.export_session(id=session_id)).messages
            if _is_of_other_prompt(messages, prompt):
                return _REUSED
            outcome = outcome_of(messages)
            if outcome is not None:
                return outcome
            if repr(messages) != stored:
                stored, last_activity = repr(messages), trio.current_time()
            with trio.move_on_after(min(2.0, settle / 4)):
                async for event in events:
                    if not isinstance(event, ConnectedEvent | HeartbeatEvent):
                        last_activity = trio.current_time()
                    if isinstance(event, CompleteEvent | ErrorEvent):
                        break
    return Unknown(f"it began to run, and showed no activity for {settle:g} s")


def outcome_of(messages: Sequence[ExportMessage]) -> Finished | NotRun | None:
    """Return what the stored messages prove, or None while they prove nothing.

    Rows grow while the agent works: only the finish reason of the last one marks the end.
    """
    if not messages:
        return NotRun()
    answers = [row for row in messages if row.role == "assistant"]
    finish = (answers[-1].finish_reason or "") if answers else ""
    if finish in _ABORTED:
        return NotRun()
    if finish in _NOT_FINAL:
        return None
    return Finished(
        "".join(row.content for row in answers),
        [call.name for row in answers for call in row.tool_calls or ()],
    )


def _is_of_other_prompt(messages: Sequence[ExportMessage], prompt: str) -> bool:
    """Return whether the session belongs to another prompt: a restarted server may reuse its id."""
    asked = [_text(row.content) for row in messages if row.role == "user"]
    return bool(asked) and not any(prompt.strip() in text for text in asked)


def _text(content: str) -> str:
    with suppress(ValueError, TypeError, KeyError):  # older servers store the JSON text
        return str(json.loads(content)["text"])
    return content


async def find_answer(mix: Mix, session_id: str, prompt: str) -> Finished | Unknown | None:
    """Return the answer of a cancelled prompt, if it was completed before the cancellation.

    `Unknown` means that the session belongs to another prompt, and must not be touched.
    """
    try:
        messages = (await mix.sessions.export_session(id=session_id)).messages
    except MixError:
        return None
    if _is_of_other_prompt(messages, prompt):
        return _REUSED
    outcome = outcome_of(messages)
    return outcome if isinstance(outcome, Finished) else None
