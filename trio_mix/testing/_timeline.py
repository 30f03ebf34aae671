"""Renders records as a timeline for people.

Rules:

1. ``>`` marks what the server received, ``<`` what it sent; other lines happened inside it.
2. Consecutive frames of one stream share a line.
3. Headers, bodies and other fields that a record's ``repr`` hides are never shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import urlencode

import attrs

from trio_mix.testing._records import (
    Answered,
    CancelRequested,
    EventsDropped,
    FrameQueued,
    HandlerFailed,
    MessageAccepted,
    MessageFinished,
    MessageLost,
    MessageRun,
    NotificationAnswered,
    NotificationAsked,
    PermissionAnswered,
    PermissionAsked,
    Record,
    RequestReceived,
    ServerStarted,
    ServerStopped,
    StreamEnded,
    StreamOpened,
)
from trio_mix.testing.recording._masking import mask_query

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_TOGETHER: Final = 0.05
_WIDTH: Final = 60


def render(records: Iterable[Record]) -> str:
    """Return the records as text: one line per record, with the seconds since the first."""
    lines: list[str] = []
    frames: list[FrameQueued] = []
    start: float | None = None
    for record in records:
        start = record.time if start is None else start
        if isinstance(record, FrameQueued):
            if frames and not _belong_together(frames[0], record):
                lines.append(_frames(frames, start))
                frames = []
            frames.append(record)
            continue
        if frames:
            lines.append(_frames(frames, start))
            frames = []
        lines.append(f"{record.time - start:10.3f} {_line(record)}")
    if frames and start is not None:
        lines.append(_frames(frames, start))
    return "\n".join(lines)


def timeline_text(timeline: str) -> str:
    """Return the end of a failure's text."""
    return f"\nThe server's timeline (> received, < sent):\n{timeline}"


def deviations_text(deviations: Sequence[str], timeline: str) -> str:
    """Return the text of a failure of a strict server."""
    listed = "".join(f"\n- {each}" for each in deviations)
    return (
        f"The server did not run as scripted:{listed}\n\nFix the scripts, or pass strict=False "
        f"(@pytest.mark.mix_server(strict=False) for the fixture).{timeline_text(timeline)}"
    )


def shorten(text: str) -> str:
    """Return a text in quotes; the middle of a long text is left out."""
    if len(text) > _WIDTH:
        text = f"{text[: _WIDTH - 20]} … {text[-16:]}"
    return repr(text)


def _belong_together(first: FrameQueued, record: FrameQueued) -> bool:
    return record.connection == first.connection and record.time - first.time < _TOGETHER


def _frames(frames: list[FrameQueued], start: float) -> str:
    counted: list[tuple[str, int]] = []
    for frame in frames:
        if counted and counted[-1][0] == frame.event:
            counted[-1] = (frame.event, counted[-1][1] + 1)
        else:
            counted.append((frame.event, 1))
    names = ", ".join(name if times == 1 else f"{name} x{times}" for name, times in counted)
    return f"{frames[0].time - start:10.3f} < stream {frames[0].connection}: {names}"


def _line(record: Record) -> str:
    match record:
        case RequestReceived():
            query = urlencode(mask_query(record.query), safe="*")
            shown = f"?{query}" if query else ""
            return f"> {record.method} {record.path}{shown}"
        case Answered():
            return f"< {record.status} for {record.method} {record.path}"
        case StreamOpened():
            since = f", after event {record.last_event_id}" if record.last_event_id else ""
            return f"  stream {record.connection} of {record.session_id} opened{since}"
        case StreamEnded():
            return (
                f"  stream {record.connection} of {record.session_id} ended "
                f"({record.how}) after {record.frames} frames"
            )
        case EventsDropped():
            return f"  stream {record.connection} has a slow reader: {record.event} dropped"
        case _:
            return f"  {_inside(record)}"


def _inside(record: Record) -> str:
    match record:
        case ServerStarted():
            return f"the server accepts connections at {record.url}"
        case ServerStopped():
            return "the server stopped"
        case MessageAccepted():
            return f"message {shorten(record.text)} accepted in {record.session_id}"
        case MessageLost():
            return f"message {shorten(record.text)} lost: {record.why}"
        case MessageRun():
            return f"the agent runs {shorten(record.text)} (run {record.times})"
        case MessageFinished():
            return f"the agent finished {shorten(record.text)}: {record.how}"
        case CancelRequested():
            return f"cancel requested in {record.session_id}: {record.running} running turns"
        case PermissionAsked():
            return f"permission {record.permission_id} requested for {record.tool_name}"
        case PermissionAnswered():
            return f"permission {record.permission_id}: {record.answer}"
        case NotificationAsked():
            return f"notification {record.notification_id}: {shorten(record.message)}"
        case NotificationAnswered():
            return f"notification {record.notification_id} answered: {record.type}"
        case HandlerFailed():
            return f"FAILED: {record.error!r}"
        case _:
            return _fields(record)


def _fields(record: Record) -> str:
    shown = []
    for field in attrs.fields(type(record)):
        value = getattr(record, field.name)
        if field.repr and field.name != "time" and value not in ({}, ""):
            show = field.repr if callable(field.repr) else repr
            shown.append(f"{field.name}={show(value)}")
    return f"{type(record).__name__}({', '.join(shown)})"
