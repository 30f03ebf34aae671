"""The state of a sent message: its events, what its agent has asked, and how it ended.

Rule 1  A message ends exactly once: with its reply, or with one failure.
"""

from __future__ import annotations

import math
from contextvars import copy_context
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trio_mix import events as ev
from trio_mix._session._buffers import MessageBuffer
from trio_mix._session._message_errors import agent_error
from trio_mix._session._questions import Questions
from trio_mix._turns._reply_builder import ReplyBuilder
from trio_mix._turns._stored_turn import TurnOutcome
from trio_mix._turns._torn_events import is_torn
from trio_mix._turns._turn import Phase
from trio_mix.errors import ConsumerTooSlow, ReplyTooLarge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextvars import Context

    from trio_mix._reply import Reply
    from trio_mix._session._questions import MessagePolicies, Question
    from trio_mix._session._send_api import MessageRequest
    from trio_mix._turns._decisions import Reading
    from trio_mix._turns._recovery import Recovery
    from trio_mix._turns._stored_rows import StoredReply
    from trio_mix._turns._stored_turn import Verdict
    from trio_mix._turns._turn import Turn
    from trio_mix.events import Event

_LOOKED_AT: Final = frozenset((ev.PermissionEvent, ev.NotificationEvent, ev.UnknownEvent))
_SLACK: Final = 16


class MessageState:
    """A sent message: the events that have arrived for it, and how it ended.

    Args:
      request: the message.
      recovery: decides what to do about it; it has the turn.
      session_id: the session, for errors.
      mark: the number of buffered events above which text deltas are merged.
      sender: what the sender holds, for raw subscribers.
      max_size: how large the reply may be, in bytes; None: no limit.
      policies: answer the questions of the turn.
      ask: starts a task that answers the questions that wait; it has a slot.
    """

    def __init__(
        self,
        request: MessageRequest,
        recovery: Recovery,
        session_id: str,
        mark: int,
        *,
        sender: object = None,
        max_size: int | None = None,
        policies: MessagePolicies | None = None,
        ask: Callable[[MessageState], None] = lambda _state: None,
    ) -> None:
        self.request = request
        self.recovery = recovery
        self.turn: Turn = recovery.turn
        self.session_id = session_id
        self.context: Context = copy_context()
        """The context of the sender, for logs and traces of the work for the message."""
        self.builder: ReplyBuilder = ReplyBuilder()
        self.buffer: MessageBuffer = MessageBuffer(mark)
        self.buffer.on_shed = self._shed
        self.started: trio.Event = trio.Event()
        """The server has accepted the message, its first event has arrived, or it is over."""
        self.over: trio.Event = trio.Event()
        """No further events arrive; the turn may still be running on the server."""
        self.turn_over: trio.Event = trio.Event()
        """The turn is over: the next message may be sent."""
        self.cancelled: trio.Event = trio.Event()
        """The server was asked to cancel the message, or the turn is over."""
        self.denied: trio.Event = trio.Event()
        """The open permission requests were denied, or the task of the message has ended."""
        self.questions: Questions = Questions(policies or {})
        self.failure: BaseException | None = None
        self.gap_unreported = False
        """Whether events may be missing that no gap event has reported yet."""
        self.post_scope: trio.CancelScope = trio.CancelScope()
        """The scope of the POST."""
        self.read_scope: trio.CancelScope | None = None
        """The scope of a reading of the stored messages that began while the turn was running."""
        self._sender = sender
        self._max_size = max_size
        # How much may come before the reply is measured; None once it was too large.
        self._room: float | None = math.inf if max_size is None else max_size
        self._ask = ask
        self._news = trio.lowlevel.ParkingLot()

    @property
    def sender(self) -> object:
        """What the sender holds, for raw subscribers; None once the turn is over."""
        return None if self.turn_over.is_set() else self._sender

    def wake(self) -> None:
        """Wake the message's task, because something has changed."""
        self._news.unpark_all()
        if self.read_scope is not None and (self.turn.over or self.left_unsent):
            self.read_scope.cancel(reason="the turn is over, or the message was left unsent")

    async def wait_for_news(self, until: float) -> None:
        """Wait until `wake` is called, or until a point in time."""
        with trio.CancelScope(deadline=until):
            await self._news.park()

    @property
    def in_doubt(self) -> bool:
        """Whether something suggests that events were lost, or are another turn's."""
        builder, turn = self.builder, self.turn
        # Blocking servers name no turns. One that failed is not answered with its text, and a call
        # that was only begun may be another turn's.
        odd = turn.due.events and (turn.failed or builder.tool_unfinished)
        unproven = bool(turn.overlap) or builder.unproven or odd
        return builder.patchy or builder.unconfirmed or (unproven and not builder.checked)

    @property
    def unsettled(self) -> bool:
        """Whether the stored messages have to be read before the message ends."""
        # Commands are not stored, and their text is in their end.
        if self.in_doubt or (self.builder.end_lacks_text and not self.turn.is_command):
            return True
        # On blocking servers, nothing else shows that a call is not another turn's, unless events
        # name each message that is sent.
        alone = bool(self.recovery.traits.ids) and self.recovery.seen_alone
        calls = self.turn.due.events and self.builder.has_unproven_call
        return calls and not (alone or self.builder.checked)

    def compare(self, reading: Reading) -> None:
        """Complete the reply from a reading of the stored messages, or correct it by that."""
        verdict, alone = reading.verdict, reading.alone
        if verdict is None or verdict.reply is None:
            return
        if self.turn.failed and self.turn.due.events and not alone:
            self.builder.shared = True
        if self.turn.failed and not verdict.mixed:
            self._compare_failed(reading, verdict.outcome, "".join(verdict.reply.texts))
        if self.builder.patchy:
            self.builder.take_stored(verdict.reply)
        elif self._shows_whole(verdict, verdict.reply):
            if verdict.outcome is not TurnOutcome.FINISHED:
                # The rows may have as little of the text as the events.
                known = self.builder.text.strip() or any(verdict.reply.texts[-1:])
                self.builder.doubtful = bool(known) and self.builder.end_lacks_text
            self.builder.check(
                verdict.reply,
                certain=not verdict.mixed,
                overlap=bool(self.turn.overlap),
                lone=reading.lone,
            )
        else:
            return
        self.builder.shared = self.builder.shared or verdict.mixed

    def _shows_whole(self, verdict: Verdict, stored: StoredReply) -> bool:
        """Return whether the rows have all of the turn's text, as far as can be known.

        Without finish reasons, rows that are behind the events look whole too.
        """
        if verdict.outcome is TurnOutcome.FINISHED:
            return True
        whole = verdict.looks_whole or self._ends(verdict)
        return whole and not self.builder.is_ahead_of(stored)

    def _ends(self, verdict: Verdict) -> bool:
        """Return whether the turn's end names its last row: without finish reasons, it is whole."""
        end, stored = self.turn.ended_by, verdict.reply
        if verdict.has_reasons or stored is None or not isinstance(end, ev.CompleteEvent):
            return False
        last = "".join(stored.texts[-1:]).strip()
        same = end.message_id == stored.message_id and (end.content or "").strip() == last
        # Without a text in the end, an empty row may be behind.
        return same and (end.content is not None or bool(last) or stored.ends_with_call)

    def _compare_failed(self, reading: Reading, outcome: TurnOutcome, stored: str) -> None:
        """Find out whether an error, which names no turn, is this one's."""
        if self.turn.overlap and outcome is TurnOutcome.FINISHED:
            self.turn.ended_by = None  # it was another turn's
        bound, overlap = self.turn.bound, self.turn.overlap
        same = stored.strip() == self.builder.text.strip() and (bound or bool(stored.strip()))
        self.builder.late = self.builder.late and not same
        # Ids show whose the text is, if no other turn ran.
        known = same or (overlap == "end" and bound)
        if outcome is TurnOutcome.BROKEN_OFF and reading.alone and known:
            self.builder.checked = self.builder.checked or overlap in ("end", "ids")
        elif overlap or (reading.others_stored and not same):
            # On a slow connection, it and what came before it may be those of an earlier turn.
            self.builder.shared = True

    @property
    def left_unsent(self) -> bool:
        """Whether the sender has left before the message was sent."""
        return self.recovery.leaving.left and self.turn.phase is Phase.REGISTERED

    def end_turn(self) -> None:
        """Note that the turn is over."""
        self.turn_over.set()
        self.cancelled.set()
        self.wake()

    def partial(self) -> Reply:
        """Return the part of the reply that was received so far."""
        self._mark_shared()
        reply = self.builder.build()
        # Without ids, and before a blocking server's turn is over, nothing shows whose events came.
        running = self.turn.phase in (Phase.POSTED, Phase.RUNNING, Phase.ANSWERED)
        unproven = running and self.turn.due.events and not self.builder.checked
        if unproven and reply.text and not reply.doubts:
            return attrs.evolve(reply, incomplete=True, doubts=("shared",))
        return reply

    def _mark_shared(self) -> None:
        """Mark the reply if some of it may be another turn's."""
        # The text of a reply that has ended by `complete` was compared with that.
        late = self.builder.late and not isinstance(self.turn.ended_by, ev.CompleteEvent)
        if self.turn.twin or ((self.turn.overlap or late) and not self.builder.checked):
            self.builder.shared = True

    def take(self, events: Sequence[Event], size: int = 0) -> None:
        """Add the next events of the turn to the reply and to the consumer's buffer.

        Args:
          events: the events.
          size: the size of their data, in bytes.
        """
        if self._room is None:
            return
        first = self.turn.events <= len(events)
        looked_at = [event for event in events if type(event) in _LOOKED_AT]
        if any(map(is_torn, looked_at)):
            events = _with_gaps(events)
        self.builder.feed(events)
        asked = [
            event
            for event in looked_at
            if isinstance(event, ev.PermissionEvent | ev.NotificationEvent)
        ]
        for question in asked:
            self._asked(question, size // len(asked))
        self._room -= size
        if self._max_size is not None and self._room < 0:
            self._check_size(self._max_size)
        if first:
            self.started.set()
            self.wake()
        if self.over.is_set():
            return
        self.buffer.put(events, size)
        if self.buffer.overflowed:
            self.fail(
                ConsumerTooSlow(
                    f"The message on session {self.session_id} was aborted: {len(self.buffer)} "
                    "events are buffered and no task iterates it. Iterate it in its own task, or "
                    "raise message_buffer.",
                    session_id=self.session_id,
                    partial=self.partial(),
                )
            )

    def _check_size(self, limit: int) -> None:
        """End the message, and the work for it, if its reply is too large."""
        # It is measured again once this much has come, so that the work stays linear.
        size = self.builder.size
        self._room = max(limit - size, limit // _SLACK) if size <= limit else None
        if self._room is not None:
            return
        self.fail(
            ReplyTooLarge(
                f"The reply on session {self.session_id} is over max_reply_size={limit} bytes, and "
                "the server was asked to cancel the message. The reply so far is in `.partial`. "
                "Raise open_stream(max_reply_size=...) if replies of that size are expected.",
                session_id=self.session_id,
                partial=self.partial(),
            )
        )
        self.recovery.leave(trio.current_time())
        self.wake()

    def _shed(self) -> None:
        self.fail(
            ConsumerTooSlow(
                f"The message on session {self.session_id} was aborted: no task iterates it, and "
                "the buffers of the client hold more than its max_buffered_size. Iterate it in its "
                "own task, or raise Mix(max_buffered_size=...).",
                session_id=self.session_id,
                partial=self.partial(),
            )
        )

    def _asked(self, question: Question, size: int) -> None:
        """Pass a question to its policy, once even if the server repeats it."""
        if self.turn.overlap or not self.questions.add(question):
            return
        if self.recovery.leaving.left:
            self.wake()  # its task denies a permission request
        elif not self.over.is_set() and self.questions.put(question, size):
            self._ask(self)

    def insert_gap(self, reason: str, *, of_text: bool = True) -> None:
        """Buffer a gap event: events of the message may be missing here.

        Args:
          reason: why they are.
          of_text: whether text of the reply may be among them.
        """
        if of_text:
            self.builder.gap()
        if not self.over.is_set():
            self.buffer.put([ev.StreamGapEvent(missed=None, reason=reason)])

    def finish(self) -> None:
        """End the message as its turn ended: with the reply, or with the agent's error."""
        ended_by = self.turn.ended_by
        known = self.recovery.reading.verdict is not None
        if known and self.builder.unproven and not self.builder.checked:
            self.builder.shared = True
        self._mark_shared()
        if isinstance(ended_by, ev.ErrorEvent | ev.RateLimitEvent):
            self.fail(agent_error(ended_by, self.session_id, self.partial()))
        elif not self.over.is_set():
            if self._max_size is not None and self.builder.size > self._max_size:
                self._check_size(self._max_size)
            else:
                self._end(None)

    def fail(self, failure: BaseException) -> None:
        """End the message with an exception, which the consumer gets after the buffered events."""
        if not self.over.is_set():
            self._end(failure)

    def _end(self, failure: BaseException | None) -> None:
        self.failure = failure = self.questions.failure or failure
        self.over.set()
        self.started.set()
        self.buffer.close(failure)
        self.questions.end()


def _with_gaps(events: Sequence[Event]) -> list[Event]:
    """Return events with a gap event after each torn one."""
    seen: list[Event] = []
    for event in events:
        seen.append(event)
        if type(event) is ev.UnknownEvent and is_torn(event):
            seen.append(ev.StreamGapEvent(missed=None, reason="an event was torn"))
    return seen
