"""The outcome of a schedule of the relay's campaign, and what is wrong with it.

The invariants:

1. What a consumer received is exactly what was stored after its position, in order, each event
   once, also over reconnects and restarts of the relay; or it was given the number it missed.
2. A key is accepted once. Each accepted turn has exactly one end among the stored events, and a
   state that agrees with it; a refused one has none.
3. The server runs no message twice. A turn that was completed ran; one that was cancelled while it
   was queued did not.
4. The text of a completed turn, joined, is what the agent said, and each tool call is there once.
5. A turn ends as unknown only where it cannot be known: after a takeover, if the server was stopped
   at it or has forgotten the session, if it was sent twice and neither request was answered, if it
   followed a turn at which the server was stopped (whose end it is, is not known), and on the
   oldest servers.
6. Every turn ends, and no task is left.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING

import attrs

from tests.support.relay_memory_log import MemoryStore
from tests.support.relay_world import ends_of, logged, text_of
from trio_mix.relay._records import TurnState
from trio_mix.testing import Say, UseTool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support.relay_schedules import Schedule
    from trio_mix.relay._records import TurnRecord
    from trio_mix.sse import ServerSentEvent

DENIED = "I was not given permission, so I did not do it."
"""What the bundled server's agent says if a request was denied."""


@attrs.define
class Consumed:
    """What one consumer received."""

    relay: bool
    first: int | None = None
    position: int = 0
    frames: list[ServerSentEvent] = attrs.field(factory=list)
    skipped: list[tuple[int, int]] = attrs.field(factory=list)
    """The ranges that were reported as missed: after, up to."""


@attrs.define
class Run:
    """The outcome of a schedule."""

    schedule: Schedule
    store: MemoryStore = attrs.field(factory=MemoryStore)
    turns: dict[str, list[str]] = attrs.field(factory=dict)
    """The turn ids that a message was accepted with."""
    cancelled: set[str] = attrs.field(factory=set)
    consumed: list[Consumed] = attrs.field(factory=list)
    runs: Counter[str] = attrs.field(factory=Counter)
    killed: set[str] = attrs.field(factory=set)
    """The messages that the server broke off, because it was stopped or a stream was closed."""
    stored: list[dict[str, object]] = attrs.field(factory=list)
    happened: Counter[str] = attrs.field(factory=Counter)
    timeline: str = ""
    left: int = 0
    hung: bool = False


def decoded(data: bytes) -> list[ServerSentEvent]:
    from trio_mix.sse import SSEDecoder

    return SSEDecoder().feed(data)


def judge(run: Run) -> list[str]:
    """Return what is wrong with a run."""
    wrong: list[str] = []
    if run.hung:
        open_turns = [turn for turn in run.store.turns.values() if not turn.state.over]
        wrong.append(f"not ended: {[(turn.request.text, turn.state) for turn in open_turns]}")
    if run.left:
        wrong.append(f"{run.left} tasks are left")
    for session_id, events in run.store.history.items():
        ids = [event.id for event in events]
        if ids != sorted(set(ids)):
            wrong.append(f"ids of {session_id} do not increase")
        frames = logged(events, relay=True)
        for turn in run.store.turns.values():
            wrong += _judge_turn(run, turn, frames)
        for consumed in run.consumed:
            wrong += _judge_consumer(run, consumed, session_id)
    for text, ids_of_turns in run.turns.items():
        if len(set(ids_of_turns)) > 1:
            wrong.append(f"the key of {text!r} was accepted {len(set(ids_of_turns))} times")
    for text, times in run.runs.items():
        if times > 1:
            wrong.append(f"{text!r} ran {times} times")
    return wrong


def _judge_turn(run: Run, turn: TurnRecord, frames: Sequence[ServerSentEvent]) -> list[str]:
    wrong: list[str] = []
    text, name = turn.request.text, f"{turn.request.text} ({turn.state.value})"
    ends = [end for end in ends_of(frames) if end.turn_id == turn.turn_id]
    refused = turn.outcome is not None and turn.outcome.kind == "refused"
    if turn.state.over and len(ends) != 1 and not (refused and not ends):
        wrong.append(f"{name} has {len(ends)} ends")
    if not turn.state.over:
        return wrong
    if turn.outcome is None:
        return [*wrong, f"{name} has no outcome"]
    if turn.outcome.kind == "complete":
        if run.runs[text] != 1:
            wrong.append(f"{name} ran {run.runs[text]} times")
        wrong += _judge_text(run, turn, frames)
        if ends and ends[0].event != "complete":
            wrong.append(f"{name} was completed and its end is {ends[0]}")
    if turn.state is TurnState.UNKNOWN and not (
        text in run.killed
        or run.happened["takeover"]
        or run.happened["forgotten"]
        or run.schedule.api == "pipeline-oldest"
        or "it was sent again and did not arrive" in (turn.outcome.error or "")
        or (run.killed and "ran at the same time" in (turn.outcome.error or ""))
    ):
        wrong.append(f"{name}: {turn.outcome.error}")
    if turn.state is TurnState.CANCELLED and turn.turn_id not in run.cancelled:
        wrong.append(f"{name} was not to be cancelled")
    return wrong


def _judge_text(run: Run, turn: TurnRecord, frames: Sequence[ServerSentEvent]) -> list[str]:
    wrong: list[str] = []
    text, name = turn.request.text, turn.request.text
    assert turn.outcome is not None
    steps = list(run.schedule.messages[text][0].steps)
    expected = "".join(step.text for step in steps if isinstance(step, Say))
    oldest = run.schedule.api == "pipeline-oldest"
    if oldest:
        if text in run.killed:
            return []  # what is stored does not show that the turn was not finished
        # Its events have the text of the last assistant message only, which a tool begins.
        tools = [number for number, step in enumerate(steps) if isinstance(step, UseTool)]
        last = steps[tools[-1] :] if tools else steps
        if turn.outcome.text.replace(DENIED, "") != expected:
            expected = "".join(step.text for step in last if isinstance(step, Say))
    if turn.outcome.text.replace(DENIED, "") != expected:
        wrong.append(f"{name}: its outcome's text is {turn.outcome.text!r}, not {expected!r}")
    if not oldest:
        received = text_of(frames, turn.turn_id).replace(DENIED, "")
        if received != expected:
            wrong.append(f"{name}: the text of its events is {received!r}, not {expected!r}")
    calls = Counter(
        json.loads(frame.data)["id"]
        for frame in frames
        if frame.event == "tool_use_start" and f'"turnId":"{turn.turn_id}"' in frame.data
    )
    used = sum(isinstance(step, UseTool) for step in run.schedule.messages[text][0].steps)
    if run.schedule.api == "async" and (len(calls) != used or set(calls.values()) - {1}):
        wrong.append(f"{name}: {used} tool calls, and its events have {dict(calls)}")
    return wrong


def _judge_consumer(run: Run, consumed: Consumed, session_id: str) -> list[str]:
    if consumed.first is None:
        return []
    pipeline = run.schedule.api.startswith("pipeline")
    expected = [
        decoded(shown)[0]
        for event in run.store.history[session_id]
        if consumed.first < event.id <= consumed.position
        and not any(after < event.id <= up_to for after, up_to in consumed.skipped)
        and (shown := event.shown(relay=consumed.relay, pipeline=pipeline))
    ]
    if consumed.frames == expected:
        return []
    got, due = [frame.id for frame in consumed.frames], [frame.id for frame in expected]
    return [f"a consumer received {got}, not {due}"]


@attrs.define
class Figures:
    """The sums over many runs."""

    runs: int = 0
    turns: Counter[str] = attrs.field(factory=Counter)
    events: int = 0
    received: int = 0
    happened: Counter[str] = attrs.field(factory=Counter)

    def add(self, run: Run) -> None:
        self.runs += 1
        self.turns += Counter(turn.state.value for turn in run.store.turns.values())
        self.events += sum(map(len, run.store.history.values()))
        self.received += sum(len(consumed.frames) for consumed in run.consumed)
        self.happened += run.happened

    def __str__(self) -> str:
        return (
            f"{self.runs} schedules, turns {dict(self.turns)}, {self.events} events stored,"
            f" {self.received} received, accidents {dict(self.happened)}"
        )
