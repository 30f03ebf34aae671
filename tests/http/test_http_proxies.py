"""Connections through the proxies that the environment names."""

from __future__ import annotations

import gc

import pytest
import trio
import trio.testing

from tests.support.planted import KEY
from tests.support.raw_server import OK, Peer, answering, serve
from trio_mix import Mix, ReconnectPolicy, RetryConfig
from trio_mix._http import Http, Target
from trio_mix._http._proxies import Proxies
from trio_mix.errors import (
    ConfigurationError,
    ConnectionFailed,
    MixDefaultError,
    ReconnectFailed,
    RequestTimeout,
    TrioMixError,
)

pytestmark = pytest.mark.timeout(60)

ONCE = RetryConfig(strategy="none")


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    return monkeypatch


async def test_a_proxy_of_the_environment_is_used(
    no_proxies: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    proxy = await serve(nursery, answering(OK))
    no_proxies.setenv("http_proxy", proxy.url)
    http = Http()
    response = await http.request("GET", "http://mix.example/x", headers={}, timeout=5)
    assert response.body == b"ok"
    stream = await http.open("GET", "http://mix.example/y", headers={}, connect_timeout=5)
    assert await stream.read_all(10) == (b"ok", False)
    await stream.aclose()
    assert [request.target for request in proxy.requests] == [
        "http://mix.example/x",
        "http://mix.example/y",
    ]
    with trio.fail_after(5):
        while proxy.open:
            await trio.testing.wait_all_tasks_blocked(0.001)
    await http.aclose()
    gc.collect()


def test_no_proxy_is_obeyed(no_proxies: pytest.MonkeyPatch) -> None:
    target = Target.parse("http://10.1.2.3:8088")
    for no_proxy, direct in [
        ("*", True),
        ("10.1.2.3", True),
        ("other, 10.1.2.3 ,", True),
        ("10.0.0.0/8", True),
        ("10.1.2.3:8088", True),
        ("10.1.2.3:1", False),
        ("192.168.0.0/16", False),
        ("example", False),
        ("", False),
    ]:
        no_proxies.setenv("http_proxy", "proxy.example:3128")
        no_proxies.setenv("no_proxy", no_proxy)
        proxy = Proxies().proxy_for(target)
        found = None if proxy is None else proxy.url
        assert found == (None if direct else "http://proxy.example:3128"), no_proxy


async def test_errors_name_the_proxy_and_its_variable(
    no_proxies: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    async def silent(peer: Peer) -> None:
        await peer.closed()

    hanging = await serve(nursery, silent)
    for proxy in ("http://me:secret@127.0.0.1:1", hanging.url):
        no_proxies.setenv("HTTP_PROXY", proxy)
        no_proxies.setenv("http_proxy", proxy)
        async with Mix("http://mix.example", timeout=0.1, retries=ONCE) as mix:
            for call in (
                mix.sessions.list,
                lambda mix=mix: mix.streaming.stream_events(session_id="s"),
            ):
                with pytest.raises((ConnectionFailed, RequestTimeout)) as caught:
                    await call()
                shown = proxy.replace("me:secret@", "")
                assert f"through the proxy {shown} (http_proxy)" in str(caught.value)
                assert "NO_PROXY" in str(caught.value)
                assert "secret" not in str(caught.value)
    gc.collect()


async def test_the_error_of_a_proxy_that_is_down_shows_no_password(
    no_proxies: pytest.MonkeyPatch,
) -> None:
    no_proxies.setenv("all_proxy", "http://me:secret@127.0.0.1:1")
    http = Http()
    with pytest.raises(ConnectionFailed) as caught:
        await http.request("GET", "http://mix.example/", headers={}, timeout=5)
    assert caught.value.sent is False
    assert "secret" not in str(caught.value)
    assert caught.value.proxy == "http://127.0.0.1:1 (all_proxy)"
    no_proxies.setenv("all_proxy", "nonsense://me:secret@127.0.0.1:1")
    with pytest.raises(TrioMixError) as refused:
        await Http().request("GET", "http://mix.example/", headers={}, timeout=5)
    assert "secret" not in str(refused.value)
    gc.collect()


async def test_streams_name_the_proxy_too(
    no_proxies: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.closed()

    for proxy, expected in (
        (f"http://u:{KEY}@127.0.0.1:1", ReconnectFailed),
        ((await serve(nursery, silent)).url, RequestTimeout),
    ):
        no_proxies.setenv("http_proxy", proxy)
        with pytest.raises(expected, match=r"proxy http://127\S* \(http_proxy\)") as caught:
            async with Mix("http://mix.test") as mix:
                stream = mix.open_stream(
                    "s", connect_timeout=0.2, reconnect=ReconnectPolicy(max_elapsed_time=0)
                )
                async with stream:
                    pytest.fail("it was opened")
        assert KEY not in str(caught.value)


async def test_what_a_proxy_refuses_names_it(
    no_proxies: pytest.MonkeyPatch, nursery: trio.Nursery
) -> None:
    for status in ("407 No", "502 No", "504 No"):
        proxy = await serve(
            nursery, answering(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
        )
        no_proxies.setenv("http_proxy", proxy.url)
        async with Mix("http://mix.test", retries=ONCE) as mix:
            with pytest.raises(MixDefaultError, match=rf"{proxy.url} \(http_proxy\)"):
                await mix.sessions.list()


async def test_a_proxy_that_cannot_be_used_is_named_with_the_reason(
    no_proxies: pytest.MonkeyPatch,
) -> None:
    for address, reason in (
        (f"socks5://u:{KEY}@127.0.0.1:1", "socks5://127.0.0.1:1 \\(ALL_PROXY\\).*httpx\\[socks\\]"),
        (f"gopher://u:{KEY}@127.0.0.1:1", "\\(ALL_PROXY\\).*protocol must be"),
        (f"http://u:{KEY}@[::1", "\\(ALL_PROXY\\).*not a URL"),
    ):
        no_proxies.setenv("ALL_PROXY", address)
        async with Mix("http://mix.test", retries=ONCE) as mix:
            with pytest.raises(ConfigurationError, match=reason) as caught:
                await mix.sessions.list()
        assert KEY not in str(caught.value)
    no_proxies.setenv("ALL_PROXY", " ")
    assert Proxies().proxy_for(Target.parse("http://mix.test")) is None
