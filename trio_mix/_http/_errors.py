"""Translate the exceptions of HTTP libraries into those of trio_mix, in one place."""

from __future__ import annotations

import ssl
import sys
from typing import TYPE_CHECKING

import h11
import trio

from trio_mix._http._body import BodyError
from trio_mix._http._encoding import ContentError
from trio_mix._redact import Redactor
from trio_mix.errors import ConfigurationError, ConnectionFailed, RequestTimeout, TrioMixError

if TYPE_CHECKING:
    from trio_mix._http._protocols import RequestProgress


class DisconnectedError(Exception):
    """The server closed the connection before the response was complete."""


class WriteError(Exception):
    """The server accepts no more of a request; named as the exception of httpcore's backends."""


_OWN: tuple[type[Exception], ...] = (
    h11.ProtocolError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    ssl.SSLError,
    OSError,
    UnicodeError,
    BodyError,
    ContentError,
    DisconnectedError,
    WriteError,
)

_THEIRS = {
    "httpcore": (
        "NetworkError",
        "TimeoutException",
        "ProtocolError",
        "ProxyError",
        "UnsupportedProtocol",
    ),
    "httpx": ("HTTPError", "InvalidURL", "StreamError"),
    "httpx2": ("HTTPError", "InvalidURL", "StreamError"),
}


def library_errors() -> tuple[type[Exception], ...]:
    """Return all exceptions that `translate` accepts, for an ``except`` clause.

    Those of httpcore and httpx2 are included once the library has been imported, by a caller's
    client or backend or for a proxy. They are not imported here: httpcore takes half as long to
    load as all of trio_mix.
    """
    classes = list(_OWN)
    for library, names in _THEIRS.items():
        module = sys.modules.get(library)
        if module is not None:
            classes += [getattr(module, name) for name in names]
    return tuple(classes)


def is_a(error: BaseException, name: str) -> bool:
    """Return whether an exception is of a class with that name, of any library."""
    return any(cls.__name__ == name for cls in type(error).__mro__)


_NOTHING_SENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError"}
_CALLERS_FAULT = {"LocalProtocolError", "InvalidURL", "UnsupportedProtocol", "UnicodeError"}


def translate(error: Exception, progress: RequestProgress, *, traced: bool = True) -> TrioMixError:
    """Return the exception of trio_mix that says what failed, and whether anything was sent.

    Args:
      error: one of `library_errors`.
      progress: how far the request had got.
      traced: whether ``progress`` was updated at each step. If not, as with a transport that does
        not support tracing, any request that did not fail to connect counts as sent.
    """
    names = {cls.__name__ for cls in type(error).__mro__}
    if not traced and not names & _NOTHING_SENT:
        progress.sent = True
    if names & _CALLERS_FAULT and not progress.sent:
        return ConfigurationError(
            f"The request to {progress.info.url} cannot be made ({type(error).__name__}):"
            " check the URL and the names of the headers"
        )
    # A parser quotes the line that it could not parse, which may repeat the request.
    words = _words(error)
    masked = Redactor(progress.secrets).text(words)
    if masked != words:
        words = masked
        error.args = (masked,)  # it becomes the cause, and is printed in the traceback
        error.__cause__ = error.__context__ = None
    reason = f"{words}, while {progress.stage}"
    if "PoolTimeout" in names:
        reason = (
            "the http_client had no free connection: each open stream holds one, so give the client"
            " higher limits (max_connections)"
        )
    failure = RequestTimeout if "TimeoutException" in names else ConnectionFailed
    return failure(reason, request=progress.info, sent=progress.sent, proxy=progress.proxy)


def _words(error: BaseException) -> str:
    """Return the texts of an exception and its causes: the outermost one is often empty."""
    cause: BaseException | None = error
    words = ""
    seen = 0
    while cause is not None and seen < 10:
        if isinstance(cause, BaseExceptionGroup):  # one for each address
            cause = cause.exceptions[-1]
        text = " ".join(str(cause).split())
        if text and text not in words:
            words = f"{words}: {text}" if words else text
        cause = cause.__cause__ or cause.__context__
        seen += 1
    return words or type(error).__name__
