"""What a supervised stream reports to its owner."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from trio_mix.sse._decoder import Columns

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_mix.sse._decoder import ServerSentEvent

__all__ = ["Frames", "Lost", "Opened"]


@attrs.frozen
class Opened:
    """A connection is up."""

    connection: int
    """Its number, from 1."""
    headers: Mapping[str, str] = attrs.field(repr=False)
    """The response's headers, names in lower case."""
    status_code: int = 200
    """The HTTP status."""


@attrs.frozen
class Frames:
    """Events have come."""

    batch: list[ServerSentEvent] | Columns
    """What one read of the socket completed, never empty; columns only for who wants them."""

    @property
    def frames(self) -> list[ServerSentEvent]:
        """The events, one by one."""
        return self.batch.frames() if isinstance(self.batch, Columns) else self.batch


@attrs.frozen
class Lost:
    """The connection is gone; the next call waits as the policy says, and connects."""

    reason: str
    """Why, in words."""
    cause: BaseException | None = None
    """The exception behind it, if there was one."""
    planned: bool = False
    """Whether the owner wanted it so."""
