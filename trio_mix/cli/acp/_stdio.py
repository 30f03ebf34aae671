"""Standard input and output as Trio streams, on every platform.

Threads read and write, because the descriptors may be shared with other processes: making them
non-blocking would change them for these, too.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, final

import trio
import trio.abc

if TYPE_CHECKING:
    from collections.abc import Iterator

_READ: Final = 65536


@final
class DescriptorReader(trio.abc.ReceiveStream):
    """Reads from a descriptor. A cancelled read leaves its thread behind."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Return the next bytes; none at the end of the input."""
        size = _READ if max_bytes is None else max_bytes
        return await trio.to_thread.run_sync(
            os.read, self._descriptor, size, abandon_on_cancel=True
        )

    async def aclose(self) -> None:
        """Do nothing: the descriptor is not owned."""
        await trio.lowlevel.checkpoint()


@final
class DescriptorWriter(trio.abc.SendStream):
    """Writes to a descriptor. A cancelled write leaves its thread behind."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Write all of the data.

        Raises:
          trio.BrokenResourceError: nobody reads it any more.
        """
        try:
            await trio.to_thread.run_sync(self._write, bytes(data), abandon_on_cancel=True)
        except OSError as error:
            raise trio.BrokenResourceError("stdout is closed") from error

    async def wait_send_all_might_not_block(self) -> None:
        """Return at once: a thread waits."""
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Do nothing: the descriptor is not owned."""
        await trio.lowlevel.checkpoint()

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._descriptor, rest) :]


@contextmanager
def protocol_streams() -> Iterator[tuple[DescriptorReader, DescriptorWriter]]:
    """Reserve standard input and output for a protocol: what the program prints goes to stderr."""
    output = os.dup(1)
    sys.stdout.flush()
    os.dup2(2, 1)
    try:
        yield DescriptorReader(0), DescriptorWriter(output)
    finally:
        sys.stdout.flush()
        os.dup2(output, 1)
        os.close(output)
