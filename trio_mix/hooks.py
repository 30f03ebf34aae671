"""Functions of the program that are called around requests, messages and the life of streams.

Rules:

1. Each hook takes one object with all details; new fields may be added to it.
2. No credential is in these objects: no header that was sent, no user name or password of a URL.
   The headers that a hook adds, and the text of messages, are in no ``repr``.
3. ``state`` belongs to the hooks: later hooks for the same request, message or stream find what
   earlier ones stored. All hooks of a client share it, so use distinct keys.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Literal, TypeAlias, TypeVar

import attrs

from trio_mix._reply import Reply  # noqa: TC001 - for typing.get_type_hints
from trio_mix._usage import check_callback

__all__ = [
    "AfterErrorContext",
    "AfterSuccessContext",
    "BeforeRequestContext",
    "Hook",
    "Hooks",
    "MessageContext",
    "MessageFinishedContext",
    "MessageStartedContext",
    "Outcome",
    "RequestContext",
    "State",
    "StreamClosedContext",
    "StreamContext",
    "StreamLostContext",
    "StreamOpenedContext",
    "StreamRetryingContext",
]

C = TypeVar("C")

Hook: TypeAlias = Callable[[C], Awaitable[None] | None]
"""A sync or async function of one argument."""

State: TypeAlias = MutableMapping[object, object]
"""Where hooks store what later hooks need (rule 3)."""

Outcome: TypeAlias = Literal["complete", "failed", "rejected", "cancelled", "left"]
"""How a message ended: with its reply; with an error after it was sent; refused before it ran;
cancelled; or left early by its scope."""


@attrs.frozen(kw_only=True, eq=False)
class RequestContext:
    """One try of one request."""

    operation: str
    """The operation, as ``sessions.create``."""
    method: str
    """The HTTP method, in upper case."""
    url: str
    """The absolute URL, without user name and password."""
    attempt: int
    """The number of the try, from 1."""
    state: State = attrs.field(repr=False)
    """The hooks' state for this try."""
    stream_state: State | None = attrs.field(default=None, repr=False)
    """The hooks' state for the stream that the request opens; ``None`` for other requests."""


@attrs.frozen(kw_only=True, eq=False)
class BeforeRequestContext(RequestContext):
    """A request is about to be made."""

    headers: MutableMapping[str, str] = attrs.field(factory=dict, repr=False)
    """Empty at first. Headers that are put in are sent, in place of others of the same names."""


@attrs.frozen(kw_only=True, eq=False)
class AfterSuccessContext(RequestContext):
    """A request succeeded; of a stream or a file, the head of the response was received."""

    status_code: int
    """The HTTP status."""
    elapsed: float
    """The duration, in seconds."""


@attrs.frozen(kw_only=True, eq=False)
class AfterErrorContext(RequestContext):
    """A request failed, was refused, was vetoed by a later hook, or was cancelled."""

    status_code: int | None
    """The HTTP status, ``None`` if no response came."""
    elapsed: float
    """The duration, in seconds."""
    error: BaseException
    """The exception: a `MixError`, a `TransportError`, `trio.Cancelled`, …"""


@attrs.frozen(kw_only=True, eq=False)
class StreamContext:
    """The stream of one session, from entering it to leaving it."""

    session_id: str
    """The session."""
    url: str
    """The stream's URL, without user name and password."""
    state: State = attrs.field(repr=False)
    """The hooks' state for this stream; its messages have it as ``stream_state``."""


@attrs.frozen(kw_only=True, eq=False)
class StreamOpenedContext(StreamContext):
    """The stream is connected: for the first time, or again after a loss."""

    connection: int
    """The number of the connection, from 1."""
    elapsed: float
    """Seconds since the stream was entered, or since the loss."""


@attrs.frozen(kw_only=True, eq=False)
class StreamLostContext(StreamContext):
    """A connection was lost; the next one is being made."""

    reason: str
    """The reason, as text."""
    planned: bool
    """Whether the client replaced it itself, before the server would have cut it."""
    elapsed: float
    """How long it was connected, in seconds."""


@attrs.frozen(kw_only=True, eq=False)
class StreamRetryingContext(StreamContext):
    """The stream waits before the next attempt to connect."""

    attempt: int
    """The number of the next attempt since the loss, from 1."""
    delay: float
    """The wait, in seconds."""
    reason: str
    """Why the last attempt, or the connection, failed."""


@attrs.frozen(kw_only=True, eq=False)
class StreamClosedContext(StreamContext):
    """The stream has ended: the last hook for it, called even if it never opened."""

    error: BaseException | None
    """The error that ended it; ``None`` if the program closed it."""
    elapsed: float
    """Seconds since it was entered."""


@attrs.frozen(kw_only=True, eq=False)
class MessageContext:
    """One sent message, from entering its scope to leaving it."""

    session_id: str
    """The session."""
    text: str = attrs.field(repr=False)
    """The text."""
    plan_mode: bool
    """Whether the agent only plans."""
    state: State = attrs.field(repr=False)
    """The hooks' state for this message."""
    stream_state: State = attrs.field(repr=False)
    """The hooks' state for its stream."""


@attrs.frozen(kw_only=True, eq=False)
class MessageStartedContext(MessageContext):
    """A message's scope was entered; it may still wait for earlier messages."""


@attrs.frozen(kw_only=True, eq=False)
class MessageFinishedContext(MessageContext):
    """A message's scope is being left, or could not be entered."""

    outcome: Outcome
    """How it ended."""
    reply: Reply | None = attrs.field(repr=False)
    """The reply, partial if the message is not complete; ``None`` if there is none."""
    error: BaseException | None
    """Its error, or the exception that left its scope; ``None`` only if it is complete."""
    elapsed: float
    """Seconds from entering the scope to the message's end, including the wait for its turn."""
    waited: float | None
    """Seconds that it waited for its turn and for the stream; ``None`` if it was never sent."""
    first_event: float | None
    """Seconds from its turn to its first event; ``None`` if there was none."""
    recovered: bool
    """Whether the end was read from the stored messages after a lost connection."""
    resent: bool
    """Whether it was sent again, after proof that the first never arrived."""


@attrs.frozen(kw_only=True)
class Hooks:
    """Functions that a client calls, sync or async, each with one object; all are optional.

    An exception from ``before_request`` vetoes the request: it is raised unchanged, without a
    retry. So that no veto is lost, a ``before_request`` that returns False, or a coroutine that was
    never awaited, fails the request with `UsageError`. An exception from any other hook is logged
    (logger ``trio_mix.hooks``) and ignored. A cancellation, and an exception that is no
    `Exception`, passes through all of them.

    Several `Hooks` of one client are called in order. For each ``before_request`` that returned,
    exactly one of ``after_success`` and ``after_error`` is called; for each ``message_started``,
    exactly one ``message_finished``: during a cancellation too, shielded, for 2 seconds at most.

    Request and message hooks run in the task that makes the request or sends the message, so it
    waits for them. Stream hooks run in a task of the stream, one after the other, and delay
    nothing; when the stream is left they have its ``cleanup_timeout`` to end.
    """

    before_request: Hook[BeforeRequestContext] | None = None
    """A request is about to be made; it may add headers, or raise."""
    after_success: Hook[AfterSuccessContext] | None = None
    """A request succeeded."""
    after_error: Hook[AfterErrorContext] | None = None
    """A request failed."""
    stream_opened: Hook[StreamOpenedContext] | None = None
    """A stream is connected, or connected again."""
    stream_lost: Hook[StreamLostContext] | None = None
    """A stream's connection was lost."""
    stream_retrying: Hook[StreamRetryingContext] | None = None
    """A stream waits before the next attempt to connect."""
    stream_closed: Hook[StreamClosedContext] | None = None
    """A stream has ended."""
    message_started: Hook[MessageStartedContext] | None = None
    """A message's scope was entered."""
    message_finished: Hook[MessageFinishedContext] | None = None
    """A message's scope is being left."""

    def __attrs_post_init__(self) -> None:
        for name, hook in attrs.asdict(self, recurse=False).items():
            if hook is not None:
                check_callback(hook, f"Hooks({name}=...)", 1)
