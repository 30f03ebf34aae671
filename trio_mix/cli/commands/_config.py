"""``config``: shows the settings that commands use, and where each comes from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import attrs

from trio_mix._http import sanitize_url
from trio_mix._rest._options import DEFAULT_SERVER_URL
from trio_mix._terminal_text import clean
from trio_mix.cli._errors import OK
from trio_mix.cli._folders import state_folder
from trio_mix.cli._headers import is_secret_header, read_headers
from trio_mix.cli._profiles import CONFIG, read_settings
from trio_mix.cli.ui._screen import terminal
from trio_mix.cli.ui._tables import show_records
from trio_mix.cli.ui._text import wrapped

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from trio_mix.cli._options import Common
    from trio_mix.cli._profiles import Profile, SettingsFile

_MASK = "***"


@attrs.frozen
class SettingLine:
    """A line of ``config``."""

    setting: str
    value: str
    source: str


def show_config(common: Common, *, jsonl: bool) -> int:
    """Print the settings. Secrets are never read, and never shown.

    Raises:
      CommandUsageError: the settings file is invalid.
    """
    file = read_settings()
    profile, source = file.choose(common.profile)
    lines = [*_files(file), *_used(common, profile, source)]
    if terminal() is None or jsonl:
        show_records(
            lines,
            ("setting", "value", "source"),
            lambda line: (line.setting, line.value, line.source),
            jsonl=jsonl,
            empty="",
        )
        return OK
    for line in lines:  # a table would cut a path, which the user may want to copy
        print(wrapped(f"{line.setting}: {clean(line.value)} ({line.source})"), flush=True)
    return OK


def _files(file: SettingsFile) -> Iterator[SettingLine]:
    path = str(file.path) if file.exists else f"{file.path} (does not exist)"
    named = f"the variable {CONFIG}" if os.environ.get(CONFIG) else "the default"
    yield SettingLine("settings file", path, named)
    yield SettingLine("state folder", str(state_folder()), "the default")
    if file.profiles:
        yield SettingLine("profiles", ", ".join(file.profiles), "the settings file")


def _used(common: Common, profile: Profile | None, named_by: str) -> Iterator[SettingLine]:
    url, source = common.address(profile)
    if profile is not None:
        yield SettingLine("profile", profile.name, named_by)
    yield SettingLine("server", sanitize_url(url or DEFAULT_SERVER_URL), source)
    yield from _headers(read_headers(common.header), "--header")
    if profile is None:
        return
    of_profile = f"profile {profile.name!r}"
    if url is not None and profile.owns(url):
        yield from _headers(profile.headers, of_profile)
        if profile.token_command:
            yield SettingLine("token", f"{_MASK} (from {profile.token_command[0]})", of_profile)
        elif profile.token_keyring:
            yield SettingLine("token", f"{_MASK} (from the keyring)", of_profile)
    elif profile.token_command or profile.token_keyring:
        yield SettingLine("token", "not sent: the server is not that of the profile", of_profile)
    for name, value in (
        ("model", profile.model),
        ("system", profile.system),
        ("timeout", None if profile.timeout is None else f"{profile.timeout:g}"),
    ):
        if value is not None:
            yield SettingLine(name, value, of_profile)


def _headers(headers: Mapping[str, str], source: str) -> Iterator[SettingLine]:
    for name, value in headers.items():
        yield SettingLine(f"header {name}", _MASK if is_secret_header(name) else value, source)
