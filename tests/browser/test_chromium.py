"""Finding, starting and ending a Chromium: with scripts as stand-ins, and with a real one."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from trio_mix.browser import ChromiumFailed, ChromiumNotFound, _chromium, launch_chromium
from trio_mix.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

READY = "echo 'DevTools listening on ws://127.0.0.1:1/devtools/browser/x' >&2"


@pytest.fixture
def script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], Path]]:
    """Return a function that writes a stand-in for Chromium; the test can list the profiles."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as profiles:
        (tmp_path / "profiles").symlink_to(profiles)
        monkeypatch.setattr(tempfile, "tempdir", profiles)

        def write(body: str) -> Path:
            program = tmp_path / "browser"
            program.write_text(f"#!/bin/sh\n{body}\n")
            program.chmod(0o755)
            return program

        yield write


def leftovers(program: Path) -> list[Path]:
    return list((program.parent / "profiles").iterdir())


async def test_the_error_for_a_missing_program_names_the_remedy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("TRIO_MIX_CHROMIUM", raising=False)
    monkeypatch.setattr(_chromium, "_MAC", ())
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
    assert _chromium.find_chromium() == str(program.parent / "chromium")
    monkeypatch.setenv("TRIO_MIX_CHROMIUM", str(program))
    assert _chromium.find_chromium() == str(program)


def test_timeouts_must_be_positive() -> None:
    with pytest.raises(ConfigurationError, match="start_timeout=0"):
        launch_chromium(start_timeout=0)
    with pytest.raises(ConfigurationError, match="close_timeout=0"):
        launch_chromium(close_timeout=0)


async def test_the_error_for_a_program_that_ends_quotes_its_log(
    script: Callable[[str], Path],
) -> None:
    program = script("echo 'cannot open display' >&2; exit 3")
    with trio.fail_after(20):
        with pytest.raises(ChromiumFailed, match="exit code 3") as caught:
            async with launch_chromium(program):
                pass
    assert caught.value.returncode == 3
    assert "cannot open display" in str(caught.value)
    assert "cannot open display" in caught.value.output
    assert leftovers(program) == []


async def test_a_program_that_cannot_be_run_is_an_error(script: Callable[[str], Path]) -> None:
    program = script("")
    program.write_bytes(b"\x7fELF nonsense")
    with pytest.raises(ChromiumFailed, match="could not be started"):
        async with launch_chromium(program):
            pass
    assert leftovers(program) == []


async def test_a_program_without_devtools_is_ended_after_start_timeout(
    script: Callable[[str], Path],
) -> None:
    program = script("exec sleep 1000")
    chromium = launch_chromium(program, start_timeout=0.1)
    with trio.fail_after(20):
        with pytest.raises(ChromiumFailed, match="did not start its DevTools within 0.1 s"):
            async with chromium:
                pass
    assert chromium.returncode == -15
    assert leftovers(program) == []


async def test_it_ends_with_the_scope_and_its_profile_is_removed(
    script: Callable[[str], Path],
) -> None:
    program = script(f"{READY}; exec sleep 1000")
    chromium = launch_chromium(program)
    with pytest.raises(UsageError, match="not started"):
        _ = chromium.cdp_url
    with trio.fail_after(20):
        async with chromium:
            assert chromium.cdp_url == "ws://127.0.0.1:1/devtools/browser/x"
            assert "ended" not in repr(chromium)
            assert len(leftovers(program)) == 1
            assert str(chromium.pid) in repr(chromium)
        assert chromium.returncode == -15
        assert await chromium.wait() == -15
    assert leftovers(program) == []
    with pytest.raises(UsageError, match="once"):
        async with chromium:
            pass


async def test_a_program_that_ignores_sigterm_is_killed_with_its_children(
    script: Callable[[str], Path], tmp_path: Path
) -> None:
    note = tmp_path / "helper"
    program = script(
        f"trap '' TERM; sleep 1000 & echo $! > {note}; {READY}; while :; do wait; done"
    )
    chromium = launch_chromium(program, close_timeout=0.2)
    with trio.fail_after(20):
        async with chromium:
            pass
        await wait_gone(int(note.read_text()))
    assert chromium.returncode == -9
    assert leftovers(program) == []


async def test_the_children_of_a_program_that_was_killed_are_killed(
    script: Callable[[str], Path], tmp_path: Path
) -> None:
    note = tmp_path / "helper"
    program = script(f"sleep 1000 & echo $! > {note}; {READY}; while :; do wait; done")
    with trio.fail_after(20):
        async with launch_chromium(program) as chromium:
            os.kill(chromium.pid, 9)
            assert await chromium.wait() == -9
            await wait_gone(int(note.read_text()))


async def test_its_stderr_is_read_as_long_as_it_runs(
    script: Callable[[str], Path],
) -> None:
    program = script(f"{READY}; yes chatter | head -c 1000000 >&2; echo done >&2; exit 7")
    with trio.fail_after(20):
        async with launch_chromium(program) as chromium:
            assert await chromium.wait() == 7
            while not chromium.output.endswith("done\n"):
                await trio.lowlevel.checkpoint()
            assert len(chromium.output) < 5000


async def test_the_bodys_exception_and_a_cancellation_leave_unchanged(
    script: Callable[[str], Path],
) -> None:
    program = script(f"{READY}; exec sleep 1000")
    error = KeyError("mine")
    with trio.fail_after(20):
        with pytest.raises(KeyError) as caught:
            async with launch_chromium(program):
                raise error
        assert caught.value is error
        with trio.CancelScope() as scope:
            async with launch_chromium(program):
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
    assert leftovers(program) == []


async def test_it_is_ended_if_its_start_is_cancelled(script: Callable[[str], Path]) -> None:
    program = script("exec sleep 1000")
    chromium = launch_chromium(program)
    with trio.fail_after(20), trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:

            async def start() -> None:
                async with chromium:
                    pass

            nursery.start_soon(start)
            while not leftovers(program):
                await trio.lowlevel.checkpoint()
            scope.cancel()
    assert scope.cancelled_caught
    assert chromium.returncode in (None, -15)
    assert leftovers(program) == []


async def wait_gone(pid: int) -> None:
    while _runs(pid):
        await trio.lowlevel.checkpoint()


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def _command_of(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/cmdline").read_text().split("\0")


async def test_a_real_chromium_is_started_without_background_traffic_and_ended(
    chromium_program: str, script: Callable[[str], Path]
) -> None:
    profiles = script("").parent / "profiles"
    with trio.fail_after(60):
        async with launch_chromium(chromium_program) as chromium:
            assert chromium.cdp_url.startswith("ws://127.0.0.1:")
            assert "/devtools/browser/" in chromium.cdp_url
            pid = chromium.pid
            command = _command_of(pid)
            assert "--disable-background-networking" in command
            (home,) = profiles.iterdir()
            assert f"--user-data-dir={home.resolve()}/profile" in command
    assert chromium.returncode == 0
    assert list(profiles.iterdir()) == []
    assert not _runs(pid)
