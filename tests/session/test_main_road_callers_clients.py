"""The main send_api once more, through clients of the caller's own."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

import pytest

from tests.support.callers_clients import KINDS, callers_client
from trio_mix import Mix

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_mix.testing import MixServer

_OURS = importlib.import_module("test_main_road")
globals().update({name: each for name, each in vars(_OURS).items() if name.startswith("test_")})


@pytest.fixture(params=KINDS)
async def mix(request: pytest.FixtureRequest, server: MixServer) -> AsyncIterator[Mix]:
    async with callers_client(request.param) as client:
        async with Mix(server.url, http_client=client) as mix:
            yield mix
        assert not client.is_closed
