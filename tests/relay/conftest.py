"""Fixtures of the relay's tests: commands, a real Chromium if there is one, the generations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.command_line import run_command, start_command
from trio_mix.browser import ChromiumNotFound
from trio_mix.browser._program import find_chromium

if TYPE_CHECKING:
    from trio_mix.testing import Api

__all__ = ["chromium_program", "run_command", "start_command"]


@pytest.fixture
def chromium_program() -> str:
    try:
        return find_chromium()
    except ChromiumNotFound:
        pytest.skip("no Chromium on this machine: EventSource was NOT tried against the relay")


APIS: tuple[Api, ...] = ("async", "blocking", "pipeline", "pipeline-oldest")


@pytest.fixture(params=APIS)
def api(request: pytest.FixtureRequest) -> Api:
    found: Api = request.param
    return found
