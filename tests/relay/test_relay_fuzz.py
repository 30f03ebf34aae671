"""Whatever a client sends, a connection of the relay answers or closes, and never fails."""

from __future__ import annotations

import json

import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from trio_mix.relay._connection import StreamConnection
from trio_mix.relay._exchange import Exchange, HttpLimits
from trio_mix.relay._http import serve_connection
from trio_mix.relay._sends import parse_send
from trio_mix.testing.net._memory import memory_pipe

LIMITS = HttpLimits(head_size=2000, json_size=500)
_words = st.sampled_from(
    (
        b"GET / HTTP/1.1\r\n",
        b"POST /x?a=%zz HTTP/1.1\r\n",
        b"HEAD / HTTP/1.0\r\n",
        b"Host: localhost\r\n",
        b"Content-Length: 3\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Expect: 100-continue\r\n",
        b"Connection: close\r\n",
        b"Upgrade: websocket\r\nConnection: upgrade\r\n",
        b"\r\n",
        b"3\r\nabc\r\n",
        b"ffffffffffffffffff\r\n",
        b"0\r\n\r\n",
        b"abc",
        b"\x00\xff",
    )
)


@given(st.lists(_words | st.binary(max_size=40), max_size=12))
def test_any_bytes_are_answered_or_the_connection_is_closed(pieces: list[bytes]) -> None:
    async def echo(exchange: Exchange) -> None:
        await exchange.respond(200, await exchange.read_body(), "text/plain")

    async def run() -> bytes:
        client, server = memory_pipe()
        received = b""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve_connection, StreamConnection(server), echo, LIMITS)
            try:
                for piece in pieces:
                    await client.send_all(piece)
                await client.send_eof()
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                pass  # it was refused before all of it had arrived
            while data := await client.receive_some():
                received += data
        return received

    answer = trio.run(run, clock=MockClock(autojump_threshold=0))
    assert answer == b"" or answer.startswith(b"HTTP/1.1 ")
    assert b" 500 " not in answer


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                (
                    "text",
                    "content",
                    "plan_mode",
                    "media",
                    "apps",
                    "max_steps",
                    "thinking_level",
                    "x",
                )
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(
    st.binary(max_size=50) | _json.map(lambda value: json.dumps(value).encode()),
    st.sampled_from(("pipeline", "rest")),
    st.sampled_from(("async", "blocking", "pipeline", "pipeline-oldest")),
)
def test_any_body_is_a_message_or_is_passed_on(body: bytes, path: str, generation: str) -> None:
    send = parse_send(body, path, generation)  # type: ignore[arg-type]
    if send is None:
        return
    assert send.request.text
    fields = json.loads(send.canonical)
    assert fields["text"] == send.request.text
    sent = json.loads(body) if path == "rest" else json.loads(json.loads(body)["content"])
    assert fields == sent
