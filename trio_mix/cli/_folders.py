"""The folders of the user for settings and for what a command remembers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from platformdirs import user_config_path, user_state_path

if TYPE_CHECKING:
    from pathlib import Path


def config_folder() -> Path:
    """Return the folder for settings: on Linux ``$XDG_CONFIG_HOME/trio-mix``."""
    return user_config_path("trio-mix", appauthor=False)


def state_folder() -> Path:
    """Return the folder for what commands remember: on Linux ``$XDG_STATE_HOME/trio-mix``."""
    return user_state_path("trio-mix", appauthor=False)
