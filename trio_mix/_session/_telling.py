"""What a person is told of a stream that is in trouble: the words.

What it knows: the words. What it must never know: when it is time for them.
"""

from __future__ import annotations

from typing import cast

from trio_mix.errors import SessionNotFound, clone_error

__all__ = ["session_gone"]


def session_gone(failure: SessionNotFound, *, sent: bool) -> SessionNotFound:
    """Return the same failure, for the message that was under way.

    Args:
      failure: what the stream ended with.
      sent: whether the message may have reached the server.
    """
    known = (
        "The message had been sent: what became of it cannot be known from here."
        if sent
        else "The message had not been sent."
    )
    found = cast("SessionNotFound", clone_error(failure))
    found.args = (f"{failure} {known}", *failure.args[1:])
    return found
