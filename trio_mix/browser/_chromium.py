"""A Chromium process that runs for the duration of an ``async with``.

Rules that the tests cite:

1. It has a new, empty profile and a folder for temporary files, both removed after it has ended.
2. It ends with the ``async with``: it is terminated, and killed if it does not end in time, with
   its child processes. This takes at most twice ``close_timeout``.
3. The errors for a missing executable and for missing DevTools name the remedy.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self, final

import trio

from trio_mix._lifetime import OwnedNursery
from trio_mix.browser._errors import ChromiumFailed, ChromiumNotFound
from trio_mix.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

__all__ = ["Chromium", "find_chromium", "launch_chromium"]

VARIABLE: Final = "TRIO_MIX_CHROMIUM"
_NAMES: Final = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
    "microsoft-edge",
)
_MAC: Final = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
_QUIET: Final = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-default-apps",
    "--metrics-recording-only",
    "--password-store=basic",
    "--use-mock-keychain",
)
_NOT_STARTED: Final = "Chromium is not started: use `async with launch_chromium() as chromium`."
_ANNOUNCEMENT: Final = b"DevTools listening on "
_TAIL: Final = 4000
# Chromium creates a socket in its temporary folder; the path of a socket has at most 107 bytes.
_LONGEST_BASE: Final = 30


def find_chromium(executable: str | os.PathLike[str] | None = None) -> str:
    """Return the path of a Chromium: the named one, the environment's, or the first on the PATH.

    Raises:
      ChromiumNotFound: there is none.
    """
    named = os.fspath(executable) if executable is not None else os.environ.get(VARIABLE, "")
    if named:
        found = shutil.which(named)
        if found is None:
            source = "executable=" if executable is not None else f"The environment's {VARIABLE}="
            raise ChromiumNotFound(f"{source}{named!r} is not an executable program. Fix the path.")
        return found
    for name in _NAMES + (_MAC if sys.platform == "darwin" else ()):
        if (found := shutil.which(name)) is not None:
            return found
    raise ChromiumNotFound(
        f"No Chromium was found: none of {', '.join(_NAMES)} is on the PATH. Install one"
        f" (Debian: apt-get install chromium), pass executable=, or set {VARIABLE}."
    )


def launch_chromium(
    executable: str | os.PathLike[str] | None = None,
    *,
    headless: bool = True,
    args: Sequence[str] = (),
    start_timeout: float = 30.0,
    close_timeout: float = 5.0,
) -> Chromium:
    """Return a Chromium; use it with ``async with``, which starts and ends the process.

    Args:
      executable: path or name of the program. The default is the environment's
        ``TRIO_MIX_CHROMIUM``, else the first of the usual names on the ``PATH``.
      headless: whether it runs without a window.
      args: further command-line arguments, after the default ones.
      start_timeout: seconds until its DevTools must be available.
      close_timeout: seconds after SIGTERM until it is killed.

    Raises:
      ConfigurationError: a timeout is not positive.
    """
    for name, seconds in (("start_timeout", start_timeout), ("close_timeout", close_timeout)):
        if not seconds > 0:
            raise ConfigurationError(
                f"launch_chromium({name}={seconds!r}): must be a positive number of seconds."
            )
    return Chromium(executable, headless, tuple(args), start_timeout, close_timeout)


@final
class Chromium:
    """A running Chromium. Made by `launch_chromium`; use it as an async context manager."""

    def __init__(
        self,
        executable: str | os.PathLike[str] | None,
        headless: bool,
        args: tuple[str, ...],
        start_timeout: float,
        close_timeout: float,
    ) -> None:
        self._executable = executable
        self._headless = headless
        self._args = args
        self._start_timeout = start_timeout
        self._close_timeout = close_timeout
        self._lifetime = OwnedNursery(
            "A Chromium can be started once: call launch_chromium() again."
        )
        self._process: trio.Process | None = None
        self._home: Path | None = None
        self._output = b""
        self._cdp_url = ""
        self._announced = trio.Event()
        self._swept = False

    def __repr__(self) -> str:
        process = self._process
        if process is None:
            return "<trio_mix.browser.Chromium, not started>"
        ended = "" if process.returncode is None else f", ended with {process.returncode}"
        return f"<trio_mix.browser.Chromium with pid {process.pid}{ended}>"

    @property
    def cdp_url(self) -> str:
        """The ``ws://`` URL of its DevTools, for `open_tunnel`. It gives control of the browser."""
        if not self._cdp_url:
            raise UsageError(_NOT_STARTED)
        return self._cdp_url

    @property
    def pid(self) -> int:
        """The process id."""
        if self._process is None:
            raise UsageError(_NOT_STARTED)
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code (negative: the signal), or None while it runs."""
        return None if self._process is None else self._process.returncode

    @property
    def output(self) -> str:
        """The end of what it wrote to stderr."""
        return self._output.decode("utf-8", "replace")

    async def wait(self) -> int:
        """Wait until the process ends, and return its exit code.

        A checkpoint. Cancelling it does not affect the browser.
        """
        await trio.lowlevel.checkpoint()
        if self._process is None:
            raise UsageError(_NOT_STARTED)
        return await self._process.wait()

    async def __aenter__(self) -> Self:
        """Start the process; return when its DevTools are available.

        Raises:
          ChromiumNotFound: there is no executable.
          ChromiumFailed: it ended, or was not ready within ``start_timeout``.

        A checkpoint. If it is cancelled, no process and no profile is left.
        """
        nursery = await self._lifetime.open()
        try:
            program = find_chromium(self._executable)
            self._home = _new_home()
            self._process = await self._start(program, self._home)
            nursery.start_soon(self._listen, self._process)
            nursery.start_soon(self._watch, self._process)
            await self._ready(program)
        except BaseException as exc:
            await self._end(exc)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """End the process and remove its profile; shielded and bounded."""
        await self._end(exc)

    def _command(self, program: str, home: Path) -> list[str]:
        profile = home / "profile"
        command = [program, f"--user-data-dir={profile}", "--remote-debugging-port=0", *_QUIET]
        if self._headless:
            command.append("--headless")
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--no-sandbox")  # as root it does not start with one
        return [*command, *self._args, "about:blank"]

    async def _start(self, program: str, home: Path) -> trio.Process:
        try:
            return await trio.lowlevel.open_process(
                self._command(program, home),
                env={**os.environ, "TMPDIR": str(home)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                # A session of its own: Ctrl-C must reach only the Python program, which ends it.
                start_new_session=True,
            )
        except OSError as error:
            raise ChromiumFailed(
                f"{program} could not be started: {error.strerror}. Fix the path or its"
                " permissions, or name another program with executable=."
            ) from error

    async def _ready(self, program: str) -> None:
        with trio.move_on_after(self._start_timeout):
            await self._announced.wait()
        if self._cdp_url:
            return
        process = self._process
        assert process is not None  # noqa: S101 - started before
        code = None
        with trio.move_on_after(1):  # its stderr is closed a moment before it ends
            code = await process.wait()
        happened = f"ended with exit code {code}"
        if code is None:
            happened = f"did not start its DevTools within {self._start_timeout:g} s"
        lines = self.output.strip().splitlines()[-5:]
        log = f" Its log ends with: {' / '.join(lines)}" if lines else ""
        raise ChromiumFailed(
            f"{program} {happened}. Run it by hand with --headless to see why, or name another"
            f" program with executable=.{log}",
            returncode=code,
            output=self.output,
        )

    async def _listen(self, process: trio.Process) -> None:  # noqa: ASYNC910 - a task of its own: nobody awaits it
        """Read stderr to its end: find the address of the DevTools, and keep the last lines."""
        assert process.stderr is not None  # noqa: S101 - it was asked for
        line = b""
        try:
            async for data in process.stderr:
                self._output = (self._output + data)[-_TAIL:]
                if self._cdp_url:
                    continue
                *lines, line = (line + data).split(b"\n")
                for each in lines:
                    _, found, url = each.partition(_ANNOUNCEMENT)
                    if found:
                        self._cdp_url = url.decode("ascii", "replace").strip()
                        self._announced.set()
                        break
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        self._announced.set()

    async def _watch(self, process: trio.Process) -> None:
        await process.wait()
        self._sweep(process)

    def _sweep(self, process: trio.Process) -> None:
        """Kill the remaining child processes at once: the group's id may be reused later."""
        if not self._swept:
            self._swept = True
            _kill_group(process.pid)

    async def _end(self, leaving: BaseException | None) -> None:
        process = self._process
        if process is not None:
            with trio.CancelScope(shield=True):
                await self._end_process(process)
        await self._lifetime.close("the browser has ended", leaving)
        with trio.CancelScope(shield=True):  # noqa: ASYNC912 - there may be nothing to clean up
            if process is not None and process.stderr is not None:
                await process.stderr.aclose()
            if self._home is not None:
                await trio.to_thread.run_sync(_remove, self._home)

    async def _end_process(self, process: trio.Process) -> None:  # noqa: ASYNC910 - it may have ended; `_end` is one
        if process.returncode is None:
            process.terminate()
            with trio.move_on_after(self._close_timeout):
                await process.wait()
        if process.returncode is None:
            _kill_group(process.pid)
            with trio.move_on_after(self._close_timeout):
                await process.wait()
        self._sweep(process)


def _kill_group(pid: int) -> None:
    if hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)


def _new_home() -> Path:
    base = tempfile.gettempdir()
    if len(os.fsencode(base)) > _LONGEST_BASE and Path("/tmp").is_dir():  # noqa: S108
        base = "/tmp"  # noqa: S108 - a private folder is created in it
    return Path(tempfile.mkdtemp(prefix="trio-mix-chromium-", dir=base))


def _remove(home: Path) -> None:
    # Child processes that are being killed may still write a file: remove again.
    for _ in range(5):
        shutil.rmtree(home, ignore_errors=True)
        if not home.exists():
            return
