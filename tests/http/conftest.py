"""The three ways to make requests: on the package's own connections, and by two libraries."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import httpx
import httpx2
import pytest
import trustme

from trio_mix._http import Http

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@pytest.fixture(params=["own", "httpx", "httpx2"])
async def http(request: pytest.FixtureRequest) -> AsyncGenerator[Http]:
    if request.param == "own":
        client = Http()
        yield client
        await client.aclose()
    elif request.param == "httpx":
        async with httpx.AsyncClient() as outer:
            client = Http(outer)
            yield client
            await client.aclose()
    else:
        async with httpx2.AsyncClient() as newer:
            client = Http(newer)
            yield client
            await client.aclose()


@pytest.fixture
async def own() -> AsyncGenerator[Http]:
    client = Http()
    yield client
    await client.aclose()


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def server_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


@pytest.fixture
def client_context(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context
