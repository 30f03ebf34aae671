"""Targets, headers and credentials of requests to the proxy."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_mix.browser._proxy_request import (
    BadProxyRequest,
    ProxyTarget,
    forwarded_request_headers,
    forwarded_response_headers,
    has_credential,
    parse_target,
)


def test_a_target_is_an_absolute_http_url_or_host_and_port() -> None:
    for method, target, expected in [
        (b"GET", b"http://a.b/", ProxyTarget("a.b", 80, "a.b", "/")),
        (b"GET", b"http://a.b", ProxyTarget("a.b", 80, "a.b", "/")),
        (b"POST", b"http://a.b:81/c?d=/e", ProxyTarget("a.b", 81, "a.b:81", "/c?d=/e")),
        (b"GET", b"http://[::1]:8/?", ProxyTarget("::1", 8, "[::1]:8", "/?")),
        (b"CONNECT", b"a.b:443", ProxyTarget("a.b", 443, "a.b:443", None)),
        (b"CONNECT", b"[::1]:443", ProxyTarget("::1", 443, "[::1]:443", None)),
    ]:
        assert parse_target(method, target) == expected


def test_other_targets_are_bad_requests() -> None:
    for method, target in [
        *((b"GET", text) for text in (b"/", b"*", b"https://a/", b"ftp://a/", b"file:/etc")),
        *(
            (b"GET", text)
            for text in (b"http:///x", b"http://u:p@a/", b"http://a:0/", b"http://:8/")
        ),
        *(
            (b"GET", text)
            for text in (b"http://a:99999/", b"http://[::1/", b"http://[fe80::1%25e]/")
        ),
        *((b"CONNECT", text) for text in (b"a", b"a:443/x", b"u@a:443", b":443", b"a:0", b"a:b")),
        (b"GET", "http://\u00e4/".encode()),
    ]:
        with pytest.raises(BadProxyRequest):
            parse_target(method, target)


@given(st.sampled_from([b"GET", b"CONNECT"]), st.binary() | st.text().map(str.encode))
def test_any_target_is_parsed_or_refused(method: bytes, target: bytes) -> None:
    try:
        parsed = parse_target(method, target)
    except BadProxyRequest:
        return
    assert parsed.host
    assert 0 < parsed.port < 65536


def test_the_credential_must_match_and_appear_once() -> None:
    good = b"Basic " + base64.b64encode(b"u:p")
    name = b"Proxy-Authorization"
    assert has_credential([(name, good)], "u:p")
    for headers in (
        [],
        [(name, b"")],
        [(name, b"Basic " + base64.b64encode(b"u:q"))],
        [(name, b"Bearer x")],
        [(name, good), (name, good)],
        [(b"Authorization", good)],
    ):
        assert not has_credential(headers, "u:p")


def test_hop_by_hop_headers_and_the_credential_are_not_forwarded() -> None:
    headers = [
        (b"Host", b"other"),
        (b"Proxy-Authorization", b"Basic x"),
        (b"Proxy-Connection", b"keep-alive"),
        (b"Connection", b"X-Hop, close, Content-Length"),
        (b"X-Hop", b"1"),
        (b"Keep-Alive", b"5"),
        (b"TE", b"trailers"),
        (b"Upgrade", b"h2c"),
        (b"Cookie", b"a=b"),
        (b"Content-Length", b"3"),
    ]
    assert forwarded_request_headers(headers, "a.b:81") == [
        (b"Host", b"a.b:81"),
        (b"Cookie", b"a=b"),
        (b"Content-Length", b"3"),
        (b"Connection", b"close"),
    ]


def test_a_response_is_framed_again() -> None:
    chunked = [(b"Transfer-Encoding", b"chunked"), (b"Content-Length", b"3"), (b"X", b"y")]
    assert forwarded_response_headers(chunked) == [(b"X", b"y"), (b"Connection", b"close")]
    sized = [(b"Content-Length", b"3"), (b"Connection", b"keep-alive")]
    assert forwarded_response_headers(sized) == [
        (b"Content-Length", b"3"),
        (b"Connection", b"close"),
    ]
