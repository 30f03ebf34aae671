"""`Mix.request`: operations that no method makes, with the client's headers, retries and errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

import trio_mix
from tests.support.hooks_kit import HookCalls
from tests.support.rest_kit import ONCE, answer, core_over, refusal, response
from trio_mix import MixCore, RequestOptions, Response
from trio_mix.errors import (
    ConfigurationError,
    ConnectionFailed,
    ErrorResponse,
    MixDefaultError,
    RequestInfo,
    ResponseTooLarge,
)

if TYPE_CHECKING:
    from trio.testing import MockClock

    from tests.support.rest_kit import Canned

INFO = RequestInfo("GET", "http://mix.test/x")
LOST = ConnectionFailed("cut", request=INFO, sent=True)
REFUSED = ConnectionFailed("refused", request=INFO, sent=False)


async def test_a_request_returns_the_response_as_it_is(server: Canned, core: MixCore) -> None:
    server.say(answer(201, {"a": ["é"]}, headers={"X-Thing": "1"}))
    made = await core.request("post", "/api/new", json={"b": None}, params={"c": "d e"})
    assert isinstance(made, Response)
    assert trio_mix.Response is Response
    assert (made.status, made.json()) == (201, {"a": ["é"]})
    assert made.headers["x-thing"] == "1"
    (asked,) = server.asked
    assert (asked.method, asked.target, asked.json) == ("POST", "/api/new?c=d%20e", {"b": None})
    assert asked.headers["content-type"] == "application/json"
    assert repr(made) == "Response(status=201, body=<17 bytes>)"


async def test_a_body_that_is_no_json_is_the_caller_s_to_read(
    server: Canned, core: MixCore
) -> None:
    server.say(answer(200, raw=b"<html>"))
    made = await core.request("GET", "/page")
    assert made.body == b"<html>"
    with pytest.raises(ValueError, match="not JSON: invalid character"):
        made.json()
    assert server.asked[0].body == b""
    assert "content-type" not in server.asked[0].headers


async def test_a_head_has_no_body(server: Canned, core: MixCore) -> None:
    server.say(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n")
    made = await core.request("HEAD", "/file")
    assert (made.body, made.headers["content-length"]) == (b"", "5")


PARAMS: list[tuple[str, Any, str]] = [
    ("/a", {"b": True, "c": 1, "d": 1.5, "e": None}, "/a?b=true&c=1&d=1.5"),
    ("/a", {"f": ["x", None, "y&"]}, "/a?f=x&f=y%26"),
    ("/a?z=1", {"b": "c"}, "/a?z=1&b=c"),
    ("/a?z=1", None, "/a?z=1"),
]


async def test_params_become_the_query(server: Canned) -> None:
    server.say(answer(200))
    async with MixCore(server.url, retries=ONCE) as core:
        for path, params, _ in PARAMS:
            await core.request("GET", path, params=params)
    assert [asked.target for asked in server.asked] == [target for _, _, target in PARAMS]


async def test_it_has_the_client_s_headers_and_address(server: Canned) -> None:
    server.say(answer(200))
    settings: Any = {"headers": {"authorization": "Bearer tok-12345"}, "retries": ONCE}
    async with MixCore(server.url + "/mix", **settings) as core:
        await core.request("GET", "/x", options=RequestOptions(headers={"x-more": "1"}))
    (asked,) = server.asked
    assert asked.target == "/mix/x"
    assert (asked.headers["authorization"], asked.headers["x-more"]) == ("Bearer tok-12345", "1")
    assert asked.headers["user-agent"].startswith("trio-mix/")


async def test_no_path_leaves_the_server(server: Canned) -> None:
    server.say(answer(200))
    paths = (
        "//elsewhere.test/x",
        "/@elsewhere.test/x",
        "/%2E%2Ewell/x",
        "/.well-known",
        "/a?b=/../c",
    )
    async with MixCore(server.url + "/mix", retries=ONCE) as core:
        for path in paths:
            await core.request("GET", path)
    assert [asked.target for asked in server.asked] == [f"/mix{path}" for path in paths]
    assert {f"http://{asked.headers['host']}" for asked in server.asked} == {server.url}


async def test_its_errors_are_those_of_an_operation(server: Canned, core: MixCore) -> None:
    server.say(refusal(404, "no such thing", "not_found"))
    with pytest.raises(ErrorResponse, match=r"request \(GET http.*/x\).*no such thing") as caught:
        await core.request("GET", "/x")
    assert caught.value.request.operation == "request"
    server.say(answer(418, raw=b"teapot"))
    with pytest.raises(MixDefaultError, match="teapot"):
        await core.request("GET", "/x")
    server.say(answer(302, headers={"Location": "http://elsewhere.test/"}))
    with pytest.raises(MixDefaultError, match="302"):
        await core.request("GET", "/x")
    server.answers = lambda _: None
    with pytest.raises(ConnectionFailed):
        await core.request("GET", "/x")


async def test_redirects_are_followed_as_for_any_operation(server: Canned, core: MixCore) -> None:
    server.say(answer(307, headers={"Location": "/y"}), answer(200, raw=b"there"))
    assert (await core.request("GET", "/x")).body == b"there"
    assert [asked.target for asked in server.asked] == ["/x", "/y"]


async def test_a_secret_in_the_query_is_not_shown(server: Canned, core: MixCore) -> None:
    server.answers = lambda asked: answer(400, raw=asked.target.encode())
    with pytest.raises(MixDefaultError) as caught:
        await core.request("GET", "/x", params={"token": "tok-12345"})
    assert "tok-12345" not in str(caught.value) + caught.value.body + repr(vars(caught.value))
    with pytest.raises(ConfigurationError) as refused:
        await core.request("GET", "/x y?token=tok-12345")
    assert "tok-12345" not in str(refused.value)


async def test_get_and_head_are_retried_and_others_only_if_nothing_was_sent(
    autojump_clock: MockClock,
) -> None:
    fine = response(200)
    for method in ("GET", "HEAD"):
        for failure in (LOST, REFUSED, response(503), response(429)):
            core, http = core_over([failure, fine])
            assert (await core.request(method, "/x")).status == 200
            assert len(http.times) == 2
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        core, http = core_over([REFUSED, fine])
        assert (await core.request(method, "/x")).status == 200
        assert len(http.times) == 2
        for failure in (LOST, response(503), response(429)):
            core, http = core_over([failure, fine])
            with pytest.raises((ConnectionFailed, MixDefaultError)):
                await core.request(method, "/x")
            assert len(http.times) == 1


async def test_a_body_that_is_too_long_is_refused(server: Canned, core: MixCore) -> None:
    server.say(answer(200, raw=b"x" * 101))
    with pytest.raises(ResponseTooLarge, match="longer than 100 bytes"):
        await core.request("GET", "/x", options=RequestOptions(max_body_size=100))
    made = await core.request("GET", "/x", options=RequestOptions(max_body_size=101))
    assert len(made.body) == 101


REFUSED_ARGUMENTS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    (("GE T", "/x"), {}),
    (("", "/x"), {}),
    ((None, "/x"), {}),
    (("GET", "x"), {}),
    (("GET", "http://elsewhere.test/x"), {}),
    (("GET", "/../x"), {}),
    (("GET", "/a/.."), {}),
    (("GET", "/./x?y=z"), {}),
    (("GET", "/%2e%2E/x"), {}),
    (("GET", "/a%2F.%2e"), {}),
    (("GET", ""), {}),
    (("GET", "/a b"), {}),
    (("GET", "/a\r\nX: 1"), {}),
    (("GET", "/é"), {}),
    (("GET", "/a#b"), {}),
    (("GET", None), {}),
    (("POST", "/x"), {"json": {"a": object()}}),
    (("POST", "/x"), {"json": float("nan")}),
    (("POST", "/x"), {"json": "\ud800"}),
    (("GET", "/x"), {"params": {"a": object()}}),
    (("GET", "/x"), {"params": {"a": [["b"]]}}),
    (("GET", "/x"), {"params": {"a": "\ud800"}}),
]


async def test_arguments_that_cannot_work_are_refused_before_any_io(
    server: Canned, core: MixCore
) -> None:
    for args, more in REFUSED_ARGUMENTS:
        with pytest.raises(ConfigurationError, match=r"request\("):
            await core.request(*args, **more)
            pytest.fail(f"not refused: {args} {more}")
    assert server.asked == []


async def test_the_hooks_see_it(server: Canned) -> None:
    server.say(answer(200))
    calls = HookCalls()
    async with MixCore(server.url, retries=ONCE, hooks=calls.hooks()) as core:
        await core.request("GET", "/x")
    assert [(name, context.operation) for name, context in calls.all] == [
        ("before_request", "request"),
        ("after_success", "request"),
    ]


async def test_it_is_a_checkpoint_also_when_it_raises(core: MixCore) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await core.request("", "")
    assert scope.cancelled_caught
