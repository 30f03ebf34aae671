"""Turns events into text to show.

Rules:

1. Text and thinking arrive in deltas, and each delta is passed on at once.
2. A tool call is shown once, when its parameters are known, however many events repeat it.
3. If a server streams no text, ``complete`` has it: then it is shown from there, once.
4. A server cannot control the terminal: control characters are removed.
5. Every event is either shown or left out on purpose; an unknown event is shown as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeAlias, assert_never

import attrs

from trio_mix._terminal_text import clean
from trio_mix.cli.ui._text import excerpt
from trio_mix.events import (
    CompleteEvent,
    ConnectedEvent,
    ContentEvent,
    ErrorEvent,
    HeartbeatEvent,
    NotificationEvent,
    PermissionEvent,
    RateLimitEvent,
    SessionCreatedEvent,
    SessionDeletedEvent,
    StreamGapEvent,
    SummarizeEvent,
    ThinkingEvent,
    ToolEvent,
    ToolExecutionCompleteEvent,
    ToolExecutionStartEvent,
    ToolParameterDeltaEvent,
    ToolUseParameterDeltaEvent,
    ToolUseParameterStreamingCompleteEvent,
    ToolUseStartEvent,
    UnknownEvent,
    UserMessageCreatedEvent,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_mix.events import Event

_LONGEST_LINE: Final = 2**20

PieceKind: TypeAlias = Literal[
    "text", "thinking", "tool", "permission", "notice", "user", "done", "error", "gap", "info"
]


@attrs.frozen
class Piece:
    """A part of the output."""

    kind: PieceKind
    text: str
    fresh: bool = True
    """Whether it starts a new item; False continues the text or thinking before it."""
    depth: int = 0
    """1 for a sub-agent, else 0."""

    @property
    def streamed(self) -> bool:
        """Whether more of the same item may follow."""
        return self.kind in ("text", "thinking")


@attrs.define
class _ShownCall:
    name: str
    input: str = ""
    shown: bool = False
    depth: int = 0


@attrs.define
class Transcript:
    """Turns the events of one message, or of one watched session, into pieces."""

    users: bool = False
    """Whether to show the messages that were sent, too."""
    _calls: dict[str, _ShownCall] = attrs.field(factory=dict, init=False)
    _open: tuple[str, str | None, str | None] | None = attrs.field(default=None, init=False)
    _text: list[str] = attrs.field(factory=list, init=False)
    _ended: bool = attrs.field(default=False, init=False)
    _texts: int = attrs.field(default=0, init=False)
    _thoughts: int = attrs.field(default=0, init=False)

    @property
    def text(self) -> str:
        """The top-level text of the message so far, as the server sent it."""
        return "".join(self._text)

    def feed(self, event: Event) -> list[Piece]:
        """Return the pieces that the event adds to the output, often none."""
        match event:
            case ContentEvent():
                if event.parent_tool_call_id is None:
                    self._texts += 1
                    self._add_text(event.content)
                return self._stream("text", event)
            case ThinkingEvent():
                self._thoughts += event.parent_tool_call_id is None
                return self._stream("thinking", event)
            case _:
                pieces = self._pieces(event)
                if pieces:
                    self._open = None
                return pieces

    def _add_text(self, text: str) -> None:
        if self._ended:  # of a session that is watched, only the last message is kept
            self._text.clear()
            self._ended = False
        self._text.append(text)

    def _stream(self, kind: PieceKind, event: ContentEvent | ThinkingEvent) -> list[Piece]:
        key = (kind, event.assistant_message_id, event.parent_tool_call_id)
        fresh, self._open = key != self._open, key
        return [Piece(kind, clean(event.content), fresh, _depth(event.parent_tool_call_id))]

    def _pieces(self, event: Event) -> list[Piece]:
        match event:
            case ToolUseStartEvent() | ToolEvent() | ToolUseParameterStreamingCompleteEvent():
                text = "" if isinstance(event, ToolUseStartEvent) else event.input
                return self._call(event.tool_call_id, event.name, text, event.parent_tool_call_id)
            case ToolUseParameterDeltaEvent() | ToolParameterDeltaEvent():
                return []
            case ToolExecutionStartEvent():
                self._calls.setdefault(event.tool_call_id, _ShownCall(event.tool_name))
                return self._first_showing(event.tool_call_id)
            case ToolExecutionCompleteEvent():
                self._calls.setdefault(event.tool_call_id, _ShownCall(event.tool_name))
                return [
                    *self._first_showing(event.tool_call_id),
                    Piece("tool", _outcome(event), depth=_depth(event.parent_tool_call_id)),
                ]
            case PermissionEvent():
                return [
                    Piece(
                        "permission",
                        permission_summary(event),
                        depth=_depth(event.parent_tool_call_id),
                    )
                ]
            case CompleteEvent():
                return self._complete(event)
            case ErrorEvent():
                return self._end(Piece("error", excerpt(event.error)), event.parent_tool_call_id)
            case RateLimitEvent():
                again = f" (again in {event.retry_after} s)" if event.retry_after else ""
                return [Piece("error", f"rate limit: {excerpt(event.error)}{again}")]
            case NotificationEvent():
                return [Piece("notice", excerpt(f"{event.title}: {event.message}"))]
            case UserMessageCreatedEvent():
                return [Piece("user", excerpt(event.content))] if self.users else []
            case SummarizeEvent():
                return [Piece("info", f"summarizing: {excerpt(event.progress)}")]
            case ConnectedEvent():
                return [Piece("info", f"connected to session {excerpt(event.session_id)}")]
            case SessionCreatedEvent():
                return [
                    Piece(
                        "info",
                        f"session {excerpt(event.session_id)} created: {excerpt(event.title)}",
                    )
                ]
            case SessionDeletedEvent():
                return [Piece("info", f"session {excerpt(event.session_id)} deleted")]
            case StreamGapEvent():
                missed = "some events" if event.missed is None else f"{event.missed} events"
                return [Piece("gap", f"{missed} may be missing here: {excerpt(event.reason)}")]
            case UnknownEvent():
                return [Piece("info", excerpt(f"{event.name or '(unnamed)'}: {event.data}"))]
            case ContentEvent() | ThinkingEvent() | HeartbeatEvent():
                return []
            case _:
                assert_never(event)

    def _call(self, call_id: str, name: str, text: str, parent: str | None) -> list[Piece]:
        call = self._calls.setdefault(call_id, _ShownCall(name, depth=_depth(parent)))
        call.input = text or call.input
        return self._first_showing(call_id) if text else []

    def _first_showing(self, call_id: str) -> list[Piece]:
        call = self._calls[call_id]
        if call.shown:
            return []
        call.shown = True
        return [Piece("tool", excerpt(f"{call.name} {call.input}".rstrip()), depth=call.depth)]

    def _complete(self, event: CompleteEvent) -> list[Piece]:
        pieces: list[Piece] = []
        if event.parent_tool_call_id is None:
            if event.reasoning and not self._thoughts:
                pieces.append(Piece("thinking", clean(event.reasoning)))
            if event.content and not self._texts:
                self._add_text(event.content)
                pieces.append(Piece("text", clean(event.content)))
        if not event.done:
            return pieces
        return pieces + self._end(Piece("done", "complete"), event.parent_tool_call_id)

    def _end(self, last: Piece, parent: str | None) -> list[Piece]:
        if parent is not None:
            return [attrs.evolve(last, depth=1)]
        not_shown = [piece for call_id in self._calls for piece in self._first_showing(call_id)]
        self._calls.clear()
        self._texts = self._thoughts = 0
        self._ended = True
        return [*not_shown, last]


def _outcome(event: ToolExecutionCompleteEvent) -> str:
    progress = excerpt(event.progress)
    plain = f"{excerpt(event.tool_name)} {'done' if event.success else 'failed'}"
    return plain if progress in ("", plain) else f"{plain}: {progress}"


def _depth(parent: str | None) -> int:
    return 0 if parent is None else 1


def permission_summary(event: PermissionEvent) -> str:
    """Return on one line what a permission request is for."""
    what = event.description or event.action
    where = f" in {event.path}" if event.path else ""
    return excerpt(f"{event.tool_name}: {what}{where}")


@attrs.define
class PlainLines:
    """Joins pieces into whole lines with a label, for output that is no terminal.

    A line that is longer than `_LONGEST_LINE` is divided.
    """

    prefix: str = ""
    _label: str = attrs.field(default="", init=False)
    _rest: list[str] = attrs.field(factory=list, init=False)
    _size: int = attrs.field(default=0, init=False)

    def feed(self, pieces: Iterable[Piece]) -> list[str]:
        """Return the lines that the pieces complete."""
        lines: list[str] = []
        for piece in pieces:
            if piece.fresh:
                lines += self.finish()
                self._label = f"{self.prefix}{'  ' * piece.depth}{piece.kind}: "
            first, *others = piece.text.split("\n")
            self._add(first)
            for other in others:
                lines += self.finish()
                self._add(other)
            if self._size > _LONGEST_LINE or not piece.streamed:
                lines += self.finish()
        return lines

    def finish(self) -> list[str]:
        """Return the unfinished line, if any."""
        rest = "".join(self._rest)
        self._rest.clear()
        self._size = 0
        return [f"{self._label}{rest}".rstrip()] if rest.strip() else []

    def _add(self, text: str) -> None:
        if text:
            self._rest.append(text)
            self._size += len(text)
