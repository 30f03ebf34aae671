"""Decides about permission requests: by options, by earlier answers, or by the user's answer.

Rules:

1. Without an option or an explicit yes of the user, a request is denied.
2. *Always* covers identical requests of this process only: the same tool, action, path,
   description and parameters, by the same kind of agent. It is not offered for a shell.
"""

from __future__ import annotations

import re
import shlex
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final, Protocol

import attrs
import trio

from trio_mix.cli.ui._json import to_json
from trio_mix.cli.ui._text import excerpt
from trio_mix.cli.ui._transcript import permission_summary

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from trio_mix.cli.ui._permission_prompt import PermissionPrompt
    from trio_mix.events import PermissionEvent

_WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+")
_SHELL: Final = frozenset(
    [
        "bash",
        "sh",
        "zsh",
        "fish",
        "dash",
        "ksh",
        "csh",
        "shell",
        "powershell",
        "pwsh",
        "cmd",
        "terminal",
        "console",
        "exec",
        "execute",
        "run",
        "command",
        "process",
        "subprocess",
        "script",
        "python",
        "node",
        "eval",
        "code",
        "argv",
    ]
)


class PermissionDecider(Protocol):
    """Decides about permission requests."""

    def asks(self, event: PermissionEvent) -> bool:
        """Return whether the user is asked, so that the request is shown anyway."""
        ...

    async def decide(self, event: PermissionEvent) -> bool | None:
        """Return whether to grant the request; None: other clients decide."""
        ...


@attrs.define
class PermissionDecisions:
    """Decides about the permission requests of one command."""

    prompt: PermissionPrompt | None
    tools: frozenset[str] = frozenset()
    """Tools whose requests are granted."""
    everything: bool = False
    """Whether every request is granted."""
    while_asking: Callable[[], AbstractContextManager[object]] = nullcontext
    """Returns what is entered while the user is asked."""
    others: bool = False
    """Whether the message may be another client's, which decides what this command does not."""
    _always: set[str] = attrs.field(factory=set[str], init=False)

    def asks(self, event: PermissionEvent) -> bool:
        """Return whether the user is asked."""
        return self.prompt is not None and not self._is_granted(event)

    async def decide(self, event: PermissionEvent) -> bool | None:
        """Return whether to grant the request, after asking the user if necessary.

        Returns None if the request is left to other clients.
        """
        await trio.lowlevel.checkpoint()
        if self._is_granted(event):
            return True
        if self.prompt is None and self.others:
            return None
        if self.prompt is None:
            option = shlex.quote(excerpt(event.tool_name))
            print(
                f"trio-mix: denied {permission_summary(event)} "
                f"(--grant {option} grants this tool, --yes everything)",
                file=sys.stderr,
                flush=True,
            )
            return False
        with self.while_asking():
            answer = await self.prompt.ask(event, offer_always=not is_shell(event))
        if answer == "always":
            self._always.add(_identity(event))
        return answer != "no"

    def _is_granted(self, event: PermissionEvent) -> bool:
        return self.everything or event.tool_name in self.tools or _identity(event) in self._always


def is_shell(event: PermissionEvent) -> bool:
    """Return whether a request may run a program; in doubt, it may."""
    names = [event.tool_name, event.action, *(event.params or {})]
    words = {word.lower() for name in names for word in _WORD.findall(name)}
    return bool(words & _SHELL)


def _identity(event: PermissionEvent) -> str:
    parts = (event.tool_name, event.action, event.path, event.description, event.params)
    return to_json([*parts, event.parent_tool_call_id is not None])
