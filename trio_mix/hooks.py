"""What a program can be told of: requests, the life of streams, and messages, by its own functions.

What it knows: the shape of `Hooks`, and what each of them is told.
What it must never know: when they are called, or by whom.

Rules:

1. Each hook takes one object, which says all there is to say; new fields may be added to it.
2. No credential is in these objects: no header that was sent, no user name or password of a URL.
   What a hook adds to a request's headers, and the text of messages, is in no ``repr``.
3. ``state`` belongs to the hooks: what one puts in, the later ones about the same request,
   message or stream find there. All hooks of a client share it, so keys should be one's own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Literal, TypeAlias, TypeVar

import attrs

from trio_mix._reply import Reply  # noqa: TC001 - for typing.get_type_hints
from trio_mix.errors import ConfigurationError

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
"""Where hooks keep what they need later (rule 3)."""

Outcome: TypeAlias = Literal["complete", "failed", "rejected", "cancelled", "left"]
"""How a message ended: with its reply; with an error after it was sent; refused before it ran;
by cancellation; or because its scope was left early."""


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
    """Which try it is, from 1."""
    state: State = attrs.field(repr=False)
    """What the hooks keep about this try."""
    stream_state: State | None = attrs.field(default=None, repr=False)
    """What they keep about the stream whose connection this is; ``None`` for other requests."""


@attrs.frozen(kw_only=True, eq=False)
class BeforeRequestContext(RequestContext):
    """A request is about to be made."""

    headers: MutableMapping[str, str] = attrs.field(factory=dict, repr=False)
    """Empty. What is put in is sent as well, in the place of headers of the same names."""


@attrs.frozen(kw_only=True, eq=False)
class AfterSuccessContext(RequestContext):
    """A request was answered with a success; of a stream or a file, the head has come."""

    status_code: int
    """The HTTP status."""
    elapsed: float
    """How long it took, in seconds."""


@attrs.frozen(kw_only=True, eq=False)
class AfterErrorContext(RequestContext):
    """A request failed, was refused, vetoed by a later hook, or cancelled."""

    status_code: int | None
    """The HTTP status, ``None`` where no answer came."""
    elapsed: float
    """How long it took, in seconds."""
    error: BaseException
    """What went wrong: a `MixError`, a `TransportError`, `trio.Cancelled`, …"""


@attrs.frozen(kw_only=True, eq=False)
class StreamContext:
    """The stream of one session, from entering it to leaving it."""

    session_id: str
    """The session."""
    url: str
    """The stream's URL, without user name and password."""
    state: State = attrs.field(repr=False)
    """What the hooks keep about this stream; its messages have it as ``stream_state``."""


@attrs.frozen(kw_only=True, eq=False)
class StreamOpenedContext(StreamContext):
    """The server has said ``connected``: for the first time, or again after a loss."""

    connection: int
    """Which connection it is, from 1."""
    elapsed: float
    """Seconds since the stream was entered, or since the loss."""


@attrs.frozen(kw_only=True, eq=False)
class StreamLostContext(StreamContext):
    """A connection that had been up is gone; the next one is being made."""

    reason: str
    """Why, in words."""
    planned: bool
    """Whether the client replaced it on purpose, before the server would have cut it."""
    elapsed: float
    """How long it had been up, in seconds."""


@attrs.frozen(kw_only=True, eq=False)
class StreamRetryingContext(StreamContext):
    """The stream waits before it connects again."""

    attempt: int
    """Which try since the loss comes next, from 1."""
    delay: float
    """How long it waits, in seconds."""
    reason: str
    """Why the last try, or the connection, failed."""


@attrs.frozen(kw_only=True, eq=False)
class StreamClosedContext(StreamContext):
    """The stream is over, for good: the last that is told of it, also if it never opened."""

    error: BaseException | None
    """What it was lost with; ``None`` where it was closed on purpose."""
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
    """Whether the agent shall only plan."""
    state: State = attrs.field(repr=False)
    """What the hooks keep about this message."""
    stream_state: State = attrs.field(repr=False)
    """What they keep about its stream."""


@attrs.frozen(kw_only=True, eq=False)
class MessageStartedContext(MessageContext):
    """A message's scope was entered; it may still have to wait for earlier messages."""


@attrs.frozen(kw_only=True, eq=False)
class MessageFinishedContext(MessageContext):
    """A message's scope is being left, or could not be entered."""

    outcome: Outcome
    """How it ended."""
    reply: Reply | None = attrs.field(repr=False)
    """The reply; what had come of it where the message is not complete; ``None`` if nothing."""
    error: BaseException | None
    """What it failed with, or what left its scope early; ``None`` only if it is complete."""
    elapsed: float
    """Seconds from entering the scope to the message's end, the wait for its turn included."""
    waited: float | None
    """Seconds it waited for its turn and for the stream; ``None`` if its turn never came."""
    first_event: float | None
    """Seconds from its turn to its first event; ``None`` if none came."""
    recovered: bool
    """Whether the end was read from the stored messages after a lost connection."""
    resent: bool
    """Whether it was sent a second time, after proof that the first never arrived."""


@attrs.frozen(kw_only=True)
class Hooks:
    """Functions that a client calls, sync or async, each with one object; all are optional.

    What ``before_request`` raises vetoes the request: it comes out as it is, and is not tried
    again. What any other hook raises is logged (logger ``trio_mix.hooks``) and ignored. A
    cancellation, and what is no `Exception`, passes through all of them.

    Several `Hooks` of one client are called in order. For each ``before_request`` that returned,
    exactly one of ``after_success`` and ``after_error`` is called; for each ``message_started``,
    exactly one ``message_finished``: under cancellation too, shielded then, for 2 seconds at most.

    Request and message hooks run in the task that makes the request or sends the message, so it
    waits for them. Stream hooks run in a task of the stream's, one after the other, and hold
    nothing up; on leaving the stream they have its ``cleanup_timeout`` to end.
    """

    before_request: Hook[BeforeRequestContext] | None = None
    """A request is about to be made; it may add headers, or raise."""
    after_success: Hook[AfterSuccessContext] | None = None
    """A request was answered with a success."""
    after_error: Hook[AfterErrorContext] | None = None
    """A request was not."""
    stream_opened: Hook[StreamOpenedContext] | None = None
    """A stream is connected, or connected again."""
    stream_lost: Hook[StreamLostContext] | None = None
    """A stream's connection is gone."""
    stream_retrying: Hook[StreamRetryingContext] | None = None
    """A stream waits before it connects again."""
    stream_closed: Hook[StreamClosedContext] | None = None
    """A stream is over."""
    message_started: Hook[MessageStartedContext] | None = None
    """A message's scope was entered."""
    message_finished: Hook[MessageFinishedContext] | None = None
    """A message's scope is being left."""

    def __attrs_post_init__(self) -> None:
        for name, hook in attrs.asdict(self, recurse=False).items():
            if hook is not None and not callable(hook):
                raise ConfigurationError(
                    f"Hooks({name}=...) must be a function of one argument, not {hook!r}"
                )
