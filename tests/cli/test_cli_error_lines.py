"""Errors of the library as the command line reports them: without arguments of the library."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tests.support.error_page import PAGE  # noqa: F401 - it imports the causes
from tests.support.error_stage import CAUSES, happen
from trio_mix.cli._errors import error_line
from trio_mix.cli.ui._library_terms import without_library_terms
from trio_mix.errors import TrioMixError, UsageError

if TYPE_CHECKING:
    from pathlib import Path

LIBRARY = re.compile(r"`|\b[a-z]\w*_\w+|\b[a-z]\w*=|\w\(|\s\.[a-z]|\b[A-Z][a-z]+[A-Z]")
QUOTED = re.compile(
    r"\b(not_found|authentication_error|rate_limit_error)\b|'[^']*'|`(trio-mix|/)[^`]*`|\b\w+://\S+|/\S+"
)


def test_no_error_shows_an_argument_of_the_library(tmp_path: Path) -> None:
    shown = []
    for number, cause in enumerate(CAUSES):
        folder = tmp_path / str(number)
        folder.mkdir()
        error = happen(cause, folder)
        # The command line enters and closes its objects in the right order.
        if isinstance(error, TrioMixError) and not isinstance(error, UsageError):
            shown.append(error_line(error))
    assert len(shown) > 20
    wrong = [line for line in shown if LIBRARY.search(QUOTED.sub("", line))]
    assert not wrong, "\n".join(wrong)


def test_terms_of_the_library_are_removed() -> None:
    for text, expected in (
        ("It failed. Raise message_buffer if you can. Look there.", "It failed. Look there."),
        (
            "for 60 s there was no sign (settle_timeout=60), not one",
            "for 60 s there was no sign, not one",
        ),
        ("over max_event_size=10 bytes. Raise it.", "over max event size 10 bytes. Raise it."),
        ("Check the id and server_url.", "Check the id and --server."),
        ("sessions.get(id=...) must be a text", "id must be a text"),
        ("files.upload(file='a_b') cannot be read", "file 'a_b' cannot be read"),
        ("It ended. Pass `await x()` there.", "It ended."),
        ("The server: 'set_x=1 is wrong'. Use RetryConfig.", "The server: 'set_x=1 is wrong'."),
        ("GET http://a.example/x_y?a=b failed.", "GET http://a.example/x_y?a=b failed."),
    ):
        assert without_library_terms(text) == expected


def test_the_words_of_the_server_are_kept() -> None:
    text = "Refused. set max_tokens=5 in its file. Pass headers=."
    kept = without_library_terms(text, ["set max_tokens=5 in its file"])
    assert kept == "Refused. set max_tokens=5 in its file."
