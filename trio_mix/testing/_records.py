"""What the server remembers of what happened, for tests to look at and to wait for.

What it knows: the kinds of things that happen, and Trio's clock.
What it must never know: who makes them happen.

Rules:

1. A record is a value, written when the thing happens, never changed.
2. What may hold a credential (headers, bodies) is kept but never shown by ``repr``.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - for typing.get_type_hints
from typing import Literal

import attrs
import trio

__all__ = [
    "Answered",
    "CancelRequested",
    "EventsDropped",
    "FrameQueued",
    "HandlerFailed",
    "MessageAccepted",
    "MessageFinished",
    "MessageLost",
    "MessageRun",
    "NotificationAnswered",
    "NotificationAsked",
    "PermissionAnswered",
    "PermissionAsked",
    "Record",
    "RequestReceived",
    "ServerStarted",
    "ServerStopped",
    "StreamEnded",
    "StreamOpened",
    "TunnelClosed",
    "TunnelMessage",
    "TunnelOpened",
]

_NO_HEADERS: Mapping[str, str] = {}


def _without_token(query: Mapping[str, str]) -> str:
    return repr({name: "***" if name == "token" else value for name, value in query.items()})


@attrs.frozen(kw_only=True)
class Record:
    """Something that happened."""

    time: float = attrs.field(factory=trio.current_time, eq=False)
    """When, on Trio's clock."""


@attrs.frozen(kw_only=True)
class ServerStarted(Record):
    """The server takes connections."""

    url: str
    """Where."""


@attrs.frozen(kw_only=True)
class ServerStopped(Record):
    """The server has closed its listener and lost its connections."""


@attrs.frozen(kw_only=True)
class RequestReceived(Record):
    """A request has been read whole."""

    method: str
    """The HTTP method."""
    path: str
    """The path as it was sent, percent-encoding kept, without the query."""
    query: Mapping[str, str] = attrs.field(default=_NO_HEADERS, repr=_without_token)
    """The query's parameters, decoded."""
    headers: Mapping[str, str] = attrs.field(default=_NO_HEADERS, repr=False)
    """The headers, names in lower case."""
    body: bytes = attrs.field(default=b"", repr=False)
    """The body."""


@attrs.frozen(kw_only=True)
class Answered(Record):
    """A response's head has been handed to the network."""

    method: str
    """The request's method."""
    path: str
    """The request's path."""
    status: int
    """The response's status."""


@attrs.frozen(kw_only=True)
class StreamOpened(Record):
    """A stream takes events from now on."""

    session_id: str
    """The session."""
    connection: int
    """Which stream this is, counted over the server's life from 1."""
    last_event_id: str = ""
    """The ``Last-Event-ID`` that the client sent."""


@attrs.frozen(kw_only=True)
class StreamEnded(Record):
    """A stream is over."""

    session_id: str
    """The session."""
    connection: int
    """Which stream it was."""
    how: Literal["client", "cut", "close", "reset", "stopped"]
    """Who ended it: the client went away, or the server did it in this way."""
    frames: int
    """How many frames it was given."""


@attrs.frozen(kw_only=True)
class FrameQueued(Record):
    """An event was given to a stream to be written."""

    session_id: str
    """The session."""
    connection: int
    """The stream."""
    event: str
    """The event's name."""
    event_id: str
    """The frame's id, or empty."""


@attrs.frozen(kw_only=True)
class EventsDropped(Record):
    """An event was thrown away because the stream's reader is too slow."""

    session_id: str
    """The session."""
    connection: int
    """The stream."""
    event: str
    """The event's name."""


@attrs.frozen(kw_only=True)
class MessageAccepted(Record):
    """A message was taken from a request."""

    session_id: str
    """The session."""
    text: str
    """The message's text, or the raw content where it has none."""


@attrs.frozen(kw_only=True)
class MessageLost(Record):
    """An accepted message will never be run."""

    session_id: str
    """The session."""
    text: str
    """The message's text or raw content."""
    why: str
    """The reason."""


@attrs.frozen(kw_only=True)
class MessageRun(Record):
    """The agent began to work on a message."""

    session_id: str
    """The session."""
    text: str
    """The message's text."""
    times: int
    """How often this text has been run on this session by now, this run included."""


@attrs.frozen(kw_only=True)
class MessageFinished(Record):
    """The agent is done with a message, whoever heard of it."""

    session_id: str
    """The session."""
    text: str
    """The message's text."""
    how: Literal["complete", "error", "cancelled", "killed"]
    """In which way; killed: the server stopped meanwhile."""


@attrs.frozen(kw_only=True)
class CancelRequested(Record):
    """The cancel endpoint was called."""

    session_id: str
    """The session."""
    running: int
    """How many turns were running."""


@attrs.frozen(kw_only=True)
class PermissionAsked(Record):
    """A turn waits for permission."""

    session_id: str
    """The session."""
    permission_id: str
    """The request's id."""
    tool_name: str
    """The tool that wants it."""


@attrs.frozen(kw_only=True)
class PermissionAnswered(Record):
    """A request for permission is settled."""

    permission_id: str
    """The request's id."""
    answer: Literal["granted", "denied", "timeout"]
    """The answer, or that none came."""


@attrs.frozen(kw_only=True)
class NotificationAsked(Record):
    """A notification was shown."""

    session_id: str
    """The session."""
    notification_id: str
    """Its id."""
    message: str
    """What it says."""


@attrs.frozen(kw_only=True)
class NotificationAnswered(Record):
    """A notification was responded to."""

    notification_id: str
    """Its id."""
    type: str
    """The response's type."""
    value: str | None = None
    """The response's value."""


@attrs.frozen(kw_only=True)
class TunnelOpened(Record):
    """A browser's tunnel was accepted."""

    session_id: str
    """The session."""


@attrs.frozen(kw_only=True)
class TunnelClosed(Record):
    """A browser's tunnel has ended."""

    session_id: str
    """The session."""
    reason: str
    """``"client"``, ``"gone"``, ``"replaced"``, ``"ping"``, ``"too large"`` or ``"protocol"``."""


@attrs.frozen(kw_only=True)
class TunnelMessage(Record):
    """Something came through a tunnel that is no answer to a command that waits."""

    session_id: str
    """The session."""
    message: Mapping[str, object] = attrs.field(repr=False)
    """What came: a ``browser_log``, or a late answer."""


@attrs.frozen(kw_only=True)
class HandlerFailed(Record):
    """The server, or a function that a script called, has failed: a bug in one of them."""

    error: Exception
    """What was raised."""
