"""Keep an event stream open: connect, read, and reconnect after a loss.

The rules (tests cite the numbers):

1. The owner drives it: connecting, waiting and reading happen in `Supervisor.next`, and nothing
   happens between calls. Only one call may be in progress.
2. `Supervisor.next` may be cancelled at any checkpoint. The object stays usable: a wait continues
   at the next call, an open connection stays open (with a caller-supplied HTTP client it may be
   lost; the loss is then reported), and nothing leaks.
3. Timeouts apply to socket reads, not to the owner's processing.
4. A fatal error ends the stream: the connection is closed before the error is raised, and events
   decoded before the error are delivered first.
5. The headers function is called for every connection attempt. ``Last-Event-ID`` is sent if there
   is one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, final

import attrs
import trio

from trio_mix._http import is_transient, parse_retry_after, sanitize_url
from trio_mix.errors import (
    ConfigurationError,
    MixError,
    ProtocolError,
    RequestTimeout,
    StreamClosed,
    StreamError,
    TransportError,
    TrioMixError,
)
from trio_mix.sse._connect import check_last_event_id, connect
from trio_mix.sse._decoder import DEFAULT_MAX_EVENT_SIZE, SSEDecoder
from trio_mix.sse._reconnect import ReconnectSchedule, reconnect_failed
from trio_mix.sse._statistics import EventSourceStatistics, StreamState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from trio_mix._http import ResponseStream
    from trio_mix.sse._connect import Connect, StreamRequest
    from trio_mix.sse._decoder import ServerSentEvent
    from trio_mix.sse._reconnect import ReconnectPolicy, Uniform

__all__ = ["Events", "Lost", "Opened", "Supervisor"]

PIECE_SIZE = 8 * 1024
_ASLEEP = 5.0
"""A wait that takes so many seconds longer than asked: the machine or the process was asleep."""


@attrs.frozen
class Opened:
    """A connection is open."""

    connection: int
    """Its number, from 1."""
    headers: Mapping[str, str] = attrs.field(repr=False)
    """The response's headers, names in lower case."""
    status_code: int = 200
    """The HTTP status."""


@attrs.frozen
class Events:
    """Events have arrived."""

    events: list[ServerSentEvent]
    """The events that one read of the socket completed; empty only if there are comments."""
    comments: Sequence[tuple[int, str]] = ()
    """The comments, each with the number of the events before it; only if they are asked for."""


@attrs.frozen
class Lost:
    """The connection is lost; the next call waits as the policy says, and connects."""

    reason: str
    """Why, for messages."""
    cause: BaseException | None = None
    """The exception that caused it, if there was one."""
    planned: bool = False
    """Whether the owner has dropped the connection."""


@final
class Supervisor:
    """One event stream over any number of connections; each loss is reported to the owner.

    Args:
      request: the request that each attempt sends.
      last_event_id: the id to resume after.
      reconnect: when to connect again.
      read_timeout: called before each read; returns the seconds that the read may take, `None` for
        no limit.
      max_event_size: see `SSEDecoder`.
      auto_mark: whether ``last_event_id`` follows the events, and events without an id inherit the
        last id of the previous connection. Otherwise the owner sets it, and events do
        not inherit an id across connections.
      comments: whether comments are returned with the events.
      on_change: called with each new state.
      on_wait: called before the wait for an attempt, with the seconds, the attempt's number since
        the loss (from 1), and the reason of the loss or of the last failure.
      connect: makes one attempt.
      rng: the source of jitter.
      wall_clock: returns the current time, from which a ``Retry-After`` date is subtracted.

    Raises:
      ConfigurationError: ``last_event_id`` or ``max_event_size`` is invalid.
    """

    # Without `__slots__`, these attributes would cost 1.3 KB more per stream.
    # fmt: off
    __slots__ = (
        "_announced", "_attempts", "_busy", "_comments", "_connect", "_connected_since",
        "_connecting", "_connects", "_cut", "_data", "_decoder", "_due", "_ended_by", "_events",
        "_fatal", "_last_loss", "_last_loss_time", "_losses", "_max_event_size", "_on_change",
        "_on_wait", "_queue", "_read_timeout", "_request", "_schedule", "_stream", "_wall_clock",
        "auto_mark",
        "bytes_received", "last_event_id", "last_failure", "on_bytes", "state", "url",
    )
    # fmt: on

    def __init__(
        self,
        request: StreamRequest,
        *,
        last_event_id: str | None = None,
        reconnect: ReconnectPolicy,
        read_timeout: Callable[[], float | None],
        max_event_size: int = DEFAULT_MAX_EVENT_SIZE,
        auto_mark: bool = False,
        comments: bool = False,
        on_change: Callable[[StreamState], None] | None = None,
        on_wait: Callable[[float, int, str], None] | None = None,
        connect: Connect = connect,
        rng: Uniform | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        SSEDecoder(max_event_size=max_event_size)  # an invalid limit is refused now
        check_last_event_id(last_event_id or "")
        self.state: StreamState = StreamState.CONNECTING
        self.last_event_id: str = last_event_id or ""
        self.auto_mark: bool = auto_mark
        self.url: str = sanitize_url(request.url)
        self.bytes_received: int = 0
        # called when bytes arrive that do not complete an event
        self.on_bytes: Callable[[], None] | None = None
        self.last_failure: Exception | None = None
        self._request = request
        self._comments = comments
        self._connect = connect
        self._read_timeout = read_timeout
        self._max_event_size = max_event_size
        self._on_change = on_change
        self._on_wait = on_wait
        self._wall_clock = wall_clock
        self._schedule = ReconnectSchedule(reconnect, rng=rng)
        self._stream: ResponseStream | None = None
        self._decoder = SSEDecoder()
        self._data, self._cut = b"", 0  # the last read, and how much of it is decoded
        self._busy = False
        self._connecting: trio.CancelScope | None = None
        self._queue: list[Lost] = []  # losses that the call in progress has still to report
        self._due: float | None = None  # when the next attempt may begin
        self._announced: float | None = None  # the value of _due that on_wait was called for
        self._fatal: TrioMixError | None = None  # to be raised by the next call
        self._ended_by: BaseException | None = None  # the fatal error, once raised
        self._connects = self._attempts = self._losses = self._events = 0
        self._last_loss: str | None = None
        self._last_loss_time: float | None = None
        self._connected_since: float | None = None

    @property
    def has_more(self) -> bool:
        """Whether bytes of the last read are still to be decoded."""
        return bool(self._data)

    @property
    def id_cleared(self) -> bool:
        """Whether the server has set the id to nothing on the current connection."""
        return self._decoder.id_cleared

    async def next(self) -> Opened | Events | Lost:
        """Wait for the next connection, events or loss.

        It may be cancelled at any time and called again (rule 2).

        Raises:
          ReconnectFailed: the policy's time ran out; the last failure is its cause.
          ProtocolError: the response is not an event stream, or an event exceeds the limit.
          StreamClosed: the server responded 204, or this object is closed.
          MixError: the server refused with a status that is not retried.
          ConfigurationError: the URL or a header is invalid.
          trio.BusyResourceError: another task is waiting.
        """
        if self._busy:
            await trio.lowlevel.checkpoint()
            raise trio.BusyResourceError("another task is reading this stream")
        self._busy = True
        try:
            if self._fatal is not None or self.state is StreamState.CLOSED:
                await trio.lowlevel.checkpoint()
                raise self._ended()
            if self._queue:
                await trio.lowlevel.checkpoint()
                return self._queue.pop(0)
            if self._stream is None:
                return await self._open()
            return await self._read(self._stream)
        finally:
            self._busy = False

    async def drop(self, reason: str, *, planned: bool) -> None:
        """Close the current connection, if there is one; shielded and bounded in time.

        If another task is waiting in `next`, that call returns `Lost`. Otherwise nothing is
        reported, and the next call connects.

        Args:
          reason: why, for the statistics.
          planned: connect again at once, and do not count the loss as a failure.
        """
        stream = self._stream
        if stream is not None:
            self._note_loss(reason, None, planned=planned)
            if self._busy:
                self._queue.append(Lost(reason, planned=planned))
            await stream.aclose()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def aclose(self) -> None:
        """Close the stream. Idempotent, shielded from cancellation, and bounded in time."""
        self._change(StreamState.CLOSED)
        self._connected_since = self._due = None
        if self._connecting is not None:
            self._connecting.cancel(reason="the stream is being closed")
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def statistics(self) -> EventSourceStatistics:
        """Return the current figures."""
        return EventSourceStatistics(
            state=self.state,
            connects=self._connects,
            reconnects=max(0, self._connects - 1),
            attempts=self._attempts,
            losses=self._losses,
            last_loss=self._last_loss,
            last_loss_time=self._last_loss_time,
            next_attempt_time=self._due,
            connected_since=self._connected_since,
            events=self._events,
            bytes=self.bytes_received,
            last_event_id=self.last_event_id,
            server_retry=self._schedule.server_retry,
        )

    # Reading

    async def _read(self, stream: ResponseStream) -> Events | Lost:
        while True:
            if self._data:
                await trio.lowlevel.checkpoint_if_cancelled()
            else:
                timeout = self._read_timeout()
                error: TransportError | None = None
                try:
                    self._data = await stream.receive(timeout)
                except TransportError as failure:
                    error = failure
                if not self._data:
                    if self._queue:  # another task has dropped this connection
                        return self._queue.pop(0)  # noqa: ASYNC910 - a read precedes
                    if self.state is StreamState.CLOSED:
                        raise self._ended()
                    return await self._lose(stream, _why_lost(error, timeout), error)
            batch = await self._decode(stream, self._next_piece())
            comments = self._decoder.comments if self._comments else ()
            if batch or comments:
                return Events(batch, comments)
            if self.on_bytes is not None:
                self.on_bytes()

    def _next_piece(self) -> bytes:
        """Return the next part of the bytes that were read, cut at the end of an event.

        Decoding all events of a large read at once would keep the garbage collector busy and
        exceed the CPU's caches.
        """
        begin = self._cut
        self._cut = self._data.find(b"\n\n", begin + PIECE_SIZE) + 2
        if self._cut >= 2:
            return self._data[begin : self._cut]
        data, self._data, self._cut = self._data, b"", 0
        return data[begin:]

    async def _decode(self, stream: ResponseStream, data: bytes) -> list[ServerSentEvent]:
        decoder = self._decoder
        self.bytes_received += len(data)
        try:
            batch = decoder.feed(data)
        except ProtocolError as error:
            self._end(
                ProtocolError(
                    f"{self.url}: {error}", url=self.url, session_id=self._request.session_id
                )
            )
            await stream.aclose()
            batch = decoder.undelivered
            if not (batch or (self._comments and decoder.comments)):
                raise self._ended() from error
        self._events += len(batch)
        if decoder.retry is not None:
            self._schedule.server_retry = decoder.retry
        if self.auto_mark:
            self.last_event_id = decoder.last_event_id
        return batch  # noqa: ASYNC910 - a read precedes

    async def _lose(self, stream: ResponseStream, reason: str, cause: Exception | None) -> Lost:
        self._note_loss(reason, cause, planned=False)
        await stream.aclose()
        return Lost(reason, cause)

    def _note_loss(self, reason: str, cause: Exception | None, *, planned: bool) -> None:
        self._stream = None
        self._connected_since = None
        self._losses += 1
        if planned:
            self._schedule.planned(trio.current_time())
            self._due = None
            self._last_loss, self._last_loss_time = reason, trio.current_time()
        else:
            self._failed(reason, cause)
        if self._fatal is None:
            self._change(StreamState.RECONNECTING)

    # Connecting

    async def _open(self) -> Opened:
        with trio.CancelScope() as scope:
            self._connecting = scope
            try:
                return await self._attempt_until_opened()
            except (ConfigurationError, StreamError, MixError) as error:
                if self._fatal is None:
                    self._end(error)
                self._ended_by, self._fatal = self._fatal, None
                raise
            finally:
                self._connecting = None
        raise self._ended()  # aclose() has cancelled the scope

    async def _attempt_until_opened(self) -> Opened:
        while True:
            if self._fatal is not None:
                raise self._fatal
            if self._due is None:
                await trio.lowlevel.checkpoint()
            else:
                self._announce(self._due)
                await trio.sleep_until(self._due)
                self._check_asleep(self._due)
                self._due = None
            began = trio.current_time()
            self._schedule.begin(began)
            self._attempts += 1
            try:
                return await self._attempt()
            except MixError as error:
                if not is_transient(error.status_code):
                    raise
                asked = parse_retry_after(error.headers.get("retry-after"), now=self._wall_clock())
                self._failed(f"HTTP {error.status_code}", error, retry_after=asked)
            except TransportError as error:
                if self._request.connect_timeout is not None:
                    self._check_asleep(began + self._request.connect_timeout)
                self._failed(_reason_of(error), error)

    def _check_asleep(self, due: float) -> None:
        """Take a wait that ended long after its end was due for time asleep."""
        late = trio.current_time() - due
        if late > _ASLEEP:
            self._schedule.asleep(late)

    def _announce(self, due: float) -> None:
        if self._on_wait is not None and due != self._announced:  # else a wait is continued
            self._announced = due
            delay = max(0.0, due - trio.current_time())
            self._on_wait(delay, self._schedule.attempts + 1, self._last_loss or "")

    async def _attempt(self) -> Opened:
        stream = await self._connect(self._request, lambda: self.last_event_id)
        if self.state is StreamState.CLOSED:  # another task has closed it meanwhile
            ended = self._ended()
            await stream.aclose()
            raise ended
        self._stream = stream
        self._decoder = SSEDecoder(
            max_event_size=self._max_event_size,
            last_event_id=self.last_event_id if self.auto_mark else "",
        )
        self._data, self._cut = b"", 0
        self._connects += 1
        self._connected_since = trio.current_time()
        self._schedule.opened(self._connected_since)
        self._change(StreamState.CONNECTED)
        return Opened(self._connects, stream.headers, stream.status_code)

    # Ends

    def _failed(
        self, reason: str, cause: Exception | None, *, retry_after: float | None = None
    ) -> None:
        now = trio.current_time()
        self.last_failure = cause
        self._last_loss, self._last_loss_time = reason, now
        delay = self._schedule.lost(now, retry_after=retry_after)
        if delay is not None:
            self._due = now + delay
            return
        failure = reconnect_failed(
            self._schedule, now, self.url, self._request.session_id, reason, lost=self._connects > 0
        )
        failure.__cause__ = cause
        self._end(failure)

    def _end(self, error: TrioMixError) -> None:
        """Note an error that the next call raises, and that ends the stream."""
        self._fatal = error
        self._stream = None
        self._connected_since = self._due = None
        self._change(StreamState.CLOSED)

    def _ended(self) -> TrioMixError:
        """Return what a call has to raise: the fatal error once, then `StreamClosed`."""
        fatal, self._fatal = self._fatal, None
        if fatal is not None:
            self._ended_by = fatal
            return fatal
        closed = StreamClosed(
            f"The event stream {self.url} is closed: open it again to continue.",
            url=self.url,
            session_id=self._request.session_id,
        )
        closed.__cause__ = self._ended_by
        return closed

    def _change(self, state: StreamState) -> None:
        if state is not self.state:
            self.state = state
            if self._on_change is not None:
                self._on_change(state)


def _why_lost(error: TransportError | None, timeout: float | None) -> str:
    """Return why the connection was lost: the last read's error, or the end of the response."""
    if error is None:
        return "the server ended the response"
    if isinstance(error, RequestTimeout) and timeout is not None:
        return f"idle: no byte arrived for {timeout:g} s"
    return _reason_of(error)


def _reason_of(error: TransportError) -> str:
    return getattr(error, "reason", None) or str(error)
