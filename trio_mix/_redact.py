"""Remove secrets from texts that people will read.

The rules:

1. Every header value and every secret body field that was sent is masked wherever the server
   repeats it: in the body, in the headers, in the value that a validation error shows.
2. Values of less than four characters are not masked: they are not secrets, and masking them makes
   texts unreadable.
3. A secret that was cut in two by the body limit is masked as well, and so is one whose letters are
   of another case: a URL's host is shown in lower case.
4. The time is linear in the text, whatever the secrets are: a server chooses some, as cookies.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, quote_plus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

MASK: Final = "***"
_SHORTEST: Final = 4
# As `html.escape`, whose module has a large table; nothing is imported while an error is made.
_HTML: Final = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#x27;"})


class Redactor:
    """Mask the secrets of one request.

    Args:
      secrets: the secrets, or a function that returns them; it is called, and their forms are
        computed, when a text is first masked.
    """

    __slots__ = ("_forms", "_secrets")

    def __init__(self, secrets: Iterable[str] | Callable[[], Iterable[str]]) -> None:
        self._secrets = secrets if callable(secrets) else tuple(secrets)
        self._forms: list[str] | None = None

    def _compute(self) -> list[str]:
        forms: set[str] = set()
        for secret in self._secrets() if callable(self._secrets) else self._secrets:
            for plain in _parts(secret):
                if len(plain) >= _SHORTEST:
                    forms.update(_quoted_forms(plain))
        # The longest first: one secret may be part of another.
        self._forms = sorted(set(map(_lower, forms)), key=len, reverse=True)
        return self._forms

    def text(self, text: str, *, truncated: bool = False) -> str:
        """Return the text with every secret masked."""
        forms = self._compute() if self._forms is None else self._forms
        if not forms:
            return text
        lower = _lower(text)
        if truncated:
            kept = len(_without_cut_tail(lower, forms))
            if kept < len(text):
                text, lower = text[:kept] + MASK, lower[:kept] + MASK
        for form in forms:
            if form in lower:
                text, lower = _masked(text, lower, form)
        return text

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return the headers with every secret masked in their values."""
        return {name: self.text(value) for name, value in headers.items()}


def _lower(text: str) -> str:
    """Return a text in lower case, of the same length."""
    lower = text.lower()
    if len(lower) == len(text):
        return lower
    return "".join(low if len(low := each.lower()) == 1 else each for each in text)


def _masked(text: str, lower: str, form: str) -> tuple[str, str]:
    """Return a text, and the text in lower case, with one form of a secret masked in both."""
    pieces: list[str] = []
    begin = 0
    while (at := lower.find(form, begin)) >= 0:
        pieces.append(text[begin:at])
        begin = at + len(form)
    pieces.append(text[begin:])
    return MASK.join(pieces), lower.replace(form, MASK)


def _without_cut_tail(text: str, forms: Sequence[str]) -> str:
    """Return a text without the beginning of a secret at its end."""
    for form in forms:
        tail = text[-len(form) + 1 :]
        begins = form[:_SHORTEST]
        at = tail.find(begins)
        while at >= 0:
            if form.startswith(tail[at:]):
                return text[: len(text) - len(tail) + at]
            at = tail.find(begins, at + 1)
    return text


def _parts(secret: str) -> Iterable[str]:
    """Yield the value, and for ``Bearer x`` and ``Basic x`` the parts that may appear alone."""
    yield secret
    secret = secret.strip()
    yield secret
    scheme, _, credentials = secret.partition(" ")
    credentials = credentials.strip()
    if not credentials:
        return
    if scheme.isalpha():
        yield credentials
    if scheme.lower() == "basic":
        try:
            user_and_password = base64.b64decode(credentials, validate=True).decode()
        except (binascii.Error, ValueError):
            return
        yield user_and_password
        yield user_and_password.partition(":")[2]


def _quoted_forms(plain: str) -> Iterable[str]:
    """Yield the forms in which JSON, a URL or an HTML page may quote the value."""
    yield plain
    for ascii_only in (True, False):
        quoted = json.dumps(plain, ensure_ascii=ascii_only)[1:-1]
        yield quoted
        # JSON within JSON: the body of a request, quoted in the message of an error.
        yield json.dumps(quoted, ensure_ascii=ascii_only)[1:-1]
    yield quote(plain, safe="", errors="replace")
    yield quote_plus(plain, errors="replace")
    yield plain.translate(_HTML)
