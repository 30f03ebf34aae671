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
        is compared with the stored rows of its turn, which win. Without them it is incomplete. A
        server may trim its texts: white space that only the deltas have is no contradiction.
Rule 6  An answer in the HTTP response names its message. Where its id or text contradicts the
        events, they were another client's: the answer is the reply's last message, and the stored
        rows have the others. So it is where the deltas contradict the end that the answer repeats.
Rule 7  On servers without ids, deltas for which the end of the turn before made up may come late.
        Deltas that can be those are compared with the stored rows.
Rule 8  If the end has no text to compare the deltas with, the last of them may be lost or late: the
        stored rows have them. Without the rows the reply is incomplete, unless the text of the end
        is empty and no delta came.
Rule 9  The work for an event is linear in its own size.
"""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from trio_mix import events as ev
from trio_mix._reply import Reply
from trio_mix._turns._streamed_text import StreamedText, agrees, beyond, is_trimmed
from trio_mix._turns._tool_calls import TOOL_EVENTS, ToolCalls, ToolEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from trio_mix._reply import Doubt, Usage
    from trio_mix._turns._stored_rows import StoredReply
    from trio_mix.events import Event

_MOST_GAPS: Final = 1000
"""The number of gaps of one reply whose places are remembered."""
MOST_SEARCHED: Final = 10_000
"""The length of a text in which each delta is searched for."""


class ReplyBuilder:
    """Collects one turn's events into a `Reply`."""

    def __init__(self) -> None:
        self._streamed = StreamedText()
        self._calls = ToolCalls()
        self._thoughts: list[str] = []
        self._final: str | None = None
        self._final_id: str | None = None
        self._whole: str | None = None
        self._reasoning: str | None = None
        self._reasoning_duration: int | None = None
        self._usage: Usage | None = None
        self._user_message_id: str | None = None
        self._recovered: bool = False
        self._firm: int | None = None
        self._gaps: list[int] = []  # how many characters had come before each gap
        self._completed = False
        self._contradicted = False
        self._has_foreign_call = False  # whether the rows lack a call
        # What an answer or the stored rows have in place of the events' text, and why.
        self._answer: str | None = None
        self._why: Doubt = "answer"
        self._http: StoredReply | None = None  # the HTTP answer
        self.checked: bool = False
        """Whether the reply was compared with the stored rows of its turn."""
        self.resent: bool = False
        self.shared: bool = False
        """Whether another turn of the session may have run at the same time."""
        self.lacked: str = ""
        """The text of the turn before for which no delta came, and whose deltas may come late."""
        self.late: bool = False
        """Whether some of the deltas may be such text."""
        self.doubtful = False
        """Whether the stored rows contradict how the turn ended, or do not show it."""

    @property
    def text(self) -> str:
        """All top-level text, as far as it is known."""
        if self._answer is not None:
            return self._answer
        streamed = self._streamed.joined()
        if self._whole is not None and self._stored_fits(streamed[: self._firm]):
            return self._whole
        if self._final is None:
            return streamed
        return streamed + self._streamed.lacking(self._final, self._final_id)

    @property
    def size(self) -> int:
        """The number of characters of the reply so far; takes time that is linear in its parts."""
        whole = [len(text) for text in (self._final, self._whole, self._answer) if text]
        thoughts = max(sum(map(len, self._thoughts)), len(self._reasoning or ""))
        return max([self._streamed.size, *whole]) + thoughts + self._calls.size

    @property
    def message_id(self) -> str | None:
        """The id of the last assistant message, if an event or a stored row has named it."""
        return self._streamed.message_id

    @property
    def tools(self) -> Iterator[str]:
        """The names of the tools that were called."""
        return self._calls.names

    @property
    def rest(self) -> str:
        """The text that no delta brought: what a reader of deltas still lacks at the end."""
        return beyond(self._streamed.joined(), self.text)

    @property
    def patchy(self) -> bool:
        """Whether deltas were lost, and what is known does not make up for them."""
        return self.doubtful or self._has_gap

    @property
    def end_lacks_text(self) -> bool:
        """Whether the turn was completed, and no text shows whether deltas of it are missing."""
        shown = self._final or self._answer is not None or self._http is not None
        return self._completed and not (shown or self.checked)

    @property
    def unconfirmed(self) -> bool:
        """Whether the end has no text, or an empty one after deltas of its message (rule 8)."""
        if not self.end_lacks_text:
            return False
        return self._final is None or bool(self._streamed.last(self._final_id).strip())

    @property
    def tool_unfinished(self) -> bool:
        """Whether the turn was completed before events showed that all of its tools finished."""
        return self._calls.left_unfinished

    @property
    def has_unproven_call(self) -> bool:
        """Whether the turn itself has a tool call, by the events, that no HTTP answer lists."""
        return self._calls.has_more_than(() if self._http is None else self._http.tool_calls)

    @property
    def unproven(self) -> bool:
        """Whether the events may be another client's in part.

        An end, or an answer, differs from the deltas, a running tool was not waited for, or deltas
        may be the late ones of the turn before.
        """
        if self._contradicted or self._answer is not None or self._calls.overtaken or self.late:
            return True
        if self._http is None:
            return False
        return not is_trimmed(self.text, self._http.texts[-1:])

    @property
    def _has_gap(self) -> bool:
        """Whether deltas were lost, and no text that is known has their place."""
        if self._firm is None or self._answer is not None:
            return False
        return not self._stored_fits(self._streamed.joined()[: self._firm])

    def _stored_fits(self, firm: str) -> bool:
        """Return whether the stored text continues what was received before a gap, to the end.

        If two turns run at once, the last rows of one may follow the question of the other.
        """
        if self._whole is None or not self._whole.startswith(firm):
            return False
        final = "" if self._firm is None or self._final is None else self._final
        return self._whole.rstrip().endswith(final.strip())

    @property
    def _has_foreign_text(self) -> bool:
        """Whether deltas are no part of the stored text; before a gap, either may be longer."""
        if self._whole is None:
            return False
        streamed = self._streamed.joined()
        if self._firm is None:
            return not agrees(streamed, self._whole)
        at = self._firm
        for begin, end in pairwise([*self._gaps, len(streamed)]):
            piece = streamed[begin:end].strip()
            at = self._whole.find(piece, at)
            if at < 0:
                return True
            at += len(piece)
        return False

    def gap(self) -> None:
        """Note that events of the turn may have been lost here (rule 4)."""
        length = self._streamed.size
        if self._firm is None:
            self._firm = length
        if len(self._gaps) < _MOST_GAPS:
            self._gaps.append(length)
        self._calls.gap()

    def feed(self, events: Iterable[Event]) -> None:
        """Add the next events of the turn."""
        for event in events:
            if type(event) is ev.ContentEvent:
                if event.parent_tool_call_id is None:
                    self._streamed.add(event.content, event.assistant_message_id)
                    if self.lacked and not self.late and event.content:
                        huge = len(self.lacked) > MOST_SEARCHED
                        self.late = huge or event.content in self.lacked
            elif (add := _ADDED_BY.get(type(event))) is not None:
                add(self, event)

    def restart(self) -> None:
        """Forget everything: the message is sent again because it never arrived."""
        self._forget()
        self.resent = True

    def disown(self) -> None:
        """Forget everything: the events so far were another client's."""
        self._forget()
        self.shared = True

    def _forget(self) -> None:
        """Forget what was received, and keep what is known of the message."""
        kept = self.resent, self.shared, self.lacked
        self.__init__()  # type: ignore[misc]  # one place lists the empty state
        self.resent, self.shared, self.lacked = kept

    def is_ahead_of(self, stored: StoredReply) -> bool:
        """Return whether stored rows are only a beginning of the text that has come."""
        text, known = "".join(stored.texts).strip(), self.text.strip()
        ended = bool(self._final) and text.endswith((self._final or "").strip())
        return len(text) < len(known) and known.startswith(text) and not ended

    def take_stored(self, stored: StoredReply) -> None:
        """Complete the reply from the HTTP answer or from the session's stored messages."""
        if not stored.recovered:
            self._compare(stored)
            self._http = stored
        else:
            self._has_foreign_call = self._calls.has_more_than(stored.tool_calls)
        self._recovered = self._recovered or stored.recovered
        shows_text = bool(stored.texts) or not self._streamed.size
        self.checked = self.checked or (stored.recovered and shows_text)
        self._fill(stored)

    def check(
        self, stored: StoredReply, *, certain: bool, overlap: bool = False, lone: bool = False
    ) -> None:
        """Compare the reply with the stored rows of its turn, and correct it by them.

        Args:
          stored: what the rows have.
          certain: whether they are all of this turn.
          overlap: whether another turn ran at the same time.
          lone: whether nothing shows that another client uses the session.
        """
        text = "".join(stored.texts)
        same = text == self.text
        if not self._contradicted:  # else white space may be what was lost
            same = same or is_trimmed(self.text, stored.texts)
            if text.startswith(self._streamed.joined()):  # what `complete` added may be trimmed
                same = same or text.strip() == self.text.strip()
        if overlap and self._final:
            same = same and text.strip().endswith(self._final.strip())  # else it is another turn's
        more_calls = self._calls.has_more_than(stored.tool_calls)
        goes_on = self.end_lacks_text and text.startswith(self._streamed.joined())
        goes_on = goes_on or (lone and self._is_last_of(stored))
        if certain and goes_on and not (overlap or more_calls):
            self._fill(stored)
        elif certain and (not same or more_calls):
            other: Doubt = "contradicted" if self._contradicted and not overlap else "shared"
            self._replace(text, other if self._answer is None else self._why)
            self._fill(stored)
        elif certain:
            for found in stored.tool_calls:  # events of calls may not have come
                self._calls.take_stored(found)
        self._contradicted = self._contradicted and not certain
        self.checked = certain

    def _is_last_of(self, stored: StoredReply) -> bool:
        """Return whether the events have the text of the last message only, and that is stored.

        The oldest servers send no deltas: only the rows have the text of the messages before.
        """
        replaced = self._answer is not None  # the deltas were forgotten
        if replaced or self._streamed.size or self._final is None or not stored.texts:
            return False
        return self._final.strip() == stored.texts[-1].strip()

    def _fill(self, stored: StoredReply) -> None:
        self._user_message_id = stored.user_message_id or self._user_message_id
        self._streamed.name(stored.message_id)
        self._reasoning_duration = stored.reasoning_duration or self._reasoning_duration
        for found in stored.tool_calls:
            self._calls.take_stored(found)
        if stored.reasoning:
            self._reasoning = stored.reasoning
        self._usage = stored.usage or self._usage
        if stored.recovered and stored.texts:
            self._whole = "".join(stored.texts)
        if not self._final and stored.texts:
            self._final, self._final_id = stored.texts[-1], stored.message_id

    def build(self) -> Reply:
        """Return what is known so far as a reply."""
        self.shared = self.shared or self._has_foreign_text or self._has_foreign_call
        thoughts = "".join(self._thoughts)
        reasoning = self._reasoning or ""
        return Reply(
            text=self.text,
            final_text=self._final or self._streamed.last(self._final_id),
            reasoning=reasoning if thoughts in reasoning else thoughts,
            tool_calls=self._calls.build(),
            message_id=self._streamed.message_id,
            user_message_id=self._user_message_id,
            reasoning_duration=self._reasoning_duration,
            usage=self._usage,
            recovered=self._recovered,
            resent=self.resent,
            incomplete=self.patchy
            or self._contradicted
            or self.unconfirmed
            or self.shared
            or not (self._answer is None or self.checked),
            doubts=tuple(self._doubts()),
        )

    def _doubts(self) -> Iterator[Doubt]:
        if self._has_gap or self.unconfirmed:
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
        return not (theirs in ours or ours in theirs or ours in self._streamed.joined())

    def _compare(self, answer: StoredReply) -> bool:
        """Replace what the events said if an answer contradicts it; return whether it does."""
        others = self._is_contradicted_by(answer)
        if others or (self._contradicted and answer.texts):
            self._replace("".join(answer.texts), "answer" if others else "contradicted")
            return True
        return False

    def _replace(self, text: str, why: Doubt) -> None:
        """Replace what the events said by a text."""
        recovered = self._recovered
        self._forget()
        self._recovered = recovered
        self._answer, self._why = text, why

    # -- all other events --------------------------------------------------------------------

    def _gap(self, _: ev.StreamGapEvent) -> None:
        self.gap()

    def _user_message(self, event: ev.UserMessageCreatedEvent) -> None:
        if event.parent_tool_call_id is None:
            self._user_message_id = event.message_id

    def _thinking(self, event: ev.ThinkingEvent) -> None:
        if event.parent_tool_call_id is None:
            self._thoughts.append(event.content)
            self._streamed.name(event.assistant_message_id)

    def _complete(self, event: ev.CompleteEvent) -> None:
        if event.parent_tool_call_id is not None:
            return
        self._completed = self._completed or event.done
        self._calls.turn_completed()
        self._streamed.name(event.message_id)
        self._reasoning = event.reasoning or self._reasoning
        self._reasoning_duration = event.reasoning_duration or self._reasoning_duration
        if event.content == "" and self._final is None:
            self._final, self._final_id = "", event.message_id
        elif event.content:  # an empty text contradicts nothing: it may be missing
            self._final, self._final_id = event.content, event.message_id
            self._contradicted = self._firm is None and self._streamed.contradicts(
                event.content, event.message_id
            )
        if (answer := self._http) is not None and self._compare(answer):
            self.take_stored(answer)

    def _tool(self, event: ToolEvent) -> None:
        if event.parent_tool_call_id is None:
            self._streamed.begin_round()
        self._calls.feed(event)


_ADDED_BY: Final[dict[type, Callable[[ReplyBuilder, Any], None]]] = {
    ev.StreamGapEvent: ReplyBuilder._gap,
    ev.UserMessageCreatedEvent: ReplyBuilder._user_message,
    ev.ThinkingEvent: ReplyBuilder._thinking,
    ev.CompleteEvent: ReplyBuilder._complete,
    **dict.fromkeys(TOOL_EVENTS, ReplyBuilder._tool),
}
"""How events other than text are added; events of other classes are no part of a reply."""
