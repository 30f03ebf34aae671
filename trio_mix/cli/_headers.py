"""Reads the headers that the user adds to every request.

Rule 1: a header that authenticates is refused as an argument, which other users of the machine can
see; it is read from a file.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from trio_mix._http import check_headers
from trio_mix.cli._errors import CommandUsageError
from trio_mix.cli.ui._library_terms import without_library_terms
from trio_mix.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterable

_SECRET: Final = re.compile(r"auth|cookie|token|secret|key|password|credential", re.IGNORECASE)
_MOST: Final = 64 * 1024
"""The largest file with headers, in bytes."""


def is_secret_header(name: str) -> bool:
    """Return whether the value of a header may be a secret, by its name."""
    return bool(_SECRET.search(name))


def read_headers(given: Iterable[str]) -> dict[str, str]:
    """Return the headers of the options.

    Args:
      given: texts as ``Name: value``, or ``@FILE`` for a file with one of them per line.

    Raises:
      CommandUsageError: one is invalid, or may be a secret.
      OSError: a file cannot be read.
    """
    headers: dict[str, str] = {}
    for each in given:
        if each.startswith("@"):
            for line in _lines_of(each[1:]):
                _add(headers, line, f"--header {each}")
            continue
        name = each.partition(":")[0].strip()
        if is_secret_header(name):
            raise CommandUsageError(
                f"--header: {name!r} may be a secret, and other users of this machine can see "
                "arguments: write the header to a file, and pass --header @FILE. If it was a real "
                "one, replace it."
            )
        _add(headers, each, "--header")
    return headers


def _lines_of(name: str) -> list[str]:
    with Path(name).open("rb") as file:
        text = file.read(_MOST + 1)
    if len(text) > _MOST:
        raise CommandUsageError(f"--header: {name} is larger than {_MOST} bytes")
    lines = text.decode("utf-8", errors="replace").splitlines()
    return [line for line in lines if line.strip() and not line.startswith("#")]


def _add(headers: dict[str, str], line: str, named: str) -> None:
    name, colon, value = line.partition(":")
    if not colon:
        raise CommandUsageError(f'{named}: a header is "Name: value"')
    add_header(headers, name.strip(), value.strip(), named)


def add_header(headers: dict[str, str], name: str, value: str, where: str) -> None:
    """Add a header.

    Args:
      headers: the headers so far.
      name: its name.
      value: its value.
      where: the option or file that it comes from, for the error.

    Raises:
      CommandUsageError: it is invalid.
    """
    try:
        check_headers({name: value})
    except ConfigurationError as error:
        raise CommandUsageError(f"{where}: {without_library_terms(str(error))}") from None
    headers[name] = value
