"""A forward proxy on loopback that connects only to addresses that the rules permit.

Chromium must use it for every connection, so that it covers the scripts of pages, redirects and DNS
rebinding as well as the commands of the agent.

Rules that the tests cite:

1. A name is resolved once for a connection. The connection is made to an address that was checked,
   never to the name.
2. A request without the credential of this run is answered with 407: another user of the machine
   cannot use the proxy. The credential is never forwarded.
3. A connection that ended up at this machine itself is closed before anything is sent, unless its
   host is listed.
4. The connection to a client serves one request.
5. Another user of the machine cannot use up the connections: only those with the credential count,
   and of the others the oldest is closed when there are too many.
"""

from __future__ import annotations

import contextlib
import secrets
from typing import TYPE_CHECKING, Final, final

import h11
import trio

from trio_mix._terminal_text import get_logger
from trio_mix.browser._happy_eyeballs import connect_to_one
from trio_mix.browser._proxy_request import (
    BadProxyRequest,
    ProxyTarget,
    forwarded_request_headers,
    forwarded_response_headers,
    has_credential,
    parse_target,
)

if TYPE_CHECKING:
    from trio_mix.browser._addresses import AddressRules

SIGN_IN_URL: Final = "http://sign-in.trio-mix.invalid/"
"""A URL that the proxy answers itself: loading it stores the credential in the browser."""

_LOGGER: Final = get_logger("trio_mix.browser")
_USER: Final = "trio-mix"
_MAX_HEAD: Final = 256 * 1024
_READ: Final = 64 * 1024
_HEAD_TIMEOUT: Final = 30.0
_RESOLVE_TIMEOUT: Final = 10.0
_CONNECT_TIMEOUT: Final = 15.0
_MAX_CONNECTIONS: Final = 256
_MAX_LOGGED: Final = 1000
_BROKEN: Final = (trio.BrokenResourceError, trio.ClosedResourceError, h11.ProtocolError)


class _Refused(Exception):
    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status
        self.text = text


@final
class FilteringProxy:
    """The proxy of one browser.

    Args:
      rules: decide which hosts and addresses are permitted.

    Attributes:
      refused: how many connections were refused by the rules.
      sign_ins: how often `SIGN_IN_URL` was loaded with the credential.
      port: the port on 127.0.0.1, once `start` has returned.
      password: the credential's password.
    """

    def __init__(self, rules: AddressRules) -> None:
        self.refused = 0
        self.sign_ins = 0
        self.port = 0
        self.user: str = _USER
        self.password: str = secrets.token_urlsafe(32)
        self._rules = rules
        self._limiter = trio.CapacityLimiter(_MAX_CONNECTIONS)
        self._unproven: dict[trio.CancelScope, None] = {}  # oldest first
        self._logged: set[tuple[str, int]] = set()

    def __repr__(self) -> str:
        return f"<trio_mix.browser FilteringProxy on port {self.port}>"

    @property
    def url(self) -> str:
        """The proxy's address, without the credential."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self, nursery: trio.Nursery) -> None:
        """Listen on a free port of 127.0.0.1; the nursery runs the proxy until it is cancelled."""
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, self.serve, listeners)

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Serve one connection of the browser."""
        async with stream:
            client = _Peer(stream, h11.SERVER)
            try:
                await self._serve(client)
            except _BROKEN as error:
                _LOGGER.debug("A connection through the proxy ended: %s", type(error).__name__)
            except _Refused as refused:
                with trio.move_on_after(_HEAD_TIMEOUT), contextlib.suppress(*_BROKEN):
                    await client.answer(refused.status, refused.text)
            except Exception:
                _LOGGER.exception("The proxy failed to serve a request of the browser.")

    async def _serve(self, client: _Peer) -> None:
        request = await self._request(client)
        if not isinstance(request, h11.Request):
            return
        if not has_credential(request.headers, f"{self.user}:{self.password}"):
            raise _Refused(407, "This proxy is for one browser.")
        async with self._limiter:
            await self._serve_browser(client, request)

    async def _request(self, client: _Peer) -> h11.Event | type[h11.PAUSED] | None:
        """Return what the client sent first, or None if it sends nothing in time (rule 5)."""
        with trio.move_on_after(_HEAD_TIMEOUT) as scope:
            self._unproven[scope] = None
            if len(self._unproven) > _MAX_CONNECTIONS:
                next(iter(self._unproven)).cancel(reason="newer connections need the place")
            try:
                return await client.next_event()
            finally:
                del self._unproven[scope]
        return None

    async def _serve_browser(self, client: _Peer, request: h11.Request) -> None:
        if bytes(request.target) == SIGN_IN_URL.encode():
            self.sign_ins += 1
            await client.answer(204, "")
            return
        try:
            target = parse_target(bytes(request.method), bytes(request.target))
        except BadProxyRequest as bad:
            raise _Refused(400, f"Bad request: {bad}.") from None
        server = await self._connect(target)
        async with server:
            if target.resource is None:
                await client.accept_tunnel()
                await _relay(client, server)
            else:
                await _forward(client, request, target, _Peer(server, h11.CLIENT))

    async def _connect(self, target: ProxyTarget) -> trio.SocketStream:
        """Resolve, check and connect (rule 1)."""
        listed = self._rules.lists(target.host, target.port)
        addresses: list[str] = []
        with trio.move_on_after(_RESOLVE_TIMEOUT):
            try:
                found = await trio.socket.getaddrinfo(
                    target.host, target.port, type=trio.socket.SOCK_STREAM
                )
            except (OSError, UnicodeError):
                raise _Refused(502, f"{target.host} has no address.") from None
            addresses = list(dict.fromkeys(str(info[4][0]) for info in found))
        permitted = [
            address for address in addresses if listed or self._rules.refusal(address) is None
        ]
        if not addresses:
            raise _Refused(504, f"The name {target.host} was not resolved in time.")
        if not permitted:
            raise self._refusal(target, addresses[0], self._rules.refusal(addresses[0]) or "")
        stream = None
        with trio.move_on_after(_CONNECT_TIMEOUT):
            stream = await connect_to_one(permitted, target.port)
        if stream is None:
            raise _Refused(502, f"{target.authority} could not be connected to.")
        here, there = stream.socket.getsockname()[0], stream.socket.getpeername()[0]
        if here == there and not listed:
            await trio.aclose_forcefully(stream)
            raise self._refusal(target, there, "an address of this machine")
        return stream

    def _refusal(self, target: ProxyTarget, address: str, kind: str) -> _Refused:
        self.refused += 1
        host, port = target.host[:255], target.port
        shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        remedy = f"List the host in browser.Policy(allow=['{shown}']) to permit it."
        if (host, port) not in self._logged and len(self._logged) < _MAX_LOGGED:
            self._logged.add((host, port))
            _LOGGER.warning(
                "The browser may not connect to %s: %s is %s. %s", shown, address, kind, remedy
            )
        # A page reads this text: it must not learn the address of a name of the local network.
        return _Refused(
            403, f"The browser may not connect to {shown}: its address is {kind}. {remedy}"
        )


class _Peer:
    """One side of the proxy, as HTTP/1.1 messages."""

    def __init__(self, stream: trio.abc.Stream, role: type[h11.CLIENT | h11.SERVER]) -> None:
        self.stream = stream
        self.http = h11.Connection(role, max_incomplete_event_size=_MAX_HEAD)

    async def next_event(self) -> h11.Event | type[h11.PAUSED]:
        """Return the next event that the peer sent."""
        await trio.lowlevel.checkpoint()
        while True:
            event = self.http.next_event()
            if event is h11.PAUSED or isinstance(event, h11.Event):
                return event
            self.http.receive_data(bytes(await self.stream.receive_some(_READ)))

    async def send(self, event: h11.Event) -> None:
        """Send an event to the peer."""
        await trio.lowlevel.checkpoint()
        if data := self.http.send(event):
            await self.stream.send_all(data)

    async def answer(self, status: int, text: str) -> None:
        """Answer a request with a text, if its answer has not begun."""
        await trio.lowlevel.checkpoint()
        if self.http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        body = text.encode()
        headers = [
            ("Content-Type", "text/plain; charset=utf-8"),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        if status == 407:
            headers.append(("Proxy-Authenticate", 'Basic realm="trio-mix"'))
        if status == 204:
            headers = headers[2:]
        await self.send(h11.Response(status_code=status, headers=headers))
        if body:
            await self.send(h11.Data(data=body))
        await self.send(h11.EndOfMessage())

    async def accept_tunnel(self) -> None:
        """Answer ``CONNECT``."""
        await self.next_event()  # the end of the request
        await self.send(h11.Response(status_code=200, headers=[]))


async def _forward(client: _Peer, request: h11.Request, target: ProxyTarget, server: _Peer) -> None:
    """Forward a request to a server, and its response back."""
    head = h11.Request(
        method=request.method,
        target=target.resource or "/",
        headers=forwarded_request_headers(request.headers.raw_items(), target.authority),
    )

    async def send_request() -> None:
        await trio.lowlevel.checkpoint()
        with contextlib.suppress(*_BROKEN):  # the response tells what happened
            await server.send(head)
            event = await client.next_event()
            while isinstance(event, h11.Data):
                await server.send(event)
                event = await client.next_event()
            if isinstance(event, h11.EndOfMessage):
                await server.send(event)
            while await client.stream.receive_some(_READ):
                pass
        nursery.cancel_scope.cancel(reason="the browser closed the connection")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_request)
        try:
            await _send_response(client, server)
        except _BROKEN:
            await client.answer(502, "The server's response is not valid HTTP.")
        nursery.cancel_scope.cancel(reason="the response is complete")


async def _send_response(client: _Peer, server: _Peer) -> None:
    while True:
        event = await server.next_event()
        if isinstance(event, h11.Response):
            if event.status_code == 407:
                raise h11.RemoteProtocolError("a server must not ask for the proxy's credential")
            headers = forwarded_response_headers(event.headers.raw_items())
            reply = h11.Response(
                status_code=event.status_code, headers=headers, reason=event.reason
            )
            await client.send(reply)
        elif isinstance(event, h11.Data):
            await client.send(event)
        elif isinstance(event, h11.EndOfMessage):
            await client.send(h11.EndOfMessage())
            return
        elif not isinstance(event, h11.InformationalResponse):
            raise h11.RemoteProtocolError("the response was cut short")


async def _relay(client: _Peer, server: trio.SocketStream) -> None:
    """Copy bytes in both directions until both have ended."""
    early, _ = client.http.trailing_data
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_copy, client.stream, server, bytes(early), nursery.cancel_scope)
        nursery.start_soon(_copy, server, client.stream, b"", nursery.cancel_scope)


async def _copy(
    source: trio.abc.Stream, sink: trio.abc.Stream, early: bytes, scope: trio.CancelScope
) -> None:
    await trio.lowlevel.checkpoint()
    try:
        if early:
            await sink.send_all(early)
        while data := await source.receive_some(_READ):
            await sink.send_all(data)
        if isinstance(sink, trio.abc.HalfCloseableStream):
            await sink.send_eof()
    except _BROKEN:
        scope.cancel(reason="the tunnel broke")
