"""The fixtures that run the command line."""

from tests.support.command_line import (
    command_forks,
    open_terminal,
    run_command,
    start_command,
)

__all__ = ["command_forks", "open_terminal", "run_command", "start_command"]
