"""What completes a turn of which events were lost: the events between two parts of it.

What was appended of a turn is not changed. Where it is the beginning of what is stored, the rest is
appended: text, tool calls, and then what was received after the hole, unless that is not the end of
what is stored. Where it is not the beginning, nothing is added.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import attrs

from trio_mix._reply import ToolCall
from trio_mix.relay._outbox import Draft

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trio_mix.relay._records import Outcome

_SHORTEST_OVERLAP: Final = 16
"""Characters that must agree before events are released in the middle of a turn."""
_MOST_OVERLAPS: Final = 100
"""How many places of a text are compared with another text: it may repeat itself."""


@attrs.frozen(kw_only=True)
class WireStyle:
    """How a server's events look."""

    ids: bool = True
    """Whether events name their assistant message."""
    tool_use: bool = True
    """Whether tool calls are ``tool_use_*`` events, not ``tool``."""
    deltas: bool = True
    """Whether text comes in pieces before ``complete``."""


@attrs.frozen(kw_only=True)
class Round:
    """One assistant message of a turn, as it is stored: its text comes before its tool calls."""

    message_id: str | None = None
    text: str = ""
    calls: Sequence[ToolCall] = ()


@attrs.define
class CallSeen:
    """What the events of a tool call have shown."""

    announced: bool = False
    complete: bool = False
    finished: bool = False


def bridge(
    rounds: Sequence[Round],
    *,
    seen: str,
    held: str,
    calls: Mapping[str, CallSeen],
    later_calls: Mapping[str, CallSeen],
    style: WireStyle,
    tail: bool = False,
) -> tuple[list[Draft], bool] | None:
    """Return the events of a turn between what was appended and what was received after a hole.

    Args:
      rounds: the whole turn, as it is stored.
      seen: the top-level text that was appended.
      held: the top-level text that was received after the hole.
      calls: the tool calls in what was appended.
      later_calls: the tool calls in what was received after the hole.
      style: how the server's events look.
      tail: whether the beginning of what was appended is not kept any more: what is left of it must
        be found exactly once.

    Returns:
      The events, and whether what was received after the hole follows them; it does not if it is
      not the end of what is stored: the events then reach to the end. None: what was appended is
      not the beginning of what is stored.
    """
    whole = "".join(each.text for each in rounds)
    first = 0
    if tail:
        found = _locate(rounds, whole, seen, calls)
        if found is None:
            return None
        first, seen = found
        calls = {name: attrs.evolve(call, announced=True) for name, call in calls.items()}
    if not whole.startswith(seen):
        return None
    end = len(whole) - len(held)
    follows = end >= len(seen) and whole.endswith(held)
    if not follows:
        end, later_calls = len(whole), {}
    drafts: list[Draft] = []
    at = 0
    for number, each in enumerate(rounds):
        start, at = at, at + len(each.text)
        missing = whole[max(start, len(seen)) : min(at, end)]
        if missing and style.deltas:
            drafts.append(_text(missing, each.message_id, style))
        # A call follows the text of its round. Where that was received, so was the call.
        if at <= end and number >= first:
            for call in each.calls:
                drafts += _call(call, each.message_id, calls, later_calls, style)
    return drafts, follows


def overlap(whole: str, start: int, before: str, now: str) -> int | None:
    """Find where the text that was received after a hole begins in what is stored of a turn.

    What is stored contains what was received before it was read, and perhaps more, which is
    received soon. So the stored text ends with the beginning of what was received.

    Args:
      whole: the text that is stored of the turn.
      start: where what was appended before the hole ends.
      before: what had been received after the hole when the stored messages were asked for.
      now: what has been received after the hole since.

    Returns:
      The position; None if there is none, or more than one.
    """
    if len(before) < _SHORTEST_OVERLAP:
        return None
    last = len(whole) - len(before)
    first = max(start, len(whole) - len(now))
    found = [
        at
        for at in range(first, last + 1)
        if whole.startswith(before, at) and now.startswith(whole[at:])
    ]
    return found[0] if len(found) == 1 else None


def joined(seen: str, last: str) -> str | None:
    """Return the text of a turn up to its end, where its beginning and its last message overlap.

    Args:
      seen: the top-level text of the turn up to some point.
      last: the text of its last assistant message, whole.

    Returns:
      The text; None if they overlap nowhere, or by too little to be certain.
    """
    head = last[:_SHORTEST_OVERLAP]
    at = max(0, len(seen) - len(last)) - 1
    for _ in range(_MOST_OVERLAPS if len(head) == _SHORTEST_OVERLAP else 0):
        at = seen.find(head, at + 1)
        if at < 0:
            break
        if last.startswith(seen[at:]):
            return seen[:at] + last
    return None


def _locate(
    rounds: Sequence[Round], whole: str, seen: str, calls: Mapping[str, CallSeen]
) -> tuple[int, str] | None:
    """Find what is left of what was appended in a turn.

    Returns:
      The number of the round in which it begins, and all text up to its end; None if it is not
      found, or more than once.
    """
    if not seen:
        named = [
            number
            for number, each in enumerate(rounds)
            if any(call.tool_call_id in calls for call in each.calls)
        ]
        if not named:
            return None
        return named[0], "".join(each.text for each in rounds[: named[-1] + 1])
    before = whole.find(seen)
    if before < 0 or before != whole.rfind(seen):
        return None
    first, at = 0, len(rounds[0].text)
    while at <= before:
        first += 1
        at += len(rounds[first].text)
    return first, whole[: before + len(seen)]


def _text(text: str, message_id: str | None, style: WireStyle) -> Draft:
    return Draft("content", _data("content", {"content": text}, message_id, style))


def _call(
    call: ToolCall,
    message_id: str | None,
    calls: Mapping[str, CallSeen],
    later_calls: Mapping[str, CallSeen],
    style: WireStyle,
) -> list[Draft]:
    """Return the events of a tool call that are missing."""
    before = calls.get(call.tool_call_id, CallSeen())
    after = later_calls.get(call.tool_call_id, CallSeen())
    named: dict[str, object] = {"id": call.tool_call_id, "name": call.name}
    drafts: list[Draft] = []
    if not style.tool_use:
        if not (before.complete or after.announced):
            fields = {**named, "input": call.input, "status": "completed"}
            drafts.append(Draft("tool", _data("tool", fields, message_id, style)))
        return drafts
    if not (before.announced or after.announced):
        start = _data("tool_use_start", named, message_id, style)
        drafts.append(Draft("tool_use_start", start))
    if not (before.complete or after.complete):
        name = "tool_use_parameter_streaming_complete"
        drafts.append(Draft(name, _data(name, {**named, "input": call.input}, message_id, style)))
    if call.finished and not (before.finished or after.finished):
        name = "tool_execution_complete"
        fields = {
            "toolCallId": call.tool_call_id,
            "toolName": call.name,
            "progress": f"{call.name} done",
            "success": call.success is not False,
        }
        drafts.append(Draft(name, _data(name, fields, None, style)))
    return drafts


def _data(name: str, fields: Mapping[str, object], message_id: str | None, style: WireStyle) -> str:
    data: dict[str, object] = {"type": name, **fields}
    if message_id is not None and style.ids:
        data["assistantMessageId"] = message_id
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def rounds_of(outcome: Outcome) -> list[Round]:
    """Return a reply as rounds, where its stored messages could not be read.

    Its tool calls are put before the last assistant message: no more is known of their place.
    """
    calls = [
        ToolCall(
            tool_call_id=str(call["id"]),
            name=str(call["name"]),
            input=str(call["input"]),
            finished=bool(call["finished"]),
        )
        for call in outcome.tool_calls
    ]
    last = Round(message_id=outcome.message_id, text=outcome.final_text)
    if not (calls and outcome.text.endswith(outcome.final_text)):
        return [Round(message_id=outcome.message_id, text=outcome.text, calls=calls)]
    before = outcome.text[: len(outcome.text) - len(outcome.final_text)]
    return [Round(text=before, calls=calls), last]
