"""The project's text keeps to plain technical English: these words are in no tracked file."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

INSTEAD = {
    "told": "reported, notified, returned",
    "whoever": "the caller, the reader",
    "anew": "again",
    "of our own": "its own, the library's",
    "stand waiting": "wait, are buffered",
    "stands waiting": "waits, is buffered",
    "mend": "fix",
    "mends": "fixes",
    "mended": "fixed",
    "for ever": "forever, without a limit",
    "for want of": "because ... is missing",
    "to be had": "available",
    "merely": "only",
    "shall": "must, should",
    "besides": "also, in addition",
    "but for": "except, without",
    "must never know": "name the purpose of the module in one sentence",
    "what it knows": "name the purpose of the module in one sentence",
    "what came of": "the result of",
    "say whether": "return whether",
    "lend": "give, pass",
    "lends": "gives, passes",
    "lent": "given, passed",
    "teller": "logger, reporter",
    "switchboard": "dispatcher",
    "mailbox": "buffer",
    "waiting line": "queue, buffer",
    "whose is whose": "which message each event belongs to",
    "what becomes of": "the outcome of",
    "what became of": "the outcome of",
    "hears of": "is notified of",
    "is heard of": "is received",
    "a thing of": "part of",
    "hand over": "pass",
    "hands over": "passes",
    "handed over": "passed",
    "it has waited": "say why no checkpoint is needed",
}
"""Words that are not used here, each with what to write."""

OTHERS = ("LICENSE-APACHE", "LICENSE-MIT", "tests/docs/test_language.py")
"""Text of other people, and this list."""

# Between the words of a phrase: spaces, line ends of comments, the underscores of a name.
_SEPARATOR = r"(?:[\s_]|#)+"
_WORDS = "|".join(
    phrase.replace(" ", _SEPARATOR) for phrase in sorted(INSTEAD, key=len, reverse=True)
)
BANNED = re.compile(
    rf"(?<![A-Za-z])(?:{_WORDS})(?![A-Za-z])"
    # Names of classes that are gone, and their like.
    r"|Mailbox|Switchboard|[a-z]Teller|SendGate|StreamDesk|TimedInbox|ask_and_tell",
    re.IGNORECASE,
)


def tracked() -> list[str]:
    """Return the paths of all tracked files."""
    if not (ROOT / ".git").exists():
        pytest.skip("NOT CHECKED: this is no clone, so nothing says which files are tracked")
    listed = subprocess.run(
        ["git", "ls-files", "-z"],  # noqa: S607 - the git of the machine
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [name for name in listed.stdout.split("\0") if name]


def found_in(path: str) -> list[str]:
    """Return where a file has a banned word, each with the word."""
    try:
        text = (ROOT / path).read_text(encoding="utf-8")
    except (UnicodeDecodeError, FileNotFoundError):  # not text; or deleted and not committed yet
        return []
    return [
        f"{path}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]!r}"
        for match in BANNED.finditer(text)
    ]


def test_no_file_has_a_banned_word() -> None:
    names = tracked()
    assert len(names) > 400
    found = [hit for name in names if name not in OTHERS for hit in found_in(name)]
    assert not found, "INSTEAD says what to write:\n" + "\n".join(found)


def test_a_banned_word_is_found_in_prose_comments_and_names() -> None:
    texts = ["I told you", "what\n    # became of it", "test_what_is_told", "a LossTeller", "Shall"]
    assert all(BANNED.search(text) for text in texts)


def test_a_word_that_contains_a_banned_one_is_allowed() -> None:
    texts = ["recommended", "an amendment", "excellent", "silently", "Marshall", "shallow"]
    assert not any(BANNED.search(text) for text in texts)
