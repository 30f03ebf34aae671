"""Faults of coredis that the relay works around by not using its pool.

Each test says what should happen, and is expected to fail. When one passes, coredis has fixed the
fault: simplify ``trio_mix/relay/_redis_connection.py`` and ``docs/explanation/coredis.md``.
"""

from __future__ import annotations

import gc
import warnings
from typing import TYPE_CHECKING

import pytest
import trio

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from coredis import Redis

    from tests.support.redis_server import RedisServer

SLOTS = 2
TIMEOUT = 0.2
"""Seconds that a client waits for a connection of its pool."""

coredis = pytest.importorskip("coredis")


def client(redis: RedisServer) -> AbstractAsyncContextManager[Redis[bytes]]:
    pool = coredis.ConnectionPool.from_url(redis.url, max_connections=SLOTS, timeout=TIMEOUT)
    found: AbstractAsyncContextManager[Redis[bytes]] = coredis.Redis(
        connection_pool=pool, retry_policy=coredis.retry.NoRetryPolicy()
    )
    return found


async def usable(redis_client: Redis[bytes]) -> bool:
    """Return whether the pool has a connection left, or can make one."""
    try:
        return await redis_client.ping() == b"PONG"
    except TimeoutError:
        return False


async def until_blocked(redis: RedisServer, count: int) -> None:
    """Wait until so many clients wait for a value."""
    with trio.fail_after(20):
        while f"blocked_clients:{count}" not in redis.command("INFO", "clients"):
            await trio.lowlevel.checkpoint()


@pytest.mark.xfail(strict=True, reason="coredis 6.9: the slot is lost")
async def test_a_blocking_read_that_is_cancelled_gives_its_slot_back(redis: RedisServer) -> None:
    async with client(redis) as redis_client:
        for _ in range(SLOTS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(blocking_read, redis_client)
                await until_blocked(redis, 1)
                nursery.cancel_scope.cancel()
            await until_blocked(redis, 0)
        free = await usable(redis_client)
    assert free


@pytest.mark.xfail(strict=True, reason="coredis 6.9: the slot is lost")
async def test_a_connection_that_is_lost_while_it_is_in_use_gives_its_slot_back(
    redis: RedisServer,
) -> None:
    async with client(redis) as redis_client:
        for _ in range(SLOTS):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lost_read, redis_client)
                await until_blocked(redis, 1)
                redis.command("CLIENT", "KILL", "TYPE", "normal")
            await until_blocked(redis, 0)
        free = await usable(redis_client)
    assert free


async def blocking_read(redis_client: Redis[bytes]) -> None:
    await redis_client.blpop(["nothing"], 0)


async def lost_read(redis_client: Redis[bytes]) -> None:
    with pytest.raises(coredis.exceptions.ConnectionError):
        await redis_client.blpop(["nothing"], 0)


@pytest.mark.xfail(strict=True, reason="coredis 6.9: the buffers are left open")
async def test_a_connection_that_cannot_be_made_leaves_nothing_open() -> None:
    from coredis.connection import TCPConnection, TCPLocation

    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        connection = TCPConnection(TCPLocation("127.0.0.1", 1))
        with pytest.raises(coredis.exceptions.ConnectionError):
            await connection.run()
        del connection
        gc.collect()
    assert [str(each.message) for each in found] == []
