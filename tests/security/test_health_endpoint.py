"""Attacks on the health endpoint of `examples/daemon` by web pages and by local programs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.daemon_kit import Folder
from trio_mix.testing import MixServer

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_web_page_does_not_read_the_health_endpoint(tmp_path: Path) -> None:
    async with MixServer(pace=0) as server, Folder(tmp_path).daemon(server) as daemon:
        for headers in (
            *("Host: rebound.example", "Host: rebound.example:8099", "Host: 127.0.0.1.example"),
            "Host: localhost\r\nOrigin: http://page.example",
            "Host: 127.0.0.1\r\nSec-Fetch-Site: cross-site",
        ):
            for path in ("/livez", "/readyz", "/metrics"):
                answer = await daemon.send(f"GET {path} HTTP/1.1\r\n{headers}\r\n\r\n".encode())
                assert answer.startswith(b"HTTP/1.1 403 "), (headers, answer)
        for host in ("127.0.0.1:8099", "localhost:1", "[::1]:8099", "10.1.2.3"):
            answer = await daemon.send(f"GET /livez HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert answer.startswith(b"HTTP/1.1 200 "), (host, answer)


async def test_a_malformed_request_does_not_end_the_daemon(tmp_path: Path) -> None:
    async with MixServer(pace=0) as server, Folder(tmp_path).daemon(server) as daemon:
        for request in (
            b"GET\r\n\r\n",
            b"\r\n\r\n",
            b" \r\n\r\n",
            b"\xff" * 9000,
            b"GET / x y z\r\n\r\n",
        ):
            await daemon.send(request)
        assert (await daemon.get("/livez"))[0] == 200
