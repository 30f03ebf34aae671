"""Run an example as a process, wait for its output, and check how it ends.

Rules:

1. Nothing sleeps: a test waits for output, for a condition of the server, or for the end.
2. Every wait is bounded, and shows the output so far when it fails.
3. No process is left, whatever happens to the test.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.command_forks import ForkedProgram, ForkServer, fork_server

if TYPE_CHECKING:
    import signal
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

__all__ = ["ROOT", "Program", "program_forks", "run_program"]

ROOT = Path(__file__).parents[2]
_PATIENCE = 60.0
_forks: ForkServer | None = None


@pytest.fixture(scope="session", autouse=True)
def program_forks() -> Iterator[None]:
    """Let `run_program` fork a process that has imported trio_mix."""
    global _forks  # noqa: PLW0603
    with fork_server() as _forks:
        yield
    _forks = None


class Program:
    """A running example."""

    def __init__(self, process: trio.Process | ForkedProgram) -> None:
        self.process = process
        self.output = ""
        self._changed = trio.lowlevel.ParkingLot()
        self._over = False

    async def read(self) -> None:
        """Collect what it prints."""
        assert self.process.stdout is not None
        async for data in self.process.stdout:
            self.output += data.decode("utf-8", "replace")
            self._changed.unpark_all()
        self._over = True
        self._changed.unpark_all()

    async def says(self, text: str, *, times: int = 1) -> None:
        """Wait until it has printed a text so many times."""
        await self.until(lambda: self.output.count(text) >= times, f"it says {text!r}")

    async def until(self, condition: Callable[[], bool], what: str) -> None:
        """Wait until a condition holds, asking again whenever it prints something."""
        with trio.move_on_after(_PATIENCE):
            while not condition() and not self._over:
                await self._changed.park()
        assert condition(), f"never came true: {what}. It said:\n{self.output}"

    async def enter(self, line: str) -> None:
        """Type a line."""
        assert self.process.stdin is not None
        await self.process.stdin.send_all(line.encode() + b"\n")

    async def end_input(self) -> None:
        """Close its keyboard."""
        assert self.process.stdin is not None
        await self.process.stdin.aclose()

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    async def ended(self) -> int:
        """Wait for its end and return the exit code."""
        with trio.move_on_after(_PATIENCE):
            code = await self.process.wait()
            while not self._over:
                await self._changed.park()
            return code
        raise AssertionError(f"it never ended. It said:\n{self.output}")


@asynccontextmanager
async def run_program(
    *command: str | Path,
    server: str | None = None,
    environment: Mapping[str, str] | None = None,
    new_interpreter: bool = False,
) -> AsyncIterator[Program]:
    """Run ``python …`` in the checkout, with warnings as errors; killed when the block is left.

    With the fixture `program_forks` it is a fork, unless ``new_interpreter`` is true.
    """
    env = {name: value for name, value in os.environ.items() if name != "MIX_SERVER_URL"}
    env |= {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", **(environment or {})}
    if server is not None:
        env["MIX_SERVER_URL"] = server
    process: trio.Process | ForkedProgram
    if _forks is not None and not new_interpreter:
        process = await _forks.start_program(command, env, ROOT)
    else:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-W", "error", *command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env=env,
        )
    program = Program(process)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(program.read)
            try:
                yield program
            except BaseException:
                print(f"The program said:\n{program.output}")
                raise
            finally:
                if process.returncode is None:
                    process.kill()
    finally:
        with trio.CancelScope(shield=True):
            await process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    await pipe.aclose()
