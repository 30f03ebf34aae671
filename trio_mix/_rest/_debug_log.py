"""``MIX_DEBUG=1``: requests, streams and messages in the log, by hooks like anybody's.

What it knows: the environment's switch, and how a line reads.
What it must never know: anything that hooks are not told.

Rules:

1. No header is logged, no text of a message, no text of a reply; URLs come without credentials,
   those in an error's text as well. An error's text may quote what the server has answered.
2. The logger is ``trio_mix``, the level DEBUG. Where nobody has configured logging, the lines go
   to stderr; where somebody has, his handlers decide.
"""

from __future__ import annotations

import logging
import re
import sys
from typing import TYPE_CHECKING, Final, TextIO

from trio_mix._http import sanitize_url
from trio_mix._rest._options import debug_wanted
from trio_mix._terminal_text import escape, get_logger
from trio_mix.hooks import Hooks

if TYPE_CHECKING:
    from trio_mix.hooks import (
        AfterErrorContext,
        AfterSuccessContext,
        BeforeRequestContext,
        MessageFinishedContext,
        MessageStartedContext,
        StreamClosedContext,
        StreamLostContext,
        StreamOpenedContext,
        StreamRetryingContext,
    )

__all__ = ["debug_hooks"]

_log: Final = get_logger("trio_mix")

_URL: Final = re.compile(r"https?://[^\s'\"<>]+")
_LONGEST: Final = 500


def debug_hooks() -> tuple[Hooks, ...]:
    """Return the hooks that log, if the environment asks for them."""
    if not debug_wanted():
        return ()
    if not _log.hasHandlers():
        handler = _Stderr()
        handler.setFormatter(_Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
        _log.addHandler(handler)
    if _log.level == logging.NOTSET:
        _log.setLevel(logging.DEBUG)
    return (_HOOKS,)


class _Formatter(logging.Formatter):
    """Escapes hidden characters, also in the traceback of a record."""

    def format(self, record: logging.LogRecord) -> str:
        return escape(super().format(record))


class _Stderr(logging.StreamHandler[TextIO]):
    """Writes to what `sys.stderr` is at the time."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def _said(error: BaseException | None) -> str:
    """Return an exception on one line, without what its URLs must not show."""
    if error is None:
        return ""
    text = " ".join(str(error).split())
    text = _URL.sub(lambda found: sanitize_url(found[0]), text)[:_LONGEST]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _before_request(told: BeforeRequestContext) -> None:
    _log.debug("%s: %s %s (try %d)", told.operation, told.method, told.url, told.attempt)


def _after_success(told: AfterSuccessContext) -> None:
    _log.debug("%s: HTTP %d after %.3f s", told.operation, told.status_code, told.elapsed)


def _after_error(told: AfterErrorContext) -> None:
    _log.debug("%s: failed after %.3f s: %s", told.operation, told.elapsed, _said(told.error))


def _stream_opened(told: StreamOpenedContext) -> None:
    _log.debug(
        "stream of %s: connected after %.3f s (connection %d)",
        told.session_id,
        told.elapsed,
        told.connection,
    )


def _stream_lost(told: StreamLostContext) -> None:
    how = "dropped on purpose" if told.planned else "lost"
    _log.debug("stream of %s: %s after %.3f s: %s", told.session_id, how, told.elapsed, told.reason)


def _stream_retrying(told: StreamRetryingContext) -> None:
    _log.debug(
        "stream of %s: connecting in %.3f s (try %d): %s",
        told.session_id,
        told.delay,
        told.attempt,
        told.reason,
    )


def _stream_closed(told: StreamClosedContext) -> None:
    why = _said(told.error) or "on purpose"
    _log.debug("stream of %s: closed after %.3f s: %s", told.session_id, told.elapsed, why)


def _message_started(told: MessageStartedContext) -> None:
    _log.debug("message to %s: %d characters", told.session_id, len(told.text))


def _message_finished(told: MessageFinishedContext) -> None:
    more = (" (recovered)" if told.recovered else "") + (" (sent twice)" if told.resent else "")
    if told.error is not None:
        more += f": {_said(told.error)}"
    _log.debug(
        "message to %s: %s after %.3f s%s", told.session_id, told.outcome, told.elapsed, more
    )


_HOOKS: Final = Hooks(
    before_request=_before_request,
    after_success=_after_success,
    after_error=_after_error,
    stream_opened=_stream_opened,
    stream_lost=_stream_lost,
    stream_retrying=_stream_retrying,
    stream_closed=_stream_closed,
    message_started=_message_started,
    message_finished=_message_finished,
)
