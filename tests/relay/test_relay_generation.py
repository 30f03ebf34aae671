"""What the relay makes of a server that it has not seen before."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.support.raw_server import memory_server
from tests.support.relay_memory_log import MemoryLog
from trio_mix import Mix, errors
from trio_mix.relay._generation import find_generation
from trio_mix.relay._hub import Hub
from trio_mix.relay._settings import HubSettings
from trio_mix.testing import MixServer

if TYPE_CHECKING:
    from tests.support.raw_server import Peer
    from trio_mix.testing import Api

OTHERS = {
    "a web page": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\n<1.2>",
    "its 404": b"HTTP/1.1 404 No\r\nContent-Type: text/html\r\nContent-Length: 5\r\n\r\n<1.2>",
    "a proxy's 502": (
        b"HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nContent-Length: 12\r\n\r\n"
        b"nginx/1.22.1"
    ),
}


@pytest.mark.parametrize("api", ["async", "blocking", "pipeline", "pipeline-oldest"])
async def test_each_generation_is_recognized(api: Api) -> None:
    async with (
        MixServer(api, listen=False) as server,
        Mix("http://mix.test", network=server.network) as mix,
    ):
        assert await find_generation(mix) == api


@pytest.mark.parametrize("answer", OTHERS.values(), ids=OTHERS)
async def test_what_is_no_mix_server_is_one_clear_warning_and_tried_again(
    answer: bytes, caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    asked = 0

    async def serve(peer: Peer) -> None:
        nonlocal asked
        while await peer.request() is not None:
            asked += 1
            await peer.stream.send_all(answer)

    async with trio.open_nursery() as nursery, Mix("http://mix.test") as mix:
        _, mix._caller.http = memory_server(nursery, serve)
        with pytest.raises(errors.ProtocolError, match="it is not a Mix server, or a proxy"):
            await find_generation(mix)
        with caplog.at_level(logging.WARNING, "trio_mix.relay"):
            async with Hub(mix, MemoryLog(), HubSettings()) as hub:
                await trio.sleep(60)
                assert not hub.ready
                assert not hub.upstream_reachable
        assert asked > 3
        [record] = caplog.records
        assert "Check the address" in record.getMessage()
        nursery.cancel_scope.cancel()
