"""`ClientTurn`: how a turn that a `RelayClient` has sent goes on and ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import attrs

from trio_mix import events as ev
from trio_mix._reply import Reply, ToolCall
from trio_mix._session._message_errors import agent_error, left_early, not_finished
from trio_mix._turns._reply_builder import ReplyBuilder
from trio_mix._turns._streamed_text import beyond
from trio_mix._wire._events import decode_event
from trio_mix.errors import MessageInterrupted, MessageRejected, SessionNotFound, clone_error
from trio_mix.relay._client_sessions import Missed, end_of
from trio_mix.relay._client_subscription import gap_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_mix.events import Event
    from trio_mix.sse import ServerSentEvent


class ClientTurn:
    """Takes the events of one turn, and ends with its reply or its error.

    Args:
      session_id: the session.

    Attributes:
      end: how the relay has ended the turn, before `finish`: the state in its last event, or "".
    """

    def __init__(self, session_id: str) -> None:
        self.end: str = ""
        self._session_id = session_id
        self._builder = ReplyBuilder()
        self._ended_by: ev.ErrorEvent | ev.RateLimitEvent | None = None
        self._completed = False
        self._incomplete = False
        self._reply: Reply | None = None
        self._failure: Exception | None = None

    @property
    def finished(self) -> bool:
        """Whether there is a reply or an error."""
        return self._reply is not None or self._failure is not None

    @property
    def failure(self) -> Exception | None:
        """The error of the turn; None without one."""
        return self._failure

    @property
    def partial(self) -> Reply:
        """The part of the reply that was received so far."""
        return self._builder.build() if self._reply is None else self._reply

    @property
    def reply(self) -> Reply:
        """The reply.

        Raises:
          MessageError: the turn is not over, or has failed.
        """
        if self._failure is not None:
            raise clone_error(self._failure) from self._failure.__cause__
        if self._reply is None:
            raise not_finished(self._session_id, self.partial)
        return self._reply

    def text_after(self, count: int) -> str:
        """Return the reply's text after the characters that were streamed, or "" if they differ."""
        return beyond(self._builder.text[:count], self.reply.text)

    def take(self, item: ServerSentEvent | Missed) -> Event | None:
        """Take the next item, and return its event; None for the relay's event of the end."""
        if isinstance(item, Missed):
            self._incomplete = True
            event: Event = gap_of(item)
        else:
            event = decode_event(item)
            if isinstance(event, ev.UnknownEvent) and event.name == "turn":
                self.end = end_of(event.data)
                return None
        self._builder.feed([event])
        match event:
            case ev.ErrorEvent() | ev.RateLimitEvent() if event.parent_tool_call_id is None:
                self._ended_by = event
            case ev.CompleteEvent() if event.parent_tool_call_id is None and event.done:
                self._completed = True
        return event

    def miss(self) -> None:
        """Note that an earlier process has received the first events."""
        self._incomplete = True

    def finish(self) -> bool:
        """End with what the events show; return whether they do, else `settle` must end it."""
        if self.end != "unknown" and self._ended_by is not None and not self._completed:
            self._failure = agent_error(self._ended_by, self._session_id, self.partial)
        elif self._completed and self._is_whole:
            self._reply = self._builder.build()
        return self.finished

    @property
    def _is_whole(self) -> bool:
        """Whether the events are all of the turn, and their text is complete."""
        return self.end == "done" and not (self._incomplete or self._builder.unconfirmed)

    def settle(self, stored: Mapping[str, Any] | None) -> None:
        """End with the turn as the relay has stored it; None: the relay does not keep it."""
        stored = {"outcome": self.end} if stored is None else stored
        error = stored.get("error") or ""
        match stored.get("outcome"):
            case "complete" if stored.get("reply") is not None:
                self._reply = _reply_of(stored["reply"])
            case "complete":  # the relay does not keep it any more
                self._reply = attrs.evolve(self.partial, incomplete=True, doubts=("gap",))
            case "error":
                event = self._ended_by or ev.ErrorEvent(error=error)
                self._failure = agent_error(event, self._session_id, self.partial)
            case "refused":
                self._failure = self._rejected(error)
            case "cancelled":
                self._failure = self._interrupted("was cancelled", error, "cancelled")
            case _:
                why = "was interrupted, and whether it ran cannot be known"
                self._failure = self._interrupted(why, error, "unknown")

    def refusal(self, answer: Mapping[str, Any], url: str) -> MessageRejected | SessionNotFound:
        """Return the error of a message that was refused before there was a turn.

        Args:
          answer: the relay's answer.
          url: the relay's address, for errors.
        """
        error, status = answer["error"], answer["status"]
        if status == 404:
            text = f"The message to session {self._session_id} was refused: {error}"
            return SessionNotFound(text, url=url, session_id=self._session_id)
        return self._rejected(f"{error} (HTTP {status}). It was not sent to the agent.")

    def leave(self) -> None:
        """End a turn whose scope is left before it is over."""
        self._failure = left_early(self._session_id, self.partial, cancelled_by="relay")

    def _rejected(self, why: str) -> MessageRejected:
        return MessageRejected(
            f"The message to session {self._session_id} was refused: {why}",
            session_id=self._session_id,
        )

    def _interrupted(
        self, what: str, error: str, outcome: Literal["unknown", "cancelled"]
    ) -> MessageInterrupted:
        why = f": {error}" if error else ""
        return MessageInterrupted(
            f"The message on session {self._session_id} {what}{why}. The partial reply is in"
            " `.partial`.",
            session_id=self._session_id,
            partial=self.partial,
            outcome=outcome,
        )


def _reply_of(stored: Mapping[str, Any]) -> Reply:
    """Return the reply of a turn as the relay has stored it."""
    calls = tuple(
        ToolCall(
            tool_call_id=str(call.get("id", "")),
            name=str(call.get("name", "")),
            input=str(call.get("input", "")),
            input_complete=True,
            finished=bool(call.get("finished")),
        )
        for call in stored.get("toolCalls") or ()
    )
    return Reply(
        text=stored.get("text", ""),
        final_text=stored.get("finalText", ""),
        reasoning=stored.get("reasoning", ""),
        tool_calls=calls,
        message_id=stored.get("messageId"),
        user_message_id=stored.get("userMessageId"),
        recovered=True,
        incomplete=bool(stored.get("incomplete")),
    )
