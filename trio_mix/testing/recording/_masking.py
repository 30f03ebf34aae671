"""Masks the secrets in a recording.

Rules:

1. A header's value is kept only if the header is known to hold no secret.
2. The value of a field, parameter or header whose name denotes a secret is masked. From then on the
   value is masked everywhere, in each form in which JSON, a URL or a page may quote it.
3. What looks like a key or token is masked everywhere.
4. A secret that spans several pieces of a body is masked as a whole, in its last piece.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from itertools import accumulate
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_plus

from trio_mix._http._urls import is_secret_parameter
from trio_mix._redact import MASK, Redactor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_HARMLESS: Final = frozenset(
    {"accept", "accept-encoding", "accept-language", "access-control-allow-origin", "cache-control"}
    | {"connection", "content-disposition", "content-encoding", "content-length", "content-type"}
    | {"date", "expect", "host", "last-event-id", "last-modified", "retry-after", "server"}
    | {"transfer-encoding", "user-agent", "vary", "x-accel-buffering"}
)
# The ends of names that denote a secret, in lower case and without "-" and "_". Only strings are
# masked: a number, for example "maxTokens": 4096, is not a secret.
_NAMES: Final = (
    "apikey",
    "accesskey",
    "authorization",
    "cdpurl",
    "codeverifier",
    "cookie",
    "credential",
    "credentials",
    "passphrase",
    "passwd",
    "password",
    "privatekey",
    "secret",
    "secretkey",
    "sessionkey",
    "token",
)
_OAUTH: Final = frozenset({"authurl", "code", "state"})  # secrets only in requests of a login
# Names that denote a secret in a query, but are common words elsewhere.
_PARAMETERS: Final = frozenset({"auth", "bearer", "jwt", "key", "pass", "pwd", "sig", "signature"})
_NAME = r"(?P<name>[A-Za-z][\w-]{1,40})"
# A JSON field up to its value, also in JSON inside a JSON string: there each quote is preceded by
# backslashes, one at the first depth, three at the second.
_FIELD: Final = re.compile(rf'(?<!\\)(?P<q>\\*+"){_NAME}(?P=q)\s*:\s*(?P=q)')
_QUOTE: Final = re.compile(r'(?<!\\)(\\*+)"')
_PARAM: Final = re.compile(rf"(?<![\w-]){_NAME}=(?P<value>[^&\s\"'<>\\;]+)")
_SHAPES: Final = re.compile(
    r"(?i:\b(?:bearer|basic)\s+)(?P<value>[\w.~+/=-]{8,})"
    r"|\bsk-[\w-]{16,}|\bgh[opsur]_\w{20,}|\bgithub_pat_\w{20,}|\bxox[abeprs]-[\w-]{10,}"
    r"|\bAKIA[0-9A-Z]{16}\b|\bAIza[\w-]{30,}|\beyJ[\w-]{8,}\.[\w-]{8,}\.[\w-]*"
)
_SHORTEST: Final = 8  # to be masked elsewhere: a shorter value may be a common word


class Masker:
    """Masks secrets and remembers those it has seen.

    Args:
      secrets: texts that are always masked.
      more: called with each line of a body and each address after masking; returns the text to
        keep.
    """

    def __init__(
        self, secrets: Iterable[str] = (), more: Callable[[str], str] | None = None
    ) -> None:
        self._secrets = {secret for secret in secrets if secret}
        self._more = more
        self._redactor: Redactor | None = None

    def headers(self, headers: Mapping[str, str]) -> dict[str, str]:
        """Return headers, names in lower case, with the values that may be kept."""
        return {name: self._header(name, value) for name, value in headers.items()}

    def text(self, text: str, *, login: bool = False) -> str:
        """Return a line with its secrets masked.

        Args:
          text: the line.
          login: whether it belongs to a login, in which more names denote secrets.
        """

        def named(match: re.Match[str]) -> str:
            return self._masked(match) if _is_secret(match["name"], login=login) else match[0]

        text = _PARAM.sub(named, self._fields(text, login=login))
        text = _SHAPES.sub(self._masked, text)
        if self._redactor is None:
            self._redactor = Redactor(self._secrets)
        text = self._redactor.text(text)
        for secret in self._secrets:
            text = text.replace(secret, MASK)  # also those too short for the redactor
        return text if self._more is None else self._more(text)

    def target(self, target: str, *, login: bool = False) -> str:
        """Return a request target, or a URL, with its secrets masked."""
        path, mark, query = target.partition("?")
        parts = query.split("&") if mark else []
        for at, part in enumerate(parts):
            name, equals, value = part.partition("=")
            plain = unquote_plus(name)
            if equals and is_secret_parameter(plain):
                if _is_secret(plain, login=login) or plain.lower() in _PARAMETERS:
                    self._learn(value)
                    self._learn(unquote_plus(value))
                parts[at] = f"{name}={MASK}"
        return self.text(path + mark + "&".join(parts), login=login)

    def pieces(self, pieces: Sequence[bytes], *, login: bool = False) -> list[bytes]:
        """Return the pieces of a body with the secrets masked, line by line."""
        ends = list(accumulate(map(len, pieces)))
        kept = [bytearray() for _ in pieces]
        start = 0
        for line in b"".join(pieces).splitlines(keepends=True):
            end = start + len(line)
            masked = self.text(line.decode("utf-8", "surrogateescape"), login=login)
            new = masked.encode("utf-8", "surrogateescape")
            if new != line:
                kept[bisect_left(ends, end)] += new
                start = end
            while start < end:
                at = bisect_right(ends, start)
                stop = min(end, ends[at])
                kept[at] += line[len(line) - (end - start) : len(line) - (end - stop)]
                start = stop
        return [bytes(piece) for piece in kept]

    def _fields(self, text: str, *, login: bool) -> str:
        kept: list[str] = []
        at = 0
        while (match := _FIELD.search(text, at)) is not None:
            end = match.end()
            kept.append(text[at:end])
            if _is_secret(match["name"], login=login):
                end = _end_of_value(text, end, len(match["q"]) - 1)
                if value := text[match.end() : end]:
                    self._learn(value)
                    kept.append(MASK)
            at = end
        return "".join([*kept, text[at:]])

    def _header(self, name: str, value: str) -> str:
        if name in _HARMLESS:
            return self.text(value)
        if name in ("cookie", "set-cookie"):
            for pair in value.split(";"):
                self._learn(pair.partition("=")[2].strip())
        elif _is_secret(name):
            self._learn(value)
        return MASK

    def _masked(self, match: re.Match[str]) -> str:
        whole = match[0]
        if match["value"] is None:
            self._learn(whole)
            return MASK
        if match["value"] == MASK:
            return whole
        self._learn(match["value"])
        start, end = (at - match.start() for at in match.span("value"))
        return f"{whole[:start]}{MASK}{whole[end:]}"

    def _learn(self, value: str) -> None:
        known = {value, value.partition(" ")[2].strip()}
        new = {each for each in known if len(each) >= _SHORTEST} - self._secrets
        if new:
            self._secrets |= new
            self._redactor = None


def mask_query(query: Mapping[str, str]) -> dict[str, str]:
    """Return the parameters of a query with their secrets masked."""
    return {
        name: MASK if is_secret_parameter(name) else Masker().text(value)
        for name, value in query.items()
    }


def _is_secret(name: str, *, login: bool = False) -> bool:
    plain = name.lower().replace("-", "").replace("_", "")
    return plain.endswith(_NAMES) or (login and plain in _OAUTH)


def _end_of_value(text: str, start: int, before: int) -> int:
    """Return the end of a value whose quotes are preceded by ``before`` backslashes."""
    for quote in _QUOTE.finditer(text, start):
        more = len(quote[1]) - before
        if more < 0:
            return quote.start()  # the string that contains the value ends here
        if more % (2 * before + 2) == 0:
            return quote.end() - before - 1
    return len(text.rstrip("\r\n"))
