"""The settings file of the command line, with profiles.

Rules:

1. The file never has a key: it names a command that prints it, or an entry of the system's keyring.
2. The key and the headers of a profile are sent to the profile's own server only.
3. An unknown or invalid setting is an error, so that a typo cannot go unnoticed.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias
from urllib.parse import urlsplit

import attrs

from trio_mix.cli._errors import CommandUsageError
from trio_mix.cli._folders import config_folder
from trio_mix.cli._headers import add_header, is_secret_header
from trio_mix.cli._server_names import with_scheme

if TYPE_CHECKING:
    from collections.abc import Mapping

CONFIG: Final = "TRIO_MIX_CONFIG"
"""The environment variable with the path of the settings file."""
PROFILE: Final = "TRIO_MIX_PROFILE"
"""The environment variable with the name of the profile."""

_LARGEST: Final = 2**20
_Table: TypeAlias = "dict[str, object]"


@attrs.frozen(kw_only=True)
class Profile:
    """The settings of one profile."""

    name: str
    server: str | None = None
    """The address of the server, with a scheme."""
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    token_command: tuple[str, ...] = attrs.field(default=(), repr=False)
    """The command that prints the token."""
    token_keyring: str | None = None
    """The user name under which the keyring has the token."""
    token_header: str = "Authorization"  # noqa: S105 - a name
    """The header for the token; in ``Authorization`` it follows the word ``Bearer``."""
    model: str | None = None
    system: str | None = None
    timeout: float | None = None

    def owns(self, url: str) -> bool:
        """Return whether an address is of the profile's server (rule 2)."""
        return self.server is not None and _origin(url) == _origin(self.server)


@attrs.frozen(kw_only=True)
class SettingsFile:
    """The contents of the settings file."""

    path: Path
    exists: bool = False
    default: str | None = None
    """The name of the profile that is used by default."""
    profiles: Mapping[str, Profile] = attrs.field(factory=dict[str, Profile])

    def choose(self, option: str | None) -> tuple[Profile | None, str]:
        """Return the profile to use, and what names it.

        Args:
          option: the name in the command's option.

        Raises:
          CommandUsageError: the file has no profile of that name.
        """
        variable = os.environ.get(PROFILE, "").strip()
        for name, source in (
            (option, "--profile"),
            (variable, f"the variable {PROFILE}"),
            (self.default, "the settings file"),
        ):
            if name:
                return self._get(name, source), source
        return None, ""

    def _get(self, name: str, source: str) -> Profile:
        found = self.profiles.get(name)
        if found is None:
            known = ", ".join(self.profiles) or "none"
            raise CommandUsageError(
                f"{source}: {self.path} has no profile {name!r}; its profiles: {known}"
            )
        return found


def read_settings() -> SettingsFile:
    """Read the settings file; it need not exist unless the environment names it.

    Raises:
      CommandUsageError: a setting is invalid, or anybody may write the file.
      OSError: the file cannot be read.
    """
    named = os.environ.get(CONFIG)
    path = Path(named) if named else config_folder() / "config.toml"
    try:
        with path.open("rb") as file:
            if os.name == "posix" and os.fstat(file.fileno()).st_mode & 0o002:
                raise CommandUsageError(
                    f"{path}: anybody may write the file, and it can name commands to run: use "
                    f"`chmod o-w`"
                )
            text = file.read(_LARGEST + 1)
    except (FileNotFoundError, NotADirectoryError):
        if named:
            raise
        return SettingsFile(path=path)
    if len(text) > _LARGEST:
        raise CommandUsageError(f"{path} is larger than {_LARGEST} bytes")
    try:
        table = tomllib.loads(text.decode("utf-8"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise CommandUsageError(f"{path}: not valid TOML: {error}") from None
    return _settings(path, table)


def _settings(path: Path, table: _Table) -> SettingsFile:
    reader = _Reader(str(path), table)
    default = reader.text("profile")
    tables = reader.table("profiles")
    reader.check_unknown()
    profiles = {}
    for name, each in tables.items():
        if not isinstance(each, dict):
            raise CommandUsageError(f"{path}: profiles.{name} must be a table: [profiles.{name}]")
        profiles[name] = _profile(name, _Reader(f"{path}: profile {name!r}", each))
    return SettingsFile(path=path, exists=True, default=default, profiles=profiles)


def _profile(name: str, reader: _Reader) -> Profile:
    server = reader.text("server")
    if server is not None:
        server = with_scheme(server)
        if "@" in server:
            raise reader.error(
                "server", "has credentials, which do not belong in a file: use token-command"
            )
    headers: dict[str, str] = {}
    for header, value in reader.table("headers").items():
        if is_secret_header(header):
            raise reader.error(
                f"headers.{header}",
                "may be a secret, which does not belong in a file: use token-command or "
                "token-keyring, with token-header",
            )
        if not isinstance(value, str):
            raise reader.error(f"headers.{header}", "must be a text")
        add_header(headers, header, value, reader.where)
    profile = Profile(
        name=name,
        server=server,
        headers=headers,
        token_command=reader.words("token-command"),
        token_keyring=reader.text("token-keyring"),
        token_header=reader.text("token-header") or "Authorization",
        model=reader.text("model"),
        system=reader.text("system"),
        timeout=reader.seconds("timeout"),
    )
    reader.check_unknown()
    if profile.token_command and profile.token_keyring:
        raise reader.error("token-command", "and token-keyring both name a token: use one of them")
    if server is None and (headers or profile.token_command or profile.token_keyring):
        raise reader.error("server", "is missing: headers and a token are for one server")
    return profile


def _origin(url: str) -> tuple[str, str, int]:
    parts = urlsplit(with_scheme(url))
    try:
        port = parts.port
    except ValueError:
        port = None
    default = 443 if parts.scheme == "https" else 80
    return parts.scheme, (parts.hostname or "").lower(), default if port is None else port


class _Reader:
    """Reads the settings of a table, and knows which it has not read."""

    def __init__(self, where: str, table: _Table) -> None:
        self.where = where
        self._left = dict(table)

    def error(self, name: str, problem: str) -> CommandUsageError:
        return CommandUsageError(f"{self.where}: {name} {problem}")

    def text(self, name: str) -> str | None:
        value = self._left.pop(name, None)
        if value is None:
            return None
        if not isinstance(value, str) or not value.strip():
            raise self.error(name, "must be a text in quotes")
        return value.strip()

    def words(self, name: str) -> tuple[str, ...]:
        value = self._left.pop(name, None)
        if value is None:
            return ()
        if not isinstance(value, list) or not value or not all(isinstance(w, str) for w in value):
            raise self.error(name, 'must be a list of words, as ["pass", "show", "mix"]')
        return tuple(value)

    def seconds(self, name: str) -> float | None:
        value = self._left.pop(name, None)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
            raise self.error(name, "must be a positive number of seconds")
        return float(value)

    def table(self, name: str) -> _Table:
        value = self._left.pop(name, {})
        if not isinstance(value, dict):
            raise self.error(name, "must be a table")
        return value

    def check_unknown(self) -> None:
        for name in self._left:
            if name in ("token", "key", "api-key", "password"):
                raise self.error(
                    name,
                    "would be a secret in a file: use token-command or token-keyring instead",
                )
            raise self.error(name, "is no setting; the reference page lists them")
