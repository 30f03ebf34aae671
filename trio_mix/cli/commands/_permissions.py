"""Answers permission requests and notifications: by options, or by the user's answer.

Rules:

1. Without an option or an explicit yes of the user, a request is denied.
2. *Always* covers identical requests of this process only: the same tool, action, path,
   description and parameters, by the same kind of agent. It is not offered for a shell.
3. A notification that asks for a text or a choice is answered by the user only.
"""

from __future__ import annotations

import re
import shlex
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trio_mix.cli.ui._json import to_json
from trio_mix.cli.ui._permission_prompt import Response
from trio_mix.cli.ui._text import excerpt
from trio_mix.cli.ui._transcript import permission_summary
from trio_mix.events import NotificationEvent

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


@attrs.define
class PermissionDecisions:
    """Answers the permission requests and notifications of one command."""

    prompt: PermissionPrompt | None
    tools: frozenset[str] = frozenset()
    """Tools whose requests are granted."""
    everything: bool = False
    """Whether every request is granted, and every notification acknowledged."""
    while_asking: Callable[[], AbstractContextManager[object]] = nullcontext
    """Returns what is entered while the user is asked."""
    others: bool = False
    """Whether the message may be another client's, which decides what this command does not."""
    _always: set[str] = attrs.field(factory=set[str], init=False)

    def asks(self, event: PermissionEvent | NotificationEvent) -> bool:
        """Return whether the user is asked."""
        if self.prompt is None:
            return False
        if isinstance(event, NotificationEvent):
            return not self._is_acknowledged(event)
        return not self._is_granted(event)

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
            self._always.add(identity(event))
        return answer != "no"

    async def respond(self, event: NotificationEvent) -> Response | None:
        """Return the response to a notification, after asking the user if necessary.

        Returns None if there is none: the agent continues after the notification's time limit.
        """
        await trio.lowlevel.checkpoint()
        if self._is_acknowledged(event):
            return Response(None)
        if self.prompt is None:
            if not self.others:
                print(
                    "trio-mix: nobody can respond to the notification "
                    f"{excerpt(event.title or event.message)!r}: the agent waits for up to "
                    f"{event.timeout} s (use a terminal to respond; --yes acknowledges)",
                    file=sys.stderr,
                    flush=True,
                )
            return None
        with self.while_asking():
            return await self.prompt.respond(event)

    def _is_acknowledged(self, event: NotificationEvent) -> bool:
        return self.everything and event.response_type == "acknowledge"

    def _is_granted(self, event: PermissionEvent) -> bool:
        return self.everything or event.tool_name in self.tools or identity(event) in self._always


def is_shell(event: PermissionEvent) -> bool:
    """Return whether a request may run a program; in doubt, it may."""
    names = [event.tool_name, event.action, *(event.params or {})]
    words = {word.lower() for name in names for word in _WORD.findall(name)}
    return bool(words & _SHELL)


def identity(event: PermissionEvent) -> str:
    parts = (event.tool_name, event.action, event.path, event.description, event.params)
    return to_json([*parts, event.parent_tool_call_id is not None])
