"""The parts that need no socket: body framing, URLs, headers, Retry-After."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.raw_server import LAST_CHUNK, chunk
from trio_mix._http import check_headers, parse_retry_after, sanitize_url
from trio_mix._http._body import Body, BodyError, ChunkedBody, LengthBody, body_of
from trio_mix._http._urls import Target
from trio_mix.errors import ConfigurationError

# Bodies


def feed(body: Body, data: bytes, at: list[int]) -> bytes:
    marks = sorted({min(mark, len(data)) for mark in at} | {0, len(data)})
    return b"".join(body.feed(data[a:b]) for a, b in pairwise(marks))


cuts = st.lists(st.integers(0, 300), max_size=20)


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=8), cuts, st.booleans())
def test_chunks_are_joined_however_the_input_is_cut(
    pieces: list[bytes], at: list[int], trailers: bool
) -> None:
    end = b"0;last\r\nX-Trailer: y\r\n\r\n" if trailers else LAST_CHUNK
    data = b"".join(map(chunk, pieces)) + end
    body = ChunkedBody()
    assert feed(body, data, at) == b"".join(pieces)
    assert body.finished
    assert not body.excess
    for length in range(len(data)):
        partial = ChunkedBody()
        feed(partial, data[:length], at)
        assert not partial.finished


@given(st.binary(max_size=200), cuts)
def test_no_bytes_make_the_chunked_framing_raise_another_exception(
    data: bytes, at: list[int]
) -> None:
    def outcome(at: list[int]) -> tuple[bytes, bool] | str:
        body = ChunkedBody()
        try:
            return feed(body, data, at), body.finished
        except BodyError as error:
            return str(error)

    assert outcome(at) == outcome([])


def test_broken_chunked_framing_is_refused() -> None:
    for data in [
        b"x\r\n",
        b"\r\n",
        b"-1\r\n",
        b"0x5\r\n",
        b"+5\r\n",
        b"1_0\r\n",
        b"3\r\nabcd\r\n",
        b"3\nabc",
        b"11111111111111111\r\n",
        b"5;" + b"x" * 20_000,
        b"0\r\n" + b"X: y\r\n" * 10_000,
    ]:
        with pytest.raises(BodyError):
            ChunkedBody().feed(data)


def test_bytes_after_the_end_of_a_body_are_detected() -> None:
    for body in (ChunkedBody(), LengthBody(2)):
        data = chunk(b"ok") + LAST_CHUNK if isinstance(body, ChunkedBody) else b"ok"
        assert body.feed(data + b"more") == b"ok"
        assert body.finished
        assert body.excess


def test_the_headers_define_where_the_body_ends() -> None:
    def kind(headers: dict[str, str], version: str = "HTTP/1.1") -> str:
        return type(body_of("GET", 200, headers, version)).__name__

    assert kind({"content-length": "5"}) == "LengthBody"
    assert kind({"content-length": "5", "transfer-encoding": "Chunked"}) == "ChunkedBody"
    assert kind({}) == "CloseBody"
    assert kind({"transfer-encoding": "chunked"}, "HTTP/1.0") == "CloseBody"
    assert body_of("HEAD", 200, {"content-length": "5"}, "HTTP/1.1").finished
    assert body_of("GET", 204, {}, "HTTP/1.1").finished
    for bad in ({"content-length": "5, 6"}, {"content-length": "-1"}, {"transfer-encoding": "br"}):
        with pytest.raises(BodyError):
            kind(bad)


# URLs


def test_a_url_is_shown_without_user_name_and_password() -> None:
    for url, clean in [
        ("http://me:secret@host:1/p?q=a@b", "http://host:1/p?q=a@b"),
        ("http://me@host", "http://host"),
        ("http://a:b@c@host/", "http://host/"),
        ("http://host/path@x", "http://host/path@x"),
        ("http://host?x=//y@z", "http://host?x=//y@z"),
        ("http://me:se[cret@[::1", "***@[::1"),
        ("nonsense", "nonsense"),
        ("", ""),
    ]:
        assert sanitize_url(url) == clean


@given(st.text())
def test_any_text_can_be_sanitized(text: str) -> None:
    sanitize_url(text)


@example("xn--a.test")
@given(st.text())
def test_any_text_is_a_target_or_a_configuration_error(text: str) -> None:
    for url in (text, f"http://{text}", f"http://host/{text}"):
        try:
            target = Target.parse(url)
        except ConfigurationError:
            continue
        assert target.path.isascii()
        assert not any(byte <= 32 for byte in target.path + target.authority)


def test_host_port_and_authority_are_taken_from_a_url() -> None:
    for url, host, port, authority in [
        ("http://host", "host", 80, b"host"),
        ("https://host/", "host", 443, b"host"),
        ("http://host:8088/", "host", 8088, b"host:8088"),
        ("http://[::1]:80/", "::1", 80, b"[::1]"),
        ("HTTP://Bücher.example/", "xn--bcher-kva.example", 80, b"xn--bcher-kva.example"),
        ("http://[fe80::1%25eth0]:8088", "fe80::1%eth0", 8088, b"[fe80::1]:8088"),
        ("https://[fe80::1%eth0]/x", "fe80::1%eth0", 443, b"[fe80::1]"),
    ]:
        target = Target.parse(url)
        assert (target.host.strip("[]"), target.port, target.authority) == (host, port, authority)


def test_percent_encoding_and_query_are_kept() -> None:
    target = Target.parse("http://host/a%2Fb/..%2e?x=1&y=a%20b#fragment")
    assert target.path == b"/a%2Fb/..%2e?x=1&y=a%20b"
    assert Target.parse("http://host").path == b"/"


def test_a_targets_repr_shows_no_password() -> None:
    assert "secret" not in repr(Target.parse("http://me:secret@host/"))


# Headers


def test_headers_that_can_be_sent_pass() -> None:
    check_headers({"X-A": "", "x-b": "value with spaces", "X-C": "latin-1 \xe9"})


def test_a_header_of_another_type_is_named() -> None:
    with pytest.raises(ConfigurationError, match="'X-A'.*bytes"):
        check_headers({"X-A": b"secret"})  # type: ignore[dict-item]  # pyright: ignore


# Retry-After


def test_retry_after_is_seconds_or_a_date() -> None:
    for value, seconds in [
        (None, None),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("9" * 400, None),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 37.0),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 37.0),
        ("Sun Nov  6 08:49:37 1994", 37.0),
        ("Sun, 06 Nov 1994 08:49:37 -0000", 37.0),
        ("Sun, 06 Nov 1994 08:48:59 GMT", 0.0),
        ("Sun, 06 Nov 99999 08:48:59 GMT", None),
        ("\u0661\u0662", None),
    ]:
        now = 784111740.0  # Sun, 06 Nov 1994 08:49:00 GMT
        assert parse_retry_after(value, now=now) == seconds


@given(st.text())
def test_no_retry_after_raises(value: str) -> None:
    seconds = parse_retry_after(value, now=0.0)
    assert seconds is None or seconds >= 0
