"""Parse and check URLs, header fields and ``Retry-After``, and hide the credentials of URLs."""

from __future__ import annotations

import base64
import email.utils
import math
import re
from datetime import UTC
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

import attrs
import httpx

from trio_mix._redact import MASK
from trio_mix.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "Target",
    "check_headers",
    "parse_retry_after",
    "sanitize_url",
    "url_secrets",
]

_USER_INFO = re.compile(r"^([^/?#]*//)[^/?#]*@")
_SECRET_QUERY = re.compile(
    r"([?&;#][^=&;#]*(?:token|key|secret|passw|code|auth|sign|credential|state)[^=&;#]*=)([^&;#]*)",
    re.IGNORECASE,
)
_FIELD_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_DEFAULT_PORTS = {"http": 80, "https": 443}


def sanitize_url(url: str) -> str:
    """Return a URL that may be shown in messages; any text is accepted.

    The user name and password are removed, and the values of query parameters whose names look
    like those of secrets are masked.
    """
    url = _USER_INFO.sub(r"\1", url)
    return _SECRET_QUERY.sub(rf"\g<1>{MASK}", url) if "=" in url else url


def url_secrets(url: str) -> list[str]:
    """Return the credentials in a URL, in the forms in which they are sent."""
    found = [value for _, value in _SECRET_QUERY.findall(url)]
    try:
        parts = urlsplit(url)
    except ValueError:
        return found
    if parts.username is not None:
        # Without a password the user name is the credential: a token, for instance.
        found.append(parts.password or parts.username)
        plain = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        found.append(base64.b64encode(plain.encode()).decode())
    return [form for secret in found for form in {secret, unquote(secret)}]


@attrs.frozen(eq=False, repr=False)
class Target:
    """The parts of an absolute HTTP URL that a request needs."""

    scheme: str
    host: str
    port: int
    path: bytes = attrs.field(repr=lambda path: repr(sanitize_url(path.decode("latin-1"))))
    """Path and query, percent-encoded."""
    authority: bytes
    """The value of the ``Host`` header."""
    url: str = attrs.field(repr=False)
    """The complete URL, possibly with a password."""
    user_info: bytes = attrs.field(repr=False, default=b"")

    @classmethod
    def parse(cls, url: str) -> Target:
        """Parse a URL.

        Raises:
          ConfigurationError: it is not an absolute URL of http or https.
        """
        shown = sanitize_url(url)
        try:
            parsed = httpx.URL(url)
        except (httpx.InvalidURL, UnicodeError, TypeError) as error:
            # The parser's message may repeat the user name and password.
            raise ConfigurationError(
                f"{shown!r} is not a URL ({type(error).__name__}): write it as http://host:port"
            ) from None
        odd_host = set(parsed.host) & set(" %\t")  # httpx would escape them: another host name
        if parsed.scheme not in _DEFAULT_PORTS or not parsed.host or odd_host:
            raise ConfigurationError(
                f"{shown!r} is not the URL of a server: it must begin with http:// or https://"
                " and name a host"
            )
        return cls(
            scheme=parsed.scheme,
            host=parsed.raw_host.decode("ascii"),
            port=parsed.port or _DEFAULT_PORTS[parsed.scheme],
            path=parsed.raw_path,
            authority=parsed.netloc,
            url=str(parsed.copy_with(fragment=None)),
            user_info=parsed.userinfo,
        )

    @property
    def origin(self) -> tuple[str, str, int]:
        """Scheme, host and port: connections and credentials belong to one origin."""
        return self.scheme, self.host, self.port

    @property
    def shown(self) -> str:
        """The URL without credentials, for messages."""
        return sanitize_url(self.url)

    def authorization(self) -> bytes | None:
        """Return the ``Authorization`` header for the user name and password in the URL, if any."""
        if not self.user_info:
            return None
        parsed = httpx.URL(self.url)
        credentials = f"{parsed.username}:{parsed.password}".encode()
        return b"Basic " + base64.b64encode(credentials)


def check_headers(headers: Mapping[str, str]) -> None:
    """Refuse header fields that cannot be sent, or would inject other fields.

    Raises:
      ConfigurationError: a field is invalid; the text names the field and never shows its value.
    """
    for name, value in headers.items():
        if not isinstance(name, str) or not _FIELD_NAME.fullmatch(name):
            raise ConfigurationError(
                f"headers: {name!r} is not a valid header name: use letters, digits and hyphens"
            )
        if not isinstance(value, str):
            raise ConfigurationError(
                f"headers: {name!r} has a value of type {type(value).__name__}: it must be a str"
            )
        if any(bad in value for bad in "\r\n\0"):
            raise ConfigurationError(
                f"headers: the value of {name!r} contains a line break or NUL, which no header may"
                " contain: remove it"
            )
        if not value.isascii() and not _fits_latin_1(value):
            raise ConfigurationError(
                f"headers: the value of {name!r} contains a character outside latin-1, which"
                " headers cannot carry: encode it"
            )


def _fits_latin_1(value: str) -> bool:
    return all(ord(character) < 256 for character in value)


def parse_retry_after(value: str | None, *, now: float) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks for.

    Args:
      value: the value of the header, in seconds or as an HTTP date, or `None`.
      now: the current time in seconds since the epoch, from which a date is subtracted.

    Returns:
      Seconds, not negative, or `None` if there is no valid value.
    """
    if value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        seconds = float(text)
        return seconds if math.isfinite(seconds) else None
    try:
        date = email.utils.parsedate_to_datetime(text)
        if date.tzinfo is None:  # the two obsolete forms have no zone; HTTP dates are always in UTC
            date = date.replace(tzinfo=UTC)
        return max(0.0, date.timestamp() - now)
    except (ValueError, OverflowError, IndexError, TypeError):
        return None
