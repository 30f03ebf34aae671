"""One connection to the server's end of the tunnel, from its handshake to its loss.

Rules:

1. `TunnelConnection.run` ends by raising `WebSocketRefused` or `TransportLost`.
2. Messages are received without delay, so that pings are answered while the browser is busy and
   while answers are being sent.
3. When the connection ends, its pending calls are cancelled.
4. What is queued is bounded in bytes, on the way to the browser by the `CommandTable`. A server
   that does not read the answers loses the connection when they exceed the bound.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, NoReturn, final

import trio

from trio_mix.browser._commands import CommandTable
from trio_mix.browser._devtools import PendingCall
from trio_mix.browser._transport import TransportLost
from trio_mix.browser._websocket import WebSocket, WebSocketRefused

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Mapping

    from trio_mix.browser._commands import DevToolsCommand, TunnelCounters
    from trio_mix.browser._filter import CommandFilter
    from trio_mix.browser._settings import TunnelSettings
    from trio_mix.browser._websocket import WebSocketAddress

_MAX_COMMAND = 64 * 2**20
_MAX_PENDING = 256


@final
class TunnelConnection:
    """A connection to the server that passes its commands to the filter of one browser."""

    def __init__(
        self,
        address: WebSocketAddress,
        commands: CommandFilter,
        settings: TunnelSettings,
        counters: TunnelCounters,
    ) -> None:
        self._commands = commands
        self._settings = settings
        self._socket = WebSocket(address, connect=settings.connect, max_message=_MAX_COMMAND)
        self._table = CommandTable(
            timeout=settings.command_timeout,
            max_answer=settings.max_answer_size,
            max_pending=_MAX_PENDING,
            max_size=settings.max_queue_size,
            counters=counters,
        )
        self._calls: dict[DevToolsCommand, PendingCall] = {}
        self._outgoing: deque[str] = deque()
        self._outgoing_size = 0
        self._ended = False
        self._scope: trio.CancelScope | None = None
        self._work = trio.Event()
        self._flushed = trio.Event()
        self._failure: TransportLost | None = None

    @property
    def pending(self) -> int:
        """The number of commands that the browser has not answered."""
        return len(self._calls)

    async def run(self, opened: Callable[[], None]) -> NoReturn:
        """Connect, call ``opened``, and serve until the connection is lost.

        Raises:
          WebSocketRefused: the handshake was answered with a status other than 101.
          TransportLost: the handshake was not answered, or the connection has ended.
        """
        limit = self._settings.connect_timeout
        failure: TransportLost | WebSocketRefused | None = None
        async with trio.open_nursery() as nursery:
            self._scope = nursery.cancel_scope
            try:
                failure = TransportLost(f"the handshake was not answered within {limit:g} s")
                with trio.move_on_after(limit) as scope:
                    await self._socket.open(nursery)
                if not scope.cancelled_caught:
                    failure = None
                    opened()
                    for work in (self._send, self._expire, self._ping):
                        nursery.start_soon(self._guard, work, nursery.cancel_scope)
                    await self._receive()
            except (TransportLost, WebSocketRefused) as error:
                failure = error
            finally:
                self._abandon()
                # A lost connection has no peer for a closing handshake.
                lost = failure is not None or self._failure is not None
                await self._socket.aclose(0 if lost else self._settings.close_timeout)
                nursery.cancel_scope.cancel(reason="the connection has ended")
        if self._failure is not None:
            raise self._failure
        raise TransportLost("the connection has ended") if failure is None else failure

    async def send(self, text: str) -> None:
        """Send a message that is not an answer; raises `TransportLost`."""
        await self._socket.send(text)

    async def flush(self) -> None:
        """Wait until all queued answers are sent, or the connection is lost."""
        await trio.lowlevel.checkpoint()
        while self._outgoing:
            await self._flushed.wait()

    async def _guard(self, work: Callable[[], Awaitable[None]], scope: trio.CancelScope) -> None:  # noqa: ASYNC910 - a task of its own: nobody awaits it
        try:
            await work()
        except TransportLost as lost:
            self._failure = self._failure or lost
            scope.cancel(reason="the connection was lost")

    async def _receive(self) -> NoReturn:
        while True:
            text = await self._socket.receive()
            command, due = self._table.receive(text, trio.current_time())
            self._push(due)
            if command is not None:
                self._submit(command)

    def _submit(self, command: DevToolsCommand) -> None:
        def done(outcome: Mapping[str, object]) -> None:
            self._calls.pop(command, None)
            self._push(self._table.settle(command, outcome))

        call = PendingCall(command.method, command.params, command.target, done)
        self._calls[command] = call
        self._commands.submit(call)

    def _push(self, answers: Iterable[str]) -> None:
        if self._ended:
            return
        for answer in answers:
            self._outgoing.append(answer)
            self._outgoing_size += len(answer)
        if self._outgoing:
            self._work.set()
        most = self._settings.max_queue_size
        if self._outgoing_size > most and self._scope is not None:
            lost = TransportLost(f"the server did not read the answers: more than {most} bytes")
            self._failure = self._failure or lost
            self._abandon()
            self._scope.cancel(reason="the server does not read")

    async def _send(self) -> None:
        while True:
            while self._outgoing:
                sent = self._outgoing[0]
                await self._socket.send(sent)
                if self._ended:  # meanwhile: nothing is queued any more
                    return
                self._outgoing.popleft()
                self._outgoing_size -= len(sent)
            self._flushed.set()
            self._flushed, self._work = trio.Event(), trio.Event()
            await self._work.wait()

    async def _expire(self) -> None:
        while True:
            # A command that arrives during this sleep has a later deadline.
            first = self._table.next_deadline
            if first is None:
                first = trio.current_time() + self._settings.command_timeout
            await trio.sleep_until(first)
            if self._ended:
                return
            late, due = self._table.expire(trio.current_time())
            for command in late:
                self._commands.cancel(self._calls.pop(command))
            self._push(due)

    async def _ping(self) -> None:
        while True:
            await trio.sleep(self._settings.ping_interval)
            await self._socket.ping(self._settings.ping_timeout)

    def _abandon(self) -> None:
        self._ended = True
        for call in self._calls.values():
            self._commands.cancel(call)
        self._calls.clear()
        self._outgoing.clear()
        self._outgoing_size = 0
        self._flushed.set()
