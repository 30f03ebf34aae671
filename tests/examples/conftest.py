"""Fixtures of the examples' tests."""

from __future__ import annotations

import pytest

from tests.support.example_programs import program_forks
from trio_mix.browser import ChromiumNotFound
from trio_mix.browser._program import find_chromium

__all__ = ["chromium_program", "program_forks"]


@pytest.fixture
def chromium_program() -> str:
    try:
        return find_chromium()
    except ChromiumNotFound:
        pytest.skip("no Chromium on this machine: the page was NOT tried in a real browser")
