"""Prepares the arguments for the parser.

Rules:

1. An option may precede the command: ``trio-mix --server URL ask Hi``.
2. No secret is accepted in an argument, which other users of the machine can see.
"""

from __future__ import annotations

import re
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trio_mix.cli._errors import CommandUsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from cyclopts import App

_USE_VARIABLE: Final = (
    "the option has credentials in its URL, and other users of this machine can see arguments: set "
    "the environment variable MIX_SERVER_URL instead. If they were real, replace them."
)
_SECRET: Final = re.compile(
    r"(?:^|//)[^/?#]*@|[?&][^=&]*(?:key|token|secret|password|auth)[^=&]*=", re.IGNORECASE
)
_URLS: Final = ("--server", "--server-url", "--upstream")
_OPTION: Final = re.compile(r"--?[A-Za-z][\w-]*(?:=\S*)?")
_LARGEST_TEXT: Final = 2**20
_OF_THE_PROGRAM: Final = ("--help", "-h", "--version")


def check_secrets(argv: Sequence[str]) -> None:
    """Raise if a server's option has a user name, a password or a key in its URL.

    Raises:
      CommandUsageError: one has.
    """
    for option, following in zip_longest(argv, argv[1:], fillvalue=""):
        name, equals, value = option.partition("=")
        if name in _URLS and _SECRET.search(value if equals else following):
            raise CommandUsageError(_USE_VARIABLE)


def options_after_command(app: App, argv: Sequence[str]) -> list[str]:
    """Return the arguments with the options before the command moved behind it (rule 1).

    Args:
      app: the program.
      argv: its arguments.

    Raises:
      CommandUsageError: there are options only.
    """
    leading = 0
    if argv and argv[0].startswith("-") and argv[0] not in _OF_THE_PROGRAM:
        valued = set(options_with_value(app))
        while leading < len(argv) and argv[leading].startswith("-"):
            if argv[leading] in _OF_THE_PROGRAM:
                return [*argv]
            leading += 2 if argv[leading] in valued else 1
    options, rest = [*argv[:leading]], [*argv[leading:]]
    if options and not rest:
        raise CommandUsageError(
            f"{options[0]} is an option of a command, and none is named: `trio-mix ask TEXT`, for "
            "example; `trio-mix --help` shows the commands"
        )
    words, _, others = app.parse_commands(rest)
    return [*words, *options, *others] if words else [*rest, *options]


def options_with_value(app: App) -> Iterator[str]:
    """Yield the names of the options, of any command, that take a value."""
    if app.default_command is not None:
        for argument in app.assemble_argument_collection():
            if argument.token_count()[0]:
                yield from (name for name in argument.names if name.startswith("-"))
    for name, command in app.resolved_commands().items():
        if not name.startswith("-"):
            yield from options_with_value(command)


def words_of(words: Sequence[str]) -> str:
    """Return the text of a message that was passed as one or more arguments.

    Raises:
      CommandUsageError: there is none, or one looks like an option that does not exist.
    """
    for word in words:
        if _OPTION.fullmatch(word):
            raise CommandUsageError(
                f"unknown option: {word.partition('=')[0]} (to send it as text, put a space before "
                "it inside the quotes, or pipe the text to `trio-mix ask -`)"
            )
    text = " ".join(words)
    if not text.strip():
        raise CommandUsageError(
            'the message is missing: `trio-mix ask TEXT`; "-" reads it from stdin'
        )
    return text


def read_text(value: str | None) -> str | None:
    """Return the value of an option that may be ``@FILE``, with the text of the file.

    Raises:
      CommandUsageError: the file is too large.
      OSError: the file cannot be read.
    """
    if value is None or not value.startswith("@"):
        return value
    with Path(value[1:]).open("rb") as file:
        text = file.read(_LARGEST_TEXT + 1)
    if len(text) > _LARGEST_TEXT:
        raise CommandUsageError(f"{value[1:]} is larger than {_LARGEST_TEXT} bytes")
    return text.decode("utf-8", errors="replace")
