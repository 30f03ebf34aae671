"""Responses that are not a Mix server's, and invalid arguments: typed errors with a remedy."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from trio_mix import Mix, ReconnectPolicy, errors
from trio_mix.testing import MixServer, RequestReceived

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

KEY = "planted-secret-key-0123456789"


@pytest.fixture
async def server() -> AsyncIterator[MixServer]:
    async with MixServer(pace=0.0) as server:
        yield server


@pytest.fixture
async def mix(server: MixServer) -> AsyncIterator[Mix]:
    async with Mix(server.url, headers={"Authorization": f"Bearer {KEY}"}) as mix:
        yield mix


async def _open(mix: Mix, session_id: str) -> None:
    async with mix.open_stream(session_id, connect_timeout=2.0):
        raise AssertionError("opened")


@pytest.mark.parametrize(
    "odd", ["a/b", "a?b=c", "..", ".", "übung", "a b", "a\r\nX-Evil: 1", "%2e"]
)
async def test_a_session_id_cannot_change_the_rest_of_a_url(
    server: MixServer, mix: Mix, odd: str
) -> None:
    with pytest.raises(errors.ErrorResponse) as caught:
        await mix.sessions.get(id=odd)
    assert caught.value.status_code == 404
    with trio.fail_after(5), pytest.raises(errors.SessionNotFound):
        await _open(mix, odd)
    for request in server.log:
        if isinstance(request, RequestReceived):
            assert request.path.startswith(("/api/sessions/", "/stream"))
            assert "x-evil" not in request.headers
            assert request.path.count("/") <= 3


async def test_a_last_event_id_with_a_line_end_is_refused(server: MixServer, mix: Mix) -> None:
    session_id = server.create_session()
    with pytest.raises(errors.ConfigurationError, match="last_event_id"):
        mix.open_stream(session_id, last_event_id="1\r\nX-Evil: 1")


@pytest.mark.parametrize(
    "bad", ["", "no scheme", "ftp://x", "http://", "http://[::1", "http://a b"]
)
def test_a_bad_url_is_refused_by_the_constructor(bad: str) -> None:
    with pytest.raises(errors.ConfigurationError):
        Mix(bad)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [(b"<html>It works!</html>", "text/html"), (b'{"ok": true}', "application/json")],
)
async def test_a_response_that_is_not_an_event_stream_is_a_protocol_error(
    server: MixServer, mix: Mix, body: bytes, content_type: str
) -> None:
    server.answer_next("/stream", 200, headers={"Content-Type": content_type}, body=body)
    with trio.fail_after(5), pytest.raises(errors.ProtocolError, match=content_type) as caught:
        await _open(mix, server.create_session())
    assert server.url in str(caught.value)


async def test_a_proxys_error_page_on_a_send_is_a_rejection_with_the_page(
    server: MixServer, mix: Mix
) -> None:
    session_id = server.create_session()
    async with mix.open_stream(session_id) as session:
        await session.ask("hello")
        server.answer_next(
            f"/api/sessions/{session_id}/messages",
            503,
            headers={"Content-Type": "text/html"},
            body=b"<h1>Service unavailable</h1>",
        )
        with pytest.raises(errors.MessageRejected, match="503") as caught:
            await session.ask("hello")
        assert isinstance(caught.value.__cause__, errors.MixDefaultError)


async def test_a_huge_error_body_is_read_only_in_part(server: MixServer, mix: Mix) -> None:
    server.answer_next("/api/sessions", 500, body=b"x" * 10_000_000)
    with pytest.raises(errors.MixDefaultError) as caught:
        await mix.sessions.create(title="x")
    assert len(caught.value.body) <= 100_000
    assert len(str(caught.value)) < 2_000


async def test_a_redirect_elsewhere_is_not_followed_with_credentials(
    server: MixServer, mix: Mix
) -> None:
    async with MixServer(pace=0.0) as elsewhere:
        for path in ("/stream", "/health"):
            server.answer_next(path, 307, headers={"Location": f"{elsewhere.url}{path}"})
        with trio.fail_after(5), pytest.raises(errors.TrioMixError) as caught:
            await _open(mix, server.create_session())
        assert "307" in str(caught.value) or "redirect" in str(caught.value).lower()
        with pytest.raises(errors.MixDefaultError, match="redirect to another origin"):
            await mix.system.health_check()
        assert elsewhere.requests() == []


async def test_an_address_without_a_server_is_a_connection_failure() -> None:
    async with MixServer() as gone:
        url = gone.url
    async with Mix(url) as mix:
        with trio.fail_after(5), pytest.raises(errors.ConnectionFailed, match="Mix server") as one:
            async with mix.open_stream("s", connect_timeout=0.3):
                raise AssertionError("opened")
        assert url in str(one.value)
        with pytest.raises(errors.ReconnectFailed) as other:
            async with mix.open_stream("s", reconnect=ReconnectPolicy(max_elapsed_time=0.0)):
                raise AssertionError("opened")
        assert isinstance(other.value.__cause__, errors.ConnectionFailed)


async def test_no_error_or_repr_shows_a_credential(server: MixServer, mix: Mix) -> None:
    seen = [repr(mix), repr(mix._caller.http)]
    server.answer_next("/stream", 401, body=f"bad token Bearer {KEY}".encode())
    for attempt in (
        lambda: _open(mix, server.create_session()),
        lambda: mix.sessions.get(id="nope"),
    ):
        with pytest.raises(errors.TrioMixError) as caught:
            await attempt()
        seen += [str(caught.value), repr(caught.value), repr(vars(caught.value))]
    async with mix.open_stream(server.create_session()) as session:
        seen += [repr(session), repr(session.statistics()), repr(session.send("hello"))]
    assert not [text for text in seen if KEY in text]
