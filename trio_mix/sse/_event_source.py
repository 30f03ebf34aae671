"""The front door for any SSE server: a supervised stream as an object to iterate.

What it knows: one consumer, and the supervisor behind it.
What it must never know: tasks and nurseries. All work is done in the consumer's own ``anext``, so
that a slow consumer slows the server down, and nobody else.
"""

from __future__ import annotations

import math
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, final

import trio

from trio_mix._http import Http
from trio_mix._public import public
from trio_mix.errors import ConfigurationError
from trio_mix.sse._decoder import DEFAULT_MAX_EVENT_SIZE, ServerSentEvent
from trio_mix.sse._reconnect import ReconnectPolicy
from trio_mix.sse._supervisor import Frames, Supervisor

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from typing import Self

    from trio_mix._http import HttpClient
    from trio_mix.sse._statistics import EventSourceStatistics, StreamState
    from trio_mix.sse._supervisor import HeadersSource

__all__ = ["EventSource", "open_event_source"]

_FULL_CHECKPOINT_EVERY = 64


@public("trio_mix.sse")
@final
class EventSource:
    """The events of one SSE endpoint, over as many connections as it takes.

    Made by `open_event_source`. Iterate it with ``async for``, in one task at a time. Leaving the
    loop closes nothing: iterate again to go on. Cancelling the wait for an event loses none, and
    keeps the connection (with an ``http_client`` of your own it is made again).

    Each step is a checkpoint for cancellation. Events that came together are handed out with one
    full checkpoint in 64, so that other tasks are never kept waiting for longer than that.
    """

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self._frames: deque[ServerSentEvent] = deque()
        self._handed_out = 0
        self._last_id = supervisor.last_event_id
        self._busy = False

    @property
    def url(self) -> str:
        """The endpoint, without user name and password."""
        return self._supervisor.url

    @property
    def state(self) -> StreamState:
        """Where the stream stands; it changes only while the source is iterated."""
        return self._supervisor.state

    @property
    def last_event_id(self) -> str:
        """The id of the last event that was handed out: where another run would resume."""
        return self._last_id

    def statistics(self) -> EventSourceStatistics:
        """Return the figures of this moment."""
        return self._supervisor.statistics()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ServerSentEvent:
        """Return the next event, connecting again as often as the policy says.

        Raises:
          ReconnectFailed: the policy's time ran out; the last failure is its cause.
          ProtocolError: what answers is no event stream, or an event is over the limit.
          StreamClosed: the server said 204, or the source is closed.
          MixDefaultError: the server refuses for good (4xx other than 408, 425 and 429).
          trio.BusyResourceError: another task is iterating.
        """
        if self._busy:
            await trio.lowlevel.checkpoint()
            raise trio.BusyResourceError("another task is iterating this event source")
        self._busy = True
        try:
            self._handed_out += 1
            if not self._handed_out % _FULL_CHECKPOINT_EVERY:
                await trio.lowlevel.checkpoint()
            elif self._frames:
                await trio.lowlevel.checkpoint_if_cancelled()
            while not self._frames:
                self._last_id = self._supervisor.last_event_id
                item = await self._supervisor.next()
                if isinstance(item, Frames):
                    self._frames.extend(item.frames)
            frame = self._frames.popleft()
            self._last_id = frame.id
            return frame  # noqa: ASYNC910 - the supervisor has read, or see above
        finally:
            self._busy = False

    async def aclose(self) -> None:
        """Close the connection, for good; shielded and bounded, and no harm if done again.

        A task that waits for an event gets `StreamClosed`; events that came are dropped.
        """
        await self._close()
        await trio.lowlevel.checkpoint()

    async def _close(self) -> None:
        self._frames.clear()
        await self._supervisor.aclose()


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
    http_client: HttpClient | None = None,
) -> AsyncGenerator[EventSource]:
    """Open the event stream of any SSE server, and keep it open.

    Entering returns when the server has answered with an event stream; the policy counts from the
    first attempt. Leaving closes the connection, whatever the reason, and takes no time to speak
    of. No task runs behind it: connecting again happens while you wait for the next event.

    Args:
      url: the endpoint. A user name and password in it are sent as ``Authorization``.
      method: the HTTP method. Mind that every reconnect makes the request again.
      headers: headers, or a function, async or not, that is asked for them at each connect.
      content: the body of the request.
      last_event_id: resume after this event: sent as ``Last-Event-ID``.
      reconnect: when, and for how long, a lost connection is made again.
      connect_timeout: seconds until the response's head must have come, `None` for no limit.
      idle_timeout: seconds without a byte, comments included, after which the connection counts
        as lost; only the wait for the socket is timed, never your own work. `None` for no limit.
      max_event_size: the longest line and the longest data of an event, in bytes.
      on_state: called with each new state, in the task that iterates; it must not block.
      http_client: an `httpx.AsyncClient` or ``httpx2.AsyncClient`` to use, with its own limits.

    Raises:
      ConfigurationError: an argument cannot work.
      ReconnectFailed, ProtocolError, StreamClosed, MixDefaultError: as `EventSource.__anext__`.
    """
    for name, value in (("connect_timeout", connect_timeout), ("idle_timeout", idle_timeout)):
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise ConfigurationError(f"{name} is {value!r}: it is a time in seconds, or None")
    http = Http(http_client)
    supervisor = Supervisor(
        http,
        url,
        method=method,
        headers=headers,
        content=content,
        last_event_id=last_event_id,
        reconnect=reconnect if reconnect is not None else ReconnectPolicy(),
        connect_timeout=connect_timeout,
        read_timeout=lambda: idle_timeout,
        max_event_size=max_event_size,
        auto_mark=True,
        on_change=on_state,
    )
    source = EventSource(supervisor)
    try:
        await supervisor.next()
        yield source
    finally:
        await source._close()
        await http.aclose()
