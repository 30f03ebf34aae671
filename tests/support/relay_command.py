"""A relay in a process of its own, and the lines that a process prints."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.command_line import StartCommand
    from trio_mix.testing import MixServer

__all__ = ["Lines", "relay_of"]


class Lines:
    """The lines that a process prints."""

    def __init__(self, process: trio.Process) -> None:
        assert process.stdout is not None
        self._stdout = process.stdout
        self._text = b""

    async def next(self) -> str:
        with trio.fail_after(60):
            while b"\n" not in self._text:
                data = await self._stdout.receive_some(4096)
                assert data, f"the process has ended after {self._text!r}"
                self._text += data
        line, _, self._text = self._text.partition(b"\n")
        return line.decode()

    async def until(self, name: str) -> list[Any]:
        """Return lines of JSON arrays up to one that begins with a name."""
        found = [json.loads(await self.next())]
        while found[-1][0] != name:
            found.append(json.loads(await self.next()))
        return found


@asynccontextmanager
async def relay_of(
    server: MixServer, folder: Path, start: StartCommand, port: str = "0", *more: str
) -> AsyncIterator[tuple[trio.Process, str]]:
    """Run a relay with its log in a folder; return its process and its address."""
    log = f"sqlite:{folder}/relay.db"
    options = ("--upstream", server.url, "--log", log, "--listen", f"127.0.0.1:{port}")
    async with start("relay", *options, *more) as process:
        line = await Lines(process).next()
        yield process, line.split(" at ")[1].split(";")[0]
