"""A server on this machine is never reached through a proxy of the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.raw_server import OK, answering, serve
from trio_mix import Mix, RetryConfig
from trio_mix._http import Http
from trio_mix._http._proxies import Proxies
from trio_mix._http._urls import Target

if TYPE_CHECKING:
    import trio

HERE = [
    *("127.0.0.1", "127.0.0.2", "127.1", "2130706433", "0.0.0.0", "localhost", "LOCALHOST"),  # noqa: S104
    *("localhost.", "mix.localhost", "[::1]", "[::ffff:127.0.0.1]", "[::]"),
]
ELSEWHERE = [
    "10.0.0.1",
    "localhost.example",
    "mix.example",
    "[fe80::1]",
    "128.0.0.1",
    "127.example",
]


@pytest.fixture
def proxied(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


def test_loopback_has_no_proxy_and_any_other_host_has(proxied: pytest.MonkeyPatch) -> None:
    proxied.setenv("all_proxy", "http://proxy.example:3128")
    proxies = Proxies()
    for scheme in ("http", "https"):
        for host in HERE:
            assert proxies.proxy_for(Target.parse(f"{scheme}://{host}:8088")) is None, host
        for host in ELSEWHERE:
            assert proxies.proxy_for(Target.parse(f"{scheme}://{host}:8088")) is not None, host


async def test_neither_requests_nor_streams_to_loopback_reach_a_proxy(
    proxied: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    proxy = await serve(nursery, answering(OK))
    server = await serve(nursery, answering(OK))
    proxied.setenv("http_proxy", proxy.url)
    http = Http()
    await http.request("GET", server.url, headers={"Authorization": "Bearer key"}, timeout=5)
    stream = await http.open("GET", server.url, headers={}, connect_timeout=5)
    await stream.aclose()
    await http.aclose()
    async with Mix(server.url, retries=RetryConfig(strategy="none")) as mix:
        await mix.request("GET", "/api/sessions")
    assert (server.connections, proxy.connections) == (3, 0)
