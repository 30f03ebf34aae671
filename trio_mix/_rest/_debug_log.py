"""``MIX_DEBUG=1``: hooks that log requests, and also streams and messages.

The warnings about lost connections, which need no setting, are in `_session/_warnings.py`.

Rules:

1. No header is logged, no text of a message, no text of a reply. URLs are logged without
   credentials, also those in an error's text, which may quote the server's response.
2. The logger is ``trio_mix``, the level DEBUG. If the program has not configured logging, the lines
   go to stderr; if it has, its handlers decide.
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
    """Writes to the `sys.stderr` of the moment."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)

    @property
    def stream(self) -> TextIO:  # type: ignore[override]
        return sys.stderr


def _text_of(error: BaseException | None) -> str:
    """Return an exception on one line, without the credentials of its URLs."""
    if error is None:
        return ""
    text = " ".join(str(error).split())
    text = _URL.sub(lambda found: sanitize_url(found[0]), text)[:_LONGEST]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _before_request(context: BeforeRequestContext) -> None:
    _log.debug(
        "%s: %s %s (try %d)", context.operation, context.method, context.url, context.attempt
    )


def _after_success(context: AfterSuccessContext) -> None:
    _log.debug("%s: HTTP %d after %.3f s", context.operation, context.status_code, context.elapsed)


def _after_error(context: AfterErrorContext) -> None:
    _log.debug(
        "%s: failed after %.3f s: %s", context.operation, context.elapsed, _text_of(context.error)
    )


def _stream_opened(context: StreamOpenedContext) -> None:
    _log.debug(
        "stream of %s: connected after %.3f s (connection %d)",
        context.session_id,
        context.elapsed,
        context.connection,
    )


def _stream_lost(context: StreamLostContext) -> None:
    how = "replaced" if context.planned else "lost"
    _log.debug(
        "stream of %s: %s after %.3f s: %s",
        context.session_id,
        how,
        context.elapsed,
        context.reason,
    )


def _stream_retrying(context: StreamRetryingContext) -> None:
    _log.debug(
        "stream of %s: connecting in %.3f s (try %d): %s",
        context.session_id,
        context.delay,
        context.attempt,
        context.reason,
    )


def _stream_closed(context: StreamClosedContext) -> None:
    why = _text_of(context.error) or "by the program"
    _log.debug("stream of %s: closed after %.3f s: %s", context.session_id, context.elapsed, why)


def _message_started(context: MessageStartedContext) -> None:
    _log.debug("message to %s: %d characters", context.session_id, len(context.text))


def _message_finished(context: MessageFinishedContext) -> None:
    more = (" (recovered)" if context.recovered else "") + (
        " (sent twice)" if context.resent else ""
    )
    if context.error is not None:
        more += f": {_text_of(context.error)}"
    _log.debug(
        "message to %s: %s after %.3f s%s",
        context.session_id,
        context.outcome,
        context.elapsed,
        more,
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
