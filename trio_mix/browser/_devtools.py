"""The connection to a browser's DevTools.

Rules that the tests cite:

1. Commands are sent to the browser in the order of `DevTools.submit`, with new ids.
2. When the connection ends, every pending command is answered with an error, then `gone` is set.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Final, TypeAlias, final

import attrs
import trio

from trio_mix.browser._commands import error, from_json, to_json
from trio_mix.browser._errors import BrowserGone
from trio_mix.browser._transport import TransportLost

if TYPE_CHECKING:
    from trio_mix.browser._transport import Transport

Outcome: TypeAlias = Mapping[str, object]
"""A browser's answer: it has ``result`` or ``error``."""
Listener: TypeAlias = Callable[[str, Mapping[str, object], str | None], None]
"""Receives the method, the parameters and the session of an event."""

MAX_MESSAGE: Final = 256 * 2**20


@attrs.define(eq=False)
class PendingCall:
    """A command that was submitted and is not answered yet."""

    method: str
    params: dict[str, object] | None = attrs.field(repr=False)
    session: str | None
    done: Callable[[Outcome], None] = attrs.field(repr=False)
    number: int | None = None
    """Its id on this connection, once it has been sent."""
    cancelled: bool = False
    """Whether its answer is no longer needed."""


@final
class DevTools:
    """A connection to a browser, or to one of its pages.

    Args:
      transport: carries the messages.
      shown: names the browser in errors.
      timeout: seconds until `call` returns an error.
      close_timeout: the timeout of closing the transport in seconds.
    """

    def __init__(
        self, transport: Transport, *, shown: str, timeout: float, close_timeout: float
    ) -> None:
        self.shown = shown
        self.gone = trio.Event()
        self.reason = ""
        self.events = 0
        self.late = 0
        self.garbage = 0
        self._transport = transport
        self._timeout = timeout
        self._close_timeout = close_timeout
        self._last = 0
        self._pending: dict[int, PendingCall] = {}
        # Unbounded, but short: the tunnels limit the number of pending commands.
        self._out, self._to_send = trio.open_memory_channel[str](math.inf)
        self._listeners: list[Listener] = []

    async def open(self, nursery: trio.Nursery) -> None:
        """Connect, and run in the nursery; raises `TransportLost` or `WebSocketRefused`."""
        try:
            await self._transport.open(nursery)
        except BaseException:
            await self._transport.aclose(0)
            raise
        nursery.start_soon(self._receive)
        nursery.start_soon(self._send)

    def listen(self, listener: Listener) -> None:
        """Call a function with every event from now on."""
        self._listeners.append(listener)

    def unlisten(self, listener: Listener) -> None:
        """Stop calling a function."""
        self._listeners.remove(listener)

    def submit(self, call: PendingCall) -> None:
        """Send a command; ``done`` is called with its outcome unless `cancel` is called first."""
        if self.gone.is_set():
            call.done(self._lost(call.method))
            return
        self._last += 1
        call.number = self._last
        self._pending[call.number] = call
        message: dict[str, object] = {"id": call.number, "method": call.method}
        if call.params is not None:
            message["params"] = call.params
        if call.session is not None:
            message["sessionId"] = call.session
        self._out.send_nowait(to_json(message))

    def cancel(self, call: PendingCall) -> None:
        """Drop the outcome of a command; the browser still runs it."""
        call.cancelled = True
        if call.number is not None:
            self._pending.pop(call.number, None)

    async def call(
        self, method: str, params: dict[str, object] | None = None, session: str | None = None
    ) -> Outcome:
        """Send a command and return its outcome; without an answer in time it is an error."""
        answered = trio.Event()
        outcomes: list[Outcome] = []

        def done(outcome: Outcome) -> None:
            outcomes.append(outcome)
            answered.set()

        call = PendingCall(method, params, session, done)
        self.submit(call)
        with trio.move_on_after(self._timeout):
            await answered.wait()
            return outcomes[0]
        self.cancel(call)
        return error(f"The browser did not answer {method} within {self._timeout:g} s")

    def fail_session(self, session: object, reason: str) -> None:
        """Answer the pending commands of a session with an error."""
        self._fail(
            lambda call: call.session == session,
            lambda call: error(f"{call.method} was not answered: {reason}"),
        )

    def failure(self, *, url: str, session_id: str) -> BrowserGone:
        """Return the error for a connection that has ended."""
        return BrowserGone(
            f"The connection to the browser at {self.shown} was lost: {self.reason}. Start the"
            " browser again and open a new tunnel to it.",
            browser=self.shown,
            url=url,
            session_id=session_id,
        )

    def _lost(self, method: str) -> Outcome:
        return error(f"{method} was not answered: the browser was lost ({self.reason})")

    def _fail(
        self, which: Callable[[PendingCall], bool], outcome: Callable[[PendingCall], Outcome]
    ) -> None:
        for number, call in [each for each in self._pending.items() if which(each[1])]:
            # The outcome of one command may end its connection, which cancels the others.
            if not call.cancelled:
                del self._pending[number]
                call.done(outcome(call))

    async def _send(self) -> None:  # noqa: ASYNC910 - a task of its own: nobody awaits it
        try:
            async for text in self._to_send:
                await self._transport.send(text)
        except TransportLost:
            pass  # the reader notices it as well, and reports it

    async def _receive(self) -> None:
        close_timeout = self._close_timeout
        self.reason = "it was closed"
        try:
            while True:
                self._take(await self._transport.receive())
        except TransportLost as lost:
            self.reason, close_timeout = str(lost), 0
        finally:
            try:
                self._fail(lambda _: True, lambda call: self._lost(call.method))
            finally:
                self.gone.set()
                await self._transport.aclose(close_timeout)

    def _take(self, text: str | bytes) -> None:
        message = from_json(text)
        if message is None:
            self.garbage += 1
            return
        number = message.get("id")
        if isinstance(number, int):
            call = self._pending.pop(number, None)
            if call is None:
                self.late += 1
            else:
                call.done(message)
            return
        method, params, session = (message.get(name) for name in ("method", "params", "sessionId"))
        if not isinstance(method, str):
            self.garbage += 1
            return
        self.events += 1
        known = params if isinstance(params, dict) else {}
        for listener in tuple(self._listeners):
            listener(method, known, session if isinstance(session, str) else None)


def text_of(outcome: Outcome, name: str) -> str | None:
    """Return a text field of a result, or None if the outcome has none."""
    result = outcome.get("result")
    value = result.get(name) if isinstance(result, Mapping) else None
    return value if isinstance(value, str) else None
