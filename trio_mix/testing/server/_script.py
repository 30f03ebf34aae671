"""The script language: what the agent does for a message, step by step.

What it knows: the names and fields of the steps.
What it must never know: how a step is carried out, or what it looks like on the wire.

A turn is a sequence of steps and reads like one::

    server.script(
        "List the files here",
        Turn(
            Think("The user wants to see files."),
            UseTool("glob", {"pattern": "*"}, result="README.md"),
            Say("There is one file, README.md."),
        ),
    )

Rules:

1. A turn ends by itself with ``complete``; only `Fail`, and `RateLimit` on servers that
   end turns with it, end it in another way. A turn that must not end holds a `Hang`.
2. Steps that a generation cannot express are carried out without being seen: an oldest server
   thinks in silence, only async servers show what sub-agents do.
3. A turn is a value. It may be used for many messages, on many servers, at once.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import attrs
import trio  # noqa: TC002 - for typing.get_type_hints

__all__ = [
    "AskPermission",
    "Complete",
    "Deltas",
    "Do",
    "Drop",
    "Emit",
    "Fail",
    "Hang",
    "How",
    "LateDelta",
    "Notify",
    "Pause",
    "RateLimit",
    "Raw",
    "Say",
    "Step",
    "SubAgent",
    "Think",
    "Turn",
    "UseTool",
    "UseTools",
    "WaitFor",
    "split_text",
]

How: TypeAlias = Literal["cut", "close", "reset"]
"""How a connection is lost: without the final chunk, cleanly, or with a TCP reset."""

Deltas: TypeAlias = int | Sequence[str] | None
"""How text is cut: a number of pieces, the pieces themselves, or one per word."""


@attrs.frozen
class Think:
    """Reason, in ``thinking`` deltas."""

    text: str
    """The reasoning."""
    deltas: Deltas = None
    """How the text is cut."""

    def __attrs_post_init__(self) -> None:
        split_text(self.text, self.deltas)  # fails where the script is written, not where it runs


@attrs.frozen
class Say:
    """Answer, in ``content`` deltas."""

    text: str
    """The text."""
    deltas: Deltas = None
    """How the text is cut."""

    def __attrs_post_init__(self) -> None:
        split_text(self.text, self.deltas)  # fails where the script is written, not where it runs


@attrs.frozen
class UseTool:
    """Call a tool: parameters, start, end. The call ends a model round."""

    name: str
    """The tool's name as it shall appear."""
    input: Mapping[str, object] | str = attrs.field(factory=dict[str, object])
    """The parameters, as a mapping or as the very text."""
    result: str = "done"
    """What the tool returned; stored, never on the stream."""
    success: bool = True
    """Whether the tool succeeded."""
    steps: Sequence[Step] = ()
    """What happens between the tool's start and its end."""

    def __attrs_post_init__(self) -> None:
        _only_steps("UseTool(steps=...)", self.steps)


@attrs.frozen(init=False)
class UseTools:
    """Call several tools in one round, side by side."""

    calls: tuple[UseTool, ...]
    """The calls, in order."""

    def __init__(self, *calls: UseTool) -> None:
        object.__setattr__(self, "calls", calls)


@attrs.frozen
class AskPermission:
    """Ask the user for permission and wait for the answer, or for the server's timeout."""

    tool_name: str = "bash"
    """The tool that wants it."""
    then: Sequence[Step] = ()
    """What is done when it is granted."""
    otherwise: Sequence[Step] | None = None
    """What is done when it is not; None: the agent says so."""
    action: str = "execute"
    """What the tool would do."""
    description: str = "Run a command"
    """For the user to read."""
    params: Mapping[str, object] = attrs.field(factory=dict[str, object])
    """The tool's parameters."""
    path: str = ""
    """The path concerned, if any."""
    torn: bool = False
    """Whether another frame is written into the middle of the request's, which ruins it."""

    def __attrs_post_init__(self) -> None:
        _only_steps("AskPermission(then=...)", self.then)
        _only_steps("AskPermission(otherwise=...)", self.otherwise or ())


@attrs.frozen
class Notify:
    """Show the user a notification and, if it asks, wait for the response."""

    message: str
    """What it says."""
    title: str = "Mix"
    """Its title."""
    kind: Literal["info", "warning", "error", "question"] = "info"
    """The ``notificationType``."""
    response: Literal["acknowledge", "text", "choice"] = "acknowledge"
    """The ``responseType``."""
    choices: Sequence[str] = ()
    """What can be chosen from."""
    timeout: float = 60.0
    """Seconds until the agent goes on without an answer."""
    wait: bool = True
    """Whether the turn waits for the response."""


@attrs.frozen(init=False)
class SubAgent:
    """Have a sub-agent do some steps; its events name the tool call that it works for."""

    steps: tuple[Step, ...]
    """What the sub-agent does."""
    task: str
    """What it is told to do."""

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
    """The error's class, as ``authentication_error``."""
    times: int | None = None
    """How often it is told; None: as the generation does."""
    retry_after: int | None = None
    """The event's ``retryAfter``."""


@attrs.frozen
class RateLimit:
    """Be told by the model's provider to wait: ``rate_limit_error``."""

    retry_after: int = 60
    """Seconds, as real servers say it."""
    attempt: int = 1
    """Which try this was."""
    max_attempts: int = 8
    """How many there are."""


@attrs.frozen
class Hang:
    """Do nothing until the turn is cancelled."""


@attrs.frozen
class Drop:
    """Lose the session's connections here, after what was said so far has been written."""

    how: How = "cut"
    """In which way."""


@attrs.frozen
class Pause:
    """Let time pass, on Trio's clock."""

    seconds: float
    """How much."""


@attrs.frozen
class WaitFor:
    """Wait for an event of the test's."""

    event: trio.Event
    """What to wait for."""


@attrs.frozen
class Do:
    """Call an async function of the test's at this point of the turn."""

    function: Callable[[], Awaitable[object]]
    """What to call."""


@attrs.frozen
class Raw:
    """Write bytes as they are: a torn frame, garbage, half a line."""

    data: bytes
    """What to write."""
    past_framing: bool = False
    """Whether to write past the chunked encoding, which breaks HTTP itself."""


@attrs.frozen
class Emit:
    """Send an event of any name, as no class of the client may know it."""

    name: str
    """The SSE event's name."""
    data: Mapping[str, object] = attrs.field(factory=dict[str, object])
    """The payload."""


@attrs.frozen
class LateDelta:
    """Send a ``content`` delta after the turn's end, that belongs to no message's text."""

    text: str
    """The delta."""


@attrs.frozen
class Complete:
    """Say how the turn ends; without it, ``complete`` simply comes last."""

    overtakes: int = 0
    """How many of the last deltas come after it."""
    times: int = 1
    """How often it is sent."""


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
    | Pause
    | WaitFor
    | Do
    | Raw
    | Emit
    | LateDelta
    | Complete
)
"""One thing that the agent, or the network, does."""


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


def split_text(text: str, deltas: Deltas) -> list[str]:
    """Cut text as a step says; joined, the pieces are the text again.

    Raises:
      ValueError: the pieces that the step names are not those of its text.
    """
    if deltas is None:
        words = text.split(" ")
        return [word + " " for word in words[:-1]] + ([words[-1]] if words[-1] else [])
    if isinstance(deltas, int):
        size = max(1, -(-len(text) // max(1, deltas)))
        return [text[at : at + size] for at in range(0, len(text), size)]
    if "".join(deltas) != text:
        raise ValueError("the deltas of a step must be its text, cut in pieces")
    return list(deltas)


def _only_steps(where: str, steps: Sequence[Step]) -> None:
    for step in steps:
        if not isinstance(step, Step):
            raise TypeError(f"{where} takes steps, as Say('Hello'), not {step!r}")
