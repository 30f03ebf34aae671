"""Hands each event of a session's stream to its message and to every subscriber.

What it knows: the open message's state, the subscribers' lines, and how a message ends. What it
must never know: I/O, tasks, the clock, how events travel or how a lost turn is settled.

Rule 1  Every event goes to every subscriber and to at most one message (DESIGN 3.7).
Rule 2  Nothing here waits: a slow consumer is its own buffer's affair.
Rule 3  A message ends exactly once: with its reply, or with one failure.
Rule 4  What ends the stream ends every state and every subscriber's line, each with an exception
        of its own, so that no two tasks share a traceback.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Final

import trio

from trio_mix import events as ev
from trio_mix._session._buffers import MessageBuffer, SubscriberBuffer
from trio_mix._turns._reply_builder import ReplyBuilder, is_torn
from trio_mix._turns._router import Input, Phase
from trio_mix._wire._events import made
from trio_mix.errors import AgentError, ConsumerTooSlow, clone_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextvars import Context

    from trio_mix._session._request import MessageRequest
    from trio_mix._turns._reply_builder import Reply, StoredReply
    from trio_mix._turns._router import RunDelta, Turn, TurnRouter
    from trio_mix._wire._events import PendingDelta
    from trio_mix.events import Event
    from trio_mix.sse import ReconnectSchedule

__all__ = ["EventDispatcher", "MessageState", "copies_of"]


_OVER: Final = Phase.OVER  # asked for at every event, and a member of an enum is slow to reach


class MessageState:
    """One sent message as the stream sees it: what has come for it, and how it ended.

    Args:
      turn: the turn, as registered with the router.
      session_id: the session, for errors.
      mark: events that may stand waiting before deltas are merged.
    """

    def __init__(self, turn: Turn, session_id: str, mark: int) -> None:
        self.turn = turn
        self.session_id = session_id
        self.context: Context = copy_context()
        """The sender's, for whatever is done for the message: logs and traces find theirs in it."""
        self.builder: ReplyBuilder = ReplyBuilder()
        self.buffer: MessageBuffer = MessageBuffer(mark)
        self.started: trio.Event = trio.Event()
        """The server has accepted it, its first event has come, or it is over."""
        self.over: trio.Event = trio.Event()
        """Nothing more comes; the turn itself may still be running on the server."""
        self.turn_over: trio.Event = trio.Event()
        """The server has done with it: the next message may be sent."""
        self.failure: BaseException | None = None
        self.abandoned = False
        """Its sender has left; only the turn's end still matters."""
        self.posted = False
        """It may have reached the server."""
        self.cancel_heard = False
        """The server has heard that it is to be cancelled."""
        self.unanswered = False
        """The POST is under way, and neither its answer nor its failure is known."""
        self.under_way = False
        """The POST was given up, and may still arrive: nothing proves that it never will."""
        self.refusal: BaseException | None = None
        """What the server answered, should it turn out that the message did not run."""
        self.cut = False
        """The connection was lost while the turn was under way, and no event has come since."""
        self.severed = False
        """A connection was lost while the turn was under way."""
        self.settling = False
        """A task finds out what became of it."""
        self.filling = False
        """Its turn is over, and a task reads what a gap has taken of it."""
        self.watches = 0
        """How often it was accepted, and looked after from then on."""
        self.sending: trio.CancelScope | None = None
        """The scope of the task that sends it."""
        self.request: MessageRequest | None = None
        """What was sent, should it have to be sent again."""
        self.busy: ReconnectSchedule | None = None
        """The delays before it is sent again to a server that was busy."""
        self.policies: set[trio.CancelScope] = set()
        """The permission policies that are being asked."""
        self.on_permission: Callable[[ev.PermissionEvent], None] | None = None

    def partial(self) -> Reply:
        """Return what has come so far."""
        return self.builder.build()

    def take(self, event: Event) -> None:
        """Take in one event of the turn."""
        self.builder.feed(event)
        if not self.started.is_set():
            self.started.set()
        if not self.over.is_set():
            self.buffer.put(event)
            if isinstance(event, ev.PermissionEvent) and self.on_permission is not None:
                self.on_permission(event)
            elif isinstance(event, ev.UnknownEvent) and is_torn(event):
                self.buffer.put(ev.StreamGapEvent(missed=None, reason="a frame came torn"))
            if self.buffer.overflowed:
                self.fail(
                    ConsumerTooSlow(
                        f"The message on session {self.session_id} was given up: "
                        f"{len(self.buffer)} events stood waiting and nobody iterated it. "
                        "Iterate it in a task of its own, or raise message_buffer.",
                        session_id=self.session_id,
                        partial=self.partial(),
                    )
                )

    def take_run(self, run: Sequence[RunDelta]) -> None:
        """Take in adjacent deltas of one class and one message, as `take` would one by one."""
        if not self.over.is_set() and not self.buffer.put_run(run):
            for event in run:
                self.take(made(event))
            return
        self.builder.feed_run(run)
        self.started.set()

    def insert(self, event: Event) -> None:
        """Put an event of the client's own into the line."""
        if not self.over.is_set():
            self.buffer.put(event)

    def finish(self) -> None:
        """End it as its turn ended: with the reply, or with what the agent said went wrong."""
        ended_by = self.turn.ended_by
        if isinstance(ended_by, ev.ErrorEvent | ev.RateLimitEvent):
            self.fail(_agent_error(ended_by, self))
        elif not self.over.is_set():
            self._end(None)

    def fail(self, failure: BaseException) -> None:
        """End it with an exception, which its consumer sees after what stands waiting."""
        if not self.over.is_set():
            self.failure = failure
            self._end(failure)

    def _end(self, failure: BaseException | None) -> None:
        self.over.set()
        self.started.set()
        self.buffer.close(failure)
        for scope in self.policies:
            scope.cancel(reason="the message is over")


def _agent_error(event: ev.ErrorEvent | ev.RateLimitEvent, state: MessageState) -> AgentError:
    kind = f" ({event.type})" if event.type else ""
    remedy = "Look into the server's log, or send the message again."
    if isinstance(event, ev.RateLimitEvent):
        wait = f" in {event.retry_after} s" if event.retry_after else " later"
        remedy = f"The model's provider asks for fewer requests: send it again{wait}."
    elif event.type == "authentication_error":
        remedy = "Store a valid API key for the provider on the server."
    elif "cancelled by user" in event.error:
        remedy = (
            "Its block was left, or somebody cancelled it: send it again if it is still wanted."
        )
    return AgentError(
        f"The agent gave up the message on session {state.session_id}: {event.error}{kind}. "
        f"{remedy} What had come is in .partial.",
        event=event,
        session_id=state.session_id,
        partial=state.partial(),
    )


class EventDispatcher:
    """Routes one session's events.

    Args:
      router: names each event's owner.
      on_turn_over: called whenever the registered turn is over.
    """

    def __init__(self, router: TurnRouter, on_turn_over: Callable[[MessageState], None]) -> None:
        self.router = router
        self._on_turn_over = on_turn_over
        self._subscribers: list[SubscriberBuffer] = []
        self._current: MessageState | None = None
        self._failure: Callable[[], BaseException] | None = None
        self.on_busy: Callable[[MessageState, Event], None] = lambda _state, _event: None
        self.on_patchy: Callable[[MessageState], None] = self.finish

    @property
    def current(self) -> MessageState | None:
        """The message whose turn is not over."""
        return self._current

    @property
    def subscribers(self) -> int:
        """How many subscribers listen."""
        return len(self._subscribers)

    def subscribe(self, size: int) -> SubscriberBuffer:
        """Make a line that gets every event from now on."""
        line = SubscriberBuffer(size)
        if self._failure is not None:
            line.close(self._failure())
        self._subscribers.append(line)
        return line

    def unsubscribe(self, line: SubscriberBuffer) -> None:
        """Drop a subscriber's line, with what stands waiting in it."""
        if line in self._subscribers:
            self._subscribers.remove(line)
        line.discard()

    def attach(self, state: MessageState) -> None:
        """Make an state the open message's."""
        self._current = state

    def deliver(self, event: Event) -> None:
        """Hand on one event (rule 1)."""
        for line in self._subscribers:
            line.put(event)
        route = self.router.route(event)
        state = self._current
        if route.turn is None or state is None or route.turn is not state.turn:
            return
        if route.busy:
            self.on_busy(state, event)
            return
        for earlier in route.released:
            state.take(earlier)
        state.take(event)
        if state.turn.phase is _OVER:
            self._check(state)

    def deliver_run(self, events: Sequence[Event | PendingDelta], at: int) -> int:
        """Hand on the run of text that goes on with the last event; return how many that are.

        Perhaps none: then the next event is `deliver`'s.
        """
        turn, run = self.router.route_run(events, at)
        if run:
            for line in self._subscribers:
                if not line.put_run(run):
                    for event in run:
                        line.put(made(event))
            state = self._current
            if state is not None and turn is state.turn:
                state.take_run(run)
        return len(run)

    def gap(self, reason: str) -> None:
        """Say to every subscriber, and to a message that was cut, that events may be missing."""
        event = ev.StreamGapEvent(missed=None, reason=reason)
        for line in self._subscribers:
            line.put(event)
        if self._current is not None and self._current.cut:
            self._current.cut = False
            self._current.builder.gap()
            self._current.insert(event)

    def step(self, state: MessageState, what: Input, stored: StoredReply | None = None) -> bool:
        """Tell what happened to a message outside its events; return whether it mattered."""
        if stored is not None and not state.over.is_set():
            state.builder.take_stored(stored)
        if stored is not None:
            self.router.own(state.turn, stored.user_message_id, stored.message_id)
        changed = self.router.apply(state.turn, what)
        if changed and state.turn.phase in (Phase.RUNNING, Phase.ANSWERED):
            state.started.set()
        self._check(state)
        return changed

    def end_with(self, state: MessageState, failure: BaseException, what: Input) -> None:
        """End a message with a failure, and its turn with it."""
        state.fail(failure)
        self.router.apply(state.turn, what)
        self._check(state)

    def close(self, failure: Callable[[], BaseException], *, cleanly: bool) -> None:
        """End everything: the stream is over (rule 4).

        Args:
          failure: makes what each message, and each subscriber, sees raised.
          cleanly: whether subscribers just end, because the stream was closed on purpose.
        """
        self._failure = failure
        for line in self._subscribers:
            line.close(None if cleanly else failure())
        if self._current is not None:
            state, self._current = self._current, None
            state.fail(failure())
            state.turn_over.set()

    def finish(self, state: MessageState) -> None:
        """End a message whose turn is over, with all that is to be had of it."""
        if not state.turn_over.is_set():
            state.finish()
            state.turn_over.set()
            if self._current is state:
                self._current = None
            self._on_turn_over(state)

    def _check(self, state: MessageState) -> None:
        if not state.turn.over or state.turn_over.is_set() or state.filling:
            return
        if state.cut:
            state.builder.gap()
        if state.over.is_set() or not state.builder.patchy:
            self.finish(state)
        else:
            state.filling = True
            self.on_patchy(state)


def copies_of(failure: BaseException) -> Callable[[], BaseException]:
    """Return a maker of equal exceptions: one for each task that will see it raised."""
    return lambda: clone_error(failure)
