"""Warnings about a session stream on the logger ``trio_mix``.

Rule 1  A text is truncated and logged on one line. URLs are logged without credentials, and the
        parameters of a tool are never logged.
Rule 2  A problem is logged once, and its end at a lower level.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, cast

import trio

from trio_mix._http import sanitize_urls_in
from trio_mix._terminal_text import get_logger
from trio_mix.errors import SessionNotFound, clone_error
from trio_mix.events import PermissionEvent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_mix.events import NotificationEvent

_log: Final = get_logger("trio_mix")

_PATIENCE: Final = 2.0
"""How long a connection may be lost before that is logged, in seconds."""
_NAME: Final = 60
_TEXT: Final = 200


def warn_unanswered(request: PermissionEvent | NotificationEvent, session_id: str) -> None:
    """Warn that an agent waits for the answer to a question, but nothing answers it.

    Args:
      request: the permission request or the notification.
      session_id: the session of the message.
    """
    if not isinstance(request, PermissionEvent):
        _log.warning(
            "The agent waits for the response to a notification (%s: %s) on session %s, and "
            "nothing answers it: pass on_notification=..., or iterate the message and respond to "
            "it.",
            _short(request.notification_type, _NAME),
            _short(request.title or request.message),
            session_id,
        )
        return
    # An action is a single word; its details are in the parameters, which are not logged (rule 1).
    what = f"{_short(request.tool_name, _NAME)}: {_short(request.description or request.action)}"
    _log.warning(
        "The agent asks for permission (%s) on session %s, and nothing answers it: pass "
        "on_permission=..., or iterate the message and grant or deny it.",
        what,
        session_id,
    )


def warn_not_saved(session_id: str, failure: Exception) -> None:
    """Warn that the newest state of a ticket could not be saved."""
    _log.warning(
        "The ticket of a message on session %s could not be saved (%s): the message goes on. If "
        "this process ends now, its stored messages show its outcome.",
        session_id,
        type(failure).__name__,
    )


def warn_unknown_response_type(notification: NotificationEvent, session_id: str) -> None:
    """Warn that a notification asks for a response that the API does not have."""
    _log.warning(
        "A notification on session %s is not put to on_notification, because its response_type is "
        "%r, which this version of trio_mix cannot send.",
        session_id,
        _short(notification.response_type, _NAME),
    )


def log_foreign_question(question: PermissionEvent | NotificationEvent, session_id: str) -> None:
    """Log that a permission request or a notification is not put to its policy."""
    is_permission = isinstance(question, PermissionEvent)
    _log.warning(
        "A %s on session %s is not put to %s, because another client's message runs at the same "
        "time and the request may be that one's.",
        "permission request" if is_permission else "notification",
        session_id,
        "on_permission" if is_permission else "on_notification",
    )


def warn_too_many_questions(session_id: str) -> None:
    """Warn that questions are left unanswered, because too many others are open."""
    _log.warning(
        "Too many permission requests and notifications on session %s are unanswered: further ones "
        "are not put to on_permission or on_notification, and may not be denied when the message "
        "is left. The server denies a permission request after a while.",
        _short(session_id, _NAME),
    )


def log_session_at_work(session_id: str) -> None:
    """Log that a message waits because the session is at another turn."""
    _log.warning(
        "Session %s is at work on another message, of another client or of an earlier process: the "
        "next message is sent when that turn is over.",
        session_id,
    )


class LossLogger:
    """Logs a connection that stays lost while a message waits for it, once, and its return.

    Args:
      session_id: the session.
      limit: how long reconnecting is tried, in seconds; None means no limit.
      start: starts a task of the stream.
      message_waits: whether the connection is lost while a message waits for it.
      wait_connected: waits until the stream is connected; raises the error that ended the stream.
    """

    def __init__(
        self,
        session_id: str,
        limit: float | None,
        *,
        start: Callable[[Callable[[], Awaitable[None]]], None],
        message_waits: Callable[[], bool],
        wait_connected: Callable[[], Awaitable[None]],
    ) -> None:
        self._session_id = session_id
        self._limit = limit
        self._start = start
        self._message_waits = message_waits
        self._wait_connected = wait_connected
        self._reason = ""
        self._since = 0.0
        self._running = False

    def lost(self, reason: str) -> None:
        """Note that the connection was lost, and watch it if a message waits for it."""
        self._reason, self._since = reason, trio.current_time()
        if self._message_waits():
            self.watch()

    def watch(self) -> None:
        """Log the current loss if it lasts; calling it again is harmless."""
        if not self._running:
            self._running = True
            self._start(self._run)

    async def _run(self) -> None:
        try:
            await self._watch()
        except Exception:  # noqa: BLE001 - the stream has failed, which its other waits raise
            return  # noqa: ASYNC910 - `_watch` is a checkpoint
        finally:
            self._running = False

    async def _watch(self) -> None:
        since = -math.inf
        while self._since != since:  # lost again in the meantime: the time counts from then
            since = self._since
            with trio.CancelScope(deadline=since + _PATIENCE) as scope:
                await self._wait_connected()
            if not scope.cancelled_caught:
                return
        if not self._message_waits():
            return  # noqa: ASYNC910 - the wait above is a checkpoint
        _log.warning(
            "The connection of session %s was lost (%s); reconnecting, %s.",
            self._session_id,
            _short(self._reason),
            "without a limit" if self._limit is None else f"for up to {self._limit:g} s",
        )
        await self._wait_connected()
        _log.info("The connection of session %s is back.", self._session_id)


def _short(text: str, limit: int = _TEXT) -> str:
    """Return a text on one line, truncated, without control characters and credentials."""
    seen = "".join(c if c.isprintable() else " " for c in text[: 4 * limit])
    flat = sanitize_urls_in(" ".join(seen.split()))
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def session_gone(failure: SessionNotFound, *, sent: bool) -> SessionNotFound:
    """Return a copy of a stream's failure, for the message that was running.

    Args:
      failure: the exception that ended the stream.
      sent: whether the message may have reached the server.
    """
    known = (
        "The message had been sent, and its outcome is unknown."
        if sent
        else "The message had not been sent."
    )
    found = cast("SessionNotFound", clone_error(failure))
    found.args = (f"{failure} {known}", *failure.args[1:])
    return found
