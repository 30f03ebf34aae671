"""The records of a server's log, which tests read and wait for.

Rules:

1. A record is a value: it is created when something happens and never changed.
2. Headers and bodies, which may hold a credential, are kept but never shown by ``repr``.
"""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - for typing.get_type_hints
from typing import Literal

import attrs
import trio

from trio_mix.testing.recording._masking import mask_query

_NO_HEADERS: Mapping[str, str] = {}


def _masked(query: Mapping[str, str]) -> str:
    return repr(mask_query(query))


@attrs.frozen(kw_only=True)
class Record:
    """Something that happened; the base class of all records."""

    time: float = attrs.field(factory=trio.current_time, eq=False)
    """When, on Trio's clock."""


@attrs.frozen(kw_only=True)
class ServerStarted(Record):
    """The server accepts connections."""

    url: str
    """The server's address."""


@attrs.frozen(kw_only=True)
class ServerStopped(Record):
    """The server has closed its listener and its connections."""


@attrs.frozen(kw_only=True)
class RequestReceived(Record):
    """A request was received."""

    method: str
    """The HTTP method."""
    path: str
    """The path as sent, percent-encoded, without the query."""
    query: Mapping[str, str] = attrs.field(default=_NO_HEADERS, repr=_masked)
    """The query's parameters, decoded."""
    headers: Mapping[str, str] = attrs.field(default=_NO_HEADERS, repr=False)
    """The headers; their names are in lower case."""
    body: bytes = attrs.field(default=b"", repr=False)
    """The body."""


@attrs.frozen(kw_only=True)
class Answered(Record):
    """A response was started."""

    method: str
    """The request's method."""
    path: str
    """The request's path."""
    status: int
    """The response's status."""


@attrs.frozen(kw_only=True)
class StreamOpened(Record):
    """A stream was opened and receives events."""

    session_id: str
    """The session."""
    connection: int
    """The stream's number, counted from 1 over the server's lifetime."""
    last_event_id: str = ""
    """The ``Last-Event-ID`` that the client sent."""


@attrs.frozen(kw_only=True)
class StreamEnded(Record):
    """A stream has ended."""

    session_id: str
    """The session."""
    connection: int
    """The stream's number."""
    how: Literal["client", "cut", "close", "reset", "stopped"]
    """How it ended: the client left, or the server ended it in this way."""
    frames: int
    """How many frames were queued on it."""


@attrs.frozen(kw_only=True)
class FrameQueued(Record):
    """A frame was queued on a stream."""

    session_id: str
    """The session."""
    connection: int
    """The stream's number."""
    event: str
    """The event's name."""
    event_id: str
    """The frame's id, or empty."""


@attrs.frozen(kw_only=True)
class EventsDropped(Record):
    """An event was dropped because the stream's reader is too slow."""

    session_id: str
    """The session."""
    connection: int
    """The stream's number."""
    event: str
    """The event's name."""


@attrs.frozen(kw_only=True)
class MessageAccepted(Record):
    """A message was accepted."""

    session_id: str
    """The session."""
    text: str
    """The message's text, or the raw content where it has none."""


@attrs.frozen(kw_only=True)
class MessageLost(Record):
    """An accepted message is never run."""

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
    """How often this text was run on this session so far, this run included."""


@attrs.frozen(kw_only=True)
class MessageFinished(Record):
    """The agent stopped working on a message, whether or not a client received the end."""

    session_id: str
    """The session."""
    text: str
    """The message's text."""
    how: Literal["complete", "error", "cancelled", "killed"]
    """How the turn ended; killed: the server was stopped meanwhile."""


@attrs.frozen(kw_only=True)
class CancelRequested(Record):
    """The cancel endpoint was called."""

    session_id: str
    """The session."""
    running: int
    """How many turns were running."""


@attrs.frozen(kw_only=True)
class PermissionAsked(Record):
    """A turn asks for permission and waits."""

    session_id: str
    """The session."""
    permission_id: str
    """The request's id."""
    tool_name: str
    """The tool that needs the permission."""


@attrs.frozen(kw_only=True)
class PermissionAnswered(Record):
    """A permission request was answered, or timed out."""

    permission_id: str
    """The request's id."""
    answer: Literal["granted", "denied", "timeout"]
    """The answer; timeout: there was none."""


@attrs.frozen(kw_only=True)
class NotificationAsked(Record):
    """The agent sent a notification."""

    session_id: str
    """The session."""
    notification_id: str
    """The notification's id."""
    message: str
    """The notification's text."""


@attrs.frozen(kw_only=True)
class NotificationAnswered(Record):
    """A client responded to a notification."""

    notification_id: str
    """The notification's id."""
    type: str
    """The response's type."""
    value: str | None = None
    """The response's value."""


@attrs.frozen(kw_only=True)
class TunnelOpened(Record):
    """A browser tunnel was opened."""

    session_id: str
    """The session."""


@attrs.frozen(kw_only=True)
class TunnelClosed(Record):
    """A browser tunnel was closed."""

    session_id: str
    """The session."""
    reason: str
    """``"client"``, ``"gone"``, ``"replaced"``, ``"ping"``, ``"too large"`` or ``"protocol"``."""


@attrs.frozen(kw_only=True)
class TunnelMessage(Record):
    """A tunnel delivered a message that answers no pending command."""

    session_id: str
    """The session."""
    message: Mapping[str, object] = attrs.field(repr=False)
    """The message: a ``browser_log``, or a late answer."""


@attrs.frozen(kw_only=True)
class HandlerFailed(Record):
    """The server, or a function that a script calls, raised an exception: a bug in one of them."""

    error: Exception
    """The exception."""
