"""Rewrites the library's messages for users of the command line.

A message of the library names arguments and methods, which a user of the command line cannot use.

Rules:

1. A sentence or a parenthesis that names one is dropped. The first sentence, which names the
   failure, is kept: there, ``max_event_size=10`` becomes ``max event size 10``.
2. Where an option of the command line has the same effect, its name takes the argument's place.
3. Quoted text, URLs and the words of the server are never changed.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_OPTIONS: Final = (
    (re.compile(r"\bserver_url(?:=\.\.\.)?"), "--server"),
    (re.compile(r"\ballow_shell(?:=True)?"), "--allow-shell"),
    (re.compile(r"\ballowed_hosts\b"), "--allow-host"),
    (re.compile(r"\bbrowser\.Policy\(allow=\['([^']*)'\]\)"), r"--allow-host \1"),
    (re.compile(r"\blaunch_chromium\(sandbox=False\)|\bsandbox=False\b"), "--no-sandbox"),
    (re.compile(r"\ballowed_origins\b"), "--allow-origin"),
)
_VERBATIM: Final = re.compile(
    r"'[^']*'|\"[^\"]*\"|`(?:trio-mix|/)[^`]*`|\b\w+://[^\s,;)]*[\w/]|(?<!\w)/[\w./-]*\w"
)
_TERM: Final = re.compile(
    r"`[^`]*`|\b[A-Za-z]\w*_\w+=?|\b[A-Za-z]\w*=|\b\w+\(|(?<![\w./])\.[a-z]\w*|\b[a-z]+\.[a-z]\w*\b"
    r"|\b[A-Z][a-z]+[A-Z]\w*"
)
_CALL: Final = re.compile(r"\b[\w.]+\((\w+)=([^()]*)\)")
_ASIDE: Final = re.compile(r" \(([^()]*)\)")
_SENTENCE_END: Final = re.compile(r"(?<=[.!?]) +(?=[A-Z\0])")
_SHORTEST: Final = 3
_PLACE: Final = re.compile("\0(\\d+)\0")


def without_library_terms(text: str, verbatim: Iterable[str] = ()) -> str:
    """Return a message of the library without arguments, methods and classes.

    Args:
      text: the message.
      verbatim: parts of it that are words of the server.
    """
    kept: list[str] = []

    def keep(part: str) -> str:
        kept.append(part)
        return f"\0{len(kept) - 1}\0"

    text = text.replace("\0", "")
    for part in sorted({*verbatim}, key=len, reverse=True):
        if len(part) > _SHORTEST:
            text = text.replace(part, keep(part))
    for pattern, option in _OPTIONS:
        text = pattern.sub(option, text)
    text = _VERBATIM.sub(lambda found: keep(found[0]), text)
    text = _ASIDE.sub(lambda found: "" if _TERM.search(found[1]) else found[0], text)
    first, *others = _SENTENCE_END.split(text)
    first = _CALL.sub(_argument, first)
    sentences = [_TERM.sub(_in_words, first), *(each for each in others if not _TERM.search(each))]
    text = " ".join(sentences)
    while _PLACE.search(text):  # what is kept may hold what was kept before
        text = _PLACE.sub(lambda found: kept[int(found[1])], text)
    return text


def _argument(call: re.Match[str]) -> str:
    """Return ``id`` for ``get(id=...)``, and ``file 'x'`` for ``upload(file='x')``."""
    return f"{call[1]} {call[2].strip('.…')}".strip().replace("_", " ")


def _in_words(term: re.Match[str]) -> str:
    words = term[0].strip("`").replace("_", " ").replace("=", " ").replace("(", "")
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", words).lstrip(".")
