"""Which Chromium is started, and options that are refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from trio_mix.browser import (
    ChromiumNotFound,
    Policy,
    _program,
    launch_chromium,
)
from trio_mix.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


async def test_the_error_for_a_missing_program_names_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("TRIO_MIX_CHROMIUM", raising=False)
    monkeypatch.setattr(_program, "_MAC", ())
    with pytest.raises(ChromiumNotFound, match=r"apt-get install chromium.*TRIO_MIX_CHROMIUM"):
        async with launch_chromium():
            pass
    monkeypatch.setenv("TRIO_MIX_CHROMIUM", "/no/such/browser")
    with pytest.raises(ChromiumNotFound, match="TRIO_MIX_CHROMIUM='/no/such/browser'"):
        async with launch_chromium():
            pass
    with pytest.raises(ChromiumNotFound, match="executable='other'"):
        async with launch_chromium("other"):
            pass


async def test_the_first_on_the_path_is_used_unless_the_environment_names_another(
    monkeypatch: pytest.MonkeyPatch, script: Callable[[str], Path]
) -> None:
    program = script("exit 0")
    (program.parent / "chromium").symlink_to(program)
    monkeypatch.setenv("PATH", str(program.parent))
    monkeypatch.delenv("TRIO_MIX_CHROMIUM", raising=False)
    assert _program.find_chromium() == str(program.parent / "chromium")
    monkeypatch.setenv("TRIO_MIX_CHROMIUM", str(program))
    assert _program.find_chromium() == str(program)


def test_timeouts_must_be_positive() -> None:
    with pytest.raises(ConfigurationError, match="start_timeout=0"):
        launch_chromium(start_timeout=0)
    with pytest.raises(ConfigurationError, match="close_timeout=0"):
        launch_chromium(close_timeout=0)


def test_arguments_that_undo_a_protection_are_refused_with_the_way_out() -> None:
    for argument, expected in (
        ("--no-sandbox", "sandbox=False"),
        ("--remote-debugging-port=9222", "cdp_url="),
        ("--user-data-dir=/tmp/x", "new one"),
        ("--headless=old", "headless="),
        ("--proxy-server=http://other", "filter_network=False"),
        ("--proxy-bypass-list=*", "filter_network=False"),
        ("--no-proxy-server", "filter_network=False"),
        ("--host-resolver-rules=MAP a b", "filter_network=False"),
    ):
        with pytest.raises(ConfigurationError, match=expected):
            launch_chromium(args=[argument])
    unfiltered = Policy(filter_network=False)
    launch_chromium(args=["--proxy-server=http://other"], policy=unfiltered)
