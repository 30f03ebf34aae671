"""Event ids and positions: one number that contains an epoch and a sequence number.

Rule 1  The id of an event is ``epoch * 10**9 + sequence``. The epoch rises with each lease of the
        session, the sequence number counts its events from 1: ids increase for the session's life.
Rule 2  A *position* is the id of the last event that a consumer has; before the first event of an
        epoch it is ``epoch * 10**9``.
Rule 3  A text is an unknown position if it is not decimal, is longer than 19 digits, or is below
        10**9: plain Mix servers count from 1. One that is beyond the newest event is unknown, too.
"""

from __future__ import annotations

from typing import Final

from trio_mix.errors import UsageError

EPOCH: Final = 10**9
_MAX_DIGITS: Final = 19
_MAX_ID: Final = 2**63 - 1
"""The largest number that fits the columns of the log."""


def before_first(epoch: int) -> int:
    """Return the position before the first event of an epoch."""
    return epoch * EPOCH


def epoch_of(position: int) -> int:
    """Return the epoch of an id or position."""
    return position // EPOCH


def sequence_of(position: int) -> int:
    """Return the sequence number of an id; 0 for the position before the first event."""
    return position % EPOCH


def parse_position(text: str, newest: int) -> int | None:
    """Return the position that a consumer named, or None if it is unknown (rule 3).

    Args:
      text: the text, as received.
      newest: the id of the session's newest event.
    """
    if not (text.isascii() and text.isdigit() and len(text) <= _MAX_DIGITS):
        return None
    position = int(text)
    return position if EPOCH <= position <= newest else None


class IdSequence:
    """Assigns the ids of one epoch.

    Args:
      epoch: the epoch, at least 1.

    Attributes:
      newest: the id that was assigned last, or the position before the first event.
    """

    def __init__(self, epoch: int) -> None:
        if not 1 <= epoch < _MAX_ID // EPOCH:
            raise UsageError(f"An epoch is between 1 and {_MAX_ID // EPOCH}, not {epoch}.")
        self.newest: int = before_first(epoch)

    def take(self) -> int:
        """Return the next id.

        Raises:
          UsageError: the epoch has no ids left: acquire the lease again.
        """
        if sequence_of(self.newest) == EPOCH - 1:
            raise UsageError(f"Epoch {epoch_of(self.newest)} has no event ids left.")
        self.newest += 1
        return self.newest
