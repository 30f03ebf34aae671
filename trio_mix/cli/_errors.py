"""Reports an exception to the user: one line with what to do next, and an exit code.

Rules:

1. One line on stderr and no traceback; ``--debug`` adds the traceback.
2. The exit code tells who has to act; the table in the docs is made from `EXIT_CODES`.
3. The line is written for users of the command line: it names options and commands, never an
   argument or a method of the library.
4. A reader that exits early (``| head``) is no error: exit code 0, and nothing is printed.
5. An unreachable server is reported in few words; the traceback has the library's message.
6. A web page is named, never quoted.
"""

from __future__ import annotations

import errno
import re
import socket
import ssl
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from trio_mix import errors
from trio_mix.cli.ui._library_terms import without_library_terms
from trio_mix.cli.ui._text import print_error, print_traceback

if TYPE_CHECKING:
    from collections.abc import Iterator

_QUOTED_AT_MOST: Final = 300
"""Characters of a server's message that the library quotes."""
_OF_A_WRITE: Final = (errno.EBADF, errno.EFBIG, errno.ENOSPC)
"""Errors of writing, which name no file."""

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NO_SERVER: Final = 3
REFUSED: Final = 4
DEFECT: Final = 70
INTERRUPTED: Final = 130
HUNG_UP: Final = 129
TERMINATED: Final = 143

EXIT_CODES: Final = {
    OK: "success; also when the reader of a pipe exits early",
    FAILED: "failure: the agent reported an error, the session does not exist, the server failed, "
    "the output cannot be written, or `demo` or `doctor` found a problem",
    USAGE: "a mistake in the arguments, the environment or a file that they name; nothing was sent",
    NO_SERVER: "no Mix server at the address: the connection is refused, times out or fails in "
    "TLS, or another kind of server responds",
    REFUSED: "not authorised: 401 or 403, or the server has no key for its model",
    DEFECT: "a bug in trio-mix; `--debug` shows the traceback to report",
    HUNG_UP: "SIGHUP: the terminal was closed",
    INTERRUPTED: "Ctrl-C",
    TERMINATED: "SIGTERM",
}
"""All exit codes and what they mean."""

_SERVE = (
    "start one with `trio-mix serve`, or name another with --server; `trio-mix doctor` diagnoses it"
)


_WEB_PAGE: Final = re.compile(
    r"""(?P<quote>['"])\s*<(?:!doctype|html|head|body|\?xml|!--)(?:\\.|(?!(?P=quote)).)*(?P=quote)""",
    re.IGNORECASE | re.DOTALL,
)
"""A quoted web page in a message of the library."""

PROXY_REMEDY: Final = "check the proxy, or add the host to the variable NO_PROXY"


class CommandUsageError(Exception):
    """A mistake in what the user passed: a file, an environment variable or an option."""


class CommandFailure(Exception):
    """A command did not do what it was asked to, for a reason that is no error of the library."""


class NoMixServer(CommandFailure):
    """What responds at the address is no Mix server."""


def leaf_errors(error: BaseException) -> list[BaseException]:
    """Return the exceptions in a group, at any depth; any other exception by itself."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in leaf_errors(inner)]


def exit_code(error: BaseException) -> int:
    """Return the exit code for an exception that is no group."""
    match error:
        case KeyboardInterrupt():
            return INTERRUPTED
        case BrokenPipeError():
            return OK
        case CommandUsageError() | errors.ConfigurationError() | errors.UsageError():
            return USAGE
        case errors.MixError(status_code=status):
            return REFUSED if status in (401, 403) else FAILED
        case errors.MessageRejected(__cause__=None):
            return USAGE
        case errors.MessageRejected(__cause__=errors.TrioMixError() as cause):
            return exit_code(cause)
        case errors.AgentError() if _wants_key(error):
            return REFUSED
        case errors.TransportError() | errors.ReconnectFailed() | NoMixServer():
            return NO_SERVER
        case OSError(filename=name) if name is not None:
            return USAGE
        case errors.TrioMixError() | OSError() | CommandFailure():
            return FAILED
        case _:
            return DEFECT


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        if isinstance(error, BaseExceptionGroup):
            for each in error.exceptions:
                yield from _chain(each)
        error = error.__cause__ or error.__context__


def is_tls(error: BaseException) -> bool:
    """Return whether TLS caused a connection failure."""
    return any(isinstance(each, ssl.SSLError) for each in _chain(error))


def why_unreachable(error: BaseException) -> str:
    """Return in few words why a server is unreachable; empty if no short reason is known."""
    for each in _chain(error):
        match each:
            case ssl.SSLError(reason="WRONG_VERSION_NUMBER" | "HTTP_REQUEST"):
                return "the server does not use TLS at this port: write http:// if that is right"
            case socket.gaierror():
                return "the host name cannot be resolved"
            case ConnectionRefusedError():
                return "the connection was refused: no server listens there"
            case ssl.SSLError():
                return ""  # the library's message names the certificate
            case OSError(strerror=str() as reason):
                return f"the server cannot be reached: {reason}"
    return ""


def problem_of(error: BaseException) -> str:
    """Return what failed, without the terms of the library."""
    if isinstance(error, errors.ConnectionFailed) and not error.sent:
        why, address = why_unreachable(error), urlsplit(error.request.url)
        if why:
            through = f"through the proxy {error.proxy}: " if error.proxy else ""
            return f"{address.scheme}://{address.netloc}: {through}{why}"
    if isinstance(error, OSError) and error.strerror:
        of = f"{error.filename}: " if error.filename is not None else ""
        if error.filename is None and error.errno in _OF_A_WRITE:
            of = "the output cannot be written: "
        return f"{of}{error.strerror}"
    if not isinstance(error, errors.TrioMixError):
        return str(error) or type(error).__name__
    text = _WEB_PAGE.sub("a web page", str(error))
    for each in _chain(error):
        if isinstance(each, errors.MixError | errors.TransportError):
            text = text.replace(str(each.request), f"{each.request.method} {each.request.url}")
    return without_library_terms(text, _server_words(error)) or type(error).__name__


def _server_words(error: BaseException) -> Iterator[str]:
    """Yield the parts of an error's message that are words of the server."""
    for each in _chain(error):
        match each:
            case errors.ErrorResponse(error=answer):
                yield from _as_quoted(answer.message, answer.type)
            case errors.MixError(body=body):
                yield from _as_quoted(body)
            case errors.AgentError(event=event):
                yield from _as_quoted(event.error, getattr(event, "type", ""))
            case errors.ConnectionFailed(reason=reason):
                yield from _as_quoted(reason)


def _as_quoted(*texts: str | None) -> Iterator[str]:
    for text in texts:
        flat = " ".join((text or "").split())
        yield flat
        yield flat[:_QUOTED_AT_MOST]


def _wants_key(error: errors.AgentError) -> bool:
    return getattr(error.event, "type", None) == "authentication_error"


def _remedy(error: BaseException) -> str:
    match error:
        case errors.TransportError(proxy=proxy) if proxy:
            return PROXY_REMEDY
        case errors.ConnectionFailed() if not error.sent:
            return _SERVE
        case errors.RequestTimeout():
            return "is it a Mix server, and is it overloaded? `trio-mix doctor` diagnoses it"
        case errors.SessionNotFound():
            return (
                "`trio-mix sessions list` lists the sessions, `trio-mix chat` without --session "
                "creates a new one"
            )
        case errors.MessageRejected(__cause__=None) if "allow_shell" in str(error):
            return "use `trio-mix ask --allow-shell`"
        case OSError(errno=errno.EBADF, filename=None):  # no other descriptor is closed
            return "stdout is closed: send the output to a file, or to /dev/null"
        case _ if exit_code(error) == REFUSED:
            return "`trio-mix auth status` lists the keys, `trio-mix auth set PROVIDER` stores one"
        case _:
            return ""


def error_line(error: BaseException) -> str:
    """Return the line that reports an error, with the remedy at its end."""
    if exit_code(error) == DEFECT:
        problem = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return f"this is a bug in trio-mix, please report it with the output of --debug: {problem}"
    remedy, problem = _remedy(error), problem_of(error)
    return f"{problem} ({remedy})" if remedy else problem


def report_error(error: BaseException, *, debug: bool = False) -> int:
    """Report an error to the user and return the exit code.

    Args:
      error: the exception that ended the command, as it was raised.
      debug: whether to print the traceback as well.
    """
    found = leaf_errors(error)
    codes = [exit_code(leaf) for leaf in found]
    if INTERRUPTED in codes:
        return INTERRUPTED
    reported = [leaf for leaf in found if not isinstance(leaf, BrokenPipeError)]
    if not reported:
        return OK
    if debug:
        print_traceback(error)
    # Several tasks that fail for one reason have the same message, and one may add to it: report
    # the longest only.
    texts = {str(leaf) for leaf in reported}
    complete = [
        leaf
        for leaf in reported
        if not any(text != str(leaf) and text.startswith(str(leaf) + " ") for text in texts)
    ]
    for line in dict.fromkeys(map(error_line, complete)):
        print_error(line)
    return DEFECT if DEFECT in codes else exit_code(reported[0])
