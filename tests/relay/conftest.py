"""Fixtures of the relay's tests: commands, a real Chromium if there is one, the generations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.command_line import run_command, start_command
from tests.support.redis_server import NO_REDIS, RedisServer, find_redis
from trio_mix.browser import ChromiumNotFound
from trio_mix.browser._program import find_chromium

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_mix.testing import Api

__all__ = ["chromium_program", "run_command", "start_command"]


@pytest.fixture
def chromium_program() -> str:
    try:
        return find_chromium()
    except ChromiumNotFound:
        pytest.skip("no Chromium on this machine: EventSource was NOT tried against the relay")


@pytest.fixture(scope="session")
def redis_of_all_tests() -> Iterator[RedisServer]:
    program = find_redis()
    if program is None:
        pytest.skip(NO_REDIS)
    with RedisServer(program, options=("--appendonly", "yes")) as server:
        yield server


@pytest.fixture
def redis(redis_of_all_tests: RedisServer) -> RedisServer:
    """Return a server without data."""
    redis_of_all_tests.command("FLUSHALL")
    return redis_of_all_tests


APIS: tuple[Api, ...] = ("async", "blocking", "pipeline", "pipeline-oldest")


@pytest.fixture(params=APIS)
def api(request: pytest.FixtureRequest) -> Api:
    found: Api = request.param
    return found
