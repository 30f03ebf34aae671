"""The state of a sent message: the events that have arrived for it, and how it ended.

Rule 1  A message ends exactly once: with its reply, or with one failure.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Final

import trio

from trio_mix import events as ev
from trio_mix._session._buffers import MessageBuffer
from trio_mix._turns._reply_builder import ReplyBuilder, is_torn
from trio_mix._turns._stored_turn import TurnOutcome
from trio_mix._turns._turn import Phase
from trio_mix.errors import AgentError, ConsumerTooSlow, ReplyTooLarge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextvars import Context

    from trio_mix._reply import Reply
    from trio_mix._session._questions import Question
    from trio_mix._session._request import MessageRequest
    from trio_mix._turns._recovery import Recovery
    from trio_mix._turns._stored_turn import Verdict
    from trio_mix._turns._turn import Turn
    from trio_mix.events import Event

__all__ = ["MessageState"]

_LOOKED_AT = frozenset((ev.PermissionEvent, ev.NotificationEvent, ev.UnknownEvent))


_QUESTIONS_REMEMBERED: Final = 1000
_SLACK: Final = 16
_POLICIES_AT_ONCE: Final = 64
"""A further question is not answered: the server goes on without an answer after a while."""


class MessageState:
    """A sent message: the events that have arrived for it, and how it ended.

    Args:
      request: the message.
      recovery: decides what to do about it; it has the turn.
      session_id: the session, for errors.
      mark: the number of buffered events above which text deltas are merged.
    """

    def __init__(
        self, request: MessageRequest, recovery: Recovery, session_id: str, mark: int
    ) -> None:
        self.request = request
        self.recovery = recovery
        self.turn: Turn = recovery.turn
        self.session_id = session_id
        self.sender: object = None
        """What the sender holds, for raw subscribers; None once the turn is over."""
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
        self.cancel_acknowledged = False
        """Whether the server has acknowledged the request to cancel the turn."""
        self.permissions: dict[str, bool] = {}
        """The last permission requests by id, each with whether it is still undecided."""
        self.notifications: dict[str, bool] = {}
        """The last notifications by id, each with whether it was passed to a policy."""
        self.failure: BaseException | None = None
        self.cut = False
        """Whether events may be missing that no gap event has reported yet."""
        self.post_scope: trio.CancelScope = trio.CancelScope()
        """The scope of the POST."""
        self.read_scope: trio.CancelScope | None = None
        """The scope of a reading of the stored messages that began while the turn was running."""
        self.max_size: int | None = None
        """How large the reply may be, in bytes; None: no limit."""
        self._size, self._since = 0, 0  # of the reply when it was measured, and of later events
        self._too_large = False
        self.policy_failure: BaseException | None = None
        """The exception of a policy: the message fails with it when its turn ends."""
        self.policies: set[trio.CancelScope] = set()
        """The scopes of the policies that are running for the message."""
        self.on_question: dict[type[Question], Callable[[Question], None]] = {}
        """What starts the policy for a question, by the question's class."""
        self._has_events = False
        self._news: trio.Event | None = None

    def wake(self) -> None:
        """Wake the message's task, because something has changed."""
        if self._news is not None:
            self._news.set()
        if self.read_scope is not None and (self.turn.over or self.left_unsent):
            self.read_scope.cancel(reason="the turn is over, or the message was left unsent")

    async def wait_for_news(self, until: float) -> None:
        """Wait until `wake` is called, or until a point in time."""
        self._news = trio.Event()
        with trio.CancelScope(deadline=until):
            await self._news.wait()
        self._news = None

    @property
    def unsettled(self) -> bool:
        """Whether the stored messages have to be read before the message ends."""
        builder = self.builder
        unproven = bool(self.turn.overlap) or builder.unproven
        return builder.patchy or (unproven and not builder.checked)

    def compare(self, verdict: Verdict) -> None:
        """Complete the reply from the stored messages, or correct it by them."""
        if verdict.reply is None:
            return
        if self.builder.patchy:
            self.builder.take_stored(verdict.reply)
            self.builder.shared = self.builder.shared or verdict.mixed
        elif verdict.outcome is TurnOutcome.FINISHED or verdict.looks_whole:
            overlap = bool(self.turn.overlap)
            self.builder.check(verdict.reply, certain=not verdict.mixed, overlap=overlap)
            self.builder.shared = self.builder.shared or verdict.mixed

    @property
    def left_unsent(self) -> bool:
        """Whether the sender has left before the message was sent."""
        return self.recovery.left and self.turn.phase is Phase.REGISTERED

    def end_turn(self) -> None:
        """Note that the turn is over."""
        self.sender = None
        self.turn_over.set()
        self.cancelled.set()
        self.wake()

    def partial(self) -> Reply:
        """Return the part of the reply that was received so far."""
        if self.turn.overlap and not self.builder.checked:
            self.builder.shared = True
        return self.builder.build()

    def take(self, events: Sequence[Event], size: int = 0) -> None:
        """Add the next events of the turn to the reply and to the consumer's buffer.

        Args:
          events: the events.
          size: the size of their data, in bytes.
        """
        looked_at = not _LOOKED_AT.isdisjoint(map(type, events))
        if looked_at:
            events = self._look_at(events)
        if self._too_large:
            return
        self.builder.feed(events)
        if looked_at:
            for request in events:
                if isinstance(request, ev.PermissionEvent | ev.NotificationEvent):
                    self._asked(request)
        self._since += size
        if self.max_size is not None and self._since > self.max_size - self._size:
            self._check_size(self.max_size)
        if not self._has_events:
            self._has_events = True
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
        self._size, self._since = self.builder.size, 0
        if self._size <= limit:
            self._size = min(self._size, limit - limit // _SLACK)
            return
        self._too_large = True
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

    def _look_at(self, events: Sequence[Event]) -> list[Event]:
        """Insert a gap event after each torn event."""
        seen: list[Event] = []
        for event in events:
            seen.append(event)
            if type(event) is ev.UnknownEvent and is_torn(event):
                seen.append(ev.StreamGapEvent(missed=None, reason="an event was torn"))
        return seen

    def _asked(self, event: Question) -> None:
        """Pass a question to the policies, once even if the server repeats it."""
        if isinstance(event, ev.PermissionEvent):
            known, question_id = self.permissions, event.permission_id
        else:
            known, question_id = self.notifications, event.notification_id
        if question_id in known or self.turn.overlap:
            return
        known[question_id] = True
        if len(known) > _QUESTIONS_REMEMBERED:
            del known[next(iter(known))]
        busy = len(self.policies) >= _POLICIES_AT_ONCE
        if self.recovery.left:
            self.wake()  # its task denies a permission request
            return
        ask = self.on_question.get(type(event))
        if ask is not None and not self.over.is_set() and not busy:
            ask(event)

    def insert(self, event: Event) -> None:
        """Buffer an event that the client has made."""
        if not self.over.is_set():
            self.buffer.put([event])

    def finish(self) -> None:
        """End the message as its turn ended: with the reply, or with the agent's error."""
        ended_by = self.turn.ended_by
        known = self.recovery.reading.verdict is not None
        if not self.builder.checked and (self.turn.overlap or (known and self.builder.unproven)):
            self.builder.shared = True
        if isinstance(ended_by, ev.ErrorEvent | ev.RateLimitEvent):
            self.fail(_agent_error(ended_by, self))
        elif not self.over.is_set():
            if self.max_size is not None and self.builder.size > self.max_size:
                self._check_size(self.max_size)
            else:
                self._end(None)

    def fail(self, failure: BaseException) -> None:
        """End the message with an exception, which the consumer gets after the buffered events."""
        if not self.over.is_set():
            self._end(failure)

    def _end(self, failure: BaseException | None) -> None:
        self.failure = failure = self.policy_failure or failure
        self.over.set()
        self.started.set()
        self.buffer.close(failure)
        for scope in self.policies:
            scope.cancel(reason="the message is over")


def _agent_error(event: ev.ErrorEvent | ev.RateLimitEvent, state: MessageState) -> AgentError:
    kind = f" ({event.type})" if event.type else ""
    remedy = "Check the server's log, or send the message again."
    if isinstance(event, ev.RateLimitEvent):
        wait = f" in {event.retry_after} s" if event.retry_after else " later"
        remedy = f"The model's provider limits the request rate: send it again{wait}."
    elif event.type == "authentication_error":
        remedy = "Store a valid API key for the provider on the server."
    elif "cancelled by user" in event.error:
        remedy = (
            "Its block was left early, or another client cancelled it: send it again if it is "
            "still wanted."
        )
    return AgentError(
        f"The agent gave up the message on session {state.session_id}: {event.error}{kind}. "
        f"{remedy} The partial reply is in `.partial`.",
        event=event,
        session_id=state.session_id,
        partial=state.partial(),
    )
