"""A send in the wire format of a generation: its body to a `SendRequest`, its turn to an answer.

What a body holds that a `SendRequest` does not know is for the server to judge: `parse_send`
returns None for it, and the request is passed on as it is.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, Literal, TypeAlias, cast, get_args

import attrs

from trio_mix._json import NotJSON, parse
from trio_mix.models import ThinkingLevel
from trio_mix.relay._problem import Problem
from trio_mix.relay._records import SendRequest, TurnState

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_mix.relay._exchange import RequestHead
    from trio_mix.relay._records import TurnRecord

SendPath: TypeAlias = Literal["pipeline", "rest"]
"""Which of the two operations sends a message."""

_MAX_KEY: Final = 255
_PIPELINE: Final = frozenset({"text", "plan_mode", "media", "apps"})
_BLOCKING: Final = frozenset({"text", "plan_mode"})
_ASYNC: Final = frozenset({"text", "plan_mode", "thinking_level", "max_steps"})


@attrs.frozen
class Send:
    """A message, and the text by which two sends of one key are compared."""

    request: SendRequest
    canonical: str


def parse_send(body: bytes, path: SendPath, generation: str) -> Send | None:
    """Return the message in a request's body, or None if it must be passed on as it is."""
    value = _decode(body)
    if path == "pipeline":
        content = value.get("content") if isinstance(value, dict) else None
        if not isinstance(content, str) or len(cast("dict[str, object]", value)) != 1:
            return None
        value = _decode(content.encode("utf-8", "surrogatepass"))
    if not isinstance(value, dict):
        return None
    if path == "pipeline" or generation.startswith("pipeline"):
        known = _PIPELINE
    else:
        known = _ASYNC if generation == "async" else _BLOCKING
    fields = cast("dict[str, object]", value)
    request = _request(fields) if fields.keys() <= known else None
    if request is None:
        return None
    canonical = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return Send(request, canonical)


def _decode(body: bytes) -> object:
    try:
        return parse(body)
    except NotJSON:
        return None


def _request(fields: Mapping[str, object]) -> SendRequest | None:
    text, plan_mode = fields.get("text"), fields.get("plan_mode", False)
    level, steps = fields.get("thinking_level"), fields.get("max_steps")
    media, apps = _texts(fields.get("media")), _texts(fields.get("apps"))
    valid = (
        isinstance(text, str)
        and text
        and isinstance(plan_mode, bool)
        and (level is None or level in get_args(ThinkingLevel))
        and (steps is None or (isinstance(steps, int) and steps is not True and steps > 0))
        and media is not None
        and apps is not None
    )
    if not valid:
        return None
    return SendRequest(
        text=cast("str", text),
        plan_mode=cast("bool", plan_mode),
        thinking_level=cast("ThinkingLevel | None", level),
        max_steps=cast("int | None", steps),
        media=media or (),
        apps=apps or (),
    )


def _texts(value: object) -> tuple[str, ...] | None:
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        return None
    return tuple(cast("list[str]", value))


def idempotency_key(head: RequestHead) -> str | None:
    """Return the idempotency key of a request.

    Raises:
      Problem: it is empty, too long or not printable.
    """
    key = head.headers.get("idempotency-key")
    if key is None:
        return None
    if not key or len(key) > _MAX_KEY or not (key.isascii() and key.isprintable()):
        raise Problem(400, f"Idempotency-Key must have 1 to {_MAX_KEY} printable ASCII characters")
    return key


def wants_async(head: RequestHead) -> bool:
    """Return whether a client does not want to wait for the end of the turn (RFC 7240)."""
    preferences = head.headers.get("prefer", "").lower().split(",")
    return any(each.partition(";")[0].strip() == "respond-async" for each in preferences)


def is_slash_command(text: str) -> bool:
    """Return whether a message is a command, which the server answers in the response."""
    return text.startswith("/")


def accepted_answer(turn: TurnRecord, path: SendPath) -> tuple[int, bytes]:
    """Return the answer to a send whose turn is not over."""
    status = "broadcasted" if path == "pipeline" else "processing"
    fields = {"status": status, "sessionId": turn.session_id, "turnId": turn.turn_id}
    return (200 if path == "pipeline" else 202), json_body(fields)


def finished_answer(turn: TurnRecord) -> tuple[int, bytes]:
    """Return the answer to a send whose turn is over.

    Raises:
      Problem: the turn failed.
    """
    outcome = turn.outcome
    if turn.answer is not None:
        return turn.answer.status, turn.answer.body
    if turn.state is not TurnState.DONE or outcome is None or outcome.kind != "complete":
        why = (outcome.error if outcome else None) or f"the outcome of the turn is {turn.state}"
        raise Problem(500, why, headers=[("Mix-Turn", turn.turn_id)])
    fields = {
        "id": outcome.message_id or "",
        "sessionId": turn.session_id,
        "role": "user",
        "userInput": turn.request.text,
        "assistantResponse": outcome.final_text or outcome.text,
        "turnId": turn.turn_id,
    }
    return 200, json_body(fields)


def json_body(fields: object) -> bytes:
    """Return the body of a response."""
    return (json.dumps(fields) + "\n").encode()
