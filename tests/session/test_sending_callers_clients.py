"""The tests of sending again, through an HTTP client that the caller passes."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import pytest

from tests.support.callers_clients import KINDS, callers_client
from trio_mix import Mix

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_mix.testing import Api, MixServer

_TESTS = importlib.import_module("test_sending")
globals().update({name: each for name, each in vars(_TESTS).items() if name.startswith("test_")})


@pytest.fixture(params=["async", "pipeline"])
def generation(request: pytest.FixtureRequest) -> Api:
    """Return one generation for each way to send: the client does not depend on it."""
    generation: Api = request.param
    return generation


@pytest.fixture(params=KINDS)
async def mix(request: pytest.FixtureRequest, server: MixServer) -> AsyncIterator[Mix]:
    async with callers_client(request.param) as client:
        async with Mix(server.url, http_client=client) as mix:
            yield mix
        assert not client.is_closed
