"""Stored messages of both shapes that servers give them, and what they show of a turn."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from trio_mix._turns._stored_rows import rows_of
from trio_mix._turns._stored_turn import (
    PriorTurn,
    Verdict,
    judge,
)
from trio_mix._turns._turn import same_text
from trio_mix.models import BackendMessage, ExportMessage, ExportToolCall, ToolCallData

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

__all__ = ["NOW", "Stored", "answer", "call", "exported", "texts_of", "user", "verdict"]


NOW = datetime(2026, 1, 1, tzinfo=UTC)
Stored = BackendMessage | ExportMessage


def call(number: str, *, finished: bool = True, is_error: bool | None = None) -> ToolCallData:
    return ToolCallData(
        id=number, name="ls", input="{}", type="function", finished=finished, is_error=is_error
    )


def user(number: str, text: str) -> BackendMessage:
    return BackendMessage(id=number, role="user", session_id="s", user_input=text)


def answer(
    number: str, text: str | None, *calls: ToolCallData, asked: str = "", role: str = "assistant"
) -> BackendMessage:
    """A row of its own; with ``asked``, one that repeats or brings its question."""
    return BackendMessage(
        id=number,
        role=role,
        session_id="s",
        user_input=asked,
        assistant_response=text,
        tool_calls=calls or None,
    )


def exported(
    number: str, role: str, text: str, finish: str | None = None, *calls: str
) -> ExportMessage:
    made = tuple(
        ExportToolCall(id=name, name="ls", input="{}", type="function", finished=True)
        for name in calls
    )
    return ExportMessage(
        id=number,
        role=role,
        content=text,
        created_at=NOW,
        updated_at=NOW,
        finish_reason=finish,
        tool_calls=made or None,
    )


def verdict(
    rows: Sequence[Stored],
    text: str = "hi",
    *,
    user_id: str | None = None,
    plan_mode: bool = False,
    known: Collection[str] | None = (),
    earlier: Sequence[PriorTurn] = (),
    settled: str | None = None,
    unended: bool = False,
    overlaps: bool = False,
) -> Verdict:
    return judge(
        rows_of(rows),
        user_message_id=user_id,
        matches=lambda stored: same_text(text, stored, plan_mode=plan_mode),
        known=known,
        earlier=earlier,
        settled=settled,
        unended=unended,
        overlaps=overlaps,
    )


def texts_of(found: Verdict) -> tuple[str, ...]:
    assert found.reply is not None
    return found.reply.texts
