"""What a connection attempt sends, and which parts of it no error may show."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.support.raw_server import SSE_HEAD, Peer, chunk, memory_server
from tests.support.supervised import events, script, supervisor
from trio_mix.errors import (
    ConfigurationError,
    MixDefaultError,
    ProtocolError,
)
from trio_mix.sse._supervisor import Events

if TYPE_CHECKING:
    from trio.testing import MockClock


async def test_the_headers_function_is_called_at_each_attempt_and_replaces_standard_headers(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    asked = 0

    def headers() -> dict[str, str]:
        nonlocal asked
        asked += 1
        return {"Authorization": f"Bearer {asked}", "accept": "text/*"}

    async def headers_later() -> dict[str, str]:
        await trio.lowlevel.checkpoint()
        return headers()

    sent = []
    for given in (headers, headers_later):
        server, http = memory_server(nursery, script(SSE_HEAD, None))
        source = supervisor(http, headers=given)
        for _ in range(3):
            await source.next()
        await source.aclose()
        sent += [request.headers for request in server.requests]
    assert [h["authorization"] for h in sent] == [f"Bearer {n}" for n in (1, 2, 3, 4)]
    assert {h["accept"] for h in sent} == {"text/*"}
    assert {h["cache-control"] for h in sent} == {"no-cache"}
    assert {h["accept-encoding"] for h in sent} == {"identity"}


async def test_method_and_content_are_sent_with_each_attempt(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    server, http = memory_server(nursery, script(SSE_HEAD, None))
    source = supervisor(http, method="POST", content=b"{}")
    for _ in range(3):
        await source.next()
    assert [(request.method, request.body) for request in server.requests] == [("POST", b"{}")] * 2


async def test_the_last_event_id_is_sent_as_utf_8_if_a_header_can_carry_it(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    for last_id, sent in [
        ("7", "7"),
        ("ü日", "ü日"),
        ("a\tb", "a\tb"),
        ("", None),
        ("bell\x07", None),
        ("x" * 5000, None),
    ]:
        server, http = memory_server(nursery, script(None))
        await supervisor(http, last_event_id=last_id).next()
        header = server.requests[0].headers.get("last-event-id")
        assert header == (None if sent is None else sent.encode().decode("latin-1"))


def test_a_last_event_id_that_no_server_sent_is_refused() -> None:
    for bad in ["a\nb", "a\rb", "a\0b"]:
        with pytest.raises(ConfigurationError, match="last_event_id"):
            supervisor(None, last_event_id=bad)  # type: ignore[arg-type]  # pyright: ignore


async def test_without_auto_mark_the_owner_sets_the_last_event_id(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    answer = SSE_HEAD + chunk(b"data: x\n\n") + events("7")
    server, http = memory_server(nursery, script(answer, answer, None))
    source = supervisor(http, auto_mark=False, last_event_id="5")
    ids: list[str] = []
    for _ in range(7):
        item = await source.next()
        if isinstance(item, Events):
            ids += [frame.id for frame in item.events]
        if len(ids) == 2:
            source.last_event_id = "6"
    assert ids == ["", "7", "", "7"]
    assert [r.headers.get("last-event-id") for r in server.requests] == ["5", "6", "6"]


async def test_events_inherit_the_id_of_the_connection_before(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    _, http = memory_server(nursery, script(SSE_HEAD + events("7"), SSE_HEAD + chunk(b"data\n\n")))
    source = supervisor(http)
    items = [await source.next() for _ in range(5)]
    batch = items[-1]
    assert isinstance(batch, Events)
    assert batch.events[0].id == "7"


async def test_an_error_shows_no_secret_of_headers_or_url(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    async def handler(peer: Peer) -> None:
        request = await peer.request()
        assert request is not None
        body = f"you sent {request.headers['x-key']} for s3cr3t@pw".encode()
        kind = b"404 No" if peer.server.connections == 1 else b"200 OK"
        await peer.send(b"HTTP/1.1 %b\r\nContent-Length: %d\r\n\r\n%b" % (kind, len(body), body))

    _, http = memory_server(nursery, handler)
    url = "http://me:s3cr3t%40pw@host/x"
    for _ in range(2):
        with pytest.raises((MixDefaultError, ProtocolError)) as caught:
            await supervisor(http, url=url, headers={"X-Key": "planted-key"}).next()
        shown = f"{caught.value} {caught.value!r} {vars(caught.value)}"
        assert "you sent" in shown
        assert "planted" not in shown
        assert "s3cr3t" not in shown
