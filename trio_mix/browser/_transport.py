"""What the DevTools connection needs of a WebSocket or a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import trio


class TransportLost(Exception):
    """The connection ended or could not be made; the text says why.

    Attributes:
      code: the code with which the peer has closed a WebSocket; None if it has not.
    """

    def __init__(self, reason: str, code: int | None = None) -> None:
        super().__init__(reason)
        self.code = code


class Transport(Protocol):
    """A connection that carries text messages; every method may raise `TransportLost`."""

    async def open(self, nursery: trio.Nursery) -> None:
        """Connect; the nursery may run tasks that end with `aclose`."""
        ...

    async def receive(self) -> str | bytes:
        """Return the next message."""
        ...

    async def send(self, text: str) -> None:
        """Send a message."""
        ...

    async def aclose(self, timeout: float) -> None:
        """Close; shielded, bounded and idempotent."""
        ...
