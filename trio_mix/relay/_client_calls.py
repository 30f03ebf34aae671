"""Calls of a `RelayClient` that are answered, and a turn's reply as the relay has stored it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

from trio_mix._reply import Reply, ToolCall
from trio_mix.errors import clone_error
from trio_mix.relay._errors import CommandRefused

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trio_mix.relay._client_link import Call, RelayLink

__all__ = ["answer_of", "carry_out", "reply_of"]


def reply_of(stored: Mapping[str, Any]) -> Reply:
    """Return the reply of a turn as the relay has stored it."""
    calls = tuple(
        ToolCall(
            tool_call_id=str(call.get("id", "")),
            name=str(call.get("name", "")),
            input=str(call.get("input", "")),
            input_complete=True,
            finished=bool(call.get("finished")),
        )
        for call in stored.get("toolCalls") or ()
    )
    return Reply(
        text=stored.get("text", ""),
        final_text=stored.get("finalText", ""),
        reasoning=stored.get("reasoning", ""),
        tool_calls=calls,
        message_id=stored.get("messageId"),
        user_message_id=stored.get("userMessageId"),
        recovered=True,
        incomplete=bool(stored.get("incomplete")),
    )


async def answer_of(link: RelayLink, key: str, call: Call) -> Mapping[str, Any]:
    """Wait for the answer of a call.

    Raises:
      StreamError, RelayError: the link has ended.
    """
    try:
        await call.done.wait()
    finally:
        link.end_call(key, call)
    if call.failure is not None:
        raise clone_error(call.failure) from call.failure.__cause__
    assert call.answer is not None  # noqa: S101 - done without a failure
    return call.answer


async def carry_out(link: RelayLink, message: Mapping[str, object]) -> None:
    """Carry out a cancel or a decision.

    Raises:
      CommandRefused: the relay refused it.
      StreamError, RelayError: the link has ended.
    """
    key = uuid4().hex
    answer = await answer_of(link, key, link.start_call(key, message))
    if answer["type"] == "refused":
        raise CommandRefused(
            f"The relay refused to {message['type']}: {answer['error']}",
            status_code=answer["status"],
        )
