"""Fixtures of the REST tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from rest_kit import ONCE, Canned, canned_server

from trio_mix._core import MixCore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@pytest.fixture
async def server() -> AsyncIterator[Canned]:
    async with canned_server() as it:
        yield it


@pytest.fixture
async def core(server: Canned) -> AsyncIterator[MixCore]:
    async with MixCore(server.url, retries=ONCE) as it:
        yield it
