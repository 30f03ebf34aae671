"""The programs on the page about proxies and TLS run: through a proxy, and over real TLS."""

from __future__ import annotations

import ast
import re
import ssl
from collections.abc import Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
import trio
import trustme

import trio_mix
from trio_mix.testing import MixServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "proxies.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)


Rewrite = Callable[[bytes], bytes]


async def forward(client: trio.abc.Stream, port: int, rewrite: Rewrite = bytes) -> None:
    """Forward bytes between a client and a server until one of them closes."""
    server = await trio.open_tcp_stream("127.0.0.1", port)
    async with client, server, trio.open_nursery() as nursery:

        async def answers() -> None:
            async for data in server:
                await client.send_all(data)
            nursery.cancel_scope.cancel()

        nursery.start_soon(answers)
        async for data in client:
            await server.send_all(rewrite(bytes(data)))
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def served(
    handler: Callable[[trio.abc.Stream], Awaitable[None]], context: ssl.SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve on a free loopback port."""

    async def kept(stream: trio.abc.Stream) -> None:
        try:
            await handler(stream)
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async with trio.open_nursery() as nursery:
        if context is None:
            listeners = await nursery.start(partial(trio.serve_tcp, kept, 0, host="127.0.0.1"))
            socket = listeners[0].socket
        else:
            serve = partial(trio.serve_ssl_over_tcp, kept, 0, context, host="127.0.0.1")
            socket = (await nursery.start(serve))[0].transport_listener.socket
        yield socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def run(code: str) -> None:
    flags = ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
    program = compile(code, str(PAGE), "exec", flags=flags)
    with trio.fail_after(30):
        await eval(program, {"trio_mix": trio_mix})  # noqa: S307 - the project's own page


def test_the_page_has_a_program_for_each_way() -> None:
    assert len(BLOCKS) == 2


async def test_the_program_behind_a_proxy_reaches_the_server_through_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[bytes] = []
    async with MixServer(pace=0, allowed_hosts=["mix.example"]) as server:
        there = urlsplit(server.url)

        def direct(data: bytes) -> bytes:
            asked.append(data.partition(b"\r\n")[0])
            return data.replace(b" http://mix.example/", b" /", 1)

        async def proxy(client: trio.abc.Stream) -> None:
            await forward(client, there.port or 0, direct)

        async with served(proxy) as port:
            code = BLOCKS[0].replace("proxy.example:3128", f"127.0.0.1:{port}")
            assert code != BLOCKS[0]
            await run(code)
    assert "Hello! I am the agent" in capsys.readouterr().out
    assert any(line.startswith(b"GET http://mix.example/stream?") for line in asked)


async def test_the_program_over_tls_trusts_the_authority_that_it_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "our-ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    async with MixServer(pace=0, allowed_hosts=["mix.example"]) as server:
        there = urlsplit(server.url)

        async def unwrap(client: trio.abc.Stream) -> None:
            await forward(client, there.port or 0)

        async with served(unwrap, context) as port:
            code = BLOCKS[1].replace("/etc/ssl/our-ca.pem", str(tmp_path / "our-ca.pem"))
            code = code.replace("https://mix.example", f"https://localhost:{port}")
            await run(code)
            capsys.readouterr()
            distrusting = code.replace(f'cafile="{tmp_path / "our-ca.pem"}"', "")
            with pytest.raises(trio_mix.errors.ConnectionFailed, match="certificate"):
                await run(distrusting)
    assert server.requests("POST", "/api/sessions")
