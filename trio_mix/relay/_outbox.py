"""The states of a send, and how it ends.

Rule 1  A turn goes from *accepted* over *posting* and *running* to *done*, *unknown* or
        *cancelled*, by the table `TRANSITIONS`. Its ticket is stored before it is posting.
Rule 2  After a restart, a turn that was *posting* is sent again only if the stored messages show
        that it never arrived. After a takeover it is never sent again: the previous owner may have
        been stopped between its last look at the lease and the POST.
Rule 3  A turn that was never accepted has no end in the log, if its sender receives the refusal.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import attrs

from trio_mix import errors
from trio_mix.relay._records import Answer, Audience, Outcome, TurnState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_mix._reply import Reply
    from trio_mix.relay._records import OutcomeKind

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
        incomplete=reply.incomplete,
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
