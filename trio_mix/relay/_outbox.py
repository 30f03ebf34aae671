"""The states of a send, how it ends, and what completes a turn of which events were lost.

Rule 1  A turn goes from *accepted* over *posting* and *running* to *done*, *unknown* or
        *cancelled*, by the table `TRANSITIONS`. Its ticket is stored before it is posting.
Rule 2  After a restart, a turn that was *posting* is sent again only if the stored messages show
        that it never arrived. After a takeover it is never sent again: the previous owner may have
        been stopped between its last look at the lease and the POST.
Rule 3  What was appended of a turn is not changed. Where it is the beginning of what is stored, the
        rest is appended: text, tool calls, and then what was received after the hole, unless that
        is not the end of what is stored. Where it is not the beginning, nothing is added.
Rule 4  A turn that was never accepted has no end in the log, if its sender receives the refusal.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import attrs

from trio_mix import errors
from trio_mix._reply import ToolCall
from trio_mix.relay._records import Answer, Audience, Outcome, TurnState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trio_mix._reply import Reply
    from trio_mix.relay._records import OutcomeKind

__all__ = [
    "TRANSITIONS",
    "CallSeen",
    "Draft",
    "Round",
    "WireStyle",
    "bridge",
    "may_resend",
    "outcome_of_failure",
    "outcome_of_reply",
    "overlap",
    "refusal",
    "with_turn_id",
]

_S = TurnState

TRANSITIONS: Final[Mapping[TurnState, frozenset[TurnState]]] = {
    _S.ACCEPTED: frozenset({_S.POSTING, _S.DONE, _S.UNKNOWN, _S.CANCELLED}),
    _S.POSTING: frozenset({_S.ACCEPTED, _S.RUNNING, _S.DONE, _S.UNKNOWN, _S.CANCELLED}),
    _S.RUNNING: frozenset({_S.DONE, _S.UNKNOWN, _S.CANCELLED}),
    _S.DONE: frozenset(),
    _S.UNKNOWN: frozenset(),
    _S.CANCELLED: frozenset(),
}
"""The states that can follow each state. *Accepted* follows *posting* if no byte was sent."""


def may_resend(state: TurnState, *, takeover: bool) -> bool:
    """Return whether a turn that was found in a state may be sent again (rule 2)."""
    return state is _S.ACCEPTED or (state is _S.POSTING and not takeover)


# -- how a turn ends ---------------------------------------------------------------------------


def outcome_of_reply(reply: Reply, *, kind: OutcomeKind = "complete") -> Outcome:
    """Return the outcome of a turn that has a reply."""
    return Outcome(
        kind=kind,
        text=reply.text,
        final_text=reply.final_text,
        message_id=reply.message_id,
        user_message_id=reply.user_message_id,
        reasoning=reply.reasoning,
        tool_calls=tuple(
            {
                "id": call.tool_call_id,
                "name": call.name,
                "input": call.input,
                "finished": call.finished,
            }
            for call in reply.tool_calls
        ),
    )


def outcome_of_failure(
    failure: Exception, *, cancelling: bool
) -> tuple[TurnState, Outcome, Answer | None]:
    """Return the state and the outcome of a turn that failed, and the server's refusal, if any.

    Args:
      failure: what its message raised.
      cancelling: whether the relay was asked to cancel it.
    """
    partial = failure.partial if isinstance(failure, errors.MessageError) else None
    text = "" if partial is None else partial.text

    def ended(state: TurnState, kind: OutcomeKind, why: str) -> tuple[TurnState, Outcome, None]:
        return state, Outcome(kind=kind, text=text, error=why), None

    match failure:
        case errors.MessageRejected():
            answer = refusal(failure)
            return _S.DONE, Outcome(kind="refused", error=_reason(answer)), answer
        case errors.AgentError():
            why = failure.event.error
            if cancelling and "cancel" in why.lower():
                return ended(_S.CANCELLED, "cancelled", why)
            return ended(_S.DONE, "error", why)
        case errors.MessageInterrupted(outcome="unknown"):
            return ended(_S.UNKNOWN, "unknown", str(failure))
        case errors.MessageInterrupted(outcome="cancelled"):
            return ended(_S.CANCELLED, "cancelled", str(failure))
        case _:
            return ended(_S.DONE, "error", str(failure))


def refusal(rejected: errors.MessageRejected) -> Answer:
    """Return the server's answer to a message that it refused; the relay's own if there is none."""
    cause = rejected.__cause__
    if isinstance(cause, errors.MixError):
        return Answer(
            status=cause.status_code,
            content_type=cause.headers.get("content-type", "text/plain; charset=utf-8"),
            body=cause.body.encode("utf-8", "replace"),
        )
    error = {"code": 400, "message": str(rejected), "type": "invalid_request"}
    return Answer(
        status=400,
        content_type="application/json",
        body=json.dumps({"error": error}).encode(),
    )


def _reason(answer: Answer) -> str:
    return f"the server refused the message with HTTP {answer.status}"


_SHORTEST_OVERLAP: Final = 16
"""Characters that must agree before events are released in the middle of a turn."""


# -- what is appended --------------------------------------------------------------------------


@attrs.frozen
class Draft:
    """An event to append, which has no id yet."""

    event: str
    data: str
    audience: Audience = Audience.ALL


def with_turn_id(data: str, turn_id: str) -> str:
    """Return the data of an event with the turn's id; unchanged if it is no JSON object."""
    text = data if data.endswith("}") else data.rstrip()
    if not (text.startswith("{") and text.endswith("}")):
        return data
    separator = "," if '"' in text else ""
    return f'{text[:-1]}{separator}"turnId":"{turn_id}"}}'


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
      not the beginning of what is stored (rule 3).
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


def flat_round(outcome: Outcome) -> Round:
    """Return a reply as one round, where its stored messages could not be read."""
    calls = [
        ToolCall(
            tool_call_id=str(call["id"]),
            name=str(call["name"]),
            input=str(call["input"]),
            finished=bool(call["finished"]),
        )
        for call in outcome.tool_calls
    ]
    return Round(message_id=outcome.message_id, text=outcome.text, calls=calls)


def complete_draft(outcome: Outcome) -> Draft:
    """Return the ``complete`` of a turn whose own was lost."""
    fields: dict[str, object] = {"type": "complete", "content": outcome.final_text, "done": True}
    if outcome.message_id is not None:
        fields["messageId"] = outcome.message_id
    if outcome.reasoning:
        fields["reasoning"] = outcome.reasoning
    return Draft("complete", json.dumps(fields, ensure_ascii=False, separators=(",", ":")))


def error_draft(outcome: Outcome) -> Draft:
    """Return the ``error`` of a turn that has none of its own."""
    kind = {"unknown": "interrupted", "cancelled": "cancelled", "refused": "rejected"}
    fields = {
        "type": kind.get(outcome.kind, "interrupted"),
        "error": outcome.error or "the turn was interrupted",
    }
    return Draft("error", json.dumps(fields, ensure_ascii=False, separators=(",", ":")))
