"""The settings of ``trio-mix relay``: those of the command line, then those of the file.

Rules:

1. An option of the command line takes precedence over the file; lists are joined.
2. A key that does not exist, or a value of another type, is an error that names the key.
3. Paths in the file are relative to the file.
"""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from trio_mix.cli._errors import CommandUsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

DEFAULT_LISTEN: Final = "127.0.0.1:8090"
DEFAULT_LOG: Final = "sqlite:relay.db"
_MAX_FILE: Final = 2**20


@attrs.frozen(kw_only=True)
class RelaySettings:
    """What a relay is started with; None: the default."""

    upstream: str | None = None
    listen: str | None = None
    log: str | None = None
    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    token_file: Path | None = None
    jwt_key_file: Path | None = None
    commit_interval: float | None = None
    synchronous: str | None = None
    lease_ttl: float | None = None
    wait_replicas: int | None = None
    prefix: str | None = None
    queue_max: int | None = None
    ring: int | None = None
    stall_timeout: float | None = None
    heartbeat: float | None = None
    idle_close: float | None = None
    drain_timeout: float | None = None
    page: bool | None = None
    retention: Mapping[str, float] = attrs.field(factory=dict[str, float])
    """``events``, ``age`` in seconds, ``bytes``."""

    def over(self, other: RelaySettings) -> RelaySettings:
        """Return these settings, with those of another for what these do not set (rule 1)."""
        merged: dict[str, object] = {}
        for field in attrs.fields(RelaySettings):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if isinstance(mine, tuple):
                merged[field.name] = (*mine, *theirs)
            else:
                merged[field.name] = theirs if mine is None or mine == {} else mine
        return attrs.evolve(self, **cast("dict[str, Any]", merged))

    def numbers(self, *names: str) -> dict[str, float]:
        """Return the settings with these names that are set."""
        found = {name: getattr(self, name) for name in names}
        return {name: value for name, value in found.items() if value is not None}


_TEXTS: Final = ("upstream", "listen", "log", "synchronous", "prefix")
_LISTS: Final = ("origins", "hosts")
_PATHS: Final = ("token_file", "jwt_key_file")
_FLAGS: Final = ("page",)
_INTEGERS: Final = ("queue_max", "ring", "wait_replicas")
_SECONDS: Final = (
    "commit_interval",
    "lease_ttl",
    "stall_timeout",
    "heartbeat",
    "idle_close",
    "drain_timeout",
)
_RETENTION: Final = ("events", "age", "bytes", "turn_bytes")


def read_settings(path: Path | None) -> RelaySettings:
    """Return the settings in a TOML file; the defaults without one.

    Raises:
      CommandUsageError: the file cannot be read, or has an unknown key or a wrong value.
    """
    if path is None:
        return RelaySettings()
    try:
        with path.open("rb") as file:
            table = tomllib.loads(file.read(_MAX_FILE).decode())
    except OSError as error:
        raise CommandUsageError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise CommandUsageError(f"{path} is not TOML: {error}") from error
    values = {name: _value(path, name, value) for name, value in table.items()}
    return RelaySettings(**cast("dict[str, Any]", values))


def _value(path: Path, name: str, value: object) -> object:
    wanted = ""
    if name in _TEXTS and not isinstance(value, str):
        wanted = "a text"
    elif name in _PATHS:
        if isinstance(value, str):
            return path.parent / value
        wanted = "a path"
    elif name in _LISTS:
        if isinstance(value, list) and all(isinstance(each, str) for each in value):
            return tuple(value)
        wanted = "a list of texts"
    elif name in _FLAGS and not isinstance(value, bool):
        wanted = "true or false"
    elif name in _INTEGERS and not _is_number(value, whole=True):
        wanted = "a whole number"
    elif name in _SECONDS and not _is_number(value):
        wanted = "a number of seconds"
    elif name == "retention":
        if isinstance(value, dict):
            return {key: _retained(path, key, each) for key, each in value.items()}
        wanted = "a table"
    elif name not in {*_TEXTS, *_FLAGS, *_INTEGERS, *_SECONDS}:
        raise CommandUsageError(f"{path}: there is no setting {name!r}")
    if wanted:
        raise CommandUsageError(f"{path}: {name} must be {wanted}")
    return value


def _retained(path: Path, name: str, value: object) -> object:
    if name not in _RETENTION:
        raise CommandUsageError(f"{path}: [retention] has no setting {name!r}")
    if not _is_number(value, whole=name != "age"):
        raise CommandUsageError(f"{path}: [retention] {name} must be a number")
    return value


def _is_number(value: object, *, whole: bool = False) -> bool:
    if isinstance(value, bool):
        return False
    return isinstance(value, int if whole else int | float) and cast("float", value) >= 0


def parse_listen(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``, ``[ADDRESS]:PORT`` or ``:PORT``.

    Raises:
      CommandUsageError: it is something else.
    """
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        colon = ""
    if not colon or not (port.isascii() and port.isdigit()) or int(port) > 65535:
        raise CommandUsageError(
            f"--listen takes HOST:PORT, as 127.0.0.1:8090 or [::1]:8090, not {text!r}"
        )
    return host or "127.0.0.1", int(port)
