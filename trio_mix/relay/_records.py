"""The values that the relay stores and passes around: events, sends, turns and their outcomes."""

from __future__ import annotations

import enum
import json
from typing import Any, Final, Literal, TypeAlias, cast

import attrs

from trio_mix.models import ThinkingLevel  # noqa: TC001 - for typing.get_type_hints

StartFrom: TypeAlias = Literal["now", "turn", "earliest"]
"""Where a consumer without a position begins."""

OutcomeKind: TypeAlias = Literal["complete", "error", "refused", "unknown", "cancelled"]
"""How a turn ended."""


class Audience(enum.IntEnum):
    """Which consumers receive an event."""

    ALL = 0
    """Every consumer."""
    RELAY = 1
    """Clients that say that they know the relay's own events."""
    RATE_LIMIT = 2
    """A ``rate_limit_error``: these clients, others as an ``error`` where it ends its turn."""


_RATE_LIMIT: Final = b"\nevent: rate_limit_error\n"
_ERROR: Final = b"\nevent: error\n"


def encode_frame(event_id: int, event: str, data: str) -> bytes:
    """Return an event as it is sent to consumers."""
    if "\n" in data or "\r" in data:
        lines = data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        data = "\ndata: ".join(lines)
    return f"id: {event_id}\nevent: {event}\ndata: {data}\n\n".encode("utf-8", "replace")


@attrs.frozen
class LoggedEvent:
    """One stored event."""

    id: int
    """Its id, which is the position of a consumer that has it."""
    audience: Audience
    """Which consumers receive it."""
    frame: bytes
    """The event as it is sent."""

    def shown(self, *, relay: bool, pipeline: bool) -> bytes:
        """Return what a consumer is sent of it, which may be nothing.

        Args:
          relay: whether the consumer knows the relay's own events.
          pipeline: whether a rate limit ends its turn on this server.
        """
        if relay or self.audience is Audience.ALL:
            return self.frame
        if self.audience is Audience.RATE_LIMIT and pipeline:
            return self.frame.replace(_RATE_LIMIT, _ERROR, 1)
        return b""


@attrs.frozen
class Gap:
    """Events that a consumer does not get, because they are no longer kept."""

    missed: int | None
    """Their number; None if it is unknown."""


@attrs.frozen
class Start:
    """Where a consumer begins."""

    position: int
    gap: Gap | None = None


@attrs.frozen
class Chunk:
    """The events after a position, joined."""

    data: bytes
    position: int
    """The id of the last event that the chunk covers, shown or not."""
    gap: Gap | None = None
    """What was deleted before these events."""


class TurnState(enum.StrEnum):
    """The states of a turn in the outbox."""

    ACCEPTED = "accepted"
    """Stored, not sent yet."""
    POSTING = "posting"
    """Its ticket is stored; the message may have been sent."""
    RUNNING = "running"
    """The server has accepted the message."""
    DONE = "done"
    """Over, with a known end."""
    UNKNOWN = "unknown"
    """Over: whether the message ran cannot be known."""
    CANCELLED = "cancelled"
    """Over: cancelled."""

    @property
    def over(self) -> bool:
        """Whether nothing more happens to the turn."""
        return self in (TurnState.DONE, TurnState.UNKNOWN, TurnState.CANCELLED)


@attrs.frozen(kw_only=True)
class SendRequest:
    """A message to send."""

    text: str
    plan_mode: bool = False
    thinking_level: ThinkingLevel | None = None
    max_steps: int | None = None
    media: tuple[str, ...] = ()
    apps: tuple[str, ...] = ()

    def to_json(self) -> str:
        """Return the request as JSON text."""
        return json.dumps(attrs.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> SendRequest:
        """Return the request that `to_json` wrote."""
        values: dict[str, Any] = json.loads(text)
        values["media"], values["apps"] = tuple(values["media"]), tuple(values["apps"])
        return cls(**values)


@attrs.frozen(kw_only=True)
class Answer:
    """The server's own HTTP response, which is passed on."""

    status: int
    content_type: str
    body: bytes


@attrs.frozen(kw_only=True)
class Outcome:
    """How a turn ended, and its reply."""

    kind: OutcomeKind
    text: str = ""
    """All top-level text in order."""
    final_text: str = ""
    """The text of the last assistant message."""
    message_id: str | None = None
    """The id of the last assistant message."""
    user_message_id: str | None = None
    """The id of the stored user message."""
    reasoning: str = ""
    tool_calls: tuple[dict[str, object], ...] = ()
    """The tool calls: id, name, input, finished."""
    error: str | None = None
    """Why the turn failed, or why its outcome is unknown."""
    kept: bool = True
    """Whether the reply is stored: the log keeps the states of turns for longer."""
    incomplete: bool = False
    """Whether text may be missing: events were lost, and the stored messages could not be read."""

    def to_json(self) -> dict[str, object]:
        """Return the outcome as a JSON object with the names of the wire."""
        reply: dict[str, object] | None = None
        if self.kind == "complete" and self.kept:
            reply = {
                "text": self.text,
                "finalText": self.final_text,
                "messageId": self.message_id,
                "userMessageId": self.user_message_id,
                "reasoning": self.reasoning,
                "toolCalls": list(self.tool_calls),
                "incomplete": self.incomplete,
            }
        return {"outcome": self.kind, "reply": reply, "error": self.error}


@attrs.frozen(kw_only=True)
class TurnRecord:
    """A turn in the outbox."""

    turn_id: str
    session_id: str
    request: SendRequest
    digest: str
    """Identifies the request's body: a repeated key must come with the same one."""
    created_at: float
    """When it was accepted, in seconds since 1970."""
    key: str | None = None
    """The idempotency key, if the client sent one."""
    subject: str = ""
    """The subject of the token it was sent with."""
    state: TurnState = TurnState.ACCEPTED
    ticket: str | None = attrs.field(default=None, repr=False)
    """The ticket of the message as JSON, from the state posting on."""
    outcome: Outcome | None = None
    answer: Answer | None = None
    """The server's refusal, if it refused the message."""
    ended_at: float | None = None
    first_id: int | None = None
    """The position before the turn's first event."""

    def to_json(self) -> dict[str, object]:
        """Return what ``GET /relay/turns/{turnId}`` answers."""
        outcome = self.outcome.to_json() if self.outcome else {}
        return {
            "turnId": self.turn_id,
            "sessionId": self.session_id,
            "state": self.state.value,
            "outcome": outcome.get("outcome"),
            "reply": outcome.get("reply"),
            "error": outcome.get("error"),
            "createdAt": self.created_at,
            "endedAt": self.ended_at,
        }


def outcome_to_text(outcome: Outcome | None) -> str | None:
    """Return an outcome as the JSON text that the log stores."""
    return None if outcome is None else json.dumps(attrs.asdict(outcome), ensure_ascii=False)


def outcome_from_text(text: str | None) -> Outcome | None:
    """Return the outcome that `outcome_to_text` wrote."""
    if text is None:
        return None
    values = cast("dict[str, Any]", json.loads(text))
    values["tool_calls"] = tuple(values["tool_calls"])
    return Outcome(**values)


@attrs.frozen
class Sent:
    """A message that was accepted, or refused by the server."""

    turn: TurnRecord
    answer: Answer | None = None
    """The server's refusal, to be passed on; None if the message was accepted."""
    repeated: bool = False
    """Whether the idempotency key was used before."""


@attrs.frozen(kw_only=True)
class SessionActivity:
    """What an open session is doing."""

    session_id: str
    turn: str | None
    """The turn that is running."""
    queued: int
    """The number of messages that are queued."""
    requests: int
    """The number of permission requests that nobody has answered."""

    def to_json(self) -> dict[str, object]:
        """Return it as a JSON object."""
        return {
            "sessionId": self.session_id,
            "turn": self.turn,
            "queued": self.queued,
            "requests": self.requests,
        }
