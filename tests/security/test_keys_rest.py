"""The keys of a client reach no other server, no error and no log."""

from __future__ import annotations

import base64
import functools
import logging
import traceback
from typing import TYPE_CHECKING, Any

import httpx
import httpx2
import pytest
import trio

from tests.support.cases import case
from tests.support.planted import KEY
from tests.support.rest_kit import ONCE, Asked, answer, canned_server
from trio_mix import (
    Hooks,
    Mix,
    MixCore,
    ReconnectPolicy,
    RequestOptions,
    RetryConfig,
    errors,
)
from trio_mix.resources import Sessions
from trio_mix.testing import MixServer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from tests.support.rest_kit import Canned

CREDENTIALS = {
    "Authorization": f"Bearer {KEY}",
    "X-Api-Key": KEY,
    "Cookie": f"session={KEY}",
    "X-Tenant": f"not named as a secret, {KEY}",
}
STREAM = answer(200, raw=b"", headers={"Content-Type": "text/event-stream"})


def asked_with(asked: Asked) -> str:
    return f"{asked.target} {asked.headers} {asked.body.decode('latin-1')}"


async def stolen(server: Canned, call: Callable[[], Awaitable[object]], reply: bytes) -> str:
    """Make a call that the server answers, and return all that the server was sent for it."""
    server.asked.clear()
    server.say(reply)
    await call()
    return " ".join(map(asked_with, server.asked))


def calls_of(mix: Mix, options: RequestOptions) -> Iterator[tuple[str, Any, bytes]]:
    """One call of each kind, and the response that it needs."""
    by_id: dict[str, Any] = {"id": "s", "options": options}
    yield "operation", functools.partial(mix.sessions.list, options=options), answer(200, [])
    yield "request", functools.partial(mix.request, "GET", "/x", options=options), answer(200)
    yield "post", functools.partial(mix.request, "POST", "/x", json=1, options=options), answer(200)
    get = functools.partial(mix.files.get, **by_id, filename="f")
    yield "download", get, answer(200, raw=b"x")
    upload = functools.partial(mix.files.upload, **by_id, file=b"x", filename="f")
    info = {"name": "f", "size": 1, "modified": 1, "isDir": False}
    yield "upload", upload, answer(201, info)

    async def stream() -> None:
        async with mix.streaming.stream_events(session_id="s", options=options):
            pass

    yield "stream", stream, STREAM


async def test_another_origin_gets_no_header_of_the_client(server: Canned) -> None:
    async def headers() -> Mapping[str, str]:
        await trio.lowlevel.checkpoint()
        return CREDENTIALS

    sources: list[Any] = [CREDENTIALS, lambda: CREDENTIALS, headers]
    for source in sources:
        for client in ("own", "httpx", "httpx2"):
            theirs: Any = {"httpx": httpx.AsyncClient, "httpx2": httpx2.AsyncClient}.get(client)
            theirs = theirs and theirs()
            async with Mix(
                "http://127.0.0.1:9", headers=source, retries=ONCE, http_client=theirs
            ) as mix:
                options = RequestOptions(server_url=server.url)
                for kind, call, reply in calls_of(mix, options):
                    with case(source, client, kind):
                        sent = await stolen(server, call, reply)
                        assert sent
                        assert KEY not in sent
            if theirs is not None:
                await theirs.aclose()


async def test_another_origin_gets_nothing_of_a_caller_s_client(server: Canned) -> None:
    kinds: list[Any] = [httpx.AsyncClient, httpx2.AsyncClient]
    for kind in kinds:
        async with kind(headers=CREDENTIALS, cookies={"c": KEY}, auth=("user", KEY)) as theirs:
            basic = base64.b64encode(f"user:{KEY}".encode()).decode()
            async with Mix("http://127.0.0.1:9", retries=ONCE, http_client=theirs) as mix:
                options = RequestOptions(server_url=server.url)
                for name, call, reply in calls_of(mix, options):
                    with case(kind, name):
                        sent = await stolen(server, call, reply)
                        assert sent
                        assert KEY not in sent
                        assert basic not in sent


async def test_the_client_s_own_origin_gets_its_headers_however_it_is_written(
    server: Canned,
) -> None:
    server.say(answer(200, []))
    port = server.url.rpartition(":")[2]
    urls = [
        server.url,
        f"{server.url}/sub/",
        f"HTTP://127.0.0.1:{port}",
        f"http://u:p@127.0.0.1:{port}",
    ]
    async with MixCore(server.url, headers=CREDENTIALS, retries=ONCE) as core:
        for url in urls:
            with case(url):
                server.asked.clear()
                await Sessions(core).list(options=RequestOptions(server_url=url))
                assert server.asked[0].headers["x-api-key"] == KEY


async def test_a_port_a_scheme_and_a_host_make_another_origin() -> None:
    core = MixCore("http://mix.test", headers=CREDENTIALS)
    for url, same in (
        ("http://mix.test", True),
        ("http://MIX.test:80/x", True),
        ("https://mix.test", False),
        ("http://mix.test:8080", False),
        ("http://mix.test.evil.test", False),
        ("http://evil.test", False),
        ("http://mix.test@evil.test", False),
    ):
        with case(url):
            headers = await core._caller.defaults.headers_for(RequestOptions(server_url=url))
            assert bool(headers) == same


async def test_the_client_s_headers_are_sent_to_another_origin_on_request(server: Canned) -> None:
    async with Mix("http://127.0.0.1:9", headers=CREDENTIALS, retries=ONCE) as mix:
        options = RequestOptions(server_url=server.url, send_client_headers=True)
        for kind, call, reply in calls_of(mix, options):
            with case(kind):
                assert f"Bearer {KEY}" in await stolen(server, call, reply)
    async with httpx.AsyncClient(headers=CREDENTIALS) as theirs:
        async with Mix("http://127.0.0.1:9", retries=ONCE, http_client=theirs) as mix:
            for kind, call, reply in calls_of(mix, options):
                with case(kind):
                    assert f"Bearer {KEY}" in await stolen(server, call, reply)


async def test_headers_of_the_call_and_of_hooks_are_sent_to_another_origin(server: Canned) -> None:
    def before(context: Any) -> None:
        context.headers["x-hook"] = context.url

    server.say(answer(200, []))
    hooks = Hooks(before_request=before)
    async with MixCore("http://127.0.0.1:9", headers=CREDENTIALS, hooks=hooks) as core:
        options = RequestOptions(server_url=server.url, headers={"x-call": "1"})
        await Sessions(core).list(options=options)
    headers = server.asked[0].headers
    assert headers["x-call"] == "1"
    assert headers["x-hook"].startswith(server.url)
    assert KEY not in str(headers)


async def test_the_password_of_the_client_s_address_stays_with_its_origin(server: Canned) -> None:
    server.say(answer(200, []))
    async with MixCore(f"http://user:{KEY}@127.0.0.1:9", retries=ONCE) as core:
        await Sessions(core).list(options=RequestOptions(server_url=server.url))
    assert "authorization" not in server.asked[0].headers


async def test_a_refusal_by_another_origin_names_the_way_to_send_credentials(
    server: Canned,
) -> None:
    async with Mix("http://127.0.0.1:9", headers=CREDENTIALS, retries=ONCE) as mix:
        options = RequestOptions(server_url=server.url)
        for status in (401, 403):
            for kind, call, _ in calls_of(mix, options):
                server.say(answer(status))
                with case(kind, status):
                    with pytest.raises(errors.MixDefaultError, match="send_client_headers=True"):
                        await call()
        server.say(answer(500))
        with pytest.raises(errors.MixDefaultError) as caught:
            await mix.sessions.list(options=options)
        assert "send_client_headers" not in str(caught.value)


ADDRESSES = (
    f"http://user:{KEY}?x@host",
    f"http://user:{KEY}#x@host",
    f"http://user:1?{KEY}@host",
    f"http://user:1#{KEY}@host",
    f"http://user:1/{KEY}@host",
    f"http://user:1/{KEY}@host:8088/path",
    f"http://host/?token={KEY}",
    f"http://host#token={KEY}",
    f"http://user:{KEY}@host:0",
    f"http://user:{KEY}@host:99999",
    f"ftp://user:{KEY}@host",
    f"http://user:{KEY}@",
)
"""Addresses that are refused; some parse as a URL whose host is the user."""


async def test_an_address_that_is_refused_shows_nothing_before_its_last_at_sign(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for address in ADDRESSES:
        with case(address.replace(KEY, "[KEY]")):
            monkeypatch.setenv("MIX_SERVER_URL", address)
            makers: list[Callable[[], object]] = [
                MixCore,
                functools.partial(MixCore, address),
                functools.partial(Mix, address),
                functools.partial(RequestOptions, server_url=address),
            ]
            for make in makers:
                with pytest.raises(errors.ConfigurationError) as caught:
                    make()
                assert KEY not in "".join(traceback.format_exception(caught.value))
                assert caught.value.__context__ is None or KEY not in repr(caught.value.__context__)


HEADERS: tuple[Any, ...] = (
    {"Authorization": f"Bearer {KEY}\n"},
    {"Authorization": f"Bearer {KEY}€"},
    {f"Authorization: Bearer {KEY}": ""},
    {f"Bearer {KEY}": "Authorization"},
    {"Authorization": KEY.encode()},
    [f"Authorization: Bearer {KEY}"],
    f"Authorization: Bearer {KEY}",
    [("Authorization", KEY)],
    {KEY.encode(): KEY},
)


async def test_headers_that_are_refused_are_not_shown(server: Canned) -> None:
    for number, headers in enumerate(HEADERS):
        with case(f"HEADERS[{number}]"):
            given = functools.partial(MixCore, server.url, headers=headers)
            called = MixCore(server.url, headers=lambda headers=headers: headers, retries=ONCE)
            makers: list[Callable[[], object]] = [
                given,
                functools.partial(RequestOptions, headers=headers),
            ]
            for make in makers:
                with pytest.raises(errors.ConfigurationError) as caught:
                    make()
                assert KEY not in "".join(traceback.format_exception(caught.value))
            with pytest.raises(errors.ConfigurationError) as caught:
                await Sessions(called).list()
            assert KEY not in "".join(traceback.format_exception(caught.value))
    assert server.asked == []


async def test_tokens_of_a_query_are_masked_in_errors_logs_and_debug_lines(
    server: Canned, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MIX_DEBUG", "1")
    caplog.set_level(logging.DEBUG)
    server.answers = lambda asked: answer(400, raw=f"{asked.target} {asked.headers}".encode())
    shown = []
    async with MixCore(server.url, retries=ONCE) as core:
        for name in ("token", "api_key", "X-Amz-Signature", "access%5Ftoken", "state", "pwd"):
            with pytest.raises(errors.MixDefaultError) as caught:
                await core.request("GET", f"/x?{name}={KEY}&page=2")
            shown.append("".join(traceback.format_exception(caught.value)) + caught.value.body)
            assert "page=2" in str(caught.value)
        with pytest.raises(errors.MixDefaultError) as caught:
            await core.request("GET", "/x", params={"token": KEY})
        shown.append("".join(traceback.format_exception(caught.value)) + caught.value.body)
    async with MixCore("http://127.0.0.1:9", retries=ONCE) as core:
        with pytest.raises(errors.ConnectionFailed) as failed:
            await core.request("GET", "/x", params={"token": KEY})
        shown.append("".join(traceback.format_exception(failed.value)))
    assert "GET http://" in caplog.text
    assert KEY not in "".join(shown)
    assert KEY not in caplog.text


@pytest.fixture
async def server() -> Any:
    async with canned_server() as it:
        yield it


ECHOES: tuple[tuple[int, str, str], ...] = (
    (302, "location", "http://[{}/"),
    (302, "location", "http://host:{}/"),
    (302, "location", "http://{}.example/"),
    (302, "location", "http://other.example/{}"),
    (302, "location", "/{}"),
    (307, "location", "/api?{}"),
    (200, "content-type", "{}"),
    (200, "content-encoding", "{}"),
    (401, "www-authenticate", "{}"),
)


@pytest.mark.parametrize(("status", "name", "value"), ECHOES)
async def test_a_key_that_the_server_repeats_in_a_header_is_masked(
    status: int, name: str, value: str
) -> None:
    key = "sk-Sesame-0123456789abcdef"
    once = RetryConfig(strategy="none")
    async with (
        MixServer() as server,
        Mix(server.url, headers={"Authorization": f"Bearer {key}"}, retries=once) as mix,
    ):
        server.answer_next("/", status, headers={name: value.format(key)}, times=20)

        async def stream() -> None:
            async with mix.open_stream("s", reconnect=ReconnectPolicy(max_elapsed_time=0.001)):
                await trio.sleep_forever()

        for attempt in (mix.sessions.list, stream):
            with trio.fail_after(10), pytest.raises(errors.TrioMixError) as caught:
                await attempt()
            shown = "".join(traceback.format_exception(caught.value)) + repr(caught.value)
            request_info = getattr(caught.value, "request", "")
            assert "sesame" not in f"{shown}{request_info}".lower(), attempt
