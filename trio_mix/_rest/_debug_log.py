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
import sys
from typing import TYPE_CHECKING, Final, TextIO

from trio_mix._http import sanitize_urls_in
from trio_mix._rest._options import debug_wanted
from trio_mix._terminal_text import escape, get_logger
from trio_mix.hooks import Hooks

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix.hooks import MessageFinishedContext

_log: Final = get_logger("trio_mix")

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
    text = sanitize_urls_in(" ".join(str(error).split()))[:_LONGEST]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _logs(line: str) -> Callable[[object], None]:
    """Return a hook that logs a line; ``{c}`` in it is the context, ``{error}`` its error."""

    def log(context: object) -> None:
        _log.debug("%s", line.format(c=context, error=_text_of(getattr(context, "error", None))))

    return log


_lost: Final = _logs("stream of {c.session_id}: lost after {c.elapsed:.3f} s: {c.reason}")
_replaced: Final = _logs("stream of {c.session_id}: replaced after {c.elapsed:.3f} s: {c.reason}")
_failed: Final = _logs("stream of {c.session_id}: closed after {c.elapsed:.3f} s: {error}")
_closed: Final = _logs("stream of {c.session_id}: closed after {c.elapsed:.3f} s: by the program")


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
    before_request=_logs("{c.operation}: {c.method} {c.url} (try {c.attempt})"),
    after_success=_logs("{c.operation}: HTTP {c.status_code} after {c.elapsed:.3f} s"),
    after_error=_logs("{c.operation}: failed after {c.elapsed:.3f} s: {error}"),
    stream_opened=_logs(
        "stream of {c.session_id}: connected after {c.elapsed:.3f} s (connection {c.connection})"
    ),
    stream_lost=lambda context: (_replaced if context.planned else _lost)(context),
    stream_retrying=_logs(
        "stream of {c.session_id}: connecting in {c.delay:.3f} s (try {c.attempt}): {c.reason}"
    ),
    stream_closed=lambda context: (_closed if context.error is None else _failed)(context),
    message_started=lambda context: _log.debug(
        "message to %s: %d characters", context.session_id, len(context.text)
    ),
    message_finished=_message_finished,
)
