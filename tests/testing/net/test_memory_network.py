"""The network in memory, as a Trio stream and below httpcore."""

from __future__ import annotations

import httpcore
import pytest
import trio
from trio.testing import check_half_closeable_stream, wait_all_tasks_blocked

from trio_mix.testing import Drop, MemoryStream, MixServer, Say, Turn, memory_pipe


async def test_it_passes_trios_checks_for_streams() -> None:
    async def maker() -> tuple[MemoryStream, MemoryStream]:
        return memory_pipe()

    async def clogged_maker() -> tuple[MemoryStream, MemoryStream]:
        one, two = memory_pipe(10)
        await one.send_all(bytes(10))
        await two.send_all(bytes(10))
        return one, two

    await check_half_closeable_stream(maker, clogged_maker)


async def test_a_full_pipe_blocks_its_writer_until_it_is_read() -> None:
    one, two = memory_pipe(10)
    async with one, two, trio.open_nursery() as nursery:
        nursery.start_soon(one.send_all, b"0123456789abcde")
        await wait_all_tasks_blocked()
        assert await two.receive_some() == b"0123456789"
        assert await two.receive_some() == b"abcde"


async def test_a_reset_follows_the_data_that_arrived_before() -> None:
    one, two = memory_pipe()
    async with one, two:
        await one.send_all(b"last words")
        one.close(reset=True)
        assert await two.receive_some() == b"last words"
        with pytest.raises(trio.BrokenResourceError):
            await two.receive_some()
        with pytest.raises(trio.BrokenResourceError):
            await two.send_all(b"anyone?")


async def test_httpcores_pool_uses_it_and_notices_a_lost_connection() -> None:
    async with (
        MixServer(listen=False) as server,
        httpcore.AsyncConnectionPool(network_backend=server.network) as pool,
    ):
        for _ in range(2):
            response = await pool.request("GET", f"{server.url}/health")
            assert response.status == 200
        assert server.connections == 1
        await server.restart()
        response = await pool.request("GET", f"{server.url}/health")
        assert response.status == 200
        await server.stop()
        with pytest.raises(httpcore.ConnectError):
            await pool.request("GET", f"{server.url}/health")


@pytest.mark.parametrize("how", ["cut", "reset"])
async def test_httpcore_raises_the_same_errors_as_on_a_socket(how: str) -> None:
    expected = httpcore.RemoteProtocolError if how == "cut" else httpcore.ReadError
    async with (
        MixServer(listen=False) as server,
        httpcore.AsyncConnectionPool(network_backend=server.network) as pool,
    ):
        server.script("go", Turn(Say("x"), Drop(how)))  # type: ignore[arg-type]
        session_id = server.create_session()
        url = f"{server.url}/stream?sessionId={session_id}"
        async with pool.stream("GET", url) as response:
            server.run_message(session_id, "go")
            body = response.aiter_stream()
            with pytest.raises(expected):
                while True:
                    await body.__anext__()


async def test_a_read_can_time_out_and_tls_and_unix_sockets_are_refused() -> None:
    async with MixServer(listen=False) as server:
        stream = await server.network.connect_tcp("mix.test", 80)
        with pytest.raises(httpcore.ReadTimeout):
            await stream.read(10, timeout=0)
        await stream.aclose()
        with pytest.raises(httpcore.ConnectError, match="Unix"):
            await server.network.connect_unix_socket("/tmp/x")  # noqa: S108
        async with httpcore.AsyncConnectionPool(network_backend=server.network) as pool:
            with pytest.raises(httpcore.ConnectError, match="not https"):
                await pool.request("GET", "https://mix.test/health")
