"""The command-line program: its commands, its help page, and how it is run.

Rule 1: a mistake in the arguments is one line on stderr and exit code 2, like every other error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cyclopts import App, CycloptsError, UnusedCliTokensError
from rich.console import Console

from trio_mix import __version__
from trio_mix.cli._app_messages import add_message_commands
from trio_mix.cli._app_relay import add_relay_commands
from trio_mix.cli._app_resources import NO_KEY_HERE, add_resource_commands
from trio_mix.cli._app_servers import add_server_commands
from trio_mix.cli._arguments import check_secrets, options_after_command
from trio_mix.cli._errors import OK, USAGE, CommandUsageError, report_error
from trio_mix.cli._options import SHELL
from trio_mix.cli.ui._text import print_error

if TYPE_CHECKING:
    from collections.abc import Sequence

_EPILOGUE = """\
Getting started:

  trio-mix demo      a demo; needs no server
  trio-mix doctor    examine a server
  trio-mix ask "Hi"  send one message
  trio-mix chat      hold a conversation

trio-mix COMMAND --help shows a command's options, with examples.

The server is --server URL, else $MIX_SERVER_URL, else http://localhost:8088.

Without a terminal, output is plain and stable; --jsonl: one JSON object per line.

Exit codes: 0 success, 1 failure, 2 wrong usage, 3 no server, 4 not authorised, 130 Ctrl-C."""

app = App(
    name="trio-mix",
    help="Send messages to a Mix agent server, watch its sessions, and diagnose it.",
    help_format="plaintext",
    help_epilogue=_EPILOGUE,
    version=__version__,
)
app["--help"].group = SHELL
app["--help"].help = "Show this page, or the help page of a command."
app["--version"].group = SHELL
app["--version"].help = "Show the version."
add_message_commands(app)
add_resource_commands(app)
add_server_commands(app)
add_relay_commands(app)


_TYPES = (
    ("into float.", "into a number."),
    ("into int.", "into a whole number."),
    ("into bool.", "into true or false."),
)


def _in_words(error: CycloptsError) -> str:
    """Return the parser's message without types of Python."""
    if isinstance(error, UnusedCliTokensError):
        return f"unexpected argument: {' '.join(error.unused_tokens or ())}"
    text = str(error)
    for kind, words in _TYPES:
        text = text.replace(kind, words)
    return text


class _HelpConsole(Console):
    """Prints the help pages."""

    def on_broken_pipe(self) -> None:
        """Raise the error under way, which is no failure; rich would exit with code 1."""
        raise  # noqa: PLE0704 - called in an `except`


def run(argv: Sequence[str]) -> int:
    """Run the command named by the arguments and return its exit code."""
    try:
        check_secrets(argv)
        result = app(
            options_after_command(app, argv),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
            console=_HelpConsole(highlight=False),
        )
    except CycloptsError as error:
        # An unexpected argument may be a key, which the parser's message would show.
        keys = "auth" in argv and "set" in argv
        print_error(
            NO_KEY_HERE if keys else f"{_in_words(error)} (`trio-mix --help` shows the commands)"
        )
        return USAGE
    except (CommandUsageError, OSError) as error:  # OSError: the help page cannot be written
        return report_error(error)
    return result if isinstance(result, int) else OK
