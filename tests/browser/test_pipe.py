"""DevTools messages over pipes."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import memory_stream_one_way_pair

from trio_mix.browser._pipe import MessageSplitter, PipeTransport
from trio_mix.browser._transport import TransportLost

messages = st.lists(st.binary().map(lambda data: data.replace(b"\0", b"")), max_size=8)


@given(messages, st.lists(st.integers(1, 20), min_size=1))
def test_messages_are_split_at_nul_however_the_bytes_arrive(
    sent: list[bytes], sizes: list[int]
) -> None:
    data = b"".join(message + b"\0" for message in sent)
    splitter, got, step = MessageSplitter(10_000), list[bytes](), 0
    while data:
        size = sizes[step % len(sizes)]
        got += splitter.feed(data[:size])
        data, step = data[size:], step + 1
    assert got == sent


def test_a_message_over_the_maximum_is_an_error_before_it_is_complete() -> None:
    splitter = MessageSplitter(10)
    assert list(splitter.feed(b"0123456789\0" + b"01234")) == [b"0123456789"]
    assert list(splitter.feed(b"56789")) == []
    with pytest.raises(TransportLost, match="10 bytes"):
        list(splitter.feed(b"x"))


async def test_a_pipe_carries_messages_until_the_browser_closes_it() -> None:
    commands, browser_commands = memory_stream_one_way_pair()
    browser_answers, answers = memory_stream_one_way_pair()
    transport = PipeTransport(commands, answers, max_message=1000)
    async with trio.open_nursery() as nursery:
        await transport.open(nursery)
    await transport.send('{"id": 1, "ö": "\\u0000"}')
    assert await browser_commands.receive_some() == '{"id": 1, "ö": "\\u0000"}\0'.encode()
    await browser_answers.send_all(b"one\0two\0thr")
    assert [await transport.receive(), await transport.receive()] == [b"one", b"two"]
    await browser_answers.aclose()
    with pytest.raises(TransportLost, match="closed its pipe"):
        await transport.receive()
    await transport.aclose(1)
    with pytest.raises(TransportLost):
        await transport.send("x")
