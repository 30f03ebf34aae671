"""Fixtures of the REST tests."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.support.rest_kit import ONCE, Canned, canned_server
from trio_mix._rest._core import MixCore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_PLAIN_CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # loading certificates takes 20 ms


@pytest.fixture
async def server() -> AsyncIterator[Canned]:
    async with canned_server() as it:
        yield it


@pytest.fixture(params=["own", "httpx2"])
async def core(request: pytest.FixtureRequest, server: Canned) -> AsyncIterator[MixCore]:
    if request.param == "own":
        async with MixCore(server.url, retries=ONCE) as it:
            yield it
    else:
        async with (
            httpx2.AsyncClient(verify=_PLAIN_CONTEXT) as client,
            MixCore(server.url, retries=ONCE, http_client=client) as it,
        ):
            yield it
