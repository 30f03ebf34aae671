"""Turn what HTTP libraries raise into the exceptions of trio_mix, at one boundary.

What it knows: the exceptions of httpcore, h11, httpx and httpx2, and which of them mean that
nothing was sent. What it must never know: what the request was for.
"""

from __future__ import annotations

import ssl
import sys
from typing import TYPE_CHECKING

import h11
import trio

from trio_mix._http._body import BodyError
from trio_mix._redact import Redactor
from trio_mix.errors import ConfigurationError, ConnectionFailed, RequestTimeout, TrioMixError

if TYPE_CHECKING:
    from trio_mix._http._protocols import Progress

__all__ = ["DisconnectedError", "WriteError", "is_a", "library_errors", "translate"]


class DisconnectedError(Exception):
    """The server ended the connection where more was due."""


class WriteError(Exception):
    """The server takes no more of a request; named as httpcore's, which its back ends raise."""


_OWN: tuple[type[Exception], ...] = (
    h11.ProtocolError,
    trio.BrokenResourceError,
    trio.ClosedResourceError,
    ssl.SSLError,
    OSError,
    UnicodeError,
    BodyError,
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
    """Return all exceptions that `translate` takes, for an ``except`` clause.

    Those of httpcore and httpx2 count once somebody has imported them: a caller's client or back
    end, or a proxy's. httpcore takes half as long to load as all of trio_mix.
    """
    classes = list(_OWN)
    for library, names in _THEIRS.items():
        module = sys.modules.get(library)
        if module is not None:
            classes += [getattr(module, name) for name in names]
    return tuple(classes)


def is_a(error: BaseException, name: str) -> bool:
    """Say whether an exception is of a class of that name, whichever library's it is."""
    return any(cls.__name__ == name for cls in type(error).__mro__)


_NOTHING_SENT = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ProxyError"}
_CALLERS_FAULT = {"LocalProtocolError", "InvalidURL", "UnsupportedProtocol", "UnicodeError"}


def translate(error: Exception, progress: Progress, *, traced: bool = True) -> TrioMixError:
    """Make the exception of trio_mix that says what failed, and whether anything was sent.

    Args:
      error: one of `library_errors`.
      progress: how far the request had got.
      traced: whether ``progress`` was told of each step; where it was not, as with a transport
        that does not trace, all but a failed connect is taken to have been sent.
    """
    names = {cls.__name__ for cls in type(error).__mro__}
    if not traced and not names & _NOTHING_SENT:
        progress.sent = True
    if names & _CALLERS_FAULT and not progress.sent:
        return ConfigurationError(
            f"The request to {progress.info.url} cannot be made ({type(error).__name__}):"
            " check the URL and the names of the headers"
        )
    # A parser quotes the line that it did not understand: that may be what we sent.
    words = _words(error)
    masked = Redactor([*progress.given, *progress.added]).text(words)
    if masked != words:
        words = masked
        error.args = (masked,)  # it is this one's cause, and printed with it
        error.__cause__ = error.__context__ = None
    reason = f"{words}, while {progress.stage}"
    if "PoolTimeout" in names:
        reason = (
            "the http_client had no connection to spare: each open stream holds one, so give it"
            " higher limits (max_connections)"
        )
    if "TimeoutException" in names:
        return RequestTimeout(reason, request=progress.info, sent=progress.sent)
    return ConnectionFailed(reason, request=progress.info, sent=progress.sent)


def _words(error: BaseException) -> str:
    """Find the text that says most: libraries often leave the outermost exception empty."""
    cause: BaseException | None = error
    words = ""
    seen = 0
    while cause is not None and seen < 10:
        if isinstance(cause, BaseExceptionGroup):  # one connect per address: the last will do
            cause = cause.exceptions[-1]
        text = " ".join(str(cause).split())
        if text and text not in words:
            words = f"{words}: {text}" if words else text
        cause = cause.__cause__ or cause.__context__
        seen += 1
    return words or type(error).__name__
