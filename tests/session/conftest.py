"""Fixtures: a server of each generation, and a client of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from trio_mix import Mix
from trio_mix.testing import MixServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_mix.testing import Api

GENERATIONS: tuple[Api, ...] = ("async", "blocking", "pipeline", "pipeline-oldest")


@pytest.fixture(params=GENERATIONS)
def generation(request: pytest.FixtureRequest) -> Api:
    generation: Api = request.param
    return generation


@pytest.fixture
async def server(generation: Api) -> AsyncIterator[MixServer]:
    async with MixServer(generation, pace=0.0) as server:
        yield server


@pytest.fixture
async def mix(server: MixServer) -> AsyncIterator[Mix]:
    async with Mix(server.url) as mix:
        yield mix
