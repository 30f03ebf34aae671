"""Comments of an event stream: returned by the decoder, passed to ``on_comment`` in order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.support.raw_server import LAST_CHUNK, SSE_HEAD, Peer, chunk, serve
from trio_mix.errors import ConfigurationError
from trio_mix.sse import ReconnectPolicy, SSEDecoder, open_event_source

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

BOM = b"\xef\xbb\xbf"
ONCE = ReconnectPolicy(max_elapsed_time=0.0)
STREAMS = [
    ("alone", b":Hello\n", ["#Hello"]),
    ("in a row", b":Hello\n:World\n", ["#Hello", "#World"]),
    ("before an event", b":Hello\ndata: x\n\n", ["#Hello", "x"]),
    ("after an event", b"data: x\n\n:Hello\n", ["x", "#Hello"]),
    ("between events", b"data: x\n\n: a\n\n:b\n\ndata: y\n\n", ["x", "#a", "#b", "y"]),
    ("inside an event", b"data: x\n:c\ndata: y\n\n", ["#c", "x\ny"]),
    ("after a byte order mark", BOM + b":comment\ndata: x\n\n", ["#comment", "x"]),
    ("empty, with spaces and colons", b":\n:  two\n::\n", ["#", "# two", "#:"]),
    ("with other line ends", b":a\r:b\r\n:c\n", ["#a", "#b", "#c"]),
    ("in UTF-8", ":ü\u2028\n".encode(), ["#ü\u2028"]),
]


def decoded(data: bytes, *cuts: int) -> list[str]:
    """Return the events and the comments of a stream, in order; comments begin with ``#``."""
    decoder = SSEDecoder()
    found: list[str] = []
    for begin, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        events = [event.data for event in decoder.feed(data[begin:end])]
        for number, (index, comment) in enumerate(decoder.comments):
            events.insert(index + number, "#" + comment)
        found += events
    return found


@pytest.mark.parametrize(("name", "stream", "expected"), STREAMS)
def test_the_decoder_returns_comments_where_they_were(
    name: str, stream: bytes, expected: list[str]
) -> None:
    assert decoded(stream) == expected
    assert decoded(stream, *range(1, len(stream))) == expected


@given(
    blocks=st.lists(
        st.sampled_from([b"data: x\n\n", b":c\n", b"id: 1\ndata: y\n\n", b"data: z\n", b"\n"])
    ),
    cuts=st.lists(st.integers(0, 120)),
)
def test_how_the_bytes_are_cut_makes_no_difference_for_comments(
    blocks: list[bytes], cuts: list[int]
) -> None:
    data = b"".join(blocks)
    assert decoded(data, *sorted(cut for cut in cuts if cut < len(data))) == decoded(data)


def test_comments_do_not_accumulate() -> None:
    decoder = SSEDecoder()
    for _ in range(1000):
        decoder.feed(b":ping\n\n")
        assert decoder.comments == [(0, "ping")]
    decoder.feed(b"data: x\n\n")
    assert decoder.comments == []


def writing(*parts: bytes) -> Callable[[Peer], Awaitable[None]]:
    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD)
        for part in parts:
            await peer.send(chunk(part))
        await peer.send(LAST_CHUNK)

    return handler


@pytest.mark.parametrize("is_async", [False, True])
async def test_on_comment_is_called_between_the_events_around_the_comment(
    nursery: trio.Nursery, is_async: bool
) -> None:
    whole = b"".join(stream for name, stream, _ in STREAMS if "mark" not in name)
    expected = [one for name, _, expected in STREAMS if "mark" not in name for one in expected]
    seen: list[str] = []

    async def slowly(text: str) -> None:
        await trio.lowlevel.checkpoint()
        seen.append("#" + text)

    def at_once(text: str) -> None:
        seen.append("#" + text)

    server = await serve(nursery, writing(whole[:50], whole[50:]))
    async with open_event_source(
        server.url, on_comment=slowly if is_async else at_once, reconnect=ONCE
    ) as source:
        with pytest.raises(Exception, match="max_elapsed_time=0"):
            async for event in source:
                seen.append(event.data)  # noqa: PERF401 - `on_comment` adds to it, too
    assert seen == expected


async def test_a_comment_alone_is_reported_before_anything_else_arrives(
    nursery: trio.Nursery,
) -> None:
    reported = trio.Event()

    async def handler(peer: Peer) -> None:
        await peer.request()
        await peer.send(SSE_HEAD + chunk(b":Hello\n"))
        await reported.wait()
        await peer.send(chunk(b"data: x\n\n"))

    server = await serve(nursery, handler)
    with trio.fail_after(10):
        async with open_event_source(server.url, on_comment=lambda _: reported.set()) as source:
            assert (await anext(source)).data == "x"


async def test_what_on_comment_raises_is_raised_once(nursery: trio.Nursery) -> None:
    def refuse(text: str) -> None:
        raise ValueError(text)

    server = await serve(nursery, writing(b"data: x\n\n:one\n\n:two\n\ndata: y\n\n"))
    async with open_event_source(server.url, on_comment=refuse) as source:
        assert (await anext(source)).data == "x"
        for text in ("one", "two"):
            with pytest.raises(ValueError, match=text):
                await anext(source)
        assert (await anext(source)).data == "y"


async def test_a_function_that_cannot_take_a_comment_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"on_comment=\.\.\."):
        async with open_event_source("http://x", on_comment=lambda: None):  # type: ignore[misc, arg-type]
            pass
