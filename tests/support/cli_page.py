"""The part of the command line's reference page that is made from the parser.

``python -m tests.support.cli_page`` writes it; a test compares.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from trio_mix.cli._app import app
from trio_mix.cli._errors import EXIT_CODES
from trio_mix.cli._options import COMMON

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cyclopts import App
    from cyclopts.argument import Argument

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "cli.md"


def commands(parent: App = app, path: tuple[str, ...] = ()) -> Iterator[tuple[str, App]]:
    """Yield every command with its words, groups of commands before what is in them."""
    for name, command in sorted(parent.resolved_commands().items()):
        if not name.startswith("-"):
            yield " ".join((*path, name)), command
            yield from commands(command, (*path, name))


def arguments(command: App) -> Iterator[Argument]:
    for argument in command.assemble_argument_collection(parse_docstring=True):
        if argument.show and argument.name != "*":
            yield argument


def _is_common(argument: Argument) -> bool:
    group = argument.parameter.group
    return COMMON in group if isinstance(group, tuple | list) else group == COMMON


def _cell(argument: Argument) -> tuple[str, str]:
    names = ", ".join(f"`{name}`" for name in argument.names)
    text = " ".join((argument.parameter.help or "").split()).replace("|", "\\|")
    text = re.sub(r'(?<![\w`])(--[a-z][\w-]*|"[-/!]")(?![\w`])', r"`\1`", text)
    if choices := argument.get_choices():
        text += " One of " + ", ".join(f"`{each}`" for each in choices) + "."
    default = argument.field_info.default
    if isinstance(default, str | int | float) and not isinstance(default, bool):
        text += (
            f" Default: `{default:g}`." if isinstance(default, float) else f" Default: `{default}`."
        )
    if argument.parameter.env_var:
        text += " Environment: " + ", ".join(f"`{each}`" for each in argument.parameter.env_var)
        text += "."
    return names, text.strip()


def _table(rows: list[tuple[str, str]], head: str) -> list[str]:
    return [f"| {head} | |", "| --- | --- |", *(f"| {a} | {b} |" for a, b in rows), ""]


def reference() -> str:
    """Make the part of the page."""
    lines: list[str] = ["## Commands", ""]
    shared: dict[str, str] = {}
    for words, command in commands():
        if command.default_command is None:
            continue
        found = list(arguments(command))
        shared.update(_cell(each) for each in found if _is_common(each))
        lines += [f"### trio-mix {words}", "", _prose(command.help), ""]
        own = [_cell(each) for each in found if not _is_common(each)]
        if own:
            lines += _table(own, "argument or option")
    lines += ["## Common options", "", "Every command that talks to a server has these.", ""]
    lines += _table(list(shared.items()), "option")
    lines += ["## Exit codes", ""]
    lines += _table([(str(code), said) for code, said in EXIT_CODES.items()], "code")
    return "\n".join(lines).rstrip() + "\n"


def _prose(text: str) -> str:
    return re.sub(r"(?<![\w`])(--[a-z][\w-]*|/help)(?![\w`])", r"`\1`", text)


MARK = "<!-- What follows is made from the parser: python -m tests.support.cli_page -->\n"


def with_reference(page: str) -> str:
    """Return the page with its made part as it should be."""
    return page.partition(MARK)[0] + MARK + "\n" + reference()


if __name__ == "__main__":
    PAGE.write_text(with_reference(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.exit(0)
