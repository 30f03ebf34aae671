"""Fixtures of the relay's tests: commands in processes, and a real Chromium if there is one."""

from __future__ import annotations

import pytest

from tests.support.command_line import run_command, start_command
from trio_mix.browser import ChromiumNotFound
from trio_mix.browser._program import find_chromium

__all__ = ["chromium_program", "run_command", "start_command"]


@pytest.fixture
def chromium_program() -> str:
    try:
        return find_chromium()
    except ChromiumNotFound:
        pytest.skip("no Chromium on this machine: EventSource was NOT tried against the relay")
