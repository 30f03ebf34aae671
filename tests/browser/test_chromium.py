"""Starting and ending a Chromium: with scripts as stand-ins, and with a real one."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from trio_mix.browser import (
    Chromium,
    ChromiumFailed,
    Policy,
    launch_chromium,
)
from trio_mix.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = hasattr(os, "geteuid") and os.geteuid() == 0
READY = """head -c 1 <&3 >/dev/null; printf '{"id":1,"result":{}}\\0' >&4"""
"""Waits for the first command, and answers it."""


def launch(program: Path | str, **options: Any) -> Chromium:
    """Return a Chromium that starts whatever the user of the tests is."""
    return launch_chromium(program, sandbox=not ROOT, **options)


def leftovers(program: Path) -> list[Path]:
    return list((program.parent / "profiles").iterdir())


async def test_the_error_for_a_program_that_ends_quotes_its_log(
    script: Callable[[str], Path],
) -> None:
    program = script("echo 'cannot open display' >&2; exit 3")
    with trio.fail_after(20):
        with pytest.raises(ChromiumFailed, match="exit code 3") as caught:
            async with launch(program):
                pass
    assert caught.value.returncode == 3
    assert "cannot open display" in str(caught.value)
    assert "cannot open display" in caught.value.output
    assert leftovers(program) == []


async def test_a_program_that_cannot_be_run_is_an_error(script: Callable[[str], Path]) -> None:
    program = script("")
    program.write_bytes(b"#!/no/such/interpreter\n")
    with pytest.raises(ChromiumFailed, match="could not be started"):
        async with launch(program):
            pass
    assert leftovers(program) == []


async def test_a_program_without_devtools_is_ended_after_start_timeout(
    script: Callable[[str], Path],
) -> None:
    program = script("exec sleep 1000")
    chromium = launch(program, start_timeout=0.1)
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
    chromium = launch(program)
    with pytest.raises(UsageError, match="not started"):
        _ = chromium.pid
    with trio.fail_after(20):
        async with chromium:
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
    chromium = launch(program, close_timeout=0.2)
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
        async with launch(program) as chromium:
            os.kill(chromium.pid, 9)
            assert await chromium.wait() == -9
            await wait_gone(int(note.read_text()))


async def test_its_stderr_is_read_as_long_as_it_runs(
    script: Callable[[str], Path],
) -> None:
    program = script(f"{READY}; yes chatter | head -c 1000000 >&2; echo done >&2; exit 7")
    with trio.fail_after(20):
        async with launch(program) as chromium:
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
            async with launch(program):
                raise error
        assert caught.value is error
        with trio.CancelScope() as scope:
            async with launch(program):
                scope.cancel()
                await trio.sleep_forever()
        assert scope.cancelled_caught
    assert leftovers(program) == []


async def test_it_is_ended_if_its_start_is_cancelled(script: Callable[[str], Path]) -> None:
    program = script("exec sleep 1000")
    chromium = launch(program)
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
        async with launch(chromium_program) as chromium:
            pid = chromium.pid
            command = _command_of(pid)
            assert "--disable-background-networking" in command
            (home,) = profiles.iterdir()
            assert f"--user-data-dir={home.resolve()}/profile" in command
            for folder in (home, home.resolve() / "profile"):
                assert folder.stat().st_mode & 0o077 == 0
            assert not [argument for argument in command if "remote-debugging-port" in argument]
            assert ("--no-sandbox" in command) is ROOT
    assert chromium.returncode == 0
    assert list(profiles.iterdir()) == []
    assert not _runs(pid)


@pytest.mark.skipif(not ROOT, reason="tells what happens as root")
async def test_a_start_as_root_is_refused_unless_the_sandbox_is_disabled(
    script: Callable[[str], Path],
) -> None:
    program = script(f"{READY}; exec sleep 1000")
    with trio.fail_after(20):
        with pytest.raises(ChromiumFailed, match=r"as another user; or pass .*sandbox=False"):
            async with launch_chromium(program):
                pass
        assert leftovers(program) == []
        async with launch_chromium(program, sandbox=False):
            pass


async def test_its_environment_has_no_secrets(
    script: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MIX_TUNNEL_TOKEN", "OPENAI_API_KEY", "DB_PASSWORD", "https_proxy", "LANG"):
        monkeypatch.setenv(name, "planted")
    seen = tmp_path / "environment"
    program = script(f"env > {seen}; {READY}; exec sleep 1000")
    with trio.fail_after(20):
        async with launch(program):
            pass
    lines = [line for line in seen.read_text().splitlines() if "planted" in line]
    assert lines == ["LANG=planted"]


async def test_it_has_the_flags_of_the_filtering_proxy_unless_its_policy_disables_it(
    script: Callable[[str], Path], tmp_path: Path
) -> None:
    seen = tmp_path / "arguments"
    program = script(f'printf "%s\\n" "$@" > {seen}; {READY}; exec sleep 1000')
    with trio.fail_after(20):
        for filtered in (True, False):
            async with launch(program, policy=Policy(filter_network=filtered)):
                pass
            arguments = seen.read_text().splitlines()
            assert "--remote-debugging-pipe" in arguments
            assert ("--proxy-bypass-list=<-loopback>" in arguments) is filtered
            proxies = [each for each in arguments if each.startswith("--proxy-server=")]
            assert len(proxies) == filtered


async def test_no_port_is_opened_for_its_devtools(chromium_program: str) -> None:
    with trio.fail_after(60):
        async with launch(chromium_program) as chromium:
            assert _listening_ports(chromium.pid) == []


CONFINED = """
import sys, trio
from pathlib import Path
from trio_mix.browser import launch_chromium

def field(pid, name):
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(name + ":"))

def confined(program):
    pids = [program]
    for pid in pids:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        pids += [int(child) for child in children]
    kinds = {pid: Path(f"/proc/{pid}/cmdline").read_text() for pid in pids}
    assert not [command for command in kinds.values() if "--no-sandbox" in command]
    renderers = [pid for pid, command in kinds.items() if "--type=renderer" in command]
    return renderers and {field(pid, "Seccomp") for pid in renderers} == {"2"}

async def main():
    async with launch_chromium(sys.argv[1]) as chromium:
        devtools, _ = chromium._connection()
        await devtools.call("Target.createTarget", {"url": "data:text/html,x"})
        while not confined(chromium.pid):  # a renderer starts before it has confined itself
            await trio.sleep(0.05)
        print("confined")

trio.run(main)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
async def test_its_pages_run_in_the_sandbox(chromium_program: str) -> None:
    """As root, the program is run as another user, with a Python that this user may read."""
    search = [
        str(Path(__file__).parents[2]),
        *(path for path in sys.path if "site-packages" in path),
    ]
    options: dict[str, Any] = {}
    python = sys.executable
    if ROOT:
        options = {"user": 65534, "group": 65534, "extra_groups": []}
        python = shutil.which("python3", path="/usr/local/bin:/usr/bin") or python
    with tempfile.TemporaryDirectory() as home:
        if ROOT:
            os.chown(home, 65534, 65534)
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(search), "HOME": home}
        with trio.fail_after(60):
            tried = await trio.run_process(
                [python, "-c", "import trio_mix.browser"],
                check=False,
                capture_stderr=True,
                env=environment,
                cwd="/",
                **options,
            )
            if tried.returncode:
                pytest.skip("another user can run no Python that has the dependencies")
            done = await trio.run_process(
                [python, "-c", CONFINED, chromium_program],
                check=False,
                capture_stdout=True,
                capture_stderr=True,
                env=environment,
                cwd="/",
                **options,
            )
    if b"sandbox=False" in done.stderr:
        pytest.skip("this machine cannot run the sandbox of Chromium")
    assert done.stdout == b"confined\n", done.stderr.decode()


def _listening_ports(leader: int) -> list[str]:
    """Return the addresses at which the processes of a session listen."""
    sockets = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader:
                sockets |= {os.readlink(each) for each in (process / "fd").iterdir()}
        except OSError:
            continue
    assert sockets
    found = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            row = line.split()
            if row[3] == "0A" and f"socket:[{row[9]}]" in sockets:
                found.append(row[1])
    return found
