"""The filtering proxy, on loopback, with a resolver of the test. Rules of `_proxy`."""

from __future__ import annotations

import base64
import logging
import os
import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.socket

from tests.support.resolver import TableResolver
from trio_mix.browser import _proxy
from trio_mix.browser._addresses import AddressRules
from trio_mix.browser._happy_eyeballs import connect_to_one
from trio_mix.browser._proxy import SIGN_IN_URL, FilteringProxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable


ROOT = hasattr(os, "geteuid") and os.geteuid() == 0


class Scene:
    """A proxy, and a web server on loopback that records its requests."""

    def __init__(self, proxy: FilteringProxy, port: int, received: list[bytes]) -> None:
        self.proxy = proxy
        self.port = port
        self.received = received

    async def send(self, *lines: str, credential: str | None = "", body: bytes = b"") -> bytes:
        """Send a request to the proxy and return the complete response."""
        given = f"{self.proxy.user}:{self.proxy.password}" if credential == "" else credential
        head = [*lines]
        if given is not None:
            head.append(f"Proxy-Authorization: Basic {base64.b64encode(given.encode()).decode()}")
        stream = await trio.open_tcp_stream("127.0.0.1", self.proxy.port)
        async with stream:
            await stream.send_all("\r\n".join([*head, "", ""]).encode() + body)
            return b"".join([bytes(data) async for data in stream])

    async def get(self, url: str, *headers: str, **options: Any) -> bytes:
        return await self.send(f"GET {url} HTTP/1.1", "Host: x", *headers, **options)


@asynccontextmanager
async def scene(
    allow: list[str] | None = None,
    answer: Callable[[bytes], bytes] | None = None,
    names: dict[str, list[list[str]]] | None = None,
) -> AsyncIterator[Scene]:
    received: list[bytes] = []

    async def serve(stream: trio.SocketStream) -> None:
        data = bytes(await stream.receive_some())
        if b"Content-Length" in data and data.endswith(b"\r\n\r\n"):
            data += bytes(await stream.receive_some())
        if not data:
            return
        received.append(data)
        reply = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\ninner"
        await stream.send_all(reply if answer is None else answer(data))
        await stream.send_eof()

    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(trio.serve_tcp, serve, 0)
            port = listeners[0].socket.getsockname()[1]
            hosts = [entry.replace("PORT", str(port)) for entry in allow or []]
            trio.socket.set_custom_hostname_resolver(TableResolver(names or {}))
            proxy = FilteringProxy(AddressRules(hosts))
            await proxy.start(nursery)
            yield Scene(proxy, port, received)
            nursery.cancel_scope.cancel()


def status(response: bytes) -> int:
    return int(response.split(b" ", 2)[1])


async def test_a_listed_host_is_served_and_an_unlisted_name_for_it_is_not(
    caplog: pytest.LogCaptureFixture,
) -> None:
    names = {"dev.test": [["127.0.0.1"]], "evil.test": [["127.0.0.1"]]}
    async with scene(["dev.test:PORT"], names=names) as stage:
        response = await stage.get(f"http://dev.test:{stage.port}/a?b", "Cookie: c=d")
        assert status(response) == 200
        assert response.endswith(b"inner")
        (request,) = stage.received
        assert request.startswith(b"GET /a?b HTTP/1.1\r\n")
        assert f"Host: dev.test:{stage.port}\r\n".encode() in request
        assert b"Cookie: c=d" in request
        assert b"proxy-" not in request.lower()
        for host in ("evil.test", "127.0.0.1", "localhost", "[::ffff:127.0.0.1]"):
            response = await stage.get(f"http://{host}:{stage.port}/")
            assert status(response) in (403, 502), host
        assert b"evil.test" not in response
        assert len(stage.received) == 1
        assert stage.proxy.refused >= 2
    assert "evil.test" in caplog.text
    assert "Policy(allow=" in caplog.text


async def test_every_way_to_write_a_local_address_is_refused() -> None:
    async with scene() as stage:
        for host in (
            *("127.0.0.1", "127.1", "2130706433", "0x7f.1", "0177.0.0.1", "0"),
            *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]"),
            *("169.254.169.254", "10.0.0.1", "192.168.0.1", "[fe80::1]", "[fd00::1]"),
        ):
            assert status(await stage.get(f"http://{host}:{stage.port}/")) in (400, 403, 502), host
            connect = f"CONNECT {host}:{stage.port} HTTP/1.1"
            assert status(await stage.send(connect, "Host: x")) in (400, 403, 502), host
        assert stage.received == []


async def test_a_name_is_resolved_once_for_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    """DNS rebinding: the first answer is public, the second is loopback."""
    connected: list[tuple[list[str], int]] = []

    async def connect(addresses: list[str], port: int) -> None:
        await trio.lowlevel.checkpoint()
        connected.append((addresses, port))

    monkeypatch.setattr(_proxy, "connect_to_one", connect)
    names = {"rebind.test": [["1.1.1.1"], ["127.0.0.1"]], "both.test": [["10.0.0.1", "1.1.1.1"]]}
    async with scene(names=names) as stage:
        assert status(await stage.get(f"http://rebind.test:{stage.port}/")) == 502
        assert status(await stage.get(f"http://rebind.test:{stage.port}/")) == 403
        assert status(await stage.get(f"http://both.test:{stage.port}/")) == 502
        assert connected == [(["1.1.1.1"], stage.port), (["1.1.1.1"], stage.port)]
        assert stage.received == []


async def test_a_connection_that_ends_at_this_machine_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rule 3. A public address of this machine is as near as loopback."""

    async def connect(_: list[str], port: int) -> trio.SocketStream | None:
        return await connect_to_one(["127.0.0.1"], port)

    monkeypatch.setattr(_proxy, "connect_to_one", connect)
    async with scene(names={"own.test": [["1.1.1.1"]]}) as stage:
        response = await stage.get(f"http://own.test:{stage.port}/")
        assert status(response) == 403
        assert b"an address of this machine" in response
        assert b"".join(stage.received) == b""


async def test_only_the_credential_of_this_run_is_accepted() -> None:
    async with scene(["127.0.0.1"]) as stage:
        for credential in (None, "trio-mix:", "trio-mix:wrong", "other:x"):
            for line in (f"GET http://127.0.0.1:{stage.port}/", f"CONNECT 127.0.0.1:{stage.port}"):
                response = await stage.send(f"{line} HTTP/1.1", "Host: x", credential=credential)
                assert status(response) == 407
                assert b"Proxy-Authenticate: Basic" in response
        assert stage.received == []
        assert status(await stage.get(SIGN_IN_URL)) == 204
        assert status(await stage.get(SIGN_IN_URL, credential=None)) == 407
        assert stage.proxy.password not in repr(stage.proxy) + stage.proxy.url


async def test_a_tunnel_copies_bytes_in_both_directions() -> None:
    async with scene(
        ["dev.test"], lambda data: data.upper(), {"dev.test": [["127.0.0.1"]]}
    ) as stage:
        stream = await trio.open_tcp_stream("127.0.0.1", stage.proxy.port)
        user = f"{stage.proxy.user}:{stage.proxy.password}".encode()
        async with stream:
            await stream.send_all(
                f"CONNECT dev.test:{stage.port} HTTP/1.1\r\nHost: x\r\nProxy-Authorization: Basic"
                f" {base64.b64encode(user).decode()}\r\n\r\n".encode()
            )
            assert status(bytes(await stream.receive_some())) == 200
            await stream.send_all(b"hello")
            assert await stream.receive_some() == b"HELLO"
            assert await stream.receive_some() == b""


async def test_requests_and_responses_of_every_framing_pass() -> None:
    def answer(data: bytes) -> bytes:
        if b"/chunked" in data:
            body = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
            return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body
        if b"/eof" in data:
            return b"HTTP/1.1 200 OK\r\n\r\nabcde"
        if b"/none" in data:
            return b"HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n"
        if b"/early" in data:
            return b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"
        return b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + data[-5:]

    async with scene(["127.0.0.1"], answer) as stage:
        base = f"http://127.0.0.1:{stage.port}"
        for path, ending in (("/chunked", b"0\r\n\r\n"), ("/eof", b"0\r\n\r\n"), ("/early", b"x")):
            response = await stage.get(base + path)
            assert status(response) == 200
            assert response.endswith(ending)
        assert status(await stage.get(f"{base}/none")) == 304
        head = await stage.send(f"HEAD {base}/ HTTP/1.1", "Host: x")
        assert head.endswith(b"\r\n\r\n")
        posted = await stage.send(
            f"POST {base}/ HTTP/1.1", "Host: x", "Content-Length: 5", body=b"12345"
        )
        assert posted.endswith(b"12345")


async def test_invalid_input_of_either_side_ends_the_connection_with_an_answer() -> None:
    async with scene(["127.0.0.1"], lambda _: b"not http\r\n\r\n") as stage:
        assert status(await stage.get(f"http://127.0.0.1:{stage.port}/")) == 502
        assert status(await stage.get("/relative")) == 400
        assert status(await stage.get("http://127.0.0.1:1/")) == 502
        assert status(await stage.get("http://unknown.test/")) == 502
        for data in (b"", b"\x00\xff\r\n\r\n", b"GET http://a/ HTTP/1.1\r\n" + b"A: b\r\n" * 99999):
            stream = await trio.open_tcp_stream("127.0.0.1", stage.proxy.port)
            async with stream:
                try:
                    await stream.send_all(data)
                    await stream.send_eof()
                    while await stream.receive_some():
                        pass
                except trio.BrokenResourceError:
                    pass
        assert status(await stage.get(SIGN_IN_URL)) == 204


async def test_a_server_that_asks_for_the_proxys_credential_is_not_forwarded() -> None:
    challenge = b"HTTP/1.1 407 No\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: 0\r\n\r\n"
    async with scene(["127.0.0.1"], lambda _: challenge) as stage:
        assert status(await stage.get(f"http://127.0.0.1:{stage.port}/")) == 502
        assert b"trio-mix" not in b"".join(stage.received)


async def test_a_closed_client_ends_the_request_to_the_server(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    gone = trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        while await stream.receive_some():
            pass
        gone.set()

    async with scene(["127.0.0.1"]) as stage, trio.open_nursery() as nursery:
        listeners = await nursery.start(trio.serve_tcp, serve, 0)
        port = listeners[0].socket.getsockname()[1]
        with trio.move_on_after(0.1):
            await stage.get(f"http://127.0.0.1:{port}/")
        await gone.wait()
        nursery.cancel_scope.cancel()


@pytest.mark.skipif(not ROOT, reason="only root may start a process of another user")
async def test_another_user_of_the_machine_cannot_use_the_proxy() -> None:
    program = (
        "import socket, sys\n"
        "s = socket.create_connection(('127.0.0.1', int(sys.argv[1])))\n"
        "s.sendall(f'GET http://127.0.0.1:{sys.argv[2]}/ HTTP/1.1\\r\\n'.encode())\n"
        "s.sendall(b'Host: x\\r\\n\\r\\n')\n"
        "sys.stdout.buffer.write(s.recv(1000))\n"
    )
    async with scene(["127.0.0.1"]) as stage:
        ports = [str(stage.proxy.port), str(stage.port)]
        python = ["/usr/bin/env", "python3", "-c", program]
        done = await trio.run_process(
            [*python, *ports], capture_stdout=True, user=65534, group=65534, extra_groups=[]
        )
        assert done.stdout.startswith(b"HTTP/1.1 407")
        assert stage.received == []


async def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    async with scene() as stage:
        stream = await connect_to_one(["127.0.0.2", "127.0.0.1"], stage.port)
        assert stream is not None
        await stream.aclose()
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            assert await connect_to_one(["127.0.0.1"], unused.getsockname()[1]) is None
