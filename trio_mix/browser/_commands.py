"""The server's commands and the answers that are sent back: a table without I/O or clock.

Rules that the tests cite:

1. Answers to the commands of one target (CDP's ``sessionId``, or none) are sent in the order of
   the commands. Targets do not wait for each other.
2. Each command gets exactly one answer: the browser's, or an error that says why there is none.
   A second answer is dropped.
3. A command is answered with an error before the server times out if the browser does not answer
   in time, if its answer exceeds the limit, or if too many commands are pending. An answer that
   is queued behind another one of its target is not delayed beyond its own deadline. The pending
   commands and the queued answers together are bounded too, in bytes.
4. ``id`` and ``browserId`` are sent back unchanged, whatever their type. Two commands with the
   same ``id`` are two commands.
5. No input raises: what can be answered is answered, the rest is counted. A command that is nested
   too deep is one of the rest.
"""

from __future__ import annotations

import json
import math
from collections import deque
from typing import TYPE_CHECKING, Final, NoReturn, final

import attrs

from trio_mix._json import is_deeper_than

if TYPE_CHECKING:
    from collections.abc import Mapping

_MISSING: Final = object()
_DEEPEST: Final = 250
"""Levels of a command's JSON; Chromium does not answer a command with more than 300."""
INVALID_REQUEST: Final = -32600
INVALID_PARAMS: Final = -32602
SERVER_ERROR: Final = -32000


def error(message: str, code: int = SERVER_ERROR) -> dict[str, object]:
    """Return an outcome: an error that the tunnel reports itself."""
    return {"error": {"code": code, "message": message}}


def to_json(value: object) -> str:
    """Encode a message; lone surrogates, which UTF-8 cannot encode, are escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":"))
    return text


def from_json(text: str | bytes) -> dict[str, object] | None:
    """Decode a message; return None if it is not a JSON object."""
    try:
        value = json.loads(text, parse_constant=_refuse, parse_float=_finite)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _finite(digits: str) -> float:
    """Return a number, unless it is one that JSON could not write again, as ``1e400``."""
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(digits)
    return number


@attrs.define
class TunnelCounters:
    """Counts over all connections of a tunnel."""

    commands: int = 0
    answers: int = 0
    errors: int = 0
    timeouts: int = 0
    too_large: int = 0
    garbage: int = 0
    dropped: int = 0
    denied: int = 0


@attrs.define(eq=False)
class DevToolsCommand:
    """A command of the server that is not answered yet."""

    method: str
    params: dict[str, object] | None = attrs.field(repr=False)
    target: str | None
    """CDP's ``sessionId``."""
    deadline: float
    echo: dict[str, object]
    """The fields that are sent back unchanged."""
    size: int
    """Of the command, then of its answer."""
    answer: str | None = attrs.field(default=None, repr=False)
    """The encoded answer, while it is queued behind an earlier command of its target."""


@final
class CommandTable:
    """The pending commands of one connection.

    Args:
      timeout: seconds until a command is answered with an error.
      max_answer: the maximum size of an answer in bytes.
      max_pending: the maximum number of pending commands.
      max_size: the maximum size of the pending commands and the queued answers, in bytes.
      counters: the counters to increase.
    """

    def __init__(
        self,
        *,
        timeout: float,
        max_answer: int,
        max_pending: int,
        max_size: int,
        counters: TunnelCounters,
    ) -> None:
        self._timeout = timeout
        self._max_answer = max_answer
        self._max_pending = max_pending
        self._max_size = max_size
        self._size = 0
        self._counters = counters
        self._queues: dict[str | None, deque[DevToolsCommand]] = {}
        self._waiting: dict[
            DevToolsCommand, None
        ] = {}  # oldest first, which is earliest deadline first

    @property
    def waiting(self) -> list[DevToolsCommand]:
        """The pending commands, oldest first."""
        return list(self._waiting)

    @property
    def next_deadline(self) -> float | None:
        """When the next pending command times out, or None if none is pending."""
        return next((command.deadline for command in self._waiting), None)

    def receive(self, text: str | bytes, now: float) -> tuple[DevToolsCommand | None, list[str]]:
        """Process a message of the server.

        Returns:
          The command to pass to the browser, if any, and the answers to send now.
        """
        message = from_json(text)
        if message is None or message.get("id") is None or is_deeper_than(_DEEPEST, message):
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
            size=len(text),
        )
        self._size += command.size
        self._queues.setdefault(command.target, deque()).append(command)
        self._waiting[command] = None
        refusal = self._refusal(method, params, target)
        if refusal is None:
            return command, []
        return None, self.settle(command, refusal)

    def settle(self, command: DevToolsCommand, outcome: Mapping[str, object]) -> list[str]:
        """Record the answer to a command, and return the answers to send now.

        Args:
          command: the command; the first answer to it is kept.
          outcome: CDP's answer: ``result`` or ``error``; other fields are left out.
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
        self._size -= command.size
        command.answer = self._encode(command, answer)
        command.size = len(command.answer)
        self._size += command.size
        return self._due(command.target)

    def expire(self, now: float) -> tuple[list[DevToolsCommand], list[str]]:
        """Time out commands; return them, and the answers to send now."""
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
                    f"The browser did not answer {command.method} within {self._timeout:g} s."
                    " The command may still be running there."
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
                f"{method} was not run: {self._max_pending} commands are pending already."
                " Wait for some of their answers first."
            )
        if self._size > self._max_size:
            return error(
                f"{method} was not run: the pending commands and answers exceed"
                f" {self._max_size:,} bytes. Wait for some of their answers first."
            )
        return None

    def _encode(self, command: DevToolsCommand, answer: dict[str, object]) -> str:
        text = to_json(answer)
        size = len(text) if text.isascii() else len(text.encode())
        first = self._queues[command.target][0] is command  # sent at once, so not queued here
        limit = self._max_answer if first else min(self._max_answer, self._max_size - self._size)
        if size <= limit:
            return text
        self._counters.too_large += 1
        if "error" not in answer:
            self._counters.errors += 1
        failure = error(
            f"The answer to {command.method} is too large for the tunnel: {size:,} bytes, the"
            f" maximum is {max(limit, 0):,}. Request less: a clip, a lower quality, a part."
        )
        return to_json(command.echo | failure)

    def _due(self, target: str | None) -> list[str]:
        queue = self._queues[target]
        due: list[str] = []
        while queue and queue[0].answer is not None:
            command = queue.popleft()
            self._size -= command.size
            due.append(command.answer or "")
        if not queue:
            del self._queues[target]
        self._counters.answers += len(due)
        return due
