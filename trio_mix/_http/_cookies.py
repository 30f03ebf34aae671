"""Keep the cookies that servers set, such as those of load balancers, and send them back.

The rules are those of RFC 6265, except that a cookie belongs to one origin (scheme, host and port):
a ``Domain`` attribute does not make it valid for other hosts. The number of cookies, their length,
alone and together, and the number of origins are bounded; the oldest is dropped.
"""

from __future__ import annotations

import email.utils
import math
import time
from datetime import UTC
from typing import TYPE_CHECKING, Final

import attrs
import trio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from trio_mix._http._urls import Target

MAX_ORIGINS: Final = 20
MAX_COOKIES: Final = 50
MAX_LENGTH: Final = 4096
MAX_TOTAL: Final = 16 * 1024  # few servers accept longer headers


@attrs.frozen(eq=False, repr=False)
class _Cookie:
    name: str
    value: str
    path: str
    expires: float


class Cookies:
    """The cookies of one client.

    Args:
      now: returns the time of a monotonic clock, in seconds.
      wall_clock: returns the seconds since the epoch, for ``Expires``.

    Attributes:
      kept: the cookies by origin, name and path; empty until a server has set one.
    """

    def __init__(
        self,
        *,
        now: Callable[[], float] = trio.current_time,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._now = now
        self._wall_clock = wall_clock
        self.kept: dict[tuple[str, str, int], dict[tuple[str, str], _Cookie]] = {}

    def header(self, target: Target, given: str) -> str:
        """Return the ``Cookie`` header for a request, ``""`` for none.

        Args:
          target: where the request is sent.
          given: the ``Cookie`` header of the caller; its cookies replace those of the same name.
        """
        found = self.kept.get(target.origin)
        if not found:
            return given
        path, now = _path_of(target), self._now()
        fitting = [each for each in found.values() if each.expires > now and _fits(path, each.path)]
        fitting.sort(key=lambda each: -len(each.path))  # stable: the older ones first
        callers = {pair.partition("=")[0].strip() for pair in given.split(";")}
        pairs = [f"{each.name}={each.value}" for each in fitting if each.name not in callers]
        return "; ".join([given, *pairs] if given else pairs)

    def store(self, target: Target, set_cookies: Iterable[str]) -> None:
        """Keep the cookies of a response.

        Args:
          target: where the request was sent.
          set_cookies: the values of the response's ``Set-Cookie`` headers.
        """
        for line in set_cookies:
            cookie = self._parse(target, line)
            if cookie is None:
                continue
            found = self.kept.setdefault(target.origin, {})
            found.pop((cookie.name, cookie.path), None)
            if cookie.expires > self._now():
                found[cookie.name, cookie.path] = cookie
            while len(found) > MAX_COOKIES or _length(found.values()) > MAX_TOTAL:
                del found[next(iter(found))]
            while len(self.kept) > MAX_ORIGINS:
                del self.kept[next(iter(self.kept))]

    def _parse(self, target: Target, line: str) -> _Cookie | None:
        pair, *attributes = line.split(";")
        name, equals, value = (part.strip() for part in pair.partition("="))
        if not equals or not name or len(pair) > MAX_LENGTH:
            return None
        path = _path_of(target).rpartition("/")[0] or "/"
        expires, age = math.inf, math.inf
        for attribute in attributes:
            key, _, text = (part.strip() for part in attribute.partition("="))
            match key.lower():
                case "path" if text.startswith("/"):
                    path = text
                case "secure" if target.scheme != "https":
                    return None
                case "max-age" if text.removeprefix("-").isdecimal() and text.isascii():
                    age = float(text) if len(text) < 20 else math.inf
                case "expires":
                    expires = self._age_of(text)
        return _Cookie(name, value, path, self._now() + (expires if age == math.inf else age))

    def _age_of(self, date: str) -> float:
        try:
            when = email.utils.parsedate_to_datetime(date)
            if when.tzinfo is None:
                when = when.replace(tzinfo=UTC)
            return when.timestamp() - self._wall_clock()
        except (ValueError, OverflowError, IndexError, TypeError):
            return math.inf


def _length(cookies: Iterable[_Cookie]) -> int:
    return sum(len(each.name) + len(each.value) for each in cookies)


def cookie_values(*headers: str) -> tuple[str, ...]:
    """Return the values in ``Cookie`` headers, which are credentials."""
    pairs = (pair.partition("=") for header in headers for pair in header.split(";"))
    return tuple(value.strip() for _, _, value in pairs if value)


def set_cookie_values(set_cookies: Iterable[str]) -> tuple[str, ...]:
    """Return the values of the cookies in ``Set-Cookie`` headers, without their attributes."""
    return cookie_values(*(line.partition(";")[0] for line in set_cookies))


def header_secrets(headers: Mapping[str, str]) -> tuple[str, ...]:
    """Return what must not be shown of a request's headers: all values, and each cookie's."""
    cookies = (value for name, value in headers.items() if name.lower() == "cookie")
    return (*headers.values(), *cookie_values(*cookies))


def _path_of(target: Target) -> str:
    return target.path.partition(b"?")[0].decode("latin-1")


def _fits(path: str, prefix: str) -> bool:
    """Return whether a request's path is the cookie's path, or below it."""
    return path == prefix or path.startswith(prefix.removesuffix("/") + "/")
