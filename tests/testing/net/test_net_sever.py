"""Connections that are closed at once."""

from __future__ import annotations

from typing import Literal

import trio

from trio_mix.testing.net._memory import memory_pipe, sever


async def test_a_connection_that_is_closed_already_can_be_severed() -> None:
    listener = (await trio.open_tcp_listeners(0, host="127.0.0.1"))[0]
    async with listener:
        port = listener.socket.getsockname()[1]
        hows: tuple[Literal["cut", "reset"], ...] = ("cut", "reset")
        for how in hows:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            sever(stream, how)
            sever(stream, "reset")
            memory, _ = memory_pipe()
            sever(memory, how)
            sever(memory, "reset")
