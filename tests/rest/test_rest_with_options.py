"""`MixCore.with_options`, and the heads of responses that ``on_response`` receives."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.rest_kit import ONCE, answer, refusal
from trio_mix import (
    Mix,
    MixCore,
    RequestOptions,
    ResponseHead,
    RetryConfig,
    errors,
    funcs,
    resources,
)
from trio_mix.testing import MixServer, RequestReceived, Say, Turn

if TYPE_CHECKING:
    from tests.support.rest_kit import Canned


def sent_headers(server: MixServer, path: str) -> dict[str, str]:
    found = [r for r in server.log if isinstance(r, RequestReceived) and r.path.startswith(path)]
    return dict(found[-1].headers)


async def test_the_options_of_a_client_are_those_of_each_call_that_has_none() -> None:
    async with MixServer(pace=0) as server, Mix(server.url, headers={"X-A": "client"}) as mix:
        other = mix.with_options(RequestOptions(headers={"X-B": "view", "X-C": "view"}))
        both = other.with_options(RequestOptions(headers={"x-c": "second"}))
        await both.sessions.list(options=RequestOptions(headers={"X-B": "call"}))
        headers = sent_headers(server, "/api/sessions")
        assert (headers["x-a"], headers["x-b"], headers["x-c"]) == ("client", "call", "second")
        await mix.sessions.list()
        assert "x-b" not in sent_headers(server, "/api/sessions")
        assert type(both) is Mix
        assert both.sessions is not mix.sessions


async def test_they_apply_to_session_streams_and_their_messages() -> None:
    async with MixServer(pace=0) as server, Mix(server.url) as mix:
        server.script("Hi", Turn(Say("Hello")))
        other = mix.with_options(RequestOptions(headers={"X-Team": "docs"}))
        async with other.open_session() as session:
            assert (await session.ask("Hi")).text == "Hello"
            with pytest.raises(errors.StreamAlreadyOpen):
                async with mix.open_stream(session.session_id):
                    pass
        assert sent_headers(server, "/stream")["x-team"] == "docs"
        assert sent_headers(server, "/api/sessions/")["x-team"] == "docs"


async def test_closing_it_leaves_the_client_open() -> None:
    async with MixServer(pace=0) as server, Mix(server.url) as mix:
        async with mix.with_options(RequestOptions(timeout=7)) as other:
            assert await other.sessions.list() == []
        assert await mix.sessions.list() == []


async def test_headers_for_one_server_are_not_sent_to_another() -> None:
    async with MixServer(pace=0) as one, MixServer(pace=0) as two, Mix(one.url) as mix:
        other = mix.with_options(RequestOptions(headers={"Authorization": "Bearer hidden"}))
        for options, expected in (
            (RequestOptions(server_url=two.url), False),
            (RequestOptions(server_url=two.url, send_client_headers=True), True),
        ):
            await other.sessions.list(options=options)
            assert ("authorization" in sent_headers(two, "/api/sessions")) is expected
        there = mix.with_options(RequestOptions(server_url=two.url, headers={"X-B": "b"}))
        assert there.server_url == two.url
        async with there.open_session(title="There") as session:
            await session.ask("Hi")
        assert sent_headers(two, "/stream")["x-b"] == "b"
        assert not one.requests("GET", "/stream")


async def test_its_timeout_and_retries_replace_those_of_the_client(
    server: Canned, core: MixCore
) -> None:
    core = core.with_options(RequestOptions(retries=ONCE, timeout=math.inf))
    server.say(refusal(503))
    with pytest.raises(errors.ErrorResponse):
        await core.request("GET", "/x")
    assert len(server.asked) == 1
    assert core._caller.timeout is None


async def test_a_wrong_argument_is_refused(core: MixCore) -> None:
    with pytest.raises(errors.ConfigurationError, match="pass a RequestOptions"):
        core.with_options(5)  # type: ignore[arg-type]
    with pytest.raises(errors.ConfigurationError, match="on_response"):
        RequestOptions(on_response=lambda: None)  # type: ignore[misc, arg-type]
    for wrong in ({"timeout": 5}, 5):
        with pytest.raises(errors.ConfigurationError, match="pass a RequestOptions"):
            await core.request("GET", "/x", options=wrong)  # type: ignore[arg-type]
        with pytest.raises(errors.ConfigurationError, match="pass a RequestOptions"):
            await resources.Sessions(core).list(options=wrong)  # type: ignore[arg-type]
    with pytest.raises(errors.ConfigurationError, match="64 bits"):
        await core.request("GET", "/x", params={"limit": 10**5000})


async def test_on_response_receives_each_response_also_those_that_are_retried(
    server: Canned, core: MixCore
) -> None:
    server.say(answer(503, headers={"Retry-After": "0"}), answer(200, [], headers={"X-N": "2"}))
    heads: list[ResponseHead] = []

    async def keep(head: ResponseHead) -> None:
        await trio.lowlevel.checkpoint()
        heads.append(head)

    options = RequestOptions(retries=RetryConfig(), on_response=keep)
    found = await funcs.sessions_list(core, options=options)
    assert isinstance(found, funcs.Ok)
    assert [head.status for head in heads] == [503, 200]
    assert heads[1].headers["x-n"] == "2"
    assert repr(heads[1]) == "ResponseHead(status=200)"


async def test_it_receives_the_heads_of_files_and_event_streams_too() -> None:
    heads: list[ResponseHead] = []
    async with MixServer(pace=0) as server, Mix(server.url) as client:
        mix = client.with_options(RequestOptions(on_response=heads.append))
        session = server.create_session()
        await mix.files.upload(id=session, file=b"text", filename="a.txt")
        assert await mix.files.get(id=session, filename="a.txt") == b"text"
        async with mix.streaming.stream_events(session_id=session):
            pass
        with pytest.raises(errors.MixError):
            await mix.files.get(id=session, filename="none.txt")
    assert [head.status for head in heads] == [201, 200, 200, 404]
    assert heads[2].headers["content-type"] == "text/event-stream"
