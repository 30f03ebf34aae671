"""What a caller can set for a client and for one call: time limits, retries, headers, address.

What it knows: which values make sense.
What it must never know: I/O, or an operation of the API.

Rules:

1. Durations are seconds. A value that cannot work is a `ConfigurationError` where it is written
   down, not when it is used.
2. Nothing here shows a header's value in its ``repr``.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Literal, TypeAlias, get_args

import attrs

from trio_mix._http import sanitize_url
from trio_mix._public import public
from trio_mix._record import Record
from trio_mix.errors import ConfigurationError

__all__ = [
    "Api",
    "BackoffStrategy",
    "HeadersSource",
    "RequestOptions",
    "RetryConfig",
    "check_api",
    "check_timeout",
    "debug_wanted",
]

HeadersSource: TypeAlias = (
    Mapping[str, str] | Callable[[], Mapping[str, str] | Awaitable[Mapping[str, str]]]
)
"""Headers, or a sync or async function that is asked for them before each request."""

Api: TypeAlias = Literal["auto", "pipeline", "blocking", "async"]
"""How messages are sent: a generation of servers, or ``"auto"`` to find it out."""

_CODE: Final = r"[1-5](?:[0-9]{2}|XX)"


def check_api(api: Api) -> None:
    """Refuse what is not one of the words for a generation."""
    if api not in get_args(Api):
        raise ConfigurationError(
            f"api={api!r} is not a generation of the Mix API. Use one of {get_args(Api)}."
        )


def debug_wanted() -> bool:
    """Say whether the environment asks for a log of what is done: ``MIX_DEBUG=1``."""
    wanted = os.environ.get("MIX_DEBUG", "").strip().lower()
    return wanted not in ("", "0", "false", "no", "off")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def check_timeout(value: float | None, name: str = "timeout") -> None:
    """Refuse a time limit that is not a positive number of seconds."""
    if value is not None and not (_is_number(value) and value > 0):
        raise ConfigurationError(f"{name} must be a positive number of seconds, not {value!r}")


def _seconds(instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not (_is_number(value) and math.isfinite(value) and value >= 0):
        raise ConfigurationError(
            f"{type(instance).__name__}({attribute.name}=...) must be a number of seconds"
            f" not below zero, not {value!r}"
        )


def _optional_seconds(instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    if value is not None:  # the annotation is that of attrs for a default that is a float
        _seconds(instance, attribute, value)


def _factor(instance: object, attribute: attrs.Attribute[float], value: float) -> None:
    if not (_is_number(value) and math.isfinite(value) and value >= 1):
        raise ConfigurationError(
            f"{type(instance).__name__}({attribute.name}=...) must be a number not below 1,"
            f" not {value!r}"
        )


@public("trio_mix")
@attrs.frozen(eq=False, repr=False)
class BackoffStrategy(Record):
    """How the pauses between tries grow: by a factor, up to a ceiling, with jitter."""

    initial_interval: float = attrs.field(default=0.5, validator=_seconds)
    """The first pause, in seconds."""
    max_interval: float = attrs.field(default=60.0, validator=_seconds)
    """The longest pause, in seconds; ``Retry-After`` is capped by it too."""
    exponent: float = attrs.field(default=1.5, validator=_factor)
    """By what each pause is longer than the one before."""
    max_elapsed_time: float | None = attrs.field(default=600.0, validator=_optional_seconds)
    """When to give up, in seconds since the first try; ``None`` never."""


def _strategy(_instance: object, _attribute: object, value: object) -> None:
    if value not in ("backoff", "none"):
        raise ConfigurationError(
            f'RetryConfig(strategy=...) must be "backoff" or "none", not {value!r}'
        )


def _is_backoff(_instance: object, _attribute: object, value: object) -> None:
    if not isinstance(value, BackoffStrategy):
        raise ConfigurationError(
            f"RetryConfig(backoff=...) must be a BackoffStrategy, not {value!r}"
        )


@public("trio_mix")
@attrs.frozen(eq=False, repr=False)
class RetryConfig(Record):
    """Whether and how an operation is tried again; which ones may be is in their docstrings."""

    strategy: Literal["backoff", "none"] = attrs.field(default="backoff", validator=_strategy)
    """``"backoff"``, or ``"none"`` for a single try."""
    backoff: BackoffStrategy = attrs.field(factory=BackoffStrategy, validator=_is_backoff)
    """The pauses."""
    retry_connection_errors: bool = True
    """Whether to try again when no answer came, not only on the statuses."""


def _copy_headers(value: Mapping[str, str] | None) -> Mapping[str, str] | None:
    return None if value is None else dict(value)


def _tuple(value: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if value is None else tuple(value)


def _codes(_instance: object, _attribute: object, value: tuple[str, ...] | None) -> None:
    for code in value or ():
        if not re.fullmatch(_CODE, str(code)):
            raise ConfigurationError(
                f'RequestOptions(retry_codes=...) takes codes as "503" or "5XX", not {code!r}'
            )


def _shown_url(url: str | None) -> str:
    return repr(url if url is None else sanitize_url(url))


@public("trio_mix")
@attrs.frozen(eq=False, repr=False)
class RequestOptions(Record):
    """What differs for one call from the client's own settings; ``None`` means as there."""

    timeout: float | None = attrs.field(
        default=None, validator=lambda _self, _attribute, value: check_timeout(value)
    )
    """How long one try may take, in seconds; ``math.inf`` for no limit."""
    retries: RetryConfig | None = None
    """Whether and how to try again."""
    retry_codes: tuple[str, ...] | None = attrs.field(
        default=None, converter=_tuple, validator=_codes
    )
    """The statuses to try again on, as ``("5XX", "429")``."""
    headers: Mapping[str, str] | None = attrs.field(
        default=None, converter=_copy_headers, repr=False, hash=False
    )
    """Headers besides the client's, whose namesakes they replace."""
    server_url: str | None = attrs.field(default=None, repr=_shown_url)
    """Another server's address."""
