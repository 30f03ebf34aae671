"""Runs the command line: in this process, in a process of its own, or in a pseudo-terminal."""

from __future__ import annotations

import fcntl
import io
import os
import pty
import struct
import subprocess
import sys
import termios
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Protocol

import attrs
import pyte
import pytest
import trio

from tests.support.command_forks import ForkedCommand, ForkServer, fork_server
from tests.support.planted import KEY
from trio_mix.cli import main

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager

TIMEOUT = 100  # below the timeout of a test: only a hang takes that long
LIFETIME = 100
"""Seconds for all that a test does with a process; a test has 120."""
PROMPT = "you> "
"""The prompt of the chat."""
_ROWS = 300
_COMMAND = [sys.executable, "-W", "error", "-m", "trio_mix.cli"]


def environment(**extra: str) -> dict[str, str]:
    hidden = (
        "MIX_SERVER_URL",
        "TRIO_MIX_DEBUG",
        "TRIO_MIX_CONFIG",
        "TRIO_MIX_PROFILE",
        "NO_COLOR",
        "FORCE_COLOR",
        "COLUMNS",
        "LINES",
    )
    kept = {name: value for name, value in os.environ.items() if name not in hidden}
    # No test reads or writes the files of the user.
    nowhere = {"XDG_STATE_HOME": os.devnull, "XDG_CONFIG_HOME": os.devnull}
    return {**kept, "TERM": "xterm", **nowhere, **extra}


@attrs.frozen
class Ended:
    """The result of a command."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return self.out.splitlines()


class RunCommand(Protocol):
    async def __call__(self, *args: str, stdin: str | bytes = "", **env: str) -> Ended: ...


@contextmanager
def _streams(stdin: str | bytes, env: Mapping[str, str]) -> Iterator[tuple[io.BytesIO, io.BytesIO]]:
    """Replace the standard streams, which are pipes then, and the environment."""
    out, err = io.BytesIO(), io.BytesIO()
    with pytest.MonkeyPatch.context() as patch:
        given = io.BufferedReader(io.BytesIO(stdin.encode() if isinstance(stdin, str) else stdin))
        patch.setattr(sys, "stdin", io.TextIOWrapper(given, "utf-8"))
        patch.setattr(sys, "stdout", io.TextIOWrapper(out, "utf-8", write_through=True))
        patch.setattr(sys, "stderr", io.TextIOWrapper(err, "utf-8", write_through=True))
        for name in [name for name in os.environ if name not in env]:
            patch.delenv(name)
        for name, value in env.items():
            patch.setenv(name, value)
        yield out, err


@pytest.fixture
def run_command() -> RunCommand:
    """Run a command in this process, in a thread with an event loop of its own."""

    async def run(*args: str, stdin: str | bytes = "", **env: str) -> Ended:
        with _streams(stdin, environment(**env)) as (out, err):
            with trio.fail_after(TIMEOUT):
                code = await trio.to_thread.run_sync(main, args, abandon_on_cancel=True)
            ended = Ended(code, out.getvalue().decode(), err.getvalue().decode())
        assert "Traceback" not in ended.err, ended.err
        assert KEY not in ended.out + ended.err
        return ended

    return run


class StartCommand(Protocol):
    def __call__(self, *args: str) -> AbstractAsyncContextManager[trio.Process]: ...


@pytest.fixture
def start_command() -> StartCommand:
    """Start a command in a process with pipes; it is killed if the test does not end it."""

    @asynccontextmanager
    async def start(*args: str) -> AsyncIterator[trio.Process]:
        process = await trio.lowlevel.open_process(
            [*_COMMAND, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=environment(),
        )
        try:
            with trio.fail_after(LIFETIME):
                yield process
        finally:
            await _reap(process)

    return start


async def _reap(process: trio.Process | ForkedCommand) -> None:
    with trio.CancelScope(shield=True, deadline=trio.current_time() + TIMEOUT):
        if process.returncode is None:
            process.kill()
        await process.wait()
        if isinstance(process, ForkedCommand):
            return
        for pipe in (process.stdin, process.stdout, process.stderr):
            if pipe is not None:
                await pipe.aclose()


class Terminal:
    """A command in a pseudo-terminal; tests wait for text, and never sleep.

    The text is that of the screen, with all escape sequences applied. The screen has more rows than
    the command sees, so that nothing scrolls out of it.
    """

    def __init__(
        self, process: ForkedCommand, stream: trio.lowlevel.FdStream, columns: int
    ) -> None:
        self.process = process
        self.raw = ""
        self._stream = stream
        self._screen = pyte.Screen(columns, _ROWS)
        self._emulator = pyte.ByteStream(self._screen)
        self._at = 0

    @property
    def shown(self) -> str:
        """The screen's text, without the spaces at the ends of lines."""
        lines = [line.rstrip() for line in self._screen.display]
        return "\n".join(lines).rstrip("\n")

    @property
    def last_line(self) -> str:
        return self.shown.rpartition("\n")[2]

    async def expect(self, text: str) -> None:
        """Wait until the screen has the text, after the text that was expected before."""
        found = self._find(text)
        with trio.move_on_after(TIMEOUT):
            while found < 0 and await self._more():
                found = self._find(text)
        assert found >= 0, f"{text!r} did not appear; shown:\n{self.shown}"
        self._at = found + len(text)

    async def see(self, text: str) -> None:
        """Wait until the screen has the text, without moving on: the text may disappear again."""
        at = self._at
        await self.expect(text)
        self._at = at

    def _find(self, text: str) -> int:
        """Return the position of the text in cells, which does not change with new text."""
        return "".join(self._screen.display).find(text, self._at)

    def echoes(self) -> bool:
        """Return whether the terminal echoes typed text."""
        return bool(termios.tcgetattr(self._stream.fileno())[3] & termios.ECHO)

    async def type(self, text: str) -> None:
        await self._stream.send_all(text.encode())

    async def end(self) -> int:
        """Read until the command ends, and return its exit code."""
        with trio.move_on_after(TIMEOUT) as scope:
            while await self._more():
                pass
            await self.process.wait()
        assert not scope.cancelled_caught, f"the command does not end; shown:\n{self.shown}"
        assert self.process.returncode is not None
        return self.process.returncode

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def _more(self) -> bool:
        try:
            data = await self._stream.receive_some()
        except trio.BrokenResourceError:  # EIO: the other end is closed
            return False
        self.raw += data.decode(errors="replace")
        self._emulator.feed(bytes(data))
        return bool(data)


class OpenTerminal(Protocol):
    def __call__(
        self, *args: str, columns: int = 100, env: Mapping[str, str] | None = None
    ) -> AbstractAsyncContextManager[Terminal]: ...


@pytest.fixture(scope="session")
def command_forks() -> Iterator[ForkServer]:
    """A process that has imported the command line, and forks for each command."""
    with fork_server() as server:
        yield server


@pytest.fixture
def open_terminal(command_forks: ForkServer) -> OpenTerminal:
    """Start a command in a pseudo-terminal, where a typed Ctrl-C sends SIGINT."""

    @asynccontextmanager
    async def open_it(
        *args: str, columns: int = 100, env: Mapping[str, str] | None = None
    ) -> AsyncIterator[Terminal]:
        async with _open_terminal(command_forks, args, columns, env or {}) as terminal:
            yield terminal

    return open_it


@asynccontextmanager
async def _open_terminal(
    forks: ForkServer, args: tuple[str, ...], columns: int, env: Mapping[str, str]
) -> AsyncIterator[Terminal]:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    try:
        process = await forks.start(args, environment(**env), theirs)
    finally:
        os.close(theirs)
    terminal = Terminal(process, trio.lowlevel.FdStream(ours), columns)
    try:
        yield terminal
    finally:
        await _reap(process)
        await terminal.aclose()
