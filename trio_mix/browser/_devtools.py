"""The connection to a browser's DevTools.

Rules that the tests cite:

1. Commands are sent to the browser in the order of `DevTools.submit`, with new ids.
2. A command whose session is detached or whose page has crashed is answered with an error at once:
   the browser would never answer it.
3. A command without ``sessionId`` is sent to the browser itself. If the browser's own endpoint does
   not know the method, the method is one of a page's: this command, and all later ones of that
   method, are sent to the first page, which is attached or created when needed. The order of such
   commands is kept.
4. When the connection ends, every pending command is answered with an error, then `gone` is set.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, TypeAlias, final

import attrs
import trio

from trio_mix._http import Http, Target, TrioBackend
from trio_mix.browser._commands import error, from_json, to_json
from trio_mix.browser._errors import BrowserGone
from trio_mix.browser._websocket import WebSocket, WebSocketLost, WebSocketRefused
from trio_mix.errors import ConfigurationError, TransportError

if TYPE_CHECKING:
    from trio_mix.browser._websocket import Connect, WebSocketAddress

__all__ = ["DevTools", "PendingCall", "devtools_url", "http_form", "open_devtools"]

Outcome: TypeAlias = Mapping[str, object]
Done: TypeAlias = Callable[[Outcome], None]

_MAX_MESSAGE = 256 * 2**20
_METHOD_NOT_FOUND = -32601


@attrs.define(eq=False)
class PendingCall:
    """A command that was submitted and is not answered yet."""

    method: str
    params: dict[str, object] | None = attrs.field(repr=False)
    session: str | None
    done: Done = attrs.field(repr=False)
    number: int | None = None
    """Its id on this connection, once it has been sent."""
    cancelled: bool = False
    """Whether its answer is no longer needed."""


@final
class DevTools:
    """A connection to a browser, or to one page of it."""

    def __init__(
        self,
        address: WebSocketAddress,
        *,
        shown: str,
        connect: Connect,
        timeout: float,
        close_timeout: float,
    ) -> None:
        self.shown = shown
        self.gone = trio.Event()
        self.reason = ""
        self.events = 0
        self.late = 0
        self.garbage = 0
        self._socket = WebSocket(address, connect=connect, max_message=_MAX_MESSAGE)
        self._whole_browser = "/devtools/page/" not in address.resource
        self._timeout = timeout
        self._close_timeout = close_timeout
        self._last = 0
        self._pending: dict[int, PendingCall] = {}
        # Unbounded, but short: the tunnel limits the number of pending commands.
        self._out, self._to_send = trio.open_memory_channel[str](math.inf)
        self._unrouted, self._to_route = trio.open_memory_channel[PendingCall](math.inf)
        self._page_methods: dict[str, bool] = {}
        self._page: str | None = None

    async def open(self, nursery: trio.Nursery) -> None:
        """Connect, and run in the nursery; raises `WebSocketLost` or `WebSocketRefused`."""
        try:
            await self._socket.open(nursery)
        except BaseException:
            await self._socket.aclose(0)
            raise
        nursery.start_soon(self._receive)
        nursery.start_soon(self._send)
        nursery.start_soon(self._route)

    def submit(self, call: PendingCall) -> None:
        """Send a command; ``done`` is called with its outcome unless `cancel` is called first."""
        if self.gone.is_set():
            call.done(self._no_browser(call.method))
        elif call.session is None and self._whole_browser:
            self._unrouted.send_nowait(call)
        else:
            self._post(call)

    def cancel(self, call: PendingCall) -> None:
        """Drop the outcome of a command; the browser still runs it."""
        call.cancelled = True
        if call.number is not None:
            self._pending.pop(call.number, None)

    def failure(self, *, url: str, session_id: str) -> BrowserGone:
        """Return the error for a connection that has ended."""
        return BrowserGone(
            f"The connection to the browser at {self.shown} was lost: {self.reason}. Start the"
            " browser again and open a new tunnel to it.",
            browser=self.shown,
            url=url,
            session_id=session_id,
        )

    def _no_browser(self, method: str) -> Outcome:
        return error(f"{method} was not answered: the browser was lost ({self.reason})")

    def _post(self, call: PendingCall) -> None:
        self._last += 1
        call.number = self._last
        self._pending[call.number] = call
        message: dict[str, object] = {"id": call.number, "method": call.method}
        if call.params is not None:
            message["params"] = call.params
        if call.session is not None:
            message["sessionId"] = call.session
        self._out.send_nowait(to_json(message))

    async def _call(
        self, method: str, params: dict[str, object] | None, session: str | None = None
    ) -> Outcome:
        """Send a command and wait for its outcome."""
        answered = trio.Event()
        outcomes: list[Outcome] = []

        def done(outcome: Outcome) -> None:
            outcomes.append(outcome)
            answered.set()

        call = PendingCall(method, params, session, done)
        if self.gone.is_set():
            await trio.lowlevel.checkpoint()
            return self._no_browser(method)
        self._post(call)
        with trio.move_on_after(self._timeout):
            await answered.wait()
            return outcomes[0]
        self.cancel(call)
        return error(f"The browser did not answer {method} within {self._timeout:g} s")

    # The connection

    async def _send(self) -> None:  # noqa: ASYNC910 - a task of its own: nobody awaits it
        try:
            async for text in self._to_send:
                await self._socket.send(text)
        except WebSocketLost:
            pass  # the reader notices it as well, and reports it

    async def _receive(self) -> None:
        try:
            while True:
                self._take(await self._socket.receive())
        except WebSocketLost as lost:
            self.reason = str(lost)
            self._fail_all(lambda _: True, lambda call: self._no_browser(call.method))
            self.gone.set()
        finally:
            await self._socket.aclose(0 if self.gone.is_set() else self._close_timeout)

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
        if method == "Target.detachedFromTarget":
            self._session_ended(known.get("sessionId"), "its target was closed or detached")
        elif method == "Inspector.targetCrashed":
            self._session_ended(session, "its page has crashed")

    def _session_ended(self, session: object, why: str) -> None:
        if session is not None and session == self._page:
            self._page = None
        self._fail_all(
            lambda call: call.session == session,
            lambda call: error(f"{call.method} was not answered: {why}"),
        )

    def _fail_all(
        self, which: Callable[[PendingCall], bool], outcome: Callable[[PendingCall], Outcome]
    ) -> None:
        for call in [call for call in self._pending.values() if which(call)]:
            if call.number is not None:
                del self._pending[call.number]
            call.done(outcome(call))

    # Commands that name no session

    async def _route(self) -> None:
        async for call in self._to_route:
            if call.cancelled:
                continue
            if self.gone.is_set():
                call.done(self._no_browser(call.method))
                continue
            for_page = self._page_methods.get(call.method)
            if for_page is None:
                # Wait until the method is known: later commands must not overtake this one.
                outcome = await self._call(call.method, call.params)
                for_page = _is_unknown_method(outcome)
                self._page_methods[call.method] = for_page
                if not for_page:
                    if not call.cancelled:
                        call.done(outcome)
                    continue
            if for_page:
                await self._post_to_page(call)
            else:
                self._post(call)

    async def _post_to_page(self, call: PendingCall) -> None:
        page = await self._find_page()
        if call.cancelled:
            return
        if isinstance(page, str):
            call.session = page
            self._post(call)
        else:
            call.done(page)

    async def _find_page(self) -> str | Outcome:
        """Return the session of the page for commands without one, or an error."""
        if self._page is not None:
            return self._page  # noqa: ASYNC910 - the known page needs no wait
        found = await self._call("Target.getTargets", None)
        target = _first_page(found)
        if target is None:
            made = await self._call("Target.createTarget", {"url": "about:blank"})
            target = _text(made, "targetId")
        if target is None:
            return error("The browser has no page and did not create one")
        attached = await self._call("Target.attachToTarget", {"targetId": target, "flatten": True})
        self._page = _text(attached, "sessionId")
        return attached if self._page is None else self._page


def _is_unknown_method(outcome: Outcome) -> bool:
    failure = outcome.get("error")
    return isinstance(failure, Mapping) and failure.get("code") == _METHOD_NOT_FOUND


def _text(outcome: Outcome, name: str) -> str | None:
    result = outcome.get("result")
    value = result.get(name) if isinstance(result, Mapping) else None
    return value if isinstance(value, str) else None


def _first_page(outcome: Outcome) -> str | None:
    result = outcome.get("result")
    targets = result.get("targetInfos") if isinstance(result, Mapping) else None
    for target in targets if isinstance(targets, list) else []:
        if isinstance(target, Mapping) and target.get("type") == "page":
            found = target.get("targetId")
            if isinstance(found, str):
                return found
    return None


def http_form(url: str) -> str:
    """Return the URL of a WebSocket with the scheme of its HTTP handshake."""
    for scheme, http in (("ws://", "http://"), ("wss://", "https://")):
        if url[: len(scheme)].lower() == scheme:
            return http + url[len(scheme) :]
    return url


async def devtools_url(cdp_url: str, shown: str, timeout: float) -> str:
    """Return the WebSocket URL of a browser; an ``http://`` address is queried for it.

    Raises:
      BrowserGone: nothing answers at the address, or it is not a browser.
    """
    if cdp_url[:2].lower() == "ws":
        await trio.lowlevel.checkpoint()
        return cdp_url
    # Without the proxies of the environment: DevTools are local, or on the same network.
    http = Http(network_backend=TrioBackend())
    problem = "the answer is not that of a browser's DevTools"
    try:
        base = cdp_url.partition("?")[0].rstrip("/")
        response = await http.request("GET", f"{base}/json/version", headers={}, timeout=timeout)
        value = json.loads(response.body)
        if isinstance(value, dict) and isinstance(value.get("webSocketDebuggerUrl"), str):
            found: str = value["webSocketDebuggerUrl"]
            Target.parse(http_form(found))
            return found
    except TransportError as failure:
        problem = getattr(failure, "reason", "no answer")
    except (ValueError, RecursionError, ConfigurationError):
        pass
    finally:
        await http.aclose()
    raise not_there(shown, problem)


def not_there(shown: str, problem: str) -> BrowserGone:
    """Return the error for a browser that cannot be reached."""
    return BrowserGone(
        f"No browser can be reached at {shown}: {problem}. Start one with"
        " --remote-debugging-port, or with trio_mix.browser.launch_chromium().",
        browser=shown,
    )


async def open_devtools(devtools: DevTools, nursery: trio.Nursery, timeout: float) -> None:
    """Connect with a timeout.

    Raises:
      BrowserGone: nothing answers at the address, or it is not a browser.
    """
    problem = f"no answer within {timeout:g} s"
    with trio.move_on_after(timeout):  # noqa: ASYNC912 - it opens a connection
        try:
            await devtools.open(nursery)
            return
        except WebSocketLost as lost:
            problem = str(lost)
        except WebSocketRefused as refused:
            problem = f"the handshake was answered HTTP {refused.status_code}"
    raise not_there(devtools.shown, problem)
