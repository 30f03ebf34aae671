"""`open_event_source`: the event stream of any SSE server, as an object to iterate.

No task runs in the background. All work is done in the consumer's ``anext``, so that a slow
consumer slows down only the server, through TCP flow control.
"""

from __future__ import annotations

import math
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, final

import trio

from trio_mix._http import Http
from trio_mix._public import public
from trio_mix._usage import call, check_callback, check_trio
from trio_mix.errors import ConfigurationError
from trio_mix.sse._connect import StreamRequest
from trio_mix.sse._decoder import DEFAULT_MAX_EVENT_SIZE, ServerSentEvent
from trio_mix.sse._reconnect import ReconnectPolicy
from trio_mix.sse._supervisor import Events, Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator
    from typing import Self

    from trio_mix._http import HttpClient
    from trio_mix.sse._connect import HeadersSource
    from trio_mix.sse._statistics import EventSourceStatistics, StreamState

_FULL_CHECKPOINT_EVERY = 64


@public("trio_mix.sse")
@final
class EventSource:
    """The events of one SSE endpoint, over any number of connections.

    `open_event_source` returns it. Iterate it with ``async for``, in one task at a time. The
    source stays open when the loop is left, and can be iterated again.

    If the wait for an event is cancelled, no event is lost and the connection stays open (on the
    caller's own ``http_client`` it is opened again). Each event is a cancellation point. Events
    that arrived together are returned with a full checkpoint at least every 64 events, so that
    other tasks can run.
    """

    def __init__(
        self, supervisor: Supervisor, on_comment: Callable[[str], object] | None = None
    ) -> None:
        self._supervisor = supervisor
        self._on_comment = on_comment
        self._events: deque[ServerSentEvent | str] = deque()  # a comment is a str
        self._returned = 0
        self._last_id = supervisor.last_event_id
        self._busy = False

    @property
    def url(self) -> str:
        """The URL of the endpoint, without user name and password."""
        return self._supervisor.url

    @property
    def state(self) -> StreamState:
        """The state of the stream; it changes only while the source is iterated."""
        return self._supervisor.state

    @property
    def last_event_id(self) -> str:
        """The id of the last event that was returned: pass it to resume in another process."""
        return self._last_id

    def statistics(self) -> EventSourceStatistics:
        """Return the current statistics."""
        return self._supervisor.statistics()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ServerSentEvent:
        """Return the next event; if the connection is lost, reconnect as the policy says.

        Raises:
          ReconnectFailed: the policy's time ran out; the last failure is its ``__cause__``.
          ProtocolError: the response is not an event stream, or an event exceeds
            ``max_event_size``.
          StreamClosed: the server responded 204, or the source is closed.
          MixDefaultError: the server refused with a status that is not retried (a redirect to
            another origin, or 4xx other than 408, 425 and 429).
          trio.BusyResourceError: another task is iterating.

        It also raises what ``on_comment`` raises; the next call continues after that comment.
        """
        if self._busy:
            await trio.lowlevel.checkpoint()
            raise trio.BusyResourceError("another task is iterating this event source")
        self._busy = True
        try:
            self._returned += 1
            if not self._returned % _FULL_CHECKPOINT_EVERY:
                await trio.lowlevel.checkpoint()
            elif self._events:
                await trio.lowlevel.checkpoint_if_cancelled()
            while True:  # noqa: ASYNC913 - the loop ends with the events of one read
                while not self._events:
                    check_trio()
                    self._last_id = self._supervisor.last_event_id
                    item = await self._supervisor.next()
                    if isinstance(item, Events):
                        self._events.extend(_in_order(item) if item.comments else item.events)
                event = self._events.popleft()
                if isinstance(event, ServerSentEvent):
                    self._last_id = event.id
                    return event  # noqa: ASYNC910 - a checkpoint or a read precedes
                if self._on_comment is not None:
                    await call(self._on_comment, event)
        finally:
            self._busy = False

    async def aclose(self) -> None:
        """Close the source. Idempotent; shielded from cancellation, and bounded in time.

        A task that waits for an event receives `StreamClosed`; buffered events are discarded.
        """
        await self._close()
        await trio.lowlevel.checkpoint()

    async def _close(self) -> None:
        self._events.clear()
        await self._supervisor.aclose()


def _in_order(item: Events) -> Iterator[ServerSentEvent | str]:
    """Yield the events and the comments as they arrived."""
    begin = 0
    for end, comment in item.comments:
        yield from item.events[begin:end]
        yield comment
        begin = end
    yield from item.events[begin:]


@public("trio_mix.sse")
@asynccontextmanager
async def open_event_source(
    url: str,
    *,
    method: str = "GET",
    headers: HeadersSource = None,
    content: bytes | None = None,
    last_event_id: str | None = None,
    reconnect: ReconnectPolicy | None = None,
    connect_timeout: float | None = 30.0,
    idle_timeout: float | None = None,
    max_event_size: int = DEFAULT_MAX_EVENT_SIZE,
    on_state: Callable[[StreamState], None] | None = None,
    on_comment: Callable[[str], object] | None = None,
    http_client: HttpClient | None = None,
) -> AsyncGenerator[EventSource]:
    """Open the event stream of any SSE server, and reconnect when the connection is lost.

    Entering the context returns when the server has responded with an event stream. Attempts that
    fail before that are repeated as the policy says. Leaving the context closes the connection. No
    task runs in the background: the source reconnects while the caller waits for the next event.

    Entering can be cancelled at any time; no connection is left open.

    Args:
      url: the endpoint. A user name and password in it are sent as ``Authorization``.
      method: the HTTP method. Every attempt sends the request again.
      headers: headers, or a sync or async function that is called for them at each attempt.
      content: the body of the request.
      last_event_id: the id of the event to resume after, sent as ``Last-Event-ID``.
      reconnect: when, and for how long, a lost connection is opened again.
      connect_timeout: seconds until the head of the response must have arrived, `None` for no
        limit.
      idle_timeout: seconds without a byte, comments included, after which the connection counts
        as lost, `None` for no limit. Only reading is timed, not the caller's own work.
      max_event_size: the longest line and the longest data of an event, in bytes.
      on_state: called with each new state, in the task that iterates; it must not block.
      on_comment: a sync or async function that is called with the text of each comment, without the
        colon and one space after it. The task that iterates calls it, between the events before
        and after the comment.
      http_client: an `httpx.AsyncClient` or ``httpx2.AsyncClient`` to use, with its own limits.

    Raises:
      ConfigurationError: an argument is invalid.
      UsageError: the caller does not run in Trio.
      ReconnectFailed, ProtocolError, StreamClosed, MixDefaultError: as `EventSource.__anext__`.
    """
    check_trio()
    for name, value in (("connect_timeout", connect_timeout), ("idle_timeout", idle_timeout)):
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise ConfigurationError(
                f"open_event_source({name}={value!r}) is invalid: it must be a time in seconds,"
                " or None"
            )
    if on_comment is not None:
        check_callback(on_comment, "open_event_source(on_comment=...)", 1)
    http = Http(http_client)
    supervisor = Supervisor(
        StreamRequest(
            http,
            url,
            method=method,
            headers=headers,
            content=content,
            connect_timeout=connect_timeout,
        ),
        last_event_id=last_event_id,
        reconnect=reconnect if reconnect is not None else ReconnectPolicy(),
        read_timeout=idle_timeout,
        max_event_size=max_event_size,
        auto_mark=True,
        comments=on_comment is not None,
        on_change=on_state,
    )
    source = EventSource(supervisor, on_comment)
    try:
        await supervisor.next()
        yield source
    finally:
        await source._close()
        await http.aclose()
