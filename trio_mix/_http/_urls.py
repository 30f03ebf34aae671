"""Parse and check URLs, header fields and ``Retry-After``, and hide the credentials of URLs."""

from __future__ import annotations

import base64
import email.utils
import math
import re
from collections.abc import Mapping
from datetime import UTC
from urllib.parse import unquote, urlsplit

import attrs
import httpx

from trio_mix._redact import MASK
from trio_mix.errors import ConfigurationError

_AT_SIGNS = {0xFE6B: "@", 0xFF20: "@"}
"""The small and the fullwidth one, which other keyboards type; no host name contains them."""
# Of a URL inside a URL: its slashes, colon and at sign may be percent-encoded, also twice.
_INNER_AUTHORITY = re.compile(r"(?<!^)((?:/|%(?:25)?2F){2})([^/?#&@\s]*+@?)", re.IGNORECASE)
_COLON = re.compile(r":|%(?:25)?3A", re.IGNORECASE)
_AT = re.compile(r"@|%(?:25)?40")
_URL_IN_TEXT = re.compile(r"https?://[^\s'\"<>]+")
_USER_INFO = re.compile(r"^([^/?#]*//)[^/?#]*@")
_QUERY_PARAMETER = re.compile(r"([?&;#])([^=&;#?]*)=([^&;#]*)")
_SECRET_NAME = re.compile(
    r"token|key|secret|pass|pwd|code|auth|sign|\bsig\b|credential|state|jwt|bearer", re.IGNORECASE
)
_ZONE = re.compile(r"[A-Za-z0-9._~-]+")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_FIELD_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_DEFAULT_PORTS = {"http": 80, "https": 443}
_LONGEST_SHOWN = 2000


def sanitize_url(url: str) -> str:
    """Return a URL that may be shown in messages; any text is accepted.

    The user name and password are removed, and the values of query parameters whose names look
    like those of secrets are masked. Of a text that cannot be parsed as a URL, all before the last
    ``@`` is removed: a typing error may have put the password anywhere. A long text is cut.
    """
    shown = url.translate(_AT_SIGNS)
    if "@" in shown or "%40" in shown or "%2540" in shown:
        shown = _INNER_AUTHORITY.sub(_without_inner_user_info, _without_user_info(shown))
    shown = mask_query(shown) if "=" in shown else shown
    if len(shown) > _LONGEST_SHOWN:
        return f"{shown[:_LONGEST_SHOWN]}…"
    return url if shown == url else shown  # one string: a stream keeps its URL in several places


def sanitize_urls_in(text: str) -> str:
    """Return a text with each of its URLs as `sanitize_url` returns it."""
    return _URL_IN_TEXT.sub(lambda found: sanitize_url(found[0]), text)


def _without_inner_user_info(match: re.Match[str]) -> str:
    slashes, authority = match.groups()
    end = 0
    if (colon := _COLON.search(authority)) is not None:
        for at in _AT.finditer(authority, colon.end()):
            end = at.end()
    return f"{slashes}{MASK}@{authority[end:]}" if end else match[0]


def _without_user_info(url: str) -> str:
    try:
        if httpx.URL(url).host:
            return _USER_INFO.sub(r"\1", url)
    except (httpx.InvalidURL, ValueError):
        pass
    at = max(url.rfind("@"), url.rfind("%40") + 2)
    return f"{MASK}@{url[at + 1 :]}"


def mask_query(text: str) -> str:
    """Return a URL, or the path and query of one, with the secrets of the query masked."""

    def masked(match: re.Match[str]) -> str:
        before, name, value = match.groups()
        return f"{before}{name}={MASK if is_secret_parameter(name) else value}"

    return _QUERY_PARAMETER.sub(masked, text)


def is_secret_parameter(name: str) -> bool:
    """Return whether the name of a query parameter looks like that of a secret."""
    return _SECRET_NAME.search(unquote(name)) is not None


def url_secrets(url: str) -> list[str]:
    """Return the credentials in a URL, in the forms in which they are sent."""
    found = [value for _, name, value in _QUERY_PARAMETER.findall(url) if is_secret_parameter(name)]
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
    path: bytes = attrs.field(repr=lambda path: repr(mask_query(path.decode("latin-1"))))
    """Path and query, percent-encoded."""
    authority: bytes
    """The value of the ``Host`` header: host and port, without zone."""
    url: str = attrs.field(repr=False)
    """The complete URL, possibly with a password."""
    origin: tuple[str, str, int]
    """Scheme, host and port: connections and credentials belong to one origin."""
    user_info: bytes = attrs.field(repr=False, default=b"")

    @classmethod
    def parse(cls, url: str) -> Target:
        """Parse a URL.

        Raises:
          ConfigurationError: it is not an absolute URL of http or https.
        """
        parsed, host, problem = None, "", ""
        try:
            parsed = httpx.URL(url)
            host = parsed.host
        except (httpx.InvalidURL, UnicodeError, TypeError) as error:
            problem = type(error).__name__
        if (
            problem or parsed is None
        ):  # not raised in the handler: the parser's error may repeat the password
            raise ConfigurationError(
                f"{sanitize_url(url)!r} is not a URL ({problem}): write it as http://host:port"
            )
        host, zone = _split_zone(host) if "%" in host else (host, "")
        odd_host = set(host) & set(" %\t")  # httpx would escape them: another host name
        if parsed.scheme not in _DEFAULT_PORTS or not host or odd_host:
            raise ConfigurationError(
                f"{sanitize_url(url)!r} is not the URL of a server: it must begin with http:// or https://"
                " and name a host"
            )
        # A zone is for this machine only (RFC 6874): it is not sent in the Host header, and the
        # resolver expects it without the escape.
        authority = parsed.copy_with(host=host).netloc if zone else parsed.netloc
        if zone:
            parsed = parsed.copy_with(host=host + zone)
        name, port = parsed.raw_host.decode("ascii"), parsed.port or _DEFAULT_PORTS[parsed.scheme]
        return cls(
            scheme=parsed.scheme,
            host=name,
            port=port,
            origin=(parsed.scheme, name, port),
            path=parsed.raw_path,
            authority=authority,
            url=str(parsed.copy_with(fragment=None) if "#" in url else parsed),
            user_info=parsed.userinfo,
        )

    @property
    def server_name(self) -> str:
        """The host as a certificate names it, without zone."""
        return self.host.partition("%")[0]

    @property
    def shown(self) -> str:
        """The URL without credentials, for messages."""
        return sanitize_url(self.url)

    def authorization(self) -> str | None:
        """Return the ``Authorization`` header for the user name and password in the URL, if any."""
        if not self.user_info:
            return None
        parsed = httpx.URL(self.url)
        credentials = f"{parsed.username}:{parsed.password}".encode()
        return f"Basic {base64.b64encode(credentials).decode()}"


def _split_zone(host: str) -> tuple[str, str]:
    """Split an IPv6 address from its zone, which is returned as ``%eth0`` or ``""``."""
    address, _, zone = host.partition("%")
    if ":" not in address:
        return host, ""
    name = unquote(zone.removeprefix("25"))
    return (address, f"%{name}") if _ZONE.fullmatch(name) else (host, "")


def check_headers(headers: Mapping[str, str]) -> None:
    """Refuse header fields that cannot be sent, or would inject other fields.

    Raises:
      ConfigurationError: a field is invalid, or they are no mapping; the text names the field and
        never shows its value.
    """
    if not isinstance(headers, Mapping):
        raise ConfigurationError(
            f"headers: they must be a mapping of names to values, not {type(headers).__name__}"
        )
    for name, value in headers.items():
        if not isinstance(name, str) or not _FIELD_NAME.fullmatch(name):
            # Only the beginning is shown: a whole line may have been passed, with its value.
            valid = _FIELD_NAME.match(name) if isinstance(name, str) else None
            raise ConfigurationError(
                f"headers: '{valid[0] if valid else ''}…' is not a valid header name: use letters,"
                " digits and hyphens"
            )
        if not isinstance(value, str):
            raise ConfigurationError(
                f"headers: {name!r} has a value of type {type(value).__name__}: it must be a str"
            )
        if _CONTROL.search(value):
            raise ConfigurationError(
                f"headers: the value of {name!r} contains a line break or another control"
                " character, which no header may contain: remove it"
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
