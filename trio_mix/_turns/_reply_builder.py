"""A message's final result, assembled from whatever events the server's generation sends.

What it knows: how text, reasoning and tool calls are spread over events, and how the text of
``complete`` relates to the deltas. What it must never know: which message an event belongs to
(`trio_mix._turns._router` says that), I/O, buffers.

Rule 1  ``text`` is the top-level text deltas in the order they came, plus what they lacked of the
        last assistant message at the turn's end. Deltas are never taken back, so whoever joins
        them, and that rest, has the text exactly.
Rule 2  A sub-agent's text and reasoning are not the reply's. Its tool calls are, with their parent.
Rule 3  Each tool call stands once, however often the server repeats it.
Rule 4  Where a lost connection took deltas, only those before the gap are firm: what follows it
        stands where it belongs once the stored text is known. Without that the reply says that it
        may be incomplete.
Rule 5  A frame that came torn is such a gap. Deltas that got lost without one show where the text
        of ``complete`` contradicts them: too late to hold back those that followed, so the reply
        says that it is incomplete.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

import attrs

from trio_mix import events as ev
from trio_mix._reply import Reply, ToolCall
from trio_mix._wire._events import PendingThinking

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix._turns._router import RunDelta
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

_TOOL_EVENTS = (
    ev.ToolEvent
    | ev.ToolParameterDeltaEvent
    | ev.ToolUseStartEvent
    | ev.ToolUseParameterDeltaEvent
    | ev.ToolUseParameterStreamingCompleteEvent
    | ev.ToolExecutionStartEvent
    | ev.ToolExecutionCompleteEvent
)


_PARAMETER_DELTAS = ev.ToolParameterDeltaEvent | ev.ToolUseParameterDeltaEvent


def is_torn(event: Event) -> bool:
    """Return whether an event that no class fits was one of the turn's, ruined on the way.

    A payload that is no JSON came in pieces. One that is may be an event of a newer server, which
    is none of our business, unless it is text, or its end, or has no name, as no server sends it.
    """
    if not isinstance(event, ev.UnknownEvent):
        return False
    try:
        payload = json.loads(event.data)
    except ValueError:
        return event.name in ev.EVENT_CLASSES or event.name == "message"
    except RecursionError:
        return False
    kind = payload.get("type") if isinstance(payload, dict) else None
    return not _TEXT.isdisjoint((event.name, kind if isinstance(kind, str) else ""))


class ReplyBuilder:
    """Collects one turn's events into a `Reply`."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._segments: dict[str, list[str]] = {}
        self._current: list[str] = []
        self._nameless = False
        self._thoughts: list[str] = []
        self._calls: dict[str, ToolCall] = {}
        self._torn_inputs: set[str] = set()
        self._final: str | None = None
        self._final_id: str | None = None
        self._whole: str | None = None
        self._reasoning: str | None = None
        self._reasoning_duration: int | None = None
        self._message_id: str | None = None
        self._user_message_id: str | None = None
        self._recovered = False
        self._firm: int | None = None
        self._contradicted = False
        self.resent: bool = False
        self.doubtful = False
        """What is stored does not agree with how it ended, or does not tell."""

    @property
    def text(self) -> str:
        """All top-level text, as far as it is known."""
        streamed = "".join(self._pieces)
        if self._whole is not None and self._whole.startswith(streamed[: self._firm]):
            return self._whole
        return streamed + ("" if self._final is None else self._lacking(streamed, self._final))

    @property
    def rest(self) -> str:
        """The text that no delta brought: what a reader of deltas still lacks at the end."""
        return _beyond("".join(self._pieces), self.text)

    @property
    def patchy(self) -> bool:
        """Whether deltas were lost, and what is known does not make up for them."""
        if self.doubtful:
            return True
        if self._firm is None:
            return False
        streamed = "".join(self._pieces)
        return self._whole is None or not self._whole.startswith(streamed[: self._firm])

    def gap(self) -> None:
        """Take in that events of the turn may have been lost here (rule 4)."""
        if self._firm is None:
            self._firm = sum(map(len, self._pieces))
        calls = self._calls.values()
        self._torn_inputs.update(call.tool_call_id for call in calls if not call.input_complete)

    def feed(self, event: Event) -> None:
        """Take in the turn's next event."""
        if isinstance(event, ev.ContentEvent):  # first, for most events are
            if event.parent_tool_call_id is None:
                self._content(event)
            return
        if isinstance(event, _TOOL_EVENTS):
            self._tool(event)
        if getattr(event, "parent_tool_call_id", None) is not None:
            return
        if isinstance(event, ev.ThinkingEvent):
            self._thoughts.append(event.content)
            self._message_id = event.assistant_message_id or self._message_id
        elif isinstance(event, ev.UserMessageCreatedEvent):
            self._user_message_id = event.message_id
        elif isinstance(event, ev.CompleteEvent):
            self._complete(event)
        elif is_torn(event):
            self.gap()

    def feed_run(self, run: Sequence[RunDelta]) -> None:
        """Take in adjacent deltas: top-level ones of one class and one assistant message."""
        first, texts = run[0], [event.content for event in run]
        message_id = first.assistant_message_id
        if isinstance(first, ev.ThinkingEvent | PendingThinking):
            self._thoughts += texts
            self._message_id = message_id or self._message_id
            return
        if message_id:
            self._message_id = message_id
            self._segments.setdefault(message_id, []).extend(texts)
        else:
            self._nameless = True
        self._pieces += texts
        self._current += texts

    def restart(self) -> None:
        """Forget everything: the message is sent again because it never arrived."""
        self.__init__()  # type: ignore[misc]  # one place lists the empty state
        self.resent = True

    def take_stored(self, stored: StoredReply) -> None:
        """Complete the reply from the HTTP answer or from the session's stored messages."""
        self._recovered = self._recovered or stored.recovered
        self._user_message_id = stored.user_message_id or self._user_message_id
        self._message_id = stored.message_id or self._message_id
        self._reasoning_duration = stored.reasoning_duration or self._reasoning_duration
        for call in stored.tool_calls:
            known = self._calls.get(call.tool_call_id, call)
            if call.input and not known.input_complete:
                known = attrs.evolve(known, input=call.input, input_complete=_is_json(call.input))
            self._calls[call.tool_call_id] = attrs.evolve(
                known,
                name=call.name or known.name,
                finished=call.finished or known.finished,
                success=known.success if call.success is None else call.success,
                result=call.result or known.result,
            )
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
            tool_calls=tuple(self._calls.values()),
            message_id=self._message_id,
            user_message_id=self._user_message_id,
            reasoning_duration=self._reasoning_duration,
            recovered=self._recovered,
            resent=self.resent,
            incomplete=self.patchy or self._contradicted,
        )

    def _final_text(self) -> str:
        if self._final:
            return self._final
        if self._final_id or not self._nameless:
            last = self._segments.get(self._final_id or self._message_id or "", [])
        else:
            last = self._current
        return "".join(last)

    def _content(self, event: ev.ContentEvent) -> None:
        text, message_id = event.content, event.assistant_message_id
        if message_id:
            self._message_id = message_id
            self._segments.setdefault(message_id, []).append(text)
        else:
            self._nameless = True
        self._pieces.append(text)
        self._current.append(text)

    def _complete(self, event: ev.CompleteEvent) -> None:
        self._message_id = event.message_id or self._message_id
        self._reasoning = event.reasoning or self._reasoning
        self._reasoning_duration = event.reasoning_duration or self._reasoning_duration
        if event.content is not None:
            self._final, self._final_id = event.content, event.message_id
            self._contradicted = self._firm is None and self._contradicts(event.content)

    def _contradicts(self, final: str) -> bool:
        """Whether the last message's deltas are no part of its text, white space aside (rule 5)."""
        named = self._segments.get(self._final_id) if self._final_id else None
        if named is None and not self._nameless:
            return False  # none of it has come, which is no contradiction
        last = "".join(self._current if named is None else named).strip()
        streamed, final = "".join(self._pieces), final.strip()
        return not (final.startswith((last, streamed.strip())) or final in streamed)

    def _lacking(self, streamed: str, final: str) -> str:
        """Return what the deltas lack of ``final``: the last message's text, or all rounds'.

        Where the wire names messages, it is the last one's. Where it does not, a text that goes
        on from all that was streamed is taken for all rounds', else for the last round's.
        """
        named = self._segments.get(self._final_id) if self._final_id else None
        if named is not None:
            return _beyond("".join(named), final) or _beyond(streamed, final)
        if self._final_id and not self._nameless:
            return final
        if streamed.endswith(final):
            return ""
        current = "".join(self._current)
        return _beyond(streamed, final) or _beyond(current, final)

    def _tool(self, event: _TOOL_EVENTS) -> None:
        if event.parent_tool_call_id is None:
            self._current = []
        known = self._calls.get(event.tool_call_id)
        call = known or ToolCall(tool_call_id=event.tool_call_id)
        if known is None and self._firm is not None and isinstance(event, _PARAMETER_DELTAS):
            self._torn_inputs.add(event.tool_call_id)  # its beginning is lost
        if event.parent_tool_call_id is not None:
            call = attrs.evolve(call, parent_tool_call_id=event.parent_tool_call_id)
        match event:
            case ev.ToolUseStartEvent():
                call = attrs.evolve(call, name=event.name or call.name)
            case ev.ToolUseParameterDeltaEvent() | ev.ToolParameterDeltaEvent():
                # After a gap it is not known where these stand: only their whole counts then.
                if not (call.input_complete or event.tool_call_id in self._torn_inputs):
                    call = attrs.evolve(call, input=call.input + event.input)
            case ev.ToolEvent() | ev.ToolUseParameterStreamingCompleteEvent():
                whole = getattr(event, "status", "completed") == "completed" and bool(event.input)
                if event.input and (whole or not call.input_complete):
                    call = attrs.evolve(call, input=event.input, input_complete=whole)
                call = attrs.evolve(call, name=event.name or call.name)
            case ev.ToolExecutionStartEvent():
                came = call.input_complete or (
                    _is_json(call.input) and event.tool_call_id not in self._torn_inputs
                )
                name = event.tool_name or call.name
                call = attrs.evolve(call, name=name, input_complete=came)
            case ev.ToolExecutionCompleteEvent():
                name = event.tool_name or call.name
                call = attrs.evolve(call, name=name, finished=True, success=event.success)
        self._calls[event.tool_call_id] = call


def _is_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _beyond(streamed: str, whole: str) -> str:
    """Return what follows ``streamed`` in ``whole``, or nothing where they do not agree."""
    return whole[len(streamed) :] if whole.startswith(streamed) else ""
