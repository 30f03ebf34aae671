"""Run examples/daemon as a process, with its spool folder and its health endpoint."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from tests.support.example_programs import Program, run_program

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from trio_mix.testing import MixServer

__all__ = ["Daemon", "Folder"]


class Daemon:
    """A running daemon."""

    def __init__(self, program: Program) -> None:
        self.program = program

    async def get(self, path: str) -> tuple[int, str]:
        """Request a path of the health endpoint; return status and body."""
        answer = await self.send(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        head, _, body = answer.partition(b"\r\n\r\n")
        return int(head.split()[1]), body.decode()

    async def send(self, request: bytes) -> bytes:
        """Send bytes to the health endpoint; return all that it answers."""
        await self.program.says("/readyz")
        port = int(self.program.output.partition("health at http://127.0.0.1:")[2].split("/")[0])
        answer = b""
        with trio.fail_after(30):
            async with await trio.open_tcp_stream("127.0.0.1", port) as connection:
                await connection.send_all(request)
                async for data in connection:
                    answer += data
        return answer

    async def ready_until(self, condition: Callable[[int, dict[str, Any]], bool]) -> None:
        """Request ``/readyz`` until its response meets a condition."""
        state = ""
        with trio.move_on_after(30):
            while True:
                status, state = await self.get("/readyz")
                if condition(status, json.loads(state)):
                    return
        raise AssertionError(f"/readyz never matched; last: {state}")

    async def kill(self) -> None:
        """Kill the daemon with SIGKILL."""
        self.program.process.kill()
        await self.program.ended()


class Folder:
    """A spool folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def put(self, **jobs: str) -> None:
        """Put jobs into the inbox, as the docs say."""
        (self.path / "inbox").mkdir(parents=True, exist_ok=True)
        for name, prompt in jobs.items():
            new = self.path / "new"
            new.write_text(prompt)
            new.rename(self.path / "inbox" / f"{name}.txt")

    def result(self, folder: str, name: str) -> dict[str, Any]:
        """Return a job's result."""
        result: dict[str, Any] = json.loads((self.path / folder / f"{name}.json").read_text())
        return result

    def names(self) -> dict[str, list[str]]:
        """Return the jobs in each folder that has any."""
        found = {
            folder.name: sorted({file.stem for file in folder.iterdir()})
            for folder in self.path.iterdir()
            if folder.is_dir()
        }
        return {folder: names for folder, names in found.items() if names}

    def is_idle(self) -> bool:
        """Whether no job waits or is being done."""
        return not {"inbox", "running"} & set(self.names())

    @asynccontextmanager
    async def daemon(
        self, server: MixServer, *options: str, **environment: str
    ) -> AsyncIterator[Daemon]:
        """Run the daemon on it."""
        command = ["-m", "examples.daemon", str(self.path), "--health=127.0.0.1:0"]
        async with run_program(
            *command, *options, server=server.url, environment=environment
        ) as program:
            yield Daemon(program)
