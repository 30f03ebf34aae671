"""Cookies, such as those of a load balancer: kept per client and origin, and sent back there."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.planted import KEY
from tests.support.raw_server import SSE_HEAD, Peer, RawServer, memory_server, serve
from trio_mix import Mix, ReconnectPolicy, RequestOptions, RetryConfig, errors
from trio_mix._http import Http, Target
from trio_mix._http._cookies import Cookies
from trio_mix.sse import open_event_source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trio.testing import MockClock

pytestmark = pytest.mark.timeout(30)

ONCE = RetryConfig(strategy="none")


def answer(*cookies: str, status: str = "200 OK", body: bytes = b"ok") -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"Set-Cookie: {cookie}" for cookie in cookies]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def setting(nursery: trio.Nursery, *cookies: str) -> RawServer:
    """Serve a response that sets cookies, for the first request only."""
    served = 0

    async def handler(peer: Peer) -> None:
        nonlocal served
        while await peer.request() is not None:
            served += 1
            await peer.send(answer(*cookies) if served == 1 else answer())

    return await serve(nursery, handler)


def sent(server: RawServer) -> list[str | None]:
    return [request.headers.get("cookie") for request in server.requests]


async def test_a_sticky_cookie_is_sent_back_by_requests_and_streams(
    http: Http, nursery: trio.Nursery
) -> None:
    server = await setting(
        nursery, "lb=node-7; Expires=Wed, 21 Oct 2099 07:28:00 GMT; Path=/", "x=y; HttpOnly"
    )
    await http.request("GET", f"{server.url}/a", headers={}, timeout=5)
    await http.request("POST", f"{server.url}/b", headers={}, timeout=5)
    stream = await http.open("GET", f"{server.url}/c", headers={}, connect_timeout=5)
    await stream.aclose()
    await trio.testing.wait_all_tasks_blocked()
    assert sent(server) == [None, "lb=node-7; x=y", "lb=node-7; x=y"]


async def test_a_client_sends_its_cookies_with_each_operation_and_reconnect(
    nursery: trio.Nursery,
) -> None:
    async def handler(peer: Peer) -> None:
        request = await peer.request()
        assert request is not None
        if request.target.startswith("/events"):
            head = SSE_HEAD.replace(b"OK\r\n", b"OK\r\nSet-Cookie: lb=node-7\r\n")
            await peer.send(head + b"9\r\ndata: x\n\n\r\n")
        else:
            await peer.send(answer("lb=node-7", body=b"{}"))

    server = await serve(nursery, handler)
    async with Mix(server.url, retries=ONCE) as mix:
        for _ in range(2):
            await mix.request("GET", "/health")
    quick = ReconnectPolicy(initial_interval=0.001, stable_after=0.0)
    async with open_event_source(f"{server.url}/events", reconnect=quick) as source:
        for _ in range(3):
            await anext(source)
    assert sent(server)[:2] == [None, "lb=node-7"]
    assert sent(server)[2:5] == [None, "lb=node-7", "lb=node-7"]


async def test_another_client_and_another_origin_do_not_get_it(
    own: Http, nursery: trio.Nursery
) -> None:
    server, other = await setting(nursery, "lb=node-7"), await setting(nursery)
    await own.request("GET", server.url, headers={}, timeout=5)
    await own.request("GET", other.url, headers={}, timeout=5)
    await own.request("GET", server.url.replace("127.0.0.1", "localhost"), headers={}, timeout=5)
    another = Http()
    await another.request("GET", server.url, headers={}, timeout=5)
    await another.aclose()
    assert sent(other) == [None]
    assert sent(server) == [None, None, None]


async def test_the_callers_cookies_are_sent_with_them(own: Http, nursery: trio.Nursery) -> None:
    server = await setting(nursery, "lb=node-7", "sid=servers")
    for _ in range(2):
        await own.request("GET", server.url, headers={"cookie": "sid=mine"}, timeout=5)
    assert sent(server) == ["sid=mine", "sid=mine; lb=node-7"]


async def test_a_cookie_of_a_redirect_is_sent_to_its_target(
    http: Http, nursery: trio.Nursery
) -> None:
    async def handler(peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            away = answer("lb=node-7", "Path=/", status="307 Go").replace(
                b"\r\n\r\n", b"\r\nLocation: /new\r\n\r\n"
            )
            await peer.send(answer() if request.target == "/new" else away)

    server = await serve(nursery, handler)
    await http.request("POST", f"{server.url}/old", headers={}, content=b"x", timeout=5)
    assert sent(server)[0] is None
    assert "lb=node-7" in (sent(server)[1] or "")


async def test_cookies_are_kept_through_a_proxy_of_the_environment(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy = await setting(nursery, "lb=node-7; Expires=Wed, 21 Oct 2099 07:28:00 GMT", "x=y")
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, proxy.url)
    http = Http()
    for _ in range(2):
        await http.request("GET", "http://mix.test/", headers={}, timeout=5)
    assert sent(proxy) == [None, "lb=node-7; x=y"]
    await http.aclose()
    gc.collect()


async def test_no_cookie_is_shown_in_an_error(nursery: trio.Nursery) -> None:
    async def handler(peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            echo = f"{request.headers} {request.headers['cookie'].split('=')[-1]}".encode()
            await peer.send(answer(f"lb={KEY}; Path=/", status="500 Oh", body=echo))

    server = await serve(nursery, handler)
    headers = {"Authorization": "Bearer x", "Cookie": f"sid={KEY}2"}
    options = RequestOptions(headers=headers)
    async with Mix(server.url, retries=ONCE) as mix:
        for shown in ("Authorization", "lb=***"):
            with pytest.raises(errors.MixDefaultError) as caught:
                await mix.system.health_check(options=options)
            assert KEY not in f"{caught.value} {caught.value.headers} {caught.value.body}"
            assert shown.lower() in caught.value.body
    assert sent(server) == [f"sid={KEY}2", f"sid={KEY}2; lb={KEY}"]


async def test_of_very_many_new_cookies_only_some_are_masked_and_shown(
    nursery: trio.Nursery,
) -> None:
    names = [f"n{number}={KEY}{number}" for number in range(500)]

    async def handler(peer: Peer) -> None:
        while await peer.request() is not None:
            await peer.send(answer(*names, status="500 Oh", body=names[-1].encode()))

    server = await serve(nursery, handler)
    async with Mix(server.url, retries=ONCE) as mix:
        with pytest.raises(errors.MixDefaultError) as caught:
            await mix.system.health_check()
    assert KEY not in f"{caught.value} {caught.value.headers} {caught.value.body}"
    assert caught.value.headers["set-cookie"].count("***") == 50


# The rules of RFC 6265


def kept(url: str, *steps: Sequence[str], now: Callable[[], float] = lambda: 0.0) -> str:
    cookies = Cookies(now=now, wall_clock=lambda: 1_000_000_000.0)
    for step in steps:
        cookies.store(Target.parse(url), step)
    return cookies.header(Target.parse(url), "")


async def test_attributes_are_obeyed() -> None:
    await trio.lowlevel.checkpoint()
    url = "http://host/api/x"
    for cookies, header in [
        (["a=b"], "a=b"),
        (["a=b", "a=c"], "a=c"),
        (["a=b", "c=d"], "a=b; c=d"),
        (['a="b c"'], 'a="b c"'),
        (["a="], "a="),
        (["a=b=c"], "a=b=c"),
        (["a=b; Path=/api"], "a=b"),
        (["a=b; path=/api/x"], "a=b"),
        (["a=b; Path=/ap"], ""),
        (["a=b; Path=/other"], ""),
        (["a=b; Path=nonsense"], "a=b"),
        (["a=b; Max-Age=10"], "a=b"),
        (["a=b; Max-Age=0"], ""),
        (["a=b; max-age=-1"], ""),
        (["a=b; Max-Age=soon"], "a=b"),
        (["a=b; Expires=Sun, 09 Sep 2001 01:46:39 GMT"], ""),
        (["a=b; Expires=Sun, 09 Sep 2001 01:46:41 GMT"], "a=b"),
        (["a=b; Expires=soon"], "a=b"),
        (["a=b; Expires=Sun, 09 Sep 2001 01:46:39 GMT; Max-Age=5"], "a=b"),
        (["a=b; Secure"], ""),
        (["a=b; Domain=elsewhere.test"], "a=b"),
        (["=b"], ""),
        (["novalue"], ""),
        ([""], ""),
        (["a=" + "x" * 5000], ""),
    ]:
        assert kept(url, cookies) == header, cookies
    assert kept("https://host/", ["a=b; Secure"]) == "a=b"
    assert kept(url, ["a=b"], ["a=; Max-Age=0"]) == ""
    assert kept(url, ["a=b; Path=/"], ["a=c; Path=/api"]) == "a=c; a=b"


async def test_a_cookie_expires(nursery: trio.Nursery, autojump_clock: MockClock) -> None:
    served = 0

    async def handler(peer: Peer) -> None:
        nonlocal served
        while await peer.request() is not None:
            served += 1
            await peer.send(answer("lb=1; Max-Age=60") if served == 1 else answer())

    server, http = memory_server(nursery, handler)
    for _ in range(3):
        await http.request("GET", "http://host/", headers={}, timeout=5)
        await trio.sleep(40)
    assert sent(server) == [None, "lb=1", None]
    await http.aclose()


def test_the_cookies_of_an_origin_and_the_origins_are_bounded() -> None:
    cookies = Cookies(now=lambda: 0.0)
    target = Target.parse("http://host/")
    for number in range(1000):
        cookies.store(target, [f"name{number}=value"])
    header = cookies.header(target, "")
    assert header.count("=") == 50
    assert header.endswith("name999=value")
    for number in range(10):
        cookies.store(target, [f"long{number}=" + "x" * 4000])
    header = cookies.header(target, "")
    assert header.count("long") == 4
    assert "long9=" in header
    for number in range(1000):
        cookies.store(Target.parse(f"http://host{number}/"), ["a=b"])
    assert cookies.header(target, "") == ""
    assert cookies.header(Target.parse("http://host999/"), "") == "a=b"
