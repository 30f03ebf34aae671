"""The server's commands and the answers that go back: a table without I/O or clock.

What it knows: the tunnel's messages, its limits, whose answer is due when.
What it must never know: connections; which browser answers, and how.

The rules it keeps (the tests cite the numbers):

1. Answers to commands of one target (CDP's ``sessionId``, or none) come in the commands' order;
   targets do not wait for each other.
2. Each command gets exactly one answer: the browser's, or an error that says why there is none.
   What comes later is dropped.
3. A command that is not answered in time, or whose answer is over the limit, or that comes when
   too many are waiting, is answered with an error before the server gives up on it. One that
   waits in line behind another of its target never waits longer than it would have itself.
4. ``id`` and ``browserId`` go back as they came, whatever they are; two commands with the same
   ``id`` are two commands.
5. Whatever comes in, nothing is raised: what can be answered is answered, the rest is counted.
"""

from __future__ import annotations

import json
from collections import deque
from typing import TYPE_CHECKING, Final, NoReturn, final

import attrs

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["CommandTable", "DevToolsCommand", "TunnelCounters", "error", "to_json"]

_MISSING: Final = object()
INVALID_REQUEST: Final = -32600
INVALID_PARAMS: Final = -32602
SERVER_ERROR: Final = -32000


def error(message: str, code: int = SERVER_ERROR) -> dict[str, object]:
    """Return an outcome that is an error of the tunnel's own."""
    return {"error": {"code": code, "message": message}}


def to_json(value: object) -> str:
    """Encode a message; text that is not Unicode (lone surrogates) goes in escapes."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))
    return text


def from_json(text: str | bytes) -> dict[str, object] | None:
    """Decode a message that must be an object, else return None."""
    try:
        value = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


@attrs.define
class TunnelCounters:
    """What has happened, over all connections."""

    commands: int = 0
    answers: int = 0
    errors: int = 0
    timeouts: int = 0
    too_large: int = 0
    garbage: int = 0
    dropped: int = 0


@attrs.define(eq=False)
class DevToolsCommand:
    """One command of the server's, as long as it waits for its answer."""

    method: str
    params: dict[str, object] | None = attrs.field(repr=False)
    target: str | None
    """CDP's ``sessionId``."""
    deadline: float
    echo: dict[str, object]
    """What goes back as it came."""
    answer: str | None = attrs.field(default=None, repr=False)
    """The encoded answer, while it waits for its turn."""


@final
class CommandTable:
    """The commands of one connection that wait for answers.

    Args:
      timeout: seconds until a command is answered with an error.
      max_answer: the most bytes of an answer.
      max_pending: how many commands may wait.
      counters: where is counted what happens.
    """

    def __init__(
        self, *, timeout: float, max_answer: int, max_pending: int, counters: TunnelCounters
    ) -> None:
        self._timeout = timeout
        self._max_answer = max_answer
        self._max_pending = max_pending
        self._counters = counters
        self._lines: dict[str | None, deque[DevToolsCommand]] = {}
        self._waiting: dict[
            DevToolsCommand, None
        ] = {}  # oldest first, which is earliest deadline first

    @property
    def waiting(self) -> list[DevToolsCommand]:
        """The commands without an answer, oldest first."""
        return list(self._waiting)

    @property
    def next_deadline(self) -> float | None:
        """When the next command is to be given up, or None if none waits."""
        return next((command.deadline for command in self._waiting), None)

    def receive(self, text: str | bytes, now: float) -> tuple[DevToolsCommand | None, list[str]]:
        """Take a message of the server's.

        Returns:
          The command that the browser is to have, if any, and the answers that are due.
        """
        message = from_json(text)
        if message is None or message.get("id") is None:
            self._counters.garbage += 1
            return None, []
        method, params, target = (message.get(name) for name in ("method", "params", "sessionId"))
        echo = {"id": message["id"]}
        if (browser := message.get("browserId", _MISSING)) is not _MISSING:
            echo["browserId"] = browser
        self._counters.commands += 1
        command = DevToolsCommand(
            method=method if isinstance(method, str) else "",
            params=params if isinstance(params, dict) else None,
            target=target if isinstance(target, str) and target else None,
            deadline=now + self._timeout,
            echo=echo,
        )
        self._lines.setdefault(command.target, deque()).append(command)
        self._waiting[command] = None
        refusal = self._refusal(method, params, target)
        if refusal is None:
            return command, []
        return None, self.settle(command, refusal)

    def settle(self, command: DevToolsCommand, outcome: Mapping[str, object]) -> list[str]:
        """Give a command its answer, and return the answers that are due now.

        Args:
          command: the command; one that has its answer already keeps it.
          outcome: CDP's answer: ``result`` or ``error``; all else in it is left out.
        """
        if command not in self._waiting:
            self._counters.dropped += 1
            return []
        del self._waiting[command]
        answer = dict(command.echo)
        failure = outcome.get("error")
        if failure is None:
            answer["result"] = outcome.get("result", {})
        else:
            answer["error"] = failure
            self._counters.errors += 1
        command.answer = self._encode(command, answer)
        return self._due(command.target)

    def expire(self, now: float) -> tuple[list[DevToolsCommand], list[str]]:
        """Give up on commands whose time is over; return them, and the answers that are due."""
        late: list[DevToolsCommand] = []
        for command in self._waiting:
            if command.deadline > now:
                break
            late.append(command)
        due: list[str] = []
        for command in late:
            self._counters.timeouts += 1
            due += self.settle(
                command,
                error(
                    f"{command.method} was not answered by the browser within {self._timeout:g} s."
                    " It may still be running there."
                ),
            )
        return late, due

    def _refusal(self, method: object, params: object, target: object) -> dict[str, object] | None:
        if not isinstance(method, str) or not method:
            return error("'method' must be the name of a DevTools command", INVALID_REQUEST)
        if params is not None and not isinstance(params, dict):
            return error(f"'params' of {method} must be an object", INVALID_PARAMS)
        if target is not None and not isinstance(target, str):
            return error(f"'sessionId' of {method} must be a string", INVALID_REQUEST)
        if len(self._waiting) > self._max_pending:
            return error(
                f"{method} was not run: {self._max_pending} commands wait for their answers"
                " already. Wait for some of those."
            )
        return None

    def _encode(self, command: DevToolsCommand, answer: dict[str, object]) -> str:
        text = to_json(answer)
        size = len(text) if text.isascii() else len(text.encode())
        if size <= self._max_answer:
            return text
        self._counters.too_large += 1
        if "error" not in answer:
            self._counters.errors += 1
        failure = error(
            f"The answer to {command.method} is too large for the tunnel: {size:,} bytes, and"
            f" {self._max_answer:,} may pass. Ask for less: a clip, a lower quality, a part."
        )
        return to_json(command.echo | failure)

    def _due(self, target: str | None) -> list[str]:
        line = self._lines[target]
        due: list[str] = []
        while line and line[0].answer is not None:
            due.append(line.popleft().answer or "")
        if not line:
            del self._lines[target]
        self._counters.answers += len(due)
        return due
