"""What ``relay inspect`` reads of a log in Redis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.relay.test_relay_log import made, turn
from trio_mix.errors import ConfigurationError
from trio_mix.relay import LogError, RedisLog, Retention
from trio_mix.relay._errors import SessionUnknown
from trio_mix.relay._redis_inspect import inspect_redis_session, list_redis_sessions

if TYPE_CHECKING:
    from tests.support.redis_server import RedisServer


async def test_a_log_in_redis_is_read_without_a_lease(redis: RedisServer) -> None:
    async with RedisLog(redis.url, retention=Retention(events=3)) as log:
        lease = await log.acquire("s")
        await log.acquire("other")
        record = turn("t")
        await log.outbox.accept(record)
        await lease.append(made(lease, 5))  # of which two are deleted
        assert await list_redis_sessions(redis.url) == ["other", "s"]
        found = await inspect_redis_session(redis.url, "s")
        extent = await log.extent("s")
        assert extent is not None
        assert (found.newest, found.oldest) == (extent.newest, extent.oldest)
        assert (found.epoch, found.events, found.deleted) == (lease.epoch, 3, 2)
        assert found.bytes == log.statistics().bytes * 3 // 5, "all have one size"
        assert [each.turn_id for each in found.turns] == [record.turn_id]
        assert log.peers.others == []
        with pytest.raises(SessionUnknown, match="nobody"):
            await inspect_redis_session(redis.url, "nobody")


async def test_a_server_that_is_not_there_is_named() -> None:
    with pytest.raises(LogError, match="Redis at"):
        await list_redis_sessions("redis://127.0.0.1:1")
    for url in (
        "redis://127.0.0.1:s3cret",
        "redis://user:s3cret",
        "redis://:s3cret:6379",
        "redis://user:s3[cret@127.0.0.1",
        "redis://127.0.0.1?stream_timeout=s3cret",
        "redis:s3cret",
    ):
        with pytest.raises(ConfigurationError, match="address of the log in Redis") as invalid:
            await list_redis_sessions(url)
        assert "cret" not in str(invalid.value)
