"""Gets the token of a profile from a command or from the keyring of the system."""

from __future__ import annotations

import importlib
import subprocess
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, cast

import trio

from trio_mix.cli._errors import CommandUsageError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from trio_mix.cli._profiles import Profile

_SERVICE: Final = "trio-mix"
_LONGEST: Final = 64 * 1024


class _Keyring(Protocol):
    def get_password(self, service_name: str, username: str) -> str | None: ...


def token_reader(profile: Profile) -> Callable[[], Awaitable[str]] | None:
    """Return a function that gets the token of a profile; None: it has none.

    The function raises `CommandUsageError` if it gets none. Cancelled, it ends the command.
    """
    where = f"profile {profile.name!r}"
    if profile.token_command:
        return partial(_from_command, where, profile.token_command)
    if profile.token_keyring:
        return partial(_from_keyring, where, profile.token_keyring)
    return None


async def _from_command(where: str, command: Sequence[str]) -> str:
    try:
        done = await trio.run_process(
            command, stdin=subprocess.DEVNULL, capture_stdout=True, check=False
        )
    except OSError as error:
        raise CommandUsageError(f"{where}: token-command cannot be run: {error}") from None
    if done.returncode:
        raise CommandUsageError(
            f"{where}: token-command failed: {command[0]} ended with exit code {done.returncode}"
        )
    return _checked(f"{where}: {command[0]} printed", done.stdout.decode("utf-8", "replace"))


async def _from_keyring(where: str, name: str) -> str:
    try:
        keyring = cast("_Keyring", importlib.import_module("keyring"))
    except ImportError:
        raise CommandUsageError(
            f"{where}: token-keyring needs the package keyring: pip install keyring"
        ) from None
    try:
        found = await trio.to_thread.run_sync(
            keyring.get_password, _SERVICE, name, abandon_on_cancel=True
        )
    except Exception as error:  # noqa: BLE001 - each of its back ends has its own
        raise CommandUsageError(
            f"{where}: the keyring cannot be read: {type(error).__name__}"
        ) from None
    if found is None:
        raise CommandUsageError(
            f"{where}: the keyring has no entry {name!r}: `keyring set {_SERVICE} {name}` stores it"
        )
    return _checked(f"{where}: the keyring has", found)


def _checked(source: str, text: str) -> str:
    """Return the token in a text: its only line."""
    token = text.strip()
    if not token:
        raise CommandUsageError(f"{source} no token")
    if len(token) > _LONGEST or not token.isprintable() or not token.isascii():
        raise CommandUsageError(f"{source} no token: it must be one line of printable characters")
    return token
