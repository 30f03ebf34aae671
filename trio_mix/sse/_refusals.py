"""Decide what follows when a connection attempt is answered, but not with an event stream."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import trio

from trio_mix._http import is_transient
from trio_mix.errors import MixError

if TYPE_CHECKING:
    from trio_mix.errors import TrioMixError

Verdict: TypeAlias = "TrioMixError | Literal['later', 'at once', 'without id']"
"""The error that ends the stream, or when the next attempt is made: when the policy says, at once,
or at once and without the id to resume after."""


class Refusals:
    """The rules of the standard: all refusals are final, except for statuses that may pass."""

    def opened(self) -> None:
        """Note that an attempt was answered with an event stream."""

    async def judge(self, error: TrioMixError, *, resuming: bool) -> Verdict:  # noqa: ARG002
        """Return what follows.

        Args:
          error: a `MixError` for the status, or a `ProtocolError` for another kind of response.
          resuming: whether the request had an id to resume after.
        """
        await trio.lowlevel.checkpoint()
        passes = isinstance(error, MixError) and is_transient(error.status_code)
        return "later" if passes else error
