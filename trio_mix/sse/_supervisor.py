"""Supervise a connection to an event stream: connect, read, lose it, wait, connect again.

What it knows: how a connection comes and goes, and what the policy says about the next.
What it must never know: tasks, nurseries, consumers; what events mean; Mix.

The rules it keeps (the tests cite the numbers):

1. It is driven by its owner: connecting, waiting and reading happen in `Supervisor.next`, and
   nothing happens between two calls. One call at a time.
2. `Supervisor.next` may be cancelled at any checkpoint: the object stays good, a wait goes on
   where it was, a connection that is up stays up (a caller's own client may lose it; then it is
   reported lost), and nothing leaks.
3. Only the socket is timed, never the owner.
4. An error that is fatal ends it: the connection is closed before the error is raised, events
   decoded ahead of it are delivered first.
5. Headers are asked for at every connect. ``Last-Event-ID`` is sent when there is one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, final

import trio

from trio_mix._http import sanitize_url
from trio_mix.errors import (
    ConfigurationError,
    MixError,
    ProtocolError,
    StreamError,
    TransportError,
    TrioMixError,
)
from trio_mix.sse._answers import StreamRefused
from trio_mix.sse._decoder import DEFAULT_MAX_EVENT_SIZE, Columns, ServerSentEvent, SSEDecoder
from trio_mix.sse._endings import closed, given_up, reason_of, why_lost
from trio_mix.sse._happenings import Frames, Lost, Opened
from trio_mix.sse._headers import HeadersSource
from trio_mix.sse._request import StreamRequest
from trio_mix.sse._statistics import EventSourceStatistics, StreamState

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix._http import ResponseStream
    from trio_mix.sse._reconnect import ReconnectPolicy, Uniform
    from trio_mix.sse._request import Opener

PIECE_SIZE = 8 * 1024

__all__ = ["Frames", "HeadersSource", "Lost", "Opened", "Supervisor"]


@final
class Supervisor:
    """One supervised stream, for owners that want to see every loss.

    Args:
      http: makes the connections; its owner closes it.
      url: the stream's address.
      method: the HTTP method.
      headers: the headers, or a function that returns them, asked at each connect.
      content: the request's body, sent with each connect.
      last_event_id: where to resume.
      reconnect: when to connect again.
      connect_timeout: seconds until a response's head must have come, `None` for no limit.
      read_timeout: asked before each read for the seconds it may take, `None` for no limit.
      max_event_size: see `SSEDecoder`.
      auto_mark: whether ``last_event_id`` follows the events, and events without an id inherit
        that of the connection before; otherwise the owner sets it, and events inherit nothing
        over connections.
      session_id: for messages.
      on_change: called with each new state.
      on_wait: called when a connect is waited for, with the seconds, its number since the loss
        (from 1), and why the last one, or the connection, failed.
      rng: the source of jitter.
      wall_clock: the time of day, against which a ``Retry-After`` date counts.
    """

    # As a plain object, with so many attributes, it would take 1.3 KB more for each stream.
    # fmt: off
    __slots__ = (
        "_attempts", "_busy", "_connected_since", "_connecting", "_connects", "_cut", "_data",
        "_decoder", "_due", "_events", "_fatal", "_last_loss", "_last_loss_time", "_losses",
        "_max_event_size", "_on_change", "_on_wait", "_over", "_queue", "_read_timeout", "_request",
        "_schedule", "_session_id", "_stream", "_told", "auto_mark", "bytes_received", "columns",
        "last_event_id", "last_failure", "on_bytes", "state", "url",
    )
    # fmt: on

    def __init__(
        self,
        http: Opener,
        url: str,
        *,
        method: str = "GET",
        headers: HeadersSource = None,
        content: bytes | None = None,
        last_event_id: str | None = None,
        reconnect: ReconnectPolicy,
        connect_timeout: float | None,
        read_timeout: Callable[[], float | None],
        max_event_size: int = DEFAULT_MAX_EVENT_SIZE,
        auto_mark: bool = False,
        session_id: str = "",
        on_change: Callable[[StreamState], None] | None = None,
        on_wait: Callable[[float, int, str], None] | None = None,
        rng: Uniform | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        SSEDecoder(max_event_size=max_event_size)  # refuses a bad limit now, not at a connect
        if last_event_id is not None and any(bad in last_event_id for bad in "\r\n\0"):
            raise ConfigurationError("last_event_id has a line end or NUL in it: no server sent it")
        self.state: StreamState = StreamState.CONNECTING
        self.last_event_id: str = last_event_id or ""
        self.auto_mark: bool = auto_mark
        self.url: str = sanitize_url(url)
        self.bytes_received: int = 0
        self.columns: bool = False  # whether the owner takes events in columns
        self.on_bytes: Callable[[], None] | None = None  # told of bytes that made no frame
        self.last_failure: Exception | None = None
        self._request = StreamRequest(
            http,
            url,
            method=method,
            headers=headers,
            content=content,
            connect_timeout=connect_timeout,
            session_id=session_id,
            wall_clock=wall_clock,
        )
        self._read_timeout = read_timeout
        self._max_event_size = max_event_size
        self._session_id = session_id
        self._on_change = on_change
        self._on_wait = on_wait
        self._schedule = reconnect.schedule(rng=rng)
        # Of the moment.
        self._stream: ResponseStream | None = None
        self._decoder = SSEDecoder()
        self._data, self._cut = b"", 0  # what was read last, and how much of it is decoded
        self._busy = False
        self._connecting: trio.CancelScope | None = None
        self._queue: list[Lost] = []  # losses that a call under way has yet to report
        self._due: float | None = None  # when the next connect may be made
        self._told: float | None = None  # the one that was told of last
        self._fatal: TrioMixError | None = None  # to be raised by the next call
        self._over: BaseException | None = None  # what was raised as fatal
        # Figures.
        self._connects = self._attempts = self._losses = self._events = 0
        self._last_loss: str | None = None
        self._last_loss_time: float | None = None
        self._connected_since: float | None = None

    @property
    def has_more(self) -> bool:
        """Whether the next call goes on with what the last one has read."""
        return bool(self._data)

    async def next(self) -> Opened | Frames | Lost:
        """Wait for what happens next: a connection, events, or a loss.

        May be cancelled at any time and called again (rule 2).

        Raises:
          ReconnectFailed: the policy's time ran out; the last failure is its cause.
          ProtocolError: what answers is no event stream, or an event is over the limit.
          StreamClosed: the server said 204, or this object is closed.
          MixDefaultError: the server refuses for good (4xx other than 408, 425 and 429).
          ConfigurationError: the URL or a header cannot work.
          trio.BusyResourceError: another task is waiting here.
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
                return await self._connect()
            return await self._read(self._stream)
        finally:
            self._busy = False

    async def drop(self, reason: str, *, planned: bool) -> None:
        """Close the connection of now, if there is one; shielded and bounded.

        A `next` that another task has under way returns `Lost`; without one nothing is reported,
        and the next call connects.

        Args:
          reason: why, for the statistics.
          planned: connect again at once, and do not count it as a failure.
        """
        stream = self._stream
        if stream is not None:
            self._note_loss(reason, None, planned=planned)
            if self._busy:
                self._queue.append(Lost(reason, planned=planned))
            await stream.aclose()
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def aclose(self) -> None:
        """Close for good; shielded and bounded, and no harm if done again."""
        self._change(StreamState.CLOSED)
        self._connected_since = self._due = None
        if self._connecting is not None:
            self._connecting.cancel(reason="the stream is being closed")
        stream, self._stream = self._stream, None
        if stream is not None:
            await stream.aclose()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def statistics(self) -> EventSourceStatistics:
        """Return the figures of this moment."""
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

    async def _read(self, stream: ResponseStream) -> Frames | Lost:
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
                        return self._queue.pop(0)  # noqa: ASYNC910 - the failed read was one
                    if self.state is StreamState.CLOSED:
                        raise self._ended()
                    return await self._lose(stream, why_lost(error, timeout), error)
            frames = await self._decode(stream, self._next_piece())
            if frames:
                return Frames(frames)
            if self.on_bytes is not None:
                self.on_bytes()

    def _next_piece(self) -> bytes:
        """Cut off, where a frame ends, what is to be decoded next of the bytes that were read.

        A whole read's events at once keep the garbage collector busy, and miss the CPU's caches.
        """
        begin = self._cut
        self._cut = self._data.find(b"\n\n", begin + PIECE_SIZE) + 2
        if self._cut >= 2:
            return self._data[begin : self._cut]
        data, self._data, self._cut = self._data, b"", 0
        return data[begin:]

    async def _decode(self, stream: ResponseStream, data: bytes) -> list[ServerSentEvent] | Columns:
        decoder = self._decoder
        self.bytes_received += len(data)
        frames: list[ServerSentEvent] | Columns
        try:
            frames = decoder.feed_columns(data) if self.columns else decoder.feed(data)
        except ProtocolError as error:
            self._end(
                ProtocolError(f"{self.url}: {error}", url=self.url, session_id=self._session_id)
            )
            await stream.aclose()
            frames = decoder.undelivered
            if not frames:
                raise self._ended() from error
        self._events += len(frames)
        if decoder.retry is not None:
            self._schedule.server_retry = decoder.retry
        if self.auto_mark:
            self.last_event_id = decoder.last_event_id
        return frames  # noqa: ASYNC910 - the read before it was one

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

    async def _connect(self) -> Opened:
        with trio.CancelScope() as scope:
            self._connecting = scope
            try:
                return await self._connect_until_opened()
            except (ConfigurationError, StreamError, MixError) as error:
                if self._fatal is None:
                    self._end(error)
                self._over, self._fatal = self._fatal, None
                raise
            finally:
                self._connecting = None
        raise self._ended()  # aclose() has cancelled the scope

    async def _connect_until_opened(self) -> Opened:
        while True:
            if self._fatal is not None:
                raise self._fatal
            if self._due is None:
                await trio.lowlevel.checkpoint()
            else:
                self._tell_wait(self._due)
                await trio.sleep_until(self._due)
                self._due = None
            self._schedule.begin(trio.current_time())
            self._attempts += 1
            try:
                return await self._connect_once()
            except StreamRefused as refused:
                answer = refused.answer
                self._failed(f"HTTP {answer.status_code}", answer, retry_after=refused.retry_after)
            except TransportError as error:
                self._failed(reason_of(error), error)

    def _tell_wait(self, due: float) -> None:
        if self._on_wait is not None and due != self._told:  # else this call goes on with a wait
            self._told = due
            delay = max(0.0, due - trio.current_time())
            self._on_wait(delay, self._schedule.attempts + 1, self._last_loss or "")

    async def _connect_once(self) -> Opened:
        stream = await self._request.open(lambda: self.last_event_id)
        if self.state is StreamState.CLOSED:  # meanwhile, by another task
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
        failure = given_up(
            self.url, self._session_id, reason, self._schedule, now, had=self._connects > 0
        )
        failure.__cause__ = cause
        self._end(failure)

    def _end(self, error: TrioMixError) -> None:
        """Note an error that the next call raises, after which nothing more comes."""
        self._fatal = error
        self._stream = None
        self._connected_since = self._due = None
        self._change(StreamState.CLOSED)

    def _ended(self) -> TrioMixError:
        """Return what a call has to raise: the fatal error once, then that it is over."""
        fatal, self._fatal = self._fatal, None
        if fatal is not None:
            self._over = fatal
            return fatal
        over = closed(self.url, self._session_id)
        over.__cause__ = self._over
        return over

    def _change(self, state: StreamState) -> None:
        if state is not self.state:
            self.state = state
            if self._on_change is not None:
                self._on_change(state)
