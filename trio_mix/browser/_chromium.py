"""A Chromium process that runs for the duration of an ``async with``.

Rules that the tests cite:

1. It has a new, empty profile and a folder for temporary files, which only this user can enter.
   Both are removed after it has ended.
2. It ends with the ``async with``: it is terminated, and killed if it does not end in time, with
   its child processes. This takes at most twice ``close_timeout``.
3. The errors for a missing executable, for a start as root and for missing DevTools name the
   remedy.
4. Its DevTools have no port: the program drives it through a pair of pipes.
5. It runs in its sandbox unless the caller disables it.
6. It reaches the network only through the filtering proxy unless the caller's policy disables that.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from typing import TYPE_CHECKING, Final, Self, final

import trio

from trio_mix._lifetime import OwnedNursery
from trio_mix.browser._devtools import MAX_MESSAGE, DevTools
from trio_mix.browser._errors import ChromiumFailed
from trio_mix.browser._folder import remove_folder
from trio_mix.browser._pipe import PipeTransport
from trio_mix.browser._policy import Policy
from trio_mix.browser._program import (
    check_arguments,
    chromium_command,
    environment,
    find_chromium,
    new_home,
)
from trio_mix.browser._proxy import FilteringProxy
from trio_mix.errors import ConfigurationError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

_NOT_STARTED: Final = "Chromium is not started: use `async with launch_chromium() as chromium`."
_NO_PROGRAM: Final = (126, 127)
"""The shell's exit codes for a program that it cannot run."""
_TAIL: Final = 4000
_CALL_TIMEOUT: Final = 28.0
_DEFAULT_POLICY: Final = Policy()


def launch_chromium(
    executable: str | os.PathLike[str] | None = None,
    *,
    policy: Policy = _DEFAULT_POLICY,
    sandbox: bool = True,
    headless: bool = True,
    args: Sequence[str] = (),
    start_timeout: float = 30.0,
    close_timeout: float = 5.0,
) -> Chromium:
    """Return a Chromium; use it with ``async with``, which starts and ends the process.

    Args:
      executable: path or name of the program. The default is the environment's
        ``TRIO_MIX_CHROMIUM``, else the first of the usual names on the ``PATH``.
      policy: what an agent may do with it, and which hosts it may connect to.
      sandbox: whether Chromium confines its pages. It cannot as root: run the program as another
        user, or pass False.
      headless: whether it runs without a window.
      args: further command-line arguments, after the default ones.
      start_timeout: seconds until its DevTools must be available.
      close_timeout: seconds after SIGTERM until it is killed.

    Raises:
      ConfigurationError: a timeout is not positive, or an argument would undo a protection.
    """
    for name, seconds in (("start_timeout", start_timeout), ("close_timeout", close_timeout)):
        if not seconds > 0:
            raise ConfigurationError(
                f"launch_chromium({name}={seconds!r}): must be a positive number of seconds."
            )
    checked = check_arguments(args, filtered=policy.filter_network)
    return Chromium(executable, policy, sandbox, headless, checked, start_timeout, close_timeout)


@final
class Chromium:
    """A running Chromium. Made by `launch_chromium`; use it as an async context manager."""

    def __init__(
        self,
        executable: str | os.PathLike[str] | None,
        policy: Policy,
        sandbox: bool,
        headless: bool,
        args: tuple[str, ...],
        start_timeout: float,
        close_timeout: float,
    ) -> None:
        self._executable = executable
        self._policy = policy
        self._sandbox = sandbox
        self._headless = headless
        self._args = args
        self._start_timeout = start_timeout
        self._close_timeout = close_timeout
        self._lifetime = OwnedNursery("Chromium")
        self._process: trio.Process | None = None
        self._devtools: DevTools | None = None
        self._proxy = FilteringProxy(policy._address_rules()) if policy.filter_network else None
        self._home: Path | None = None
        self._output = b""
        self._output_ended = trio.Event()
        self._swept = False

    def __repr__(self) -> str:
        process = self._process
        if process is None:
            return "<trio_mix.browser.Chromium, not started>"
        ended = "" if process.returncode is None else f", ended with {process.returncode}"
        return f"<trio_mix.browser.Chromium with pid {process.pid}{ended}>"

    @property
    def policy(self) -> Policy:
        """What an agent may do with it."""
        return self._policy

    @property
    def pid(self) -> int:
        """The process id."""
        return self._started().pid

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
        return await self._started().wait()

    async def __aenter__(self) -> Self:
        """Start the process; return when its DevTools are available.

        Raises:
          ChromiumNotFound: there is no executable.
          ChromiumFailed: it ended, was not ready within ``start_timeout``, or cannot run as root.

        A checkpoint. If it is cancelled, no process and no profile is left.
        """
        nursery = await self._lifetime.open()
        try:
            program = find_chromium(self._executable)
            if self._proxy is not None:
                await self._proxy.start(nursery)
            self._home = new_home()
            await self._start(program, self._home, nursery)
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

    def _connection(self) -> tuple[DevTools, FilteringProxy | None]:
        """Return what a tunnel needs.

        Raises:
          UsageError: it is not started.
        """
        self._started()
        if self._devtools is None:
            raise UsageError(_NOT_STARTED)
        return self._devtools, self._proxy

    def _started(self) -> trio.Process:
        if self._process is None:
            raise UsageError(_NOT_STARTED)
        return self._process

    async def _start(self, program: str, home: Path, nursery: trio.Nursery) -> None:
        command = chromium_command(
            program,
            home,
            self._args,
            headless=self._headless,
            sandbox=self._sandbox,
            proxy_url=None if self._proxy is None else self._proxy.url,
        )
        commands, sending = os.pipe()
        receiving, answers = os.pipe()
        transport = PipeTransport(
            trio.lowlevel.FdStream(sending),
            trio.lowlevel.FdStream(receiving),
            max_message=MAX_MESSAGE,
        )
        try:
            process = await trio.lowlevel.open_process(
                command,
                env=environment(home),
                stdin=commands,
                stdout=answers,
                stderr=subprocess.PIPE,
                # A session of its own: Ctrl-C must reach only the Python program, which ends it.
                start_new_session=True,
            )
        except BaseException:
            await transport.aclose(0)
            raise
        finally:
            os.close(commands)
            os.close(answers)
        self._process = process
        devtools = DevTools(
            transport,
            shown=f"pid {process.pid}",
            timeout=_CALL_TIMEOUT,
            close_timeout=self._close_timeout,
        )
        await devtools.open(nursery)
        nursery.start_soon(self._listen, process)
        nursery.start_soon(self._watch, process)
        await self._wait_ready(program, process, devtools)
        self._devtools = devtools

    async def _wait_ready(self, program: str, process: trio.Process, devtools: DevTools) -> None:
        with trio.move_on_after(self._start_timeout):
            if "result" in await devtools.call("Browser.getVersion"):
                return
        code = None
        with trio.move_on_after(1):  # the pipe is closed a moment before the process ends
            code = await process.wait()
            await self._output_ended.wait()
        problem = f"ended with exit code {code}"
        if code in _NO_PROGRAM:
            problem = f"could not be started (exit code {code})"
        if code is None:
            problem = f"did not start its DevTools within {self._start_timeout:g} s"
        remedy = "Run it by hand with --headless to see why, or name another program with"
        remedy += " executable=."
        if self._sandbox and "sandbox" in self.output.lower():
            remedy += " If this machine cannot run Chromium's sandbox, for example in a container,"
            remedy += " pass sandbox=False."
        lines = self.output.strip().splitlines()[-5:]
        log = f" Its log ends with: {' / '.join(lines)}" if lines else ""
        raise ChromiumFailed(
            f"{program} {problem}. {remedy}{log}", returncode=code, output=self.output
        )

    async def _listen(self, process: trio.Process) -> None:  # noqa: ASYNC910 - a task of its own: nobody awaits it
        """Read stderr to its end, and keep the last lines."""
        assert process.stderr is not None  # noqa: S101 - it is a pipe
        try:
            async for data in process.stderr:
                self._output = (self._output + data)[-_TAIL:]
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        self._output_ended.set()

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
                await trio.to_thread.run_sync(remove_folder, self._home)

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
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
