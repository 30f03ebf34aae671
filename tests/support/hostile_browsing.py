"""A hostile server that drives a real Chromium through a tunnel, beside servers on loopback."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.support.chromium_tab import SANDBOX
from tests.support.devtools_kit import QUICK
from trio_mix import Mix
from trio_mix.browser import ChromiumNotFound, Policy, launch_chromium, open_tunnel
from trio_mix.browser._program import find_chromium
from trio_mix.testing import MixServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_mix.browser import Chromium, Tunnel

__all__ = ["Attack", "Website", "open_attack"]

NO_CHROMIUM = "no Chromium on this machine: the attack was NOT tried with a real browser"


class Website:
    """A web server on loopback that records the paths it was asked for."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {"/": b"<title>Site</title><body>INNER</body>"}
        self.redirects: dict[str, str] = {}
        self.downloads: dict[str, str] = {}
        self.asked: list[str] = []
        self.bodies: list[bytes] = []
        self.port = 0

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        return f"http://{self.address}"

    async def serve(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listeners[0].socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._answer, listeners)

    async def _answer(self, stream: trio.SocketStream) -> None:
        try:
            data = bytes(await stream.receive_some())
            if not data:
                return
            head, _, body = data.partition(b"\r\n\r\n")
            self.bodies.append(body)
            path = head.split(b" ")[1].decode()
            self.asked.append(path)
            await stream.send_all(self._response(path.partition("?")[0]))
        except trio.BrokenResourceError:
            pass
        finally:
            await trio.aclose_forcefully(stream)

    def _response(self, path: str) -> bytes:
        headers = ["Connection: close", "Access-Control-Allow-Origin: *"]
        status, body = "200 OK", self.pages.get(path, b"")
        if path in self.redirects:
            status = "302 Found"
            headers.append(f"Location: {self.redirects[path]}")
        elif path in self.downloads:
            name = self.downloads[path]
            headers.append(f'Content-Disposition: attachment; filename="{name}"')
            headers.append("Content-Type: application/octet-stream")
            body = b"DOWNLOADED"
        else:
            headers.append("Content-Type: text/html")
        headers.append(f"Content-Length: {len(body)}")
        return "\r\n".join([f"HTTP/1.1 {status}", *headers, "", ""]).encode() + body


class Attack:
    """A tunnel with a hostile server at its end.

    Attributes:
      site: a web server that the user listed.
      victim: one that the user did not list.
    """

    def __init__(
        self, server: MixServer, chromium: Chromium, tunnel: Tunnel, site: Website, victim: Website
    ) -> None:
        self.server = server
        self.chromium = chromium
        self.tunnel = tunnel
        self.site = site
        self.victim = victim

    async def ask(self, method: str, session: str | None = None, **params: object) -> Any:
        """Send a command; return its result or its error."""
        end = self.server.browser_tunnels[self.tunnel.session_id]
        answer = await end.command(method, params, session_id=session)
        return answer.get("error", answer.get("result"))

    async def denied(self, method: str, session: str | None = None, **params: object) -> str:
        """Send a command that must be denied; return the reason."""
        answer = await self.ask(method, session, **params)
        assert "was denied by the tunnel's policy" in answer.get("message", ""), (method, answer)
        message: str = answer["message"]
        return message

    async def value_of(self, expression: str, session: str | None = None) -> Any:
        """Return the value of an expression in the page; evaluated again if the page is left."""
        answer: Any = {}
        while "result" not in answer:
            answer = await self.ask(
                "Runtime.evaluate",
                session,
                expression=expression,
                returnByValue=True,
                awaitPromise=True,
                userGesture=True,
            )
            assert "exceptionDetails" not in answer, answer
            assert "denied" not in answer.get("message", ""), answer
        return answer["result"].get("value")

    async def until(self, expression: str) -> None:
        """Poll until an expression is true in the page."""
        while not await self.value_of(f"Boolean({expression})"):
            await self.value_of("new Promise(done => setTimeout(done, 20))")

    async def visit(self, url: str) -> str:
        """Navigate, wait until the page is loaded, and return its text."""
        marker = "window.left"
        await self.value_of(f"{marker} = true")
        await self.ask("Page.navigate", url=url)
        await self.until(f"!{marker} && document.readyState == 'complete'")
        text: str = await self.value_of("document.documentElement.innerText")
        return text

    async def pause(self, seconds: float) -> None:
        """Let the page work for a time."""
        await self.value_of(f"new Promise(done => setTimeout(done, {seconds * 1000}))")


@asynccontextmanager
async def open_attack(**options: Any) -> AsyncIterator[Attack]:
    """Open a tunnel to a Chromium that may visit one of two websites on this machine."""
    try:
        program = find_chromium()
    except ChromiumNotFound:
        pytest.skip(NO_CHROMIUM)
    site, victim = Website(), Website()
    with trio.fail_after(100):
        async with (
            MixServer(heartbeat_interval=None) as server,
            Mix(server.url) as mix,
            trio.open_nursery() as nursery,
        ):
            for website in (site, victim):
                await nursery.start(website.serve)
            allow = [site.address, *options.pop("allow", [])]
            policy = Policy(allow=allow, **options.pop("policy", {}))
            session = server.create_session()
            async with (
                launch_chromium(program, policy=policy, sandbox=SANDBOX) as chromium,
                open_tunnel(
                    mix, session, token="t", browser=chromium, reconnect=QUICK, **options
                ) as tunnel,
            ):
                yield Attack(server, chromium, tunnel, site, victim)
            nursery.cancel_scope.cancel()


def open_udp() -> socket.socket:
    """Return a UDP socket on loopback that records nothing but what is read from it."""
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("127.0.0.1", 0))
    udp.setblocking(False)
    return udp
