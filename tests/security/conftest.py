"""The fixtures that run the command line."""

from tests.support.command_line import open_terminal, run_command, start_command

__all__ = ["open_terminal", "run_command", "start_command"]
