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

from trio_mix._http import sanitize_url
from trio_mix.errors import (
    ConfigurationError,
    MixError,
    ProtocolError,
    StreamClosed,
    StreamError,
    TransportError,
)
from trio_mix.sse._attempts import Attempts, Refusals, why_lost
from trio_mix.sse._connect import check_last_event_id, connect
from trio_mix.sse._decoder import DEFAULT_MAX_EVENT_SIZE, PieceDecoder
from trio_mix.sse._statistics import EventSourceStatistics, StreamState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from trio_mix._http import ResponseStream
    from trio_mix.errors import TrioMixError
    from trio_mix.sse._connect import Connect, StreamRequest
    from trio_mix.sse._decoder import ServerSentEvent
    from trio_mix.sse._reconnect import ReconnectPolicy, Uniform


@attrs.frozen
class Opened:
    """A connection is open."""

    headers: Mapping[str, str] = attrs.field(repr=False)
    """The response's headers, names in lower case."""


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
    planned: bool = False
    """Whether the owner has dropped the connection."""


@final
class Supervisor:
    """One event stream over any number of connections; each loss is reported to the owner.

    Args:
      request: the request that each attempt sends.
      last_event_id: the id to resume after.
      reconnect: when to connect again.
      read_timeout: the seconds that one read may take, `None` for no limit.
      max_event_size: see `SSEDecoder`.
      auto_mark: whether ``last_event_id`` follows the events, and events without an id inherit the
        last id of the previous connection. Otherwise the owner sets it, and events do
        not inherit an id across connections.
      comments: whether comments are returned with the events.
      on_change: called with each new state.
      on_wait: called before the wait for an attempt, with the seconds, the attempt's number since
        the loss (from 1), and the reason of the loss or of the last failure.
      connect: makes one attempt.
      refusals: decides what follows when an attempt is answered, but not with an event stream.
      rng: the source of jitter.
      wall_clock: returns the current time, from which a ``Retry-After`` date is subtracted.

    Raises:
      ConfigurationError: ``last_event_id`` or ``max_event_size`` is invalid.
    """

    # Without `__slots__`, these attributes would cost 1.3 KB more per stream.
    # fmt: off
    __slots__ = (
        "_attempts", "_busy", "_comments", "_connected_since", "_connecting", "_ended_by",
        "_events", "_fatal", "_losses", "_max_event_size", "_on_change", "_pieces", "_queue",
        "_read_timeout", "_received", "_request", "_stream", "auto_mark", "has_more",
        "last_event_id", "on_bytes", "state", "url",
    )
    # fmt: on

    def __init__(
        self,
        request: StreamRequest,
        *,
        last_event_id: str | None = None,
        reconnect: ReconnectPolicy,
        read_timeout: float | None = None,
        max_event_size: int = DEFAULT_MAX_EVENT_SIZE,
        auto_mark: bool = False,
        comments: bool = False,
        on_change: Callable[[StreamState], None] | None = None,
        on_wait: Callable[[float, int, str], None] | None = None,
        connect: Connect = connect,
        refusals: Refusals | None = None,
        rng: Uniform | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        check_last_event_id(last_event_id or "")
        self.state: StreamState = StreamState.CONNECTING
        self.last_event_id: str = last_event_id or ""
        self.auto_mark: bool = auto_mark
        self.url: str = sanitize_url(request.url)
        # called when bytes arrive that do not complete an event
        self.on_bytes: Callable[[], None] | None = None
        self.has_more: bool = False  # whether bytes of the last read are still to be decoded
        self._received = 0  # by earlier connections
        self._request = request
        self._comments = comments
        self._read_timeout = read_timeout
        self._max_event_size = max_event_size
        self._on_change = on_change
        self._attempts = Attempts(
            request,
            self.url,
            reconnect,
            connect=connect,
            refusals=Refusals() if refusals is None else refusals,
            on_wait=on_wait,
            rng=rng,
            wall_clock=wall_clock,
        )
        self._stream: ResponseStream | None = None
        self._pieces = PieceDecoder(max_event_size, "")  # an invalid limit is refused now
        self._busy = False
        self._connecting: trio.CancelScope | None = None
        self._queue: list[Lost] = []  # losses that the call in progress has still to report
        self._fatal: TrioMixError | None = None  # to be raised by the next call
        self._ended_by: BaseException | None = None  # the fatal error, once raised
        self._losses = self._events = 0
        self._connected_since: float | None = None

    @property
    def id_cleared(self) -> bool:
        """Whether the server has set the id to nothing on the current connection."""
        return self._pieces.decoder.id_cleared

    @property
    def last_failure(self) -> Exception | None:
        """The error of the last failed attempt, or of the last loss."""
        return self._attempts.last_failure

    @property
    def bytes_received(self) -> int:
        """The number of bytes decoded, of all connections."""
        return self._received + self._pieces.received

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

    def hurry(self) -> None:
        """Make the next connection attempt at once, if it is still waited for."""
        self._attempts.hurry()

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
        self._connected_since = self._attempts.due = None
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
            connects=self._attempts.opened,
            reconnects=max(0, self._attempts.opened - 1),
            attempts=self._attempts.number,
            losses=self._losses,
            last_loss=self._attempts.last_loss,
            last_loss_time=self._attempts.last_loss_time,
            next_attempt_time=self._attempts.due,
            connected_since=self._connected_since,
            events=self._events,
            bytes=self.bytes_received,
            last_event_id=self.last_event_id,
            server_retry=self._attempts.schedule.server_retry,
        )

    # Reading

    async def _read(self, stream: ResponseStream) -> Events | Lost:
        while True:
            if self.has_more:
                await trio.lowlevel.checkpoint_if_cancelled()
            else:
                timeout = self._read_timeout
                error: TransportError | None = None
                data = b""
                try:
                    data = await stream.receive(timeout)
                except TransportError as failure:
                    error = failure
                self._pieces.put(data)
                self.has_more = bool(data)
                if not data:
                    if self._queue:  # another task has dropped this connection
                        return self._queue.pop(0)  # noqa: ASYNC910 - a read precedes
                    if self.state is StreamState.CLOSED:
                        raise self._ended()
                    return await self._lose(stream, why_lost(error, timeout), error)
            batch = await self._decode(stream)
            comments = self._pieces.decoder.comments if self._comments else ()
            if batch or comments:
                return Events(batch, comments)
            if self.on_bytes is not None:
                self.on_bytes()

    async def _decode(self, stream: ResponseStream) -> list[ServerSentEvent]:
        decoder = self._pieces.decoder
        try:
            batch, self.has_more = self._pieces.next(), self._pieces.has_more
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
            self._attempts.schedule.server_retry = decoder.retry
        if self.auto_mark:
            self.last_event_id = decoder.last_event_id
        return batch  # noqa: ASYNC910 - a read precedes

    async def _lose(self, stream: ResponseStream, reason: str, cause: Exception | None) -> Lost:
        self._note_loss(reason, cause, planned=False)
        await stream.aclose()
        return Lost(reason)

    def _note_loss(self, reason: str, cause: Exception | None, *, planned: bool) -> None:
        self._stream = None
        self._connected_since = None
        self._losses += 1
        if planned:
            self._attempts.planned(reason)
        else:
            failure = self._attempts.failed(reason, cause)
            if failure is not None:
                self._end(failure)
        if self._fatal is None:
            self._change(StreamState.RECONNECTING)

    # Connecting

    async def _open(self) -> Opened:
        with trio.CancelScope() as scope:
            self._connecting = scope
            try:
                stream = await self._attempts.open(lambda: self.last_event_id)
                if self.state is not StreamState.CLOSED:
                    return self._opened(stream)
                await stream.aclose()  # another task has closed it meanwhile
            except (ConfigurationError, StreamError, MixError) as error:
                if self._fatal is None:
                    self._end(error)
                self._ended_by, self._fatal = self._fatal, None
                raise
            finally:
                self._connecting = None
        raise self._ended()  # as aclose() was called

    def _opened(self, stream: ResponseStream) -> Opened:
        self._stream = stream
        if not self._attempts.resuming:
            self._attempts.resuming, self.last_event_id = True, ""
        self._received = self.bytes_received
        self.has_more = False
        self._pieces = PieceDecoder(
            self._max_event_size, self.last_event_id if self.auto_mark else ""
        )
        self._connected_since = trio.current_time()
        self._change(StreamState.CONNECTED)
        return Opened(stream.headers)

    # Ends

    def _end(self, error: TrioMixError) -> None:
        """Note an error that the next call raises, and that ends the stream."""
        self._fatal = error
        self._stream = None
        self._connected_since = self._attempts.due = None
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
