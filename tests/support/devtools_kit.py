"""DevTools of a browser that a test scripts, and a bench with a tunnel to it."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio
from trio.testing import memory_stream_pair
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest
from wsproto import ConnectionType, WSConnection

from trio_mix import Mix, ReconnectPolicy
from trio_mix.browser import DEFAULT_METHODS, Policy, Tunnel, open_tunnel
from trio_mix.testing import MixServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_mix.testing import BrowserTunnel

TOKEN = "sesame/öffne dich"
QUICK = ReconnectPolicy(initial_interval=0.01, max_interval=0.05, max_elapsed_time=30)

Message = dict[str, Any]

SESSIONS = ("S", "another", "one", "page", "two")
"""Sessions of pages that the fake browser attaches for the tunnel."""
METHODS = DEFAULT_METHODS | {
    *("A.b", "DOM.x", "New.x", "No.such", "Old.x", "X.y", "X.z"),
    *("Browser.c", "Browser.quick", "Browser.slow", "Browser.x"),
    *("Page.a", "Page.b", "Page.closeAlert", "Page.go", "Page.other", "Runtime.alert"),
}
POLICY = Policy(methods=METHODS, filter_network=False)
OPENING: dict[str, Message] = {
    "Browser.setDownloadBehavior": {},
    "Target.attachToTarget": {"sessionId": "P"},
    "Target.createBrowserContext": {"browserContextId": "C"},
    "Target.createTarget": {"targetId": "T"},
    "Target.setDiscoverTargets": {},
}
"""The answers to the commands that open a tunnel's context."""


class FakeDevTools:
    """Records its commands, and answers each with the name of the method unless scripted.

    ``answers`` maps a method to its answer: an outcome, a function of the command that returns
    one, or None for no answer. The commands that open a tunnel's context are answered, and not
    recorded: it has the page ``T`` with the session ``P``, and the sessions of `SESSIONS`.
    """

    def __init__(self) -> None:
        self.url = "ws://browser.test:9222/devtools/browser/1"
        self.asked: list[Message] = []
        self.answers: dict[str, Any] = {}
        self.sockets: list[WebSocketConnection] = []
        self.handshakes: list[list[tuple[bytes, bytes]]] = []
        self._changed = trio.Event()

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        self.url = f"ws://127.0.0.1:{port}/devtools/browser/1"
        task_status.started()
        await trio.serve_listeners(self.serve_stream, listeners)

    async def serve_stream(self, stream: trio.abc.Stream) -> None:
        # trio-websocket's server waits for a handshake also after its connection has ended.
        connection = WebSocketConnection(stream, WSConnection(ConnectionType.SERVER))

        async def read() -> None:
            await connection._reader_task()
            nursery.cancel_scope.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            await self.handle(await connection._get_request())
        await trio.aclose_forcefully(stream)

    async def handle(self, request: WebSocketRequest) -> None:
        self.handshakes.append(request.headers)
        socket = await request.accept()
        self.sockets.append(socket)
        opening = dict(OPENING) if request.path.startswith("/devtools/browser/") else {}
        try:
            while True:
                message = json.loads(await socket.get_message())
                if message["method"] in opening and message["method"] not in self.answers:
                    result = opening.pop(message["method"])
                    await socket.send_message(json.dumps({"id": message["id"], "result": result}))
                    if message["method"] == "Target.attachToTarget":
                        for session in SESSIONS:
                            await self.attached(session)
                    continue
                self.asked.append(message)
                self._wake()
                method = message["method"]
                outcome: Any = self.answers.get(method, {"result": {"did": method}})
                if callable(outcome):
                    outcome = outcome(message)
                if outcome is not None:
                    await socket.send_message(json.dumps({"id": message["id"]} | outcome))
        except ConnectionClosed:
            pass
        finally:
            self.sockets.remove(socket)
            self._wake()

    async def wait_asked(self, count: int) -> list[Message]:
        """Wait until a number of commands has been received since the start."""
        while len(self.asked) < count:
            await self._changed.wait()
        return self.asked

    async def wait_alone(self) -> None:
        """Wait until no connection is open."""
        while self.sockets:
            await self._changed.wait()

    async def answer(self, index: int, outcome: Message) -> None:
        await self.send({"id": self.asked[index]["id"], **outcome})

    async def send(self, message: Message) -> None:
        await self.sockets[-1].send_message(json.dumps(message))

    async def attached(self, session: str) -> None:
        """Send the event that a session was attached to a page of the context."""
        info = {"targetId": "T", "type": "page", "url": "about:blank", "browserContextId": "C"}
        params = {"sessionId": session, "targetInfo": info}
        await self.send({"method": "Target.attachedToTarget", "params": params})

    @property
    def methods(self) -> list[str]:
        return [message["method"] for message in self.asked]

    def _wake(self) -> None:
        changed, self._changed = self._changed, trio.Event()
        changed.set()


class Bench:
    """A server, a client, a fake browser."""

    def __init__(self, server: MixServer, mix: Mix, browser: FakeDevTools) -> None:
        self.server = server
        self.mix = mix
        self.browser = browser
        self.session = server.create_session()
        self.nursery: trio.Nursery | None = None

    @property
    def end(self) -> BrowserTunnel:
        """The server's end of the tunnel."""
        return self.server.browser_tunnels[self.session]

    def tunnel(self, **options: Any) -> Tunnel:
        given = {"token": TOKEN, "cdp_url": self.browser.url, "reconnect": QUICK, "policy": POLICY}
        options = dict[str, Any](given | options)
        if self.server.in_memory:
            options.setdefault("connect", self.connect)
        return open_tunnel(self.mix, options.pop("session", self.session), **options)

    async def connect(self, host: str, _port: int) -> trio.abc.Stream:
        """Connect in memory, to the browser or to the server."""
        await trio.lowlevel.checkpoint()
        if host != "browser.test":
            return self.server.network.connect()
        mine, theirs = memory_stream_pair()
        assert self.nursery is not None
        self.nursery.start_soon(self.browser.serve_stream, theirs)
        return mine


@asynccontextmanager
async def open_bench(*, listen: bool = True, **client: Any) -> AsyncIterator[Bench]:
    async with (
        MixServer(listen=listen, heartbeat_interval=None) as server,
        Mix(server.url, network=None if listen else server.network, **client) as mix,
        trio.open_nursery() as nursery,
    ):
        bench = Bench(server, mix, FakeDevTools())
        bench.nursery = nursery
        if listen:
            await nursery.start(bench.browser.serve)
        yield bench
        nursery.cancel_scope.cancel()
