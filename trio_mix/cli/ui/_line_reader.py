"""Reads lines of a plain stream without blocking Trio.

Rule 1: a read of stdin cannot be cancelled once it has started. If a wait is cancelled, the next
wait gets the line of its read, so that no line is lost and no two threads ever read.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import trio

from trio_mix.cli._streams import MAX_INPUT, detect_encoding

if TYPE_CHECKING:
    from typing import Self, TextIO


class LineReader:
    """Reads lines of a stream on demand, in a task of the given nursery."""

    def __init__(self, nursery: trio.Nursery, stream: TextIO) -> None:
        self._stream = stream
        self._wanted_send, self._wanted = trio.open_memory_channel[None](1)
        self._send, self._lines = trio.open_memory_channel[str](1)
        self._reading = False
        self._at_start = True
        nursery.start_soon(self._read)

    @classmethod
    def stdin(cls, nursery: trio.Nursery) -> Self:
        """Return a reader of the process's standard input."""
        return cls(nursery, sys.stdin)

    async def line(self) -> str | None:
        """Wait for a line.

        Returns:
          The line without its end, or ``None`` at the end of the input.

        If cancelled, the read continues, and the next call gets its line.
        """
        if not self._reading:
            self._reading = True
            self._wanted_send.send_nowait(None)
        got = await self._lines.receive()
        self._reading = False
        return got.rstrip("\r\n") if got else None

    async def _read(self) -> None:
        async for _ in self._wanted:
            got = await trio.to_thread.run_sync(self._read_line, abandon_on_cancel=True)
            await self._send.send(got)

    def _read_line(self) -> str:
        if self._at_start:
            self._at_start = False
            detect_encoding(self._stream)
        return self._stream.readline(MAX_INPUT)
