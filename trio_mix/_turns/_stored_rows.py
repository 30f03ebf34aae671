"""Convert stored messages, in either of the server's two formats, to rows and to replies."""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, TypeVar

import attrs

from trio_mix import events as ev
from trio_mix._reply import ToolCall, Usage
from trio_mix.models import BackendMessage, ExportMessage, ExportToolCall, ToolCallData

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from trio_mix.events import Event

N = TypeVar("N", int, float)


@attrs.frozen(kw_only=True)
class StoredRow:
    """One stored message, from either of the server's two formats."""

    id: str
    role: str
    text: str = ""
    reasoning: str | None = None
    reasoning_duration: int | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    usage: Usage | None = None
    finish: str | None = None
    """The finish reason; empty while there is none, None if this format has no finish reasons."""
    joined: bool = False
    """Whether the server stores a question and its answer as one row, with the whole turn."""
    changed: float | None = None
    """When it changed last, in seconds of the server's clock; None: unknown."""


@attrs.frozen(kw_only=True)
class StoredReply:
    """The end of a turn as the HTTP answer or the stored messages have it."""

    texts: tuple[str, ...] = ()
    """The texts of the turn's assistant messages, in order; the last is the final one."""
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    message_id: str | None = None
    user_message_id: str | None = None
    reasoning_duration: int | None = None
    usage: Usage | None = None
    recovered: bool = False
    ends_with_call: bool = False
    """Whether the last of these messages called a tool."""


def rows_of(messages: Iterable[BackendMessage | ExportMessage]) -> list[StoredRow]:
    """Return stored messages as rows; a joined question and answer become two rows."""
    rows: list[StoredRow] = []
    for message in messages:
        if isinstance(message, ExportMessage):
            rows.append(
                StoredRow(
                    id=message.id,
                    role=message.role,
                    text=message.content,
                    reasoning=message.reasoning,
                    reasoning_duration=message.reasoning_duration,
                    tool_calls=_calls(message.tool_calls),
                    finish=message.finish_reason or "",
                    changed=_seconds(message.updated_at),
                )
            )
        else:
            rows += _rows_of_exchange(message, rows)
    return rows


def _seconds(time: datetime) -> float:
    return (time if time.tzinfo is not None else time.replace(tzinfo=UTC)).timestamp()


def _rows_of_exchange(message: BackendMessage, before: Sequence[StoredRow]) -> list[StoredRow]:
    rows: list[StoredRow] = []
    joined = message.role == "user" and bool(message.assistant_response)
    if message.role == "user":
        rows.append(StoredRow(id=message.id, role="user", text=message.user_input))
    elif message.user_input:
        asked = next((row for row in reversed(before) if row.role == "user"), None)
        # Real servers repeat the text of an answer in `userInput`: it is no question.
        echo = message.user_input == message.assistant_response
        echo = echo and asked is not None and not asked.joined
        # A joined row contains its question, even if the previous row has the same question,
        # unless the previous row has only called tools so far.
        only_tools = bool(before and before[-1].tool_calls and not before[-1].text)
        same = asked is not None and asked.text == message.user_input
        joined = not same or (asked is not None and asked.joined and not only_tools)
        joined = joined and not echo
        if joined:
            question = f"{message.id} user"
            rows.append(StoredRow(id=question, role="user", text=message.user_input, joined=True))
    if message.role != "user" or joined:
        rows.append(
            StoredRow(
                id=message.id,
                role="assistant" if message.role == "user" else message.role,
                text=message.assistant_response or "",
                reasoning=message.reasoning,
                reasoning_duration=message.reasoning_duration,
                tool_calls=_calls(message.tool_calls),
                usage=_usage(message),
                joined=joined,
            )
        )
    return rows


def _usage(message: BackendMessage) -> Usage | None:
    usage = Usage(
        input_tokens=message.input_tokens,
        output_tokens=message.output_tokens,
        cache_creation_tokens=message.cache_creation_tokens,
        cache_read_tokens=message.cache_read_tokens,
        cost=message.cost,
    )
    return None if usage == Usage() else usage


def _total(usages: Iterable[Usage]) -> Usage | None:
    """Return the sums; a number that none of them has is None."""
    known = list(usages)
    if not known:
        return None

    def add(numbers: Iterable[N | None]) -> N | None:
        present = [number for number in numbers if number is not None]
        return sum(present[1:], present[0]) if present else None

    return Usage(
        input_tokens=add(usage.input_tokens for usage in known),
        output_tokens=add(usage.output_tokens for usage in known),
        cache_creation_tokens=add(usage.cache_creation_tokens for usage in known),
        cache_read_tokens=add(usage.cache_read_tokens for usage in known),
        cost=add(usage.cost for usage in known),
    )


def _calls(calls: Iterable[ToolCallData | ExportToolCall] | None) -> tuple[ToolCall, ...]:
    return tuple(
        ToolCall(
            tool_call_id=call.id,
            name=call.name,
            input=call.input,
            finished=call.finished,
            success=None if call.is_error is None else not call.is_error,
            result=call.result,
        )
        for call in calls or ()
    )


def stored_reply(messages: Iterable[BackendMessage]) -> StoredReply:
    """Return the reply in an HTTP response."""
    rows = rows_of(messages)
    if not any(row.role == "assistant" for row in rows):
        rows = [attrs.evolve(row, role="assistant") for row in rows if row.role != "user"]
    return reply_of(rows, recovered=False)


def reply_of(
    rows: Iterable[StoredRow], *, recovered: bool, user_message_id: str | None = None
) -> StoredReply:
    """Return the end of a turn as its rows have it.

    Args:
      rows: the rows of the turn.
      recovered: whether they are stored ones, and not an HTTP answer.
      user_message_id: the id of its question, if it is known.
    """
    answers = [row for row in rows if row.role == "assistant"]
    thoughts = [row.reasoning for row in answers if row.reasoning]
    return StoredReply(
        texts=tuple(row.text for row in answers),
        reasoning="".join(thoughts) or None,
        tool_calls=tuple(call for row in answers for call in row.tool_calls),
        message_id=answers[-1].id if answers else None,
        user_message_id=user_message_id,
        reasoning_duration=answers[-1].reasoning_duration if answers else None,
        usage=_total(row.usage for row in answers if row.usage is not None),
        recovered=recovered,
        ends_with_call=bool(answers and answers[-1].tool_calls),
    )


def caught_up(rows: Iterable[StoredRow], end: Event | None) -> list[StoredRow]:
    """Return rows with the whole text of the message that an end names, if its row is behind.

    What is stored may be read a moment after it is sent, and a row grows while its turn runs.

    Args:
      rows: stored rows.
      end: the terminal event of a turn.
    """
    if not isinstance(end, ev.CompleteEvent) or not (end.message_id and end.content):
        return list(rows)
    text, named = end.content, end.message_id
    return [
        attrs.evolve(row, text=text)
        if row.id == named and row.role == "assistant" and _is_behind(row.text, text)
        else row
        for row in rows
    ]


def _is_behind(stored: str, text: str) -> bool:
    stored, text = stored.strip(), text.strip()
    return len(stored) < len(text) and text.startswith(stored)


def weight_of(rows: Iterable[StoredRow]) -> int:
    """Return a number that changes when more is stored."""
    return sum(map(_weight, rows))


def _weight(row: StoredRow) -> int:
    """Return a number that grows with what is stored in a row."""
    calls = sum(
        1 + len(call.input) + call.finished + len(call.result or "") for call in row.tool_calls
    )
    return 1 + len(row.text) + len(row.reasoning or "") + calls
