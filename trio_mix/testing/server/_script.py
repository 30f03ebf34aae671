"""The steps of a script: what the agent does for a message.

A turn is a sequence of steps::

    server.script(
        "List the files here",
        Turn(
            Think("The user wants to see files."),
            UseTool("glob", {"pattern": "*"}, result="README.md"),
            Say("There is one file, README.md."),
        ),
    )

Rules:

1. A turn ends with ``complete``. Only `Fail`, and `RateLimit` on servers whose turns it ends, end
   it in another way. A turn that must not end contains a `Hang`.
2. A step that a generation cannot express is performed without an event: the oldest servers send no
   reasoning, and only async servers send what sub-agents do.
3. A turn is a value: it can be used for many messages, on many servers, at once.

`_agent.py` performs the steps: a new one is added there too, and exported in
`testing/__init__.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import attrs
import trio  # noqa: TC002 - for typing.get_type_hints

from trio_mix.errors import ConfigurationError

How: TypeAlias = Literal["cut", "close", "reset"]
"""How a connection ends: without the final chunk, cleanly, or with a TCP reset."""

Torn: TypeAlias = bool | Literal["chunk", "ids"]
"""How two threads that write one stream disturb each other: the other frame is in the middle of
this one (True), the chunked encoding breaks after it (``"chunk"``), or its id is lower than the one
before it (``"ids"``)."""

Deltas: TypeAlias = int | Sequence[str] | None
"""How text is split: into a number of pieces, into these pieces, or (None) into words."""


@attrs.frozen
class Think:
    """Send reasoning, in ``thinking`` deltas."""

    text: str
    """The reasoning."""
    deltas: Deltas = None
    """How the text is split."""

    def __attrs_post_init__(self) -> None:
        split_text(self.text, self.deltas)  # raises where the script is written


@attrs.frozen
class Say:
    """Send text, in ``content`` deltas."""

    text: str
    """The text."""
    deltas: Deltas = None
    """How the text is split."""

    def __attrs_post_init__(self) -> None:
        split_text(self.text, self.deltas)  # raises where the script is written


@attrs.frozen
class UseTool:
    """Call a tool: send its parameters, its start and its end. The call ends a model round."""

    name: str
    """The tool's name as sent."""
    input: Mapping[str, object] | str = attrs.field(factory=dict[str, object])
    """The parameters, as a mapping or as text."""
    result: str | None = None
    """The tool's result. No server sends it on the stream: it is in the stored messages, and so in
    replies of blocking servers and in recovered ones. None: there is no result, as on real servers;
    with ``tool_results`` it is ``"done"``."""
    success: bool = True
    """Whether the tool succeeded."""
    steps: Sequence[Step] = ()
    """The steps between the tool's start and its end."""

    def __attrs_post_init__(self) -> None:
        _only_steps("UseTool(steps=...)", self.steps)


@attrs.frozen(init=False)
class UseTools:
    """Call several tools in one round."""

    calls: tuple[UseTool, ...]
    """The calls, in order."""

    def __init__(self, *calls: UseTool) -> None:
        object.__setattr__(self, "calls", calls)


@attrs.frozen
class AskPermission:
    """Request permission and wait for the answer, or until the server's time limit."""

    tool_name: str = "bash"
    """The tool that needs the permission."""
    then: Sequence[Step] = ()
    """The steps if the permission is granted."""
    otherwise: Sequence[Step] | None = None
    """The steps if it is not granted; None: the agent reports that."""
    action: str = "execute"
    """The action."""
    description: str = "Run a command"
    """The description for the user."""
    params: Mapping[str, object] = attrs.field(factory=dict[str, object])
    """The tool's parameters."""
    path: str = ""
    """The path that the action concerns, if any."""
    torn: Torn = False
    """How the frame is damaged by another one that is written at the same time."""

    def __attrs_post_init__(self) -> None:
        _only_steps("AskPermission(then=...)", self.then)
        _only_steps("AskPermission(otherwise=...)", self.otherwise or ())


@attrs.frozen
class Notify:
    """Send a notification and, by default, wait for the response."""

    message: str
    """The text."""
    title: str = "Mix"
    """The title."""
    kind: Literal["info", "warning", "error", "question"] = "info"
    """The ``notificationType``."""
    response: Literal["acknowledge", "text", "choice"] = "acknowledge"
    """The ``responseType``."""
    choices: Sequence[str] = ()
    """The choices."""
    timeout: float = 60.0
    """Seconds after which the agent continues without a response."""
    wait: bool = True
    """Whether the turn waits for the response."""


@attrs.frozen(init=False)
class SubAgent:
    """Run steps in a sub-agent; its events carry the id of its tool call."""

    steps: tuple[Step, ...]
    """The sub-agent's steps."""
    task: str
    """The sub-agent's task."""

    def __init__(self, *steps: Step, task: str = "Look into it") -> None:
        _only_steps("SubAgent()", steps)
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "task", task)


@attrs.frozen
class Fail:
    """End the turn with an ``error`` event."""

    error: str
    """The error's text."""
    type: str | None = None
    """The error's type, for example ``authentication_error``."""
    times: int | None = None
    """How often the event is sent; None: as the generation does."""
    retry_after: float | None = None
    """The event's ``retryAfter``."""
    data: Mapping[str, object] = attrs.field(factory=dict[str, object])
    """Fields that replace those of the event or are added to them; a field that is None here is not
    sent."""


@attrs.frozen
class RateLimit:
    """Send ``rate_limit_error``, as when the model's provider limits the rate.

    It ends the turn on pipeline servers. Others pause, and continue with the next step.
    """

    retry_after: int = 60
    """Seconds, the unit of real servers."""
    attempt: int = 1
    """The number of this attempt."""
    max_attempts: int = 8
    """The largest number of attempts."""
    pause: float | None = None
    """The seconds of the pause, on Trio's clock; None: ``retry_after``."""
    data: Mapping[str, object] = attrs.field(factory=dict[str, object])
    """Fields that replace those of the event, as in `Fail`."""


@attrs.frozen
class Hang:
    """Do nothing until the turn is cancelled."""


@attrs.frozen
class Drop:
    """End the session's streams, after what was sent so far has been written."""

    how: How = "cut"
    """How the streams end."""


@attrs.frozen
class Restart:
    """Restart the server here: the turn is never finished, and all connections end.

    `MixServer.restart` does the same from a test.
    """

    keep_sessions: bool = True
    """Whether the stored sessions stay."""
    seconds: float = 0.0
    """How long the server is stopped, on Trio's clock."""
    how: Literal["cut", "reset"] = "cut"
    """How the connections end."""


@attrs.frozen
class Pause:
    """Sleep, on Trio's clock."""

    seconds: float
    """The time in seconds."""


@attrs.frozen
class WaitFor:
    """Wait until the test sets an event."""

    event: trio.Event
    """The event."""


@attrs.frozen
class Do:
    """Call an async function at this point of the turn."""

    function: Callable[[], Awaitable[object]]
    """The function."""


@attrs.frozen
class Raw:
    """Write bytes unchanged: a torn frame, garbage, half a line."""

    data: bytes
    """The bytes."""
    past_framing: bool = False
    """Whether to write without the chunked encoding, which breaks the HTTP response."""


@attrs.frozen
class Emit:
    """Send an event of any name, for example one that the client does not know."""

    name: str
    """The SSE event's name."""
    data: Mapping[str, object] = attrs.field(factory=dict[str, object])
    """The payload."""


@attrs.frozen
class LateDelta:
    """Send a ``content`` delta after the end of the turn; it is not stored."""

    text: str
    """The delta."""


@attrs.frozen
class Complete:
    """Set how the turn ends; without this step, ``complete`` is sent once, last."""

    overtakes: int = 0
    """How many of the last deltas of the last round follow the ``complete``."""
    times: int = 1
    """How often the ``complete`` is sent."""
    loses: int = 0
    """How many of them are never sent; their text is in ``complete`` and stored."""
    data: Mapping[str, object] = attrs.field(factory=dict[str, object])
    """Fields that replace those of the event, as in `Fail`."""


Step: TypeAlias = (
    Think
    | Say
    | UseTool
    | UseTools
    | AskPermission
    | Notify
    | SubAgent
    | Fail
    | RateLimit
    | Hang
    | Drop
    | Restart
    | Pause
    | WaitFor
    | Do
    | Raw
    | Emit
    | LateDelta
    | Complete
)
"""One step of a turn."""


@attrs.frozen(init=False)
class Turn:
    """What the agent does for one message."""

    steps: tuple[Step, ...]
    """The steps, in order."""

    def __init__(self, *steps: Step) -> None:
        _only_steps("Turn()", steps)
        object.__setattr__(self, "steps", steps)

    @property
    def ending(self) -> Complete:
        """How the turn ends."""
        return next((s for s in reversed(self.steps) if isinstance(s, Complete)), Complete())


def with_fields(data: dict[str, object], changes: Mapping[str, object]) -> dict[str, object]:
    """Return an event's payload with the fields that a step changes, adds or removes."""
    return {name: value for name, value in (data | dict(changes)).items() if value is not None}


def split_text(text: str, deltas: Deltas) -> list[str]:
    """Split text into pieces; joined, the pieces are the text again.

    Raises:
      TypeError: the text is not a string.
      ConfigurationError: ``deltas`` are pieces that are not the text when joined.
    """
    if not isinstance(text, str):
        raise TypeError(f"the text of a step must be a string, not {text!r}")
    if deltas is None:
        words = text.split(" ")
        return [word + " " for word in words[:-1]] + ([words[-1]] if words[-1] else [])
    if isinstance(deltas, int):
        size = max(1, -(-len(text) // max(1, deltas)))
        return [text[at : at + size] for at in range(0, len(text), size)]
    if "".join(deltas) != text:
        raise ConfigurationError("the deltas of a step, joined, must be its text")
    return list(deltas)


def _only_steps(where: str, steps: Sequence[Step]) -> None:
    for step in steps:
        if not isinstance(step, Step):
            raise TypeError(f"{where} takes steps, for example Say('Hello'), not {step!r}")
