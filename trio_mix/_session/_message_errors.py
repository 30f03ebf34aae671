"""The errors of a message that failed, is not finished, or was left."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mix import events as ev
from trio_mix.errors import AgentError, MessageInterrupted, MessageNotFinished
from trio_mix.errors._base import beginning

if TYPE_CHECKING:
    from trio_mix._reply import Reply


def agent_error(
    event: ev.ErrorEvent | ev.RateLimitEvent, session_id: str, partial: Reply
) -> AgentError:
    """Return the error of a message that the agent gave up with an event."""
    kind = f" ({beginning(event.type, 100)})" if event.type else ""
    remedy = "Check the server's log, or send the message again."
    if isinstance(event, ev.RateLimitEvent):
        wait = f" in {event.retry_after} s" if event.retry_after else " later"
        remedy = f"The model's provider limits the request rate: send it again{wait}."
    elif event.type == "authentication_error":
        remedy = "Store a valid API key for the provider on the server."
    elif "cancelled by user" in event.error:
        remedy = (
            "Its block was left early, or another client cancelled it: send it again if it is "
            "still wanted."
        )
    return AgentError(
        f"The agent gave up the message on session {session_id}: {beginning(event.error)}{kind}. "
        f"{remedy} The partial reply is in `.partial`.",
        event=event,
        session_id=session_id,
        partial=partial,
    )


def left_early(session_id: str, partial: Reply, *, cancelled_by: str | None) -> MessageInterrupted:
    """Return the error of a message whose scope was left before its turn was over.

    Args:
      session_id: the session.
      partial: the part of the reply that was received.
      cancelled_by: the server or relay that was asked to cancel it; None: none was.
    """
    does = "the server goes on with it"
    if cancelled_by is not None:
        does = f"the {cancelled_by} was asked to cancel it"
    return MessageInterrupted(
        f"The message on session {session_id} was left before its turn was over, and {does}."
        " Stay in the block until the end to get the whole reply. The partial reply is in"
        " `.partial`.",
        session_id=session_id,
        partial=partial,
        outcome="unknown" if cancelled_by is None else "cancelled",
    )


def not_finished(session_id: str, partial: Reply) -> MessageNotFinished:
    """Return the error of asking for the reply of a message that is still running."""
    return MessageNotFinished(
        f"The message on session {session_id} is still running. Iterate it to its end, or "
        "`await message.wait()`, before asking for its reply.",
        session_id=session_id,
        partial=partial,
    )
