"""What a caller can set for a client and for one call: timeouts, retries, headers, address.

Rules:

1. Durations are seconds. A value that cannot work is a `ConfigurationError` where it is written
   down, not when it is used.
2. No ``repr`` here shows the value of a header, and no error for an address its password.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Literal, TypeAlias, get_args
from urllib.parse import urlsplit

import attrs

from trio_mix._http import Target, check_headers, sanitize_url
from trio_mix._public import public
from trio_mix._record import Record
from trio_mix._redact import MASK
from trio_mix._usage import check_callback
from trio_mix.errors import ConfigurationError

HeadersSource: TypeAlias = (
    Mapping[str, str] | Callable[[], Mapping[str, str] | Awaitable[Mapping[str, str]]]
)
"""Headers, or a sync or async function that returns them, called before each request."""

Api: TypeAlias = Literal["auto", "pipeline", "blocking", "async"]
"""How messages are sent: a generation of servers, or ``"auto"`` to detect it."""

_CODE: Final = r"[1-5](?:[0-9]{2}|XX)"

DEFAULT_SERVER_URL: Final = "http://localhost:8088"
"""Where a Mix server listens by default."""


def base_url(server_url: str | None) -> str:
    """Return the address that the operations' paths are appended to; it may hold a password."""
    if server_url is None:
        from_environment = os.environ.get("MIX_SERVER_URL", "").strip()
        return checked_url(from_environment or DEFAULT_SERVER_URL, "the variable MIX_SERVER_URL")
    return checked_url(server_url)


def checked_url(url: str, named: str = "server_url=...") -> str:
    """Return an address without the slashes at its end.

    Args:
      url: the address.
      named: the argument or variable that it comes from, for the error.

    Raises:
      ConfigurationError: it cannot work.
    """
    if not isinstance(url, str):
        raise ConfigurationError(f"{named}: it must be a string, not {type(url).__name__}")
    try:
        target = Target.parse(url)
    except ConfigurationError as error:
        raise ConfigurationError(f"{named}: {error}") from None
    try:
        port = urlsplit(url).port
    except ValueError:
        port = 0
    problem = ""
    if port == 0:
        problem = "has an invalid port: use one from 1 to 65535"
    elif "?" in url or "#" in url:
        problem = "has a query or a fragment: remove it, or percent-encode the ? or # of a password"
    elif b"@" in target.path:
        # A password with a slash in it: all before the slash was read as the host and the port.
        problem = "has an @ after a slash: percent-encode the slash of a password as %2F"
    if problem:
        raise ConfigurationError(f"{named}: {_refused(url)!r} {problem}")
    return url.rstrip("/")


def _refused(url: str) -> str:
    """Return what may be shown of an address that is refused: nothing before its last ``@``."""
    before, at, after = url.rpartition("@")
    shown = re.split("[?#]", after)[0] if at else re.split("[?#]", url)[0]
    return f"{MASK}@{shown}" if before else shown


def check_api(api: Api) -> None:
    """Raise `ConfigurationError` if the name of a generation is unknown."""
    if api not in get_args(Api):
        raise ConfigurationError(
            f"api={api!r} is not a generation of the Mix API. Use one of {get_args(Api)}."
        )


def debug_wanted() -> bool:
    """Return whether the environment asks for debug logging: ``MIX_DEBUG=1``."""
    wanted = os.environ.get("MIX_DEBUG", "").strip().lower()
    return wanted not in ("", "0", "false", "no", "off")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_timeout(value: float | None) -> None:
    """Raise `ConfigurationError` if a timeout is not a positive number of seconds."""
    if value is not None and not (_is_number(value) and value > 0):
        raise ConfigurationError(f"timeout must be a positive number of seconds, not {value!r}")


def check_session_id(value: str, named: str) -> None:
    """Raise `ConfigurationError` if a session's id cannot be sent in a URL.

    Args:
      value: the id.
      named: the call that it is an argument of.
    """
    problem = ""
    if not isinstance(value, str) or not value:
        problem = "must be a string that is not empty"
    else:
        try:
            value.encode()
        except UnicodeEncodeError:
            problem = "must be a string that UTF-8 can encode"
    if problem:
        raise ConfigurationError(f"{named}(session_id={value!r}) {problem}: name the session.")


def _must_be(what: str, allowed: Callable[[Any], bool]) -> Any:
    """Return a validator of attrs that raises `ConfigurationError` for values not allowed."""

    def validate(instance: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if not allowed(value):
            raise ConfigurationError(
                f"{type(instance).__name__}({attribute.name}=...) must be {what}, not {value!r}"
            )

    return validate


def _is_time(value: object) -> bool:
    return isinstance(value, int | float) and _is_number(value) and 0 <= value < math.inf


_seconds: Final = _must_be("a number of seconds not below zero", _is_time)
_optional_seconds: Final = _must_be(
    "a number of seconds not below zero", lambda value: value is None or _is_time(value)
)
_flag: Final = _must_be("True or False", lambda value: isinstance(value, bool))


@public("trio_mix")
@attrs.frozen(eq=False, repr=False)
class BackoffStrategy(Record):
    """How the pauses between tries grow: by a factor, up to a maximum, with jitter."""

    initial_interval: float = attrs.field(default=0.5, validator=_seconds)
    """The first pause, in seconds."""
    max_interval: float = attrs.field(default=60.0, validator=_seconds)
    """The longest pause, in seconds, also if ``Retry-After`` asks for more."""
    exponent: float = attrs.field(
        default=1.5, validator=_must_be("a number not below 1", lambda x: _is_time(x) and x >= 1)
    )
    """The factor between one pause and the next."""
    max_elapsed_time: float | None = attrs.field(default=600.0, validator=_optional_seconds)
    """When to give up, in seconds since the first try; ``None``: never."""


@public("trio_mix")
@attrs.frozen(eq=False, repr=False)
class RetryConfig(Record):
    """Whether and how operations are retried. Which ones may be is in their docstrings."""

    strategy: Literal["backoff", "none"] = attrs.field(
        default="backoff",
        validator=_must_be('"backoff" or "none"', ("backoff", "none").__contains__),
    )
    """``"backoff"``, or ``"none"`` for a single try."""
    backoff: BackoffStrategy = attrs.field(
        factory=BackoffStrategy,
        validator=_must_be("a BackoffStrategy", lambda value: isinstance(value, BackoffStrategy)),
    )
    """The pauses."""
    retry_connection_errors: bool = attrs.field(default=True, validator=_flag)
    """Whether to retry if no response came, and not only after statuses."""


def _copy_headers(value: Mapping[str, str] | None) -> Mapping[str, str] | None:
    if value is None:
        return None
    check_headers(value)
    return dict(value)


def _tuple(value: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(map(str, value))  # a status may be given as a number


def _codes(_instance: object, _attribute: object, value: tuple[str, ...] | None) -> None:
    for code in value or ():
        if not re.fullmatch(_CODE, code):
            raise ConfigurationError(
                f'RequestOptions(retry_codes=...) takes codes as "503" or "5XX", not {code!r}'
            )


def _server(_instance: object, _attribute: object, value: str | None) -> None:
    if value is not None:
        checked_url(value, "RequestOptions(server_url=...)")


def _shown_url(url: str | None) -> str:
    return repr(url if url is None else sanitize_url(url))


@public("trio_mix")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ResponseHead(Record):
    """The status and the headers of a response."""

    status: int
    """The HTTP status."""
    headers: Mapping[str, str] = attrs.field(repr=False, hash=False)
    """The headers, names in lower case."""


OnResponse: TypeAlias = Callable[[ResponseHead], Awaitable[None] | None]
"""Receives the status and the headers of each response."""


def _callback(_instance: object, _attribute: object, value: OnResponse | None) -> None:
    if value is not None:
        check_callback(value, "RequestOptions(on_response=...)", 1)


@public("trio_mix")
@attrs.frozen(eq=False, repr=False)
class RequestOptions(Record):
    """What differs for one call from the client's settings; ``None``: as the client has it.

    `MixCore.with_options` applies it to all calls.
    """

    timeout: float | None = attrs.field(
        default=None, validator=lambda _self, _attribute, value: check_timeout(value)
    )
    """How long one try may take, in seconds; ``math.inf`` for no limit."""
    retries: RetryConfig | None = attrs.field(
        default=None,
        validator=_must_be("a RetryConfig", lambda x: x is None or isinstance(x, RetryConfig)),
    )
    """Whether and how to retry."""
    retry_codes: tuple[str, ...] | None = attrs.field(
        default=None, converter=_tuple, validator=_codes
    )
    """The statuses after which to retry, as ``("5XX", "429")``."""
    headers: Mapping[str, str] | None = attrs.field(
        default=None, converter=_copy_headers, repr=False, hash=False
    )
    """More headers; they replace the client's of the same names."""
    server_url: str | None = attrs.field(default=None, validator=_server, repr=_shown_url)
    """Another server's address. If its origin (scheme, host and port) is not the client's, neither
    the client's headers nor the headers, cookies and authentication of its ``http_client`` are
    sent there, because they may hold credentials."""
    send_client_headers: bool = attrs.field(default=False, validator=_flag)
    """Whether they are sent to a ``server_url`` of another origin all the same."""
    max_body_size: float | None = attrs.field(
        default=None,
        validator=_must_be(
            "a positive number of bytes",
            lambda value: value is None or (_is_number(value) and value > 0),
        ),
    )
    """How many bytes of a response's body may be held in memory: 64 MiB by default, ``math.inf``
    for no limit. Beyond it the call raises `ResponseTooLarge`. A file that is read in pieces, or
    downloaded to a path, has no limit."""
    on_response: OnResponse | None = attrs.field(default=None, validator=_callback, repr=False)
    """A sync or async function that is called with the `ResponseHead` of each response that arrives
    for the call, also of those that are errors or are retried. If it raises, the call does."""


ONE_TRY: Final = RequestOptions(retries=RetryConfig(strategy="none"))
"""The options of a call that is not retried."""


def check_options(options: object) -> None:
    """Refuse options of a call that are none, for example a mapping.

    Raises:
      ConfigurationError: they are no `RequestOptions`.
    """
    if options is not None and not isinstance(options, RequestOptions):
        raise ConfigurationError(
            f"options={type(options).__name__}(...): pass a RequestOptions, as"
            " options=RequestOptions(timeout=5)"
        )
