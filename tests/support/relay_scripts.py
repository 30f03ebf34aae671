"""Turns as a server makes them, for the relay's rules about turns."""

from __future__ import annotations

import itertools
import json
from typing import TYPE_CHECKING

import attrs
from hypothesis import strategies as st

from trio_mix import ToolCall
from trio_mix.relay._bridge import Round
from trio_mix.relay._outbox import Draft
from trio_mix.relay._records import Outcome
from trio_mix.relay._turn_events import SessionEvents
from trio_mix.sse import ServerSentEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Script", "frame", "outline", "plain", "rounds_at", "scripts", "session_events"]


def frame(name: str, /, **data: object) -> ServerSentEvent:
    return ServerSentEvent(id="7", event=name, data=json.dumps({"type": name, **data}))


def session_events(**options: object) -> SessionEvents:
    numbers = itertools.count(1)
    return SessionEvents(lambda: f"foreign {next(numbers)}", **options)  # type: ignore[arg-type]


@attrs.frozen
class Script:
    """A turn as a server makes it: its events, and its rounds as they are stored."""

    frames: Sequence[ServerSentEvent]
    rounds: Sequence[Round]

    @property
    def text(self) -> str:
        return "".join(each.text for each in self.rounds)

    @property
    def outcome(self) -> Outcome:
        last = self.rounds[-1]
        return Outcome(
            kind="complete", text=self.text, final_text=last.text, message_id=last.message_id
        )


@st.composite
def scripts(draw: st.DrawFn, *, ids: bool | None = None) -> Script:
    ids = draw(st.booleans()) if ids is None else ids
    frames: list[ServerSentEvent] = []
    rounds: list[Round] = []
    message = ""
    if ids:
        frames.append(frame("user_message_created", messageId="u1", content="hi"))
    for number in range(draw(st.integers(1, 4))):
        message = f"m{number}"
        named = {"assistantMessageId": message} if ids else {}
        deltas = draw(st.lists(st.sampled_from(["a", "b", "aa", "ab\n"]), max_size=4))
        frames += [frame("content", content=delta, **named) for delta in deltas]
        calls = []
        for index in range(draw(st.integers(0, 2))):
            call = f"c{number}.{index}"
            calls.append(ToolCall(tool_call_id=call, name="bash", input='{"x":1}', finished=True))
            about = {"id": call, "name": "bash", **named}
            whole = {**about, "input": '{"x":1}'}
            if ids:
                frames.append(frame("tool_use_start", **about))
                delta = {"toolCallId": call, "input": '{"x":1}', **named}
                frames.append(frame("tool_use_parameter_delta", **delta))
                frames.append(frame("tool_use_parameter_streaming_complete", **whole))
                ran = {"toolCallId": call, "toolName": "bash", "progress": "", "success": True}
                frames.append(frame("tool_execution_start", **ran))
                frames.append(frame("tool_execution_complete", **ran))
            else:
                frames.append(frame("tool", **about, input="", status="running"))
                frames.append(frame("tool", **whole, status="completed"))
        rounds.append(Round(message_id=message, text="".join(deltas), calls=calls))
    frames.append(frame("complete", done=True, content=rounds[-1].text, messageId=message))
    return Script(frames, rounds)


def outline(drafts: Sequence[Draft]) -> list[object]:
    """Return the text, joined, and the first event of each call, in order."""
    found: list[object] = []
    calls: set[str] = set()
    for draft in drafts:
        data = json.loads(draft.data)
        if draft.event == "content":
            if found and isinstance(found[-1], str):
                found[-1] += data["content"]
            else:
                found.append(data["content"])
        elif draft.event in ("tool_use_start", "tool") and data["id"] not in calls:
            calls.add(data["id"])
            found.append((data["id"],))
    return [each for each in found if each != ""]


def plain(frames: Sequence[ServerSentEvent]) -> list[Draft]:
    return [Draft(each.event, each.data) for each in frames]


def rounds_at(script: Script, last: int) -> list[Round]:
    """Return what is stored of a turn when the server has sent its events up to one."""
    sent = script.frames[: last + 1]
    texts: dict[str, str] = {}
    calls: set[str] = set()
    for each in sent:
        data = json.loads(each.data)
        if each.event == "content":
            texts[data["assistantMessageId"]] = (
                texts.get(data["assistantMessageId"], "") + data["content"]
            )
        elif each.event == "tool_use_start":
            texts.setdefault(data["assistantMessageId"], "")
            calls.add(data["id"])
    return [
        attrs.evolve(
            each,
            text=texts[each.message_id],
            calls=[call for call in each.calls if call.tool_call_id in calls],
        )
        for each in script.rounds
        if each.message_id in texts
    ]
