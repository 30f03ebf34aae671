"""What a person is told of a stream beyond exceptions: a few words, on the logger ``trio_mix``.

What it knows: the words, and how much of a server's goes into them. What it must never know: when
it is time for them.

Rule 1  A text is cut short and put on one line; URLs come without credentials, and a tool's
        parameters not at all.
Rule 2  A trouble is told of once, and its end less loudly.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Final, cast

from trio_mix._http import sanitize_url
from trio_mix.errors import SessionNotFound, clone_error

if TYPE_CHECKING:
    from trio_mix.events import PermissionEvent

__all__ = ["session_gone", "tell_of_unanswered"]

_log: Final = logging.getLogger("trio_mix")

_URL: Final = re.compile(r"https?://[^\s'\"<>]+")
_NAME: Final = 60
_TEXT: Final = 200


def tell_of_unanswered(request: PermissionEvent, session_id: str) -> None:
    """Warn that an agent waits for an answer that nobody is there to give.

    Args:
      request: what it asks.
      session_id: the session of the message.
    """
    # An action is a single word; what would be done by it is in the parameters (rule 1).
    what = f"{_short(request.tool_name, _NAME)}: {_short(request.description or request.action)}"
    _log.warning(
        "The agent asks for permission (%s) on session %s, and nothing answers it: pass "
        "on_permission=..., or iterate the message and grant or deny it.",
        what,
        session_id,
    )


def _short(text: str, limit: int = _TEXT) -> str:
    """Return a text on one line and cut short, without what steers a terminal or logs in."""
    seen = "".join(c if c.isprintable() else " " for c in text[: 4 * limit])
    flat = _URL.sub(lambda found: sanitize_url(found[0]), " ".join(seen.split()))
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


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
