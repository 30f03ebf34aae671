"""What a person is told of a stream beyond exceptions: a few words, on the logger ``trio_mix``.

What it knows: the words, and how much of a server's goes into them. What it must never know: when
it is time for them.

Rule 1  A text is cut short and put on one line; URLs come without credentials, and a tool's
        parameters not at all.
Rule 2  A trouble is told of once, and its end less loudly.
"""

from __future__ import annotations

import logging
import math
import re
from typing import TYPE_CHECKING, Final, Protocol, cast

import trio

from trio_mix._http import sanitize_url
from trio_mix.errors import SessionNotFound, clone_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix.events import PermissionEvent
    from trio_mix.sse import ReconnectPolicy

__all__ = ["LossLogger", "session_gone", "warn_unanswered"]

_log: Final = logging.getLogger("trio_mix")

_URL: Final = re.compile(r"https?://[^\s'\"<>]+")
_PATIENCE: Final = 2.0
"""Seconds that a connection may be lost without a word."""
_NAME: Final = 60
_TEXT: Final = 200


def warn_unanswered(request: PermissionEvent, session_id: str) -> None:
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


class LostStream(Protocol):
    """What is looked at of a stream that may be lost."""

    session_id: str
    reconnect: ReconnectPolicy
    last_loss: str | None
    last_loss_time: float | None

    @property
    def missed(self) -> bool:
        """Whether the connection is lost, and a message waits for it."""
        ...

    async def wait_connected(self) -> None:
        """Wait until it is connected; raises what the stream failed with."""


class LossLogger:
    """Tells of a connection that stays lost while a message waits for it: once, and of its return.

    Args:
      stream: the stream.
      start: starts a task of the stream's.
    """

    def __init__(self, stream: LostStream, start: Callable[..., None]) -> None:
        self._stream = stream
        self._start = start
        self._at_it = False

    def watch(self) -> None:
        """Tell of the present loss if it lasts; call it as often as there is reason to."""
        if not self._at_it:
            self._at_it = True
            self._start(self._run)

    async def _run(self) -> None:
        try:
            await self._watch()
        except Exception:  # noqa: BLE001 - the stream is over, and everybody is told of that
            return  # noqa: ASYNC910 - it was waited for
        finally:
            self._at_it = False

    async def _watch(self) -> None:
        stream, since = self._stream, -math.inf
        while stream.last_loss_time != since:  # lost anew in the meantime: that counts from then
            since = stream.last_loss_time or 0.0
            with trio.CancelScope(deadline=since + _PATIENCE) as scope:
                await stream.wait_connected()
            if not scope.cancelled_caught:
                return
        if not stream.missed:
            return  # noqa: ASYNC910 - it was waited for
        limit = stream.reconnect.max_elapsed_time
        _log.warning(
            "The connection of session %s was lost (%s); reconnecting, %s.",
            stream.session_id,
            _short(stream.last_loss or ""),
            "without a limit" if limit is None else f"for up to {limit:g} s",
        )
        await stream.wait_connected()
        _log.info("The connection of session %s is back.", stream.session_id)


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
