"""What the user sees of an exception: one line with what to do next, and an exit code.

What it knows: which exceptions are the user's, the server's or the agent's affair.
What it must never know: which command ran.

Rules:

1. One line on stderr and no traceback; ``--debug`` adds the traceback.
2. The exit code says whose affair it is; the table in the docs is made from `EXIT_CODES`.
3. A remedy is named in the words of the command line, beside what the library says of programs.
4. A reader that has gone (``| head``) got what it wanted: exit code 0, not a word.
5. That nothing is there is said in few words; the traceback has the library's.
"""

from __future__ import annotations

import socket
import ssl
import traceback
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from trio_mix import errors
from trio_mix.cli.ui._text import print_error

if TYPE_CHECKING:
    from collections.abc import Iterator

OK: Final = 0
FAILED: Final = 1
USAGE: Final = 2
NO_SERVER: Final = 3
REFUSED: Final = 4
DEFECT: Final = 70
INTERRUPTED: Final = 130
TERMINATED: Final = 143

EXIT_CODES: Final = {
    OK: "it worked; also when the reader of a pipe has left early",
    FAILED: "it was tried and failed: the agent gave up, no such session, the server failed; "
    "`demo` or `doctor` found something that is not as it should be",
    USAGE: "a mistake in the arguments, the environment or a file that they name; nothing was sent",
    NO_SERVER: "no Mix server there: nothing listens, it hangs, TLS fails, or it is another server",
    REFUSED: "not authorised: 401 or 403, or the server has no key for its model",
    DEFECT: "a defect of trio-mix itself; `--debug` shows the traceback to report",
    INTERRUPTED: "Ctrl-C",
    TERMINATED: "SIGTERM",
}
"""All exit codes and what they mean."""

_SERVE = (
    "start one with `trio-mix serve`, or name another with --server; `trio-mix doctor` tells more"
)


class CommandUsageError(Exception):
    """A mistake in what the user gave: a file, an environment variable, an option."""


def leaf_errors(error: BaseException) -> list[BaseException]:
    """Flatten an exception group; anything else is its own only leaf."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in leaf_errors(inner)]


def exit_code(error: BaseException) -> int:
    """Return the exit code that an exception, no group, ends the command with."""
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
        case errors.TransportError() | errors.ReconnectFailed():
            return NO_SERVER
        case OSError(filename=name) if name is not None:
            return USAGE
        case errors.TrioMixError() | OSError():
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
    """Say whether a failure to connect was TLS's."""
    return any(isinstance(each, ssl.SSLError) for each in _chain(error))


def why_unreachable(error: BaseException) -> str:
    """Say in few words why nothing could be reached; empty where only the error itself tells."""
    for each in _chain(error):
        match each:
            case socket.gaierror():
                return "the name in the address is not known to the network"
            case ConnectionRefusedError():
                return "nothing listens there: the connection was refused"
            case OSError(strerror=str() as said):
                return f"nothing can be reached there: {said}"
    return ""


def _said(error: BaseException) -> str:
    if isinstance(error, errors.ConnectionFailed) and not error.sent and not is_tls(error):
        why, there = why_unreachable(error), urlsplit(error.request.url)
        if why:
            return f"{there.scheme}://{there.netloc}: {why}"
    return str(error) or type(error).__name__


def _wants_key(error: errors.AgentError) -> bool:
    return getattr(error.event, "type", None) == "authentication_error"


def _remedy(error: BaseException) -> str:
    match error:
        case errors.ConnectionFailed() if not error.sent:
            return _SERVE
        case errors.RequestTimeout():
            return "is it a Mix server, and not overloaded? `trio-mix doctor` tells more"
        case errors.SessionNotFound():
            return (
                "`trio-mix sessions list` shows the sessions there are, `trio-mix chat` without "
                "--session begins a new one"
            )
        case errors.MessageRejected(__cause__=None) if "allow_shell" in str(error):
            return "`trio-mix ask --allow-shell` does"
        case _ if exit_code(error) == REFUSED:
            return "`trio-mix auth status` shows the keys, `trio-mix auth set PROVIDER` stores one"
        case _:
            return ""


def error_line(error: BaseException) -> str:
    """Make the one line that tells of an error, the remedy at its end."""
    if exit_code(error) == DEFECT:
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        return f"this is a defect of trio-mix, please report it with what --debug shows: {said}"
    remedy, said = _remedy(error), _said(error)
    return f"{said} ({remedy})" if remedy else said


def report_error(error: BaseException, *, debug: bool = False) -> int:
    """Tell the user about an error, and return the exit code.

    Args:
      error: what ended the command, as it was raised.
      debug: whether to show the traceback as well.
    """
    found = leaf_errors(error)
    codes = [exit_code(leaf) for leaf in found]
    if INTERRUPTED in codes:
        return INTERRUPTED
    wordy = [leaf for leaf in found if not isinstance(leaf, BrokenPipeError)]
    if not wordy:
        return OK
    if debug:
        traceback.print_exception(error)
    # Several tasks that fail for one reason say it in the same words, and one may have more to
    # say: once is enough.
    said = {str(leaf) for leaf in wordy}
    whole = [
        leaf
        for leaf in wordy
        if not any(more != str(leaf) and more.startswith(str(leaf) + " ") for more in said)
    ]
    for text in dict.fromkeys(map(error_line, whole)):
        print_error(text)
    return DEFECT if DEFECT in codes else exit_code(wordy[0])
