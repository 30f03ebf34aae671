"""Supervise a tunnel's connection to the server: connect, serve, back off, connect again.

It follows rules 1 and 3 of `trio_mix.browser._tunnel`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, final

import trio

from trio_mix.browser._commands import TunnelCounters
from trio_mix.browser._connection import TunnelConnection
from trio_mix.browser._transport import TransportLost
from trio_mix.browser._websocket import WebSocketRefused
from trio_mix.errors import (
    ConnectionFailed,
    ReconnectFailed,
    RequestTimeout,
    StreamClosed,
    clone_error,
)
from trio_mix.sse import ReconnectSchedule, StreamState

if TYPE_CHECKING:
    from trio_mix.browser._devtools import DevTools
    from trio_mix.browser._endpoint import TunnelEndpoint
    from trio_mix.browser._filter import CommandFilter
    from trio_mix.browser._settings import TunnelSettings


@final
class TunnelSupervisor:
    """Supervises one tunnel.

    Attributes:
      state: the tunnel's state.
      connection: the current connection, or None.
      failure: the error that ended the tunnel, or None.
      raised: whether a caller has received that error.
      counters, connects, attempts, losses, last_loss, last_loss_time: statistics.
    """

    def __init__(self, server: TunnelEndpoint, session_id: str, settings: TunnelSettings) -> None:
        self.state = StreamState.CONNECTING
        self.connection: TunnelConnection | None = None
        self.failure: Exception | None = None
        self.raised = False
        self.counters = TunnelCounters()
        self.connects = self.attempts = self.losses = 0
        self.last_loss: str | None = None
        self.last_loss_time: float | None = None
        self._server = server
        self._session_id = session_id
        self._settings = settings
        self._schedule = ReconnectSchedule(settings.reconnect)
        self._changed = trio.Event()
        self._last_failure: Exception | None = None
        self._fatal = trio.Event()

    async def run(self, commands: CommandFilter, devtools: DevTools, nursery: trio.Nursery) -> None:  # noqa: ASYNC910 - it supervises, or has failed to
        """Keep the tunnel connected until it ends; the nursery runs the watch over the browser."""
        with trio.CancelScope() as scope:  # noqa: ASYNC912 - it connects
            nursery.start_soon(self._watch_browser, devtools)
            nursery.start_soon(self._end_on_failure, scope)
            try:
                await self._supervise(commands)
            except Exception as error:  # noqa: BLE001 - a function of the caller's may raise any
                self.failure = self.failure or error
        self.change(StreamState.CLOSED)

    def fail(self, error: Exception) -> None:
        """End the tunnel with an error, after the queued answers have been sent."""
        self.failure = self.failure or error
        self._fatal.set()

    async def wait_connected(self) -> None:
        """Wait until it is connected; raise the error that ended the tunnel if it has ended."""
        await trio.lowlevel.checkpoint()
        while self.state is not StreamState.CONNECTED:
            self._raise_if_closed()
            await self._changed.wait()

    async def wait_first_connected(self) -> None:
        """Wait for the first connect, which is retried within ``connect_timeout``."""
        limit = self._settings.connect_timeout
        with trio.move_on_after(limit):
            await self.wait_connected()
            return
        if self._last_failure is not None:
            raise self._last_failure
        raise RequestTimeout(
            f"no answer within {limit:g} s",
            request=self._server.request,
            remedy="Raise open_tunnel(connect_timeout=...) if the server is slow but healthy.",
        )

    async def wait_closed(self) -> NoReturn:
        """Wait until it has ended, and raise the error."""
        await trio.lowlevel.checkpoint()
        while True:
            self._raise_if_closed()
            await self._changed.wait()

    def change(self, state: StreamState) -> None:
        """Set the state, and wake the tasks that wait for a change."""
        self.state = state
        changed, self._changed = self._changed, trio.Event()
        changed.set()

    async def _watch_browser(self, devtools: DevTools) -> None:
        await devtools.gone.wait()
        self.fail(devtools.failure(url=self._server.shown, session_id=self._session_id))

    async def _end_on_failure(self, scope: trio.CancelScope) -> None:
        await self._fatal.wait()
        # Send the errors of the pending commands before closing.
        with trio.move_on_after(self._settings.close_timeout):  # noqa: ASYNC912 - there may be no connection
            if self.connection is not None:
                await self.connection.flush()
        scope.cancel(reason="the tunnel has failed")

    async def _supervise(self, commands: CommandFilter) -> None:
        while True:
            self._schedule.begin(trio.current_time())
            self.attempts += 1
            retry_after: float | None = None
            try:
                await self._serve(commands)
            except WebSocketRefused as refused:
                refusal = self._server.refusal(refused)
                if refusal.final:
                    raise refusal.error from None
                reason, retry_after = f"HTTP {refused.status_code}", refusal.retry_after
                self._last_failure = refusal.error
            except TransportLost as lost:
                reason = str(lost)
                self._last_failure = ConnectionFailed(reason, request=self._server.request)
                self._last_failure.__cause__ = lost.__cause__
            now = trio.current_time()
            self.losses += 1
            self.last_loss, self.last_loss_time = reason, now
            delay = self._schedule.lost(now, retry_after=retry_after)
            if delay is None:
                raise self._given_up(reason, now) from self._last_failure
            if self.connects:
                self.change(StreamState.RECONNECTING)
            await trio.sleep(delay)

    def _given_up(self, reason: str, now: float) -> ReconnectFailed:
        attempts, elapsed = self._schedule.attempts, self._schedule.elapsed(now)
        return ReconnectFailed(
            f"The tunnel {self._server.shown} was lost and could not be reconnected within"
            f" max_elapsed_time={self._settings.reconnect.max_elapsed_time:g} s ({attempts}"
            f" connects in {elapsed:.1f} s); the last failure was: {reason}. Check the server, or"
            " increase max_elapsed_time in ReconnectPolicy.",
            url=self._server.shown,
            session_id=self._session_id,
            attempts=attempts,
            elapsed=elapsed,
        )

    async def _serve(self, commands: CommandFilter) -> NoReturn:
        """Connect once, and serve until the connection is lost."""
        address = await self._server.address()
        connection = TunnelConnection(address, commands, self._settings, self.counters)

        def opened() -> None:
            self.connection = connection
            self.connects += 1
            self._schedule.opened(trio.current_time())
            self.change(StreamState.CONNECTED)

        try:
            await connection.run(opened)
        finally:
            self.connection = None

    def _raise_if_closed(self) -> None:
        if self.state is not StreamState.CLOSED:
            return
        if self.failure is None:
            raise StreamClosed(
                f"The tunnel of session {self._session_id} is closed: open a new one.",
                url=self._server.shown,
                session_id=self._session_id,
            )
        again, self.raised = self.raised, True
        raise clone_error(self.failure) if again else self.failure
