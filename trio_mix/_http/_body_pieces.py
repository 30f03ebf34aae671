"""The pieces of a request's body, and the end of sending them.

Rule 1: a generator is closed when the sending ends, also if that is early: nothing else closes it.
Any other iterator, as an open file, belongs to the caller and stays open.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator
from typing import Final

import trio

CLEANUP_TIMEOUT: Final = 5.0


class BodyPieces(AsyncIterator[bytes]):
    """Iterates a body; must be closed in the cancel scopes in which it was iterated.

    Args:
      source: the body. It is not touched before the first piece is taken.
    """

    __slots__ = ("_iterator", "_source")

    def __init__(self, source: AsyncIterable[bytes]) -> None:
        self._source = source
        self._iterator: AsyncIterator[bytes] | None = None

    async def __anext__(self) -> bytes:  # noqa: ASYNC910 - as the source
        if self._iterator is None:
            self._iterator = aiter(self._source)
        return await anext(self._iterator)

    async def aclose(self) -> None:
        """End the iteration (rule 1); shielded and bounded. What a cleanup raises is raised."""
        iterator = self._iterator
        if isinstance(iterator, AsyncGenerator):
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CLEANUP_TIMEOUT):
                await iterator.aclose()
        await trio.lowlevel.cancel_shielded_checkpoint()
