"""The command: its name, its help page, and how it is run.

What it knows: which groups of commands there are, what belongs on the first page.
What it must never know: how a command does its work; each lives in a module of its own.

Rule 1: a mistake in the arguments is one line on stderr and exit code 2, like every other error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cyclopts import App, CycloptsError
from rich.console import Console

from trio_mix import __version__
from trio_mix.cli._app_messages import add_message_commands
from trio_mix.cli._app_resources import NO_KEY_HERE, add_resource_commands
from trio_mix.cli._app_servers import add_server_commands
from trio_mix.cli._errors import OK, USAGE, CommandUsageError, report_error
from trio_mix.cli._options import SHELL
from trio_mix.cli.ui._text import print_error

if TYPE_CHECKING:
    from collections.abc import Sequence

_EPILOGUE = """\
Start here:

  trio-mix demo      see it work; needs no server
  trio-mix doctor    look into a server
  trio-mix ask "Hi"  one message
  trio-mix chat      a conversation

trio-mix COMMAND --help tells a command's options, with examples.

The server is --server URL, else $MIX_SERVER_URL, else http://localhost:8088.

Off a terminal, output is plain and stable; --jsonl: one JSON object a line.

Exit codes: 0 worked, 1 failed, 2 wrong arguments, 3 no server, 4 not authorised, 130 Ctrl-C."""

app = App(
    name="trio-mix",
    help="Talk to a Mix agent server, watch it work, find out what it is like.",
    help_format="plaintext",
    help_epilogue=_EPILOGUE,
    version=__version__,
)
app["--help"].group = SHELL
app["--help"].help = "Show this page; after a command, the command's."
app["--version"].group = SHELL
app["--version"].help = "Show the version."
add_message_commands(app)
add_resource_commands(app)
add_server_commands(app)


def run(argv: Sequence[str]) -> int:
    """Run the command that the arguments name, and return its exit code."""
    try:
        result = app(
            list(argv),
            exit_on_error=False,
            print_error=False,
            result_action="return_value",
            console=Console(highlight=False),
        )
    except CycloptsError as error:
        # Whatever does not fit there may be a key, which the parser's own words would show.
        keys = "auth" in argv and "set" in argv
        print_error(NO_KEY_HERE if keys else f"{error} (`trio-mix --help` shows the commands)")
        return USAGE
    except CommandUsageError as error:
        return report_error(error)
    return result if isinstance(result, int) else OK
