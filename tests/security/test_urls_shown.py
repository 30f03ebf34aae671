"""No error, repr, log line or statistic shows the credentials of a URL, also of an invalid one."""

from __future__ import annotations

import logging
import traceback
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.support.planted import KEY
from tests.support.raw_server import OK, SSE_HEAD, answering, serve
from trio_mix import Mix, ReconnectPolicy, RequestOptions, RetryConfig, errors
from trio_mix._http import Http, sanitize_url
from trio_mix.sse import open_event_source

if TYPE_CHECKING:
    from collections.abc import Iterator

ONCE = ReconnectPolicy(max_elapsed_time=0.0)

INVALID = [
    f"http://user:{KEY}/x@host",
    f"http://user:{KEY}?x@host",
    f"http://user:{KEY}#x@host:8088",
    f"http://user:{KEY}@host:80a/",
    f"http://user:{KEY}@[::1",
    f"http://user:{KEY}\n@host",
    f"http:/user:{KEY}@host",
    f"http:user:{KEY}@host",
    f"http//user:{KEY}@host",
    f"user:{KEY}@host:8088",
    f"http://user:{KEY}\uff20host",
    f"http://user:{KEY}\ufe6bhost",
    f"//user:{KEY}@host",
    f"ht tp://user:{KEY}@host",
    f"http://user:{KEY}@",
    f"http://user:{KEY}@host space/",
    f"http://user:{KEY}%40host/",
]
"""URLs that cannot be parsed, as a typing error in a password or in the scheme makes them."""


def shown(error: BaseException) -> Iterator[str]:
    """All that an exception and its causes show."""
    yield "".join(traceback.format_exception(error))
    chain: BaseException | None = error
    while chain is not None:
        yield f"{chain} {chain!r} {vars(chain)}"
        chain = chain.__cause__ or chain.__context__


@pytest.mark.parametrize("url", INVALID)
async def test_a_url_that_does_not_parse_shows_nothing_before_its_last_at_sign(url: str) -> None:
    async def request() -> None:
        await Http().request("GET", url, headers={}, timeout=1)

    async def source() -> None:
        async with open_event_source(url, reconnect=ONCE):
            pytest.fail("it was opened")

    async def client() -> None:
        await trio.lowlevel.checkpoint()
        Mix(url)

    async def options() -> None:
        async with Mix("http://127.0.0.1:1", retries=RetryConfig(strategy="none")) as mix:
            await mix.sessions.list(options=RequestOptions(server_url=url))

    assert KEY not in sanitize_url(url)
    for attempt in (request, source, client, options):
        with pytest.raises(errors.ConfigurationError) as caught:
            await attempt()
        for text in shown(caught.value):
            assert KEY not in text


@given(st.text(), st.text(alphabet="abc/:?#@[]% \n"))
def test_no_text_before_the_last_at_sign_survives_unless_the_url_parses(
    before: str, after: str
) -> None:
    url = f"{before}{KEY}@{after}"
    assert KEY not in sanitize_url(url) or url.startswith(("http://", "https://", "ws"))
    assert KEY not in sanitize_url(f"http://{before[:0]}user:{KEY}@{after}") or "@" in after


NAMES = [
    *("token", "access_token", "api_key", "apikey", "key", "secret", "password", "pwd", "pass"),
    *("auth", "code", "state", "sig", "X-Amz-Signature", "jwt", "bearer", "credential"),
    *("%74oken", "api%5Fkey", "ACCESS_TOKEN"),
]
"""Names of query parameters whose values are secrets."""


def test_the_value_of_each_secret_query_parameter_is_masked() -> None:
    for name in NAMES:
        for before in ("?", "?x=1&", "?x;", "#"):
            url = f"http://host/path{before}{name}={KEY}&y=2"
            assert sanitize_url(url) == f"http://host/path{before}{name}=***&y=2"
    assert sanitize_url("http://host/?sessionId=s-1&page=2") == "http://host/?sessionId=s-1&page=2"


async def test_a_query_token_is_masked_in_errors_statistics_and_logs(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    answers = {
        "direct": (
            b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi",
            b"HTTP/1.1 204 No Content\r\n\r\n",
            b"junk\r\n\r\n",
            b"",
        ),
        "proxied": (b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n", OK, b"", b"junk\r\n\r\n"),
    }
    for way, responses in answers.items():
        for response in responses:
            server = await serve(nursery, answering(response, hang_up=True))
            url = f"{server.url}/events?access_token={KEY}"
            if way == "proxied":
                for name in ("http_proxy", "HTTP_PROXY"):
                    monkeypatch.setenv(name, server.url)
                url = f"http://mix.test/events?access_token={KEY}"
            with pytest.raises(errors.TrioMixError) as caught:
                async with open_event_source(url, reconnect=ONCE):
                    pytest.fail("it was opened")
            for text in shown(caught.value):
                assert KEY not in text
            assert any("access_token=***" in text for text in shown(caught.value))
    assert KEY not in caplog.text


async def test_statistics_and_reprs_mask_a_query_token(nursery: trio.Nursery) -> None:
    server = await serve(nursery, answering(SSE_HEAD))
    url = f"http://user:{KEY}@127.0.0.1:{server.port}/events?token={KEY}"
    async with open_event_source(url) as source:
        seen = f"{source!r} {source.url} {source.statistics()!r}"
    assert KEY not in seen
    assert source.url.endswith("/events?token=***")


async def test_a_control_character_in_a_header_is_refused_without_showing_the_value() -> None:
    for control in ("\x0b", "\x1b", "\x7f", "\x00", "\r", "\n"):
        for value in (f"{KEY}{control}x", f"{control}{KEY}"):
            with pytest.raises(errors.ConfigurationError, match="'X-Key'") as caught:
                await Http().request(
                    "GET", "http://127.0.0.1:1/", headers={"X-Key": value}, timeout=1
                )
            for text in shown(caught.value):
                assert KEY not in text


@pytest.mark.parametrize(
    "inner",
    ["http://me:hidden@host/x", "http%3A%2F%2Fme%3Ahidden%40host", "http://me:hidden%2540host"],
)
def test_credentials_of_a_url_inside_a_url_are_not_shown(inner: str) -> None:
    for url in (f"http://mix.test/go?to={inner}&n=1", f"http://u:hidden@mix.test/{inner}"):
        assert "hidden" not in sanitize_url(url)
        assert "mix.test/" in sanitize_url(url)


def test_each_part_of_a_long_url_is_looked_at_once_and_only_the_beginning_shown() -> None:
    for tail in (":" * 60_000, "//:" * 20_000, "%2F%2F%3A" * 7_000, "//" * 30_000):
        shown = sanitize_url(f"http://mix.test/x@//{tail}")  # else it takes a minute
        assert shown.startswith("http://mix.test/x@//")
        assert len(shown) < 3000
    inner = "%2F%2Fu%3Ahidden%40a%2F%2Fu%3Ahidden%40b"
    assert "hidden" not in sanitize_url(f"http://mix.test/{inner}")
