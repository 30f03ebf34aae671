"""Assemble a message's reply from the events of its turn, whatever the server's generation.

Rule 1  ``text`` is the top-level text deltas in the order in which they came, plus what they lack
        of the last assistant message when the turn ends. Deltas are never taken back: joined, and
        with that rest, they are exactly the text.
Rule 2  A sub-agent's text and reasoning are not the reply's. Its tool calls are, with their parent.
Rule 3  Each tool call is listed once, however often the server repeats it.
Rule 4  If a lost connection took deltas, only those before the gap are firm: the place of those
        after it is known once the stored text is. Without the stored text the reply is incomplete.
Rule 5  A torn event is such a gap. Deltas that were lost or doubled without one show only when the
        text of ``complete`` contradicts them, too late to hold back those that followed: the reply
        is compared with the stored rows of its turn, which win. Without them it is incomplete.
Rule 6  An answer in the HTTP response names its message. Where its id or text contradicts the
        events, they were another client's: the answer is the reply's last message, and the stored
        rows have the others.
Rule 7  The work for an event is linear in its own size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from trio_mix import events as ev
from trio_mix._reply import Reply, ToolCall
from trio_mix._wire._events import EVENT_CLASSES
from trio_mix._wire._json import is_json, member_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from trio_mix._reply import Doubt
    from trio_mix.events import Event

__all__ = ["ReplyBuilder", "StoredReply", "is_torn"]


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
    recovered: bool = False


_TEXT: Final = frozenset({"content", "complete", "message"})

_ToolEvent: TypeAlias = (
    ev.ToolEvent
    | ev.ToolParameterDeltaEvent
    | ev.ToolUseStartEvent
    | ev.ToolUseParameterDeltaEvent
    | ev.ToolUseParameterStreamingCompleteEvent
    | ev.ToolExecutionStartEvent
    | ev.ToolExecutionCompleteEvent
)


def is_torn(event: Event) -> bool:
    """Return whether an event that fits no class belonged to the turn and was damaged in transit.

    Data that is not JSON was torn. Data that is may be an event of a newer server, which does not
    concern the reply, unless it is text, or the end of it, or has no name: no server sends that.
    """
    if not isinstance(event, ev.UnknownEvent):
        return False
    if event.name in _TEXT:
        return True
    if event.name in EVENT_CLASSES and not is_json(event.data, too_deep=True):
        return True
    return member_type(event.data) in _TEXT


_Segment: TypeAlias = tuple[str | None, str]
"""The id of an assistant message, and the text of adjacent deltas of it."""


@attrs.define(kw_only=True)
class _Call:
    """A tool call, and how much of its parameters is known."""

    tool_call_id: str
    name: str = ""
    pieces: list[str] = attrs.field(factory=list)
    size: int = 0
    complete: bool = False
    torn: bool = False
    """Whether a gap took some of the parameters: only all of them at once count from then on."""
    started: bool = False
    """Whether the tool was started since it was last checked that the parameters are complete."""
    rejected: int = 0
    """The size that the parameters had when they were last found not to be complete."""
    finished: bool = False
    success: bool | None = None
    result: str | None = None
    parent_tool_call_id: str | None = None

    @property
    def input(self) -> str:
        return "".join(self.pieces)

    def replace(self, text: str, *, complete: bool) -> None:
        """Set all of the parameters."""
        self.pieces, self.size, self.complete = [text], len(text), complete
        self.started, self.rejected = False, 0

    def add(self, text: str) -> None:
        """Add a delta, unless the parameters are complete or it would leave a hole."""
        if self.started and self.size >= 2 * self.rejected:
            self.check()  # so seldom that checking takes no longer than all deltas do
        if not (self.complete or self.torn):
            self.pieces.append(text)
            self.size += len(text)

    def check(self) -> None:
        """Decide whether the parameters with which the tool was started are complete."""
        if self.started and not (self.complete or self.torn):
            self.complete, self.rejected = is_json(self.input), self.size
        self.started = False

    def build(self) -> ToolCall:
        self.check()
        return ToolCall(
            tool_call_id=self.tool_call_id,
            name=self.name,
            input=self.input,
            input_complete=self.complete,
            finished=self.finished,
            success=self.success,
            result=self.result,
            parent_tool_call_id=self.parent_tool_call_id,
        )


_CLOSED: Final = object()


class ReplyBuilder:
    """Collects one turn's events into a `Reply`."""

    def __init__(self) -> None:
        self._segments: list[_Segment] = []
        # The segment that is not closed yet, and the message that its deltas are of.
        self._pieces: list[str] = []
        self._pieces_of: str | object | None = _CLOSED
        # The number of segments before the last top-level tool event.
        self._round = 0
        self._thoughts: list[str] = []
        self._calls: dict[str, _Call] = {}
        self._calls_since_gap: list[_Call] = []
        self._final: str | None = None
        self._final_id: str | None = None
        self._whole: str | None = None
        self._reasoning: str | None = None
        self._reasoning_duration: int | None = None
        self._message_id: str | None = None
        self._user_message_id: str | None = None
        self._recovered: bool = False
        self._firm: int | None = None
        self._contradicted = False
        # What an answer or the stored rows have in place of the events' text, and why.
        self._answer: str | None = None
        self._why: Doubt = "answer"
        # The text of the last message in the HTTP answer.
        self._answered: str | None = None
        self.checked: bool = False
        """Whether the reply was compared with the stored rows of its turn."""
        self.resent: bool = False
        self.shared: bool = False
        """Whether another turn of the session may have run at the same time."""
        self.doubtful = False
        """Whether the stored rows contradict how the turn ended, or do not show it."""

    @property
    def text(self) -> str:
        """All top-level text, as far as it is known."""
        if self._answer is not None:
            return self._answer
        streamed = self._streamed()
        if self._whole is not None and self._stored_fits(streamed[: self._firm]):
            return self._whole
        return streamed + ("" if self._final is None else self._lacking(streamed, self._final))

    @property
    def size(self) -> int:
        """The number of characters of the reply so far; takes time that is linear in its parts."""
        streamed = sum(len(text) for _, text in self._segments) + sum(map(len, self._pieces))
        whole = [len(text) for text in (self._final, self._whole, self._answer) if text]
        thoughts = max(sum(map(len, self._thoughts)), len(self._reasoning or ""))
        calls = sum(call.size + len(call.result or "") for call in self._calls.values())
        return max([streamed, *whole]) + thoughts + calls

    @property
    def message_id(self) -> str | None:
        """The id of the last assistant message, if an event or a stored row has named it."""
        return self._message_id

    @property
    def tools(self) -> Iterator[str]:
        """The names of the tools that were called."""
        return (call.name for call in self._calls.values())

    @property
    def rest(self) -> str:
        """The text that no delta brought: what a reader of deltas still lacks at the end."""
        return _beyond(self._streamed(), self.text)

    @property
    def patchy(self) -> bool:
        """Whether deltas were lost, and what is known does not make up for them."""
        return self.doubtful or self._has_gap

    @property
    def unproven(self) -> bool:
        """Whether the events may be another client's in part: an end, or an answer, differs."""
        if self._contradicted or self._answer is not None:
            return True
        return self._answered is not None and self._answered.strip() != self.text.strip()

    @property
    def _has_gap(self) -> bool:
        """Whether deltas were lost, and no text that is known has their place."""
        if self._firm is None or self._answer is not None:
            return False
        return not self._stored_fits(self._streamed()[: self._firm])

    def _stored_fits(self, firm: str) -> bool:
        """Return whether the stored text continues what was received before a gap, to the end.

        If two turns run at once, the last rows of one may follow the question of the other.
        """
        if self._whole is None or not self._whole.startswith(firm):
            return False
        final = "" if self._firm is None or self._final is None else self._final
        return self._whole.rstrip().endswith(final.strip())

    def gap(self) -> None:
        """Note that events of the turn may have been lost here (rule 4)."""
        if self._firm is None:
            self._firm = len(self._streamed())
        for call in self._calls_since_gap:
            call.check()
            call.torn = not call.complete
        self._calls_since_gap = []

    def feed(self, events: Iterable[Event]) -> None:
        """Add the next events of the turn."""
        for event in events:
            if type(event) is ev.ContentEvent:
                if event.parent_tool_call_id is None:
                    if event.assistant_message_id != self._pieces_of:
                        self._begin_segment(event.assistant_message_id)
                    self._pieces.append(event.content)
            elif (add := _ADDED_BY.get(type(event))) is not None:
                add(self, event)

    def restart(self) -> None:
        """Forget everything: the message is sent again because it never arrived."""
        shared = self.shared
        self.__init__()  # type: ignore[misc]  # one place lists the empty state
        self.resent, self.shared = True, shared

    def disown(self) -> None:
        """Forget everything: the events so far were another client's."""
        resent = self.resent
        self.__init__()  # type: ignore[misc]  # one place lists the empty state
        self.resent, self.shared = resent, True

    def take_stored(self, stored: StoredReply) -> None:
        """Complete the reply from the HTTP answer or from the session's stored messages."""
        if not stored.recovered:
            if self._is_contradicted_by(stored):
                self._replace("".join(stored.texts), "answer")
            self._answered = stored.texts[-1] if stored.texts else ""
        self._recovered = self._recovered or stored.recovered
        self.checked = self.checked or stored.recovered
        self._fill(stored)

    def check(self, stored: StoredReply, *, certain: bool, overlap: bool = False) -> None:
        """Compare the reply with the stored rows of its turn, and correct it by them.

        Args:
          stored: what the rows have.
          certain: whether they are all of this turn.
          overlap: whether another turn ran at the same time.
        """
        text = "".join(stored.texts)
        if certain and text.strip() != self.text.strip():
            other: Doubt = "contradicted" if self._contradicted and not overlap else "shared"
            self._replace(text, other if self._answer is None else self._why)
            self._fill(stored)
        self._contradicted = self._contradicted and not certain
        self.checked = certain

    def _fill(self, stored: StoredReply) -> None:
        self._user_message_id = stored.user_message_id or self._user_message_id
        self._name(stored.message_id)
        self._reasoning_duration = stored.reasoning_duration or self._reasoning_duration
        for found in stored.tool_calls:
            self._take_stored_call(found)
        if stored.reasoning:
            self._reasoning = stored.reasoning
        if stored.recovered and stored.texts:
            self._whole = "".join(stored.texts)
        if not self._final and stored.texts:
            self._final, self._final_id = stored.texts[-1], stored.message_id

    def build(self) -> Reply:
        """Return what is known so far as a reply."""
        thoughts = "".join(self._thoughts)
        reasoning = self._reasoning or ""
        return Reply(
            text=self.text,
            final_text=self._final_text(),
            reasoning=reasoning if thoughts in reasoning else thoughts,
            tool_calls=tuple(call.build() for call in self._calls.values()),
            message_id=self._message_id,
            user_message_id=self._user_message_id,
            reasoning_duration=self._reasoning_duration,
            recovered=self._recovered,
            resent=self.resent,
            incomplete=self.patchy
            or self._contradicted
            or self.shared
            or not (self._answer is None or self.checked),
            doubts=tuple(self._doubts()),
        )

    def _doubts(self) -> Iterator[Doubt]:
        if self._has_gap:
            yield "gap"
        if self._contradicted:
            yield "contradicted"
        if self.doubtful:
            yield "stored"
        if self._answer is not None:
            yield self._why
        if self.shared and not (self._answer is not None and self._why == "shared"):
            yield "shared"

    # -- an answer in the HTTP response ------------------------------------------------------

    def _is_contradicted_by(self, answer: StoredReply) -> bool:
        """Return whether an answer shows that the turn's end was another client's (rule 6)."""
        if self._final is None or not answer.texts:
            return False
        if answer.message_id and self._final_id:
            return answer.message_id != self._final_id
        theirs, ours = self._final.strip(), answer.texts[-1].strip()
        return not (theirs in ours or ours in theirs or ours in self._streamed())

    def _replace(self, text: str, why: Doubt) -> None:
        """Replace what the events said by a text."""
        kept = self.resent, self.shared, self._recovered
        self.__init__()  # type: ignore[misc]  # one place lists the empty state
        self.resent, self.shared, self._recovered = kept
        self._answer, self._why = text, why

    # -- text --------------------------------------------------------------------------------

    def _begin_segment(self, message_id: str | None) -> None:
        self._close_segment()
        self._message_id = message_id or self._message_id
        self._pieces_of = message_id

    def _close_segment(self) -> None:
        if self._pieces:
            message_id = self._pieces_of if isinstance(self._pieces_of, str) else None
            self._segments.append((message_id or None, "".join(self._pieces)))
            self._pieces = []
        self._pieces_of = _CLOSED

    def _name(self, message_id: str | None) -> None:
        """Note the id of the last assistant message, if there is one."""
        if message_id and message_id != self._message_id:
            self._close_segment()
            self._message_id = message_id

    def _streamed(self, begin: int = 0) -> str:
        """Return the text of all deltas from a segment on."""
        self._close_segment()
        return "".join(text for _, text in self._segments[begin:])

    def _text_of(self, message_id: str | None) -> str | None:
        """Return the deltas of an assistant message, or None if none has come."""
        self._close_segment()
        texts = [text for each, text in self._segments if each == message_id]
        return "".join(texts) if message_id and texts else None

    @property
    def _has_nameless_text(self) -> bool:
        self._close_segment()
        return any(message_id is None for message_id, _ in self._segments)

    def _final_text(self) -> str:
        if self._final:
            return self._final
        if self._final_id or not self._has_nameless_text:
            return self._text_of(self._final_id or self._message_id) or ""
        return self._streamed(self._round)

    def _contradicts(self, final: str) -> bool:
        """Whether the last message's deltas are no part of its text, white space aside (rule 5)."""
        named = self._text_of(self._final_id)
        if named is None and not self._has_nameless_text:
            return False  # none of it has come, which is no contradiction
        last = (self._streamed(self._round) if named is None else named).strip()
        streamed, final = self._streamed().strip(), final.strip()
        if named is not None or self._round:
            return not final.startswith((last, streamed))
        return not (final.startswith(streamed) or streamed.endswith(final))

    def _lacking(self, streamed: str, final: str) -> str:
        """Return what the deltas lack of ``final``: the last message's text, or all rounds'.

        Where events name messages, it is the last one's. Where they do not, a text that continues
        all that was streamed is taken for all rounds', else for the last round's.
        """
        named = self._text_of(self._final_id)
        if named is not None:
            return _beyond(named, final) or _beyond(streamed, final)
        if self._final_id and not self._has_nameless_text:
            return final
        if streamed.endswith(final):
            return ""
        current = self._streamed(self._round)
        return _beyond(streamed, final) or _beyond(current, final)

    # -- all other events --------------------------------------------------------------------

    def _gap(self, _: ev.StreamGapEvent) -> None:
        self.gap()

    def _user_message(self, event: ev.UserMessageCreatedEvent) -> None:
        if event.parent_tool_call_id is None:
            self._user_message_id = event.message_id

    def _thinking(self, event: ev.ThinkingEvent) -> None:
        if event.parent_tool_call_id is None:
            self._thoughts.append(event.content)
            self._name(event.assistant_message_id)

    def _complete(self, event: ev.CompleteEvent) -> None:
        if event.parent_tool_call_id is not None:
            return
        self._name(event.message_id)
        self._reasoning = event.reasoning or self._reasoning
        self._reasoning_duration = event.reasoning_duration or self._reasoning_duration
        if event.content is not None:
            self._final, self._final_id = event.content, event.message_id
            self._contradicted = self._firm is None and self._contradicts(event.content)

    def _call(self, event: _ToolEvent, *, torn: bool = False) -> _Call:
        """Return the call that an event is about; torn: if it is new, its beginning is lost."""
        call = self._calls.get(event.tool_call_id)
        if call is None:
            call = self._add_call(_Call(tool_call_id=event.tool_call_id, torn=torn))
        if event.parent_tool_call_id is None:
            self._close_segment()
            self._round = len(self._segments)
        else:
            call.parent_tool_call_id = event.parent_tool_call_id
        return call

    def _add_call(self, call: _Call) -> _Call:
        self._calls[call.tool_call_id] = call
        self._calls_since_gap.append(call)
        return call

    def _parameter_delta(
        self, event: ev.ToolUseParameterDeltaEvent | ev.ToolParameterDeltaEvent
    ) -> None:
        self._call(event, torn=self._firm is not None).add(event.input)

    def _tool_use_start(self, event: ev.ToolUseStartEvent) -> None:
        call = self._call(event)
        call.name = event.name or call.name

    def _parameters(self, event: ev.ToolUseParameterStreamingCompleteEvent) -> None:
        call = self._call(event)
        call.name = event.name or call.name
        call.check()
        if event.input:
            call.replace(event.input, complete=True)

    def _tool(self, event: ev.ToolEvent) -> None:
        call = self._call(event)
        call.name = event.name or call.name
        call.check()
        completed = event.status == "completed"
        if event.input and (completed or not call.complete):
            call.replace(event.input, complete=completed)

    def _tool_execution_start(self, event: ev.ToolExecutionStartEvent) -> None:
        call = self._call(event)
        call.name = event.tool_name or call.name
        call.started = True

    def _tool_execution_complete(self, event: ev.ToolExecutionCompleteEvent) -> None:
        call = self._call(event)
        call.name = event.tool_name or call.name
        call.finished, call.success = True, event.success

    def _take_stored_call(self, stored: ToolCall) -> None:
        call = self._calls.get(stored.tool_call_id)
        if call is None:
            call = self._add_call(
                _Call(
                    tool_call_id=stored.tool_call_id,
                    complete=stored.input_complete,
                    parent_tool_call_id=stored.parent_tool_call_id,
                )
            )
            call.pieces, call.size = [stored.input], len(stored.input)
        call.check()
        if stored.input and not call.complete:
            call.replace(stored.input, complete=is_json(stored.input))
        call.name = stored.name or call.name
        call.finished = stored.finished or call.finished
        call.success = call.success if stored.success is None else stored.success
        call.result = stored.result or call.result


_ADDED_BY: Final[dict[type, Callable[[ReplyBuilder, Any], None]]] = {
    ev.StreamGapEvent: ReplyBuilder._gap,
    ev.UserMessageCreatedEvent: ReplyBuilder._user_message,
    ev.ThinkingEvent: ReplyBuilder._thinking,
    ev.CompleteEvent: ReplyBuilder._complete,
    ev.ToolUseStartEvent: ReplyBuilder._tool_use_start,
    ev.ToolUseParameterDeltaEvent: ReplyBuilder._parameter_delta,
    ev.ToolParameterDeltaEvent: ReplyBuilder._parameter_delta,
    ev.ToolUseParameterStreamingCompleteEvent: ReplyBuilder._parameters,
    ev.ToolEvent: ReplyBuilder._tool,
    ev.ToolExecutionStartEvent: ReplyBuilder._tool_execution_start,
    ev.ToolExecutionCompleteEvent: ReplyBuilder._tool_execution_complete,
}
"""How events other than text are added; events of other classes are no part of a reply."""


def _beyond(streamed: str, whole: str) -> str:
    """Return what follows ``streamed`` in ``whole``, or nothing where they do not agree."""
    return whole[len(streamed) :] if whole.startswith(streamed) else ""
