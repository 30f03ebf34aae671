"""Hands each event of a session's stream to its message and to every subscriber.

What it knows: the open message's inbox, the subscribers' lines, and how a message ends. What it
must never know: I/O, tasks, the clock, how events travel or how a lost turn is settled.

Rule 1  Every event goes to every subscriber and to at most one message (DESIGN 3.7).
Rule 2  Nothing here waits: a slow consumer is its own mailbox's affair.
Rule 3  A message ends exactly once: with its reply, or with one failure.
Rule 4  What ends the stream ends every inbox and every subscriber's line, each with an exception
        of its own, so that no two tasks share a traceback.
"""

from __future__ import annotations

from contextvars import copy_context
from typing import TYPE_CHECKING, Final

import trio

from trio_mix import events as ev
from trio_mix._events_decode import made
from trio_mix._session._mailbox import DroppingMailbox, MergingMailbox
from trio_mix._turns._reply import ReplyBuilder, is_torn
from trio_mix._turns._router import Input, Phase
from trio_mix.errors import AgentError, ConsumerTooSlow, clone_error

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from contextvars import Context

    from trio_mix._events_decode import Waiting
    from trio_mix._session._request import MessageRequest
    from trio_mix._turns._reply import Reply, StoredReply
    from trio_mix._turns._router import RunDelta, Turn, TurnRouter
    from trio_mix.events import Event
    from trio_mix.sse import ReconnectSchedule

__all__ = ["Inbox", "Switchboard", "copies_of"]


_OVER: Final = Phase.OVER  # asked for at every event, and a member of an enum is slow to reach


class Inbox:
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
        self.mailbox: MergingMailbox = MergingMailbox(mark)
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
            self.mailbox.put(event)
            if isinstance(event, ev.PermissionEvent) and self.on_permission is not None:
                self.on_permission(event)
            elif isinstance(event, ev.UnknownEvent) and is_torn(event):
                self.mailbox.put(ev.StreamGapEvent(missed=None, reason="a frame came torn"))
            if self.mailbox.overflowed:
                self.fail(
                    ConsumerTooSlow(
                        f"The message on session {self.session_id} was given up: "
                        f"{len(self.mailbox)} events stood waiting and nobody iterated it. "
                        "Iterate it in a task of its own, or raise message_buffer.",
                        session_id=self.session_id,
                        partial=self.partial(),
                    )
                )

    def take_run(self, run: Sequence[RunDelta]) -> None:
        """Take in adjacent deltas of one class and one message, as `take` would one by one."""
        if not self.over.is_set() and not self.mailbox.put_run(run):
            for event in run:
                self.take(made(event))
            return
        self.builder.feed_run(run)
        self.started.set()

    def insert(self, event: Event) -> None:
        """Put an event of the client's own into the line."""
        if not self.over.is_set():
            self.mailbox.put(event)

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
        self.mailbox.close(failure)
        for scope in self.policies:
            scope.cancel(reason="the message is over")


def _agent_error(event: ev.ErrorEvent | ev.RateLimitEvent, inbox: Inbox) -> AgentError:
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
        f"The agent gave up the message on session {inbox.session_id}: {event.error}{kind}. "
        f"{remedy} What had come is in .partial.",
        event=event,
        session_id=inbox.session_id,
        partial=inbox.partial(),
    )


class Switchboard:
    """Routes one session's events.

    Args:
      router: names each event's owner.
      on_turn_over: called whenever the registered turn is over.
    """

    def __init__(self, router: TurnRouter, on_turn_over: Callable[[Inbox], None]) -> None:
        self.router = router
        self._on_turn_over = on_turn_over
        self._subscribers: list[DroppingMailbox] = []
        self._inbox: Inbox | None = None
        self._failure: Callable[[], BaseException] | None = None
        self.on_busy: Callable[[Inbox, Event], None] = lambda _inbox, _event: None
        self.on_patchy: Callable[[Inbox], None] = self.finish

    @property
    def inbox(self) -> Inbox | None:
        """The message whose turn is not over."""
        return self._inbox

    @property
    def subscribers(self) -> int:
        """How many subscribers listen."""
        return len(self._subscribers)

    def subscribe(self, size: int) -> DroppingMailbox:
        """Make a line that gets every event from now on."""
        line = DroppingMailbox(size)
        if self._failure is not None:
            line.close(self._failure())
        self._subscribers.append(line)
        return line

    def unsubscribe(self, line: DroppingMailbox) -> None:
        """Drop a subscriber's line, with what stands waiting in it."""
        if line in self._subscribers:
            self._subscribers.remove(line)
        line.discard()

    def attach(self, inbox: Inbox) -> None:
        """Make an inbox the open message's."""
        self._inbox = inbox

    def deliver(self, event: Event) -> None:
        """Hand on one event (rule 1)."""
        for line in self._subscribers:
            line.put(event)
        route = self.router.route(event)
        inbox = self._inbox
        if route.turn is None or inbox is None or route.turn is not inbox.turn:
            return
        if route.busy:
            self.on_busy(inbox, event)
            return
        for earlier in route.released:
            inbox.take(earlier)
        inbox.take(event)
        if inbox.turn.phase is _OVER:
            self._check(inbox)

    def deliver_run(self, events: Sequence[Event | Waiting], at: int) -> int:
        """Hand on the run of text that goes on with the last event; return how many that are.

        Perhaps none: then the next event is `deliver`'s.
        """
        turn, run = self.router.route_run(events, at)
        if run:
            for line in self._subscribers:
                if not line.put_run(run):
                    for event in run:
                        line.put(made(event))
            inbox = self._inbox
            if inbox is not None and turn is inbox.turn:
                inbox.take_run(run)
        return len(run)

    def gap(self, reason: str) -> None:
        """Say to every subscriber, and to a message that was cut, that events may be missing."""
        event = ev.StreamGapEvent(missed=None, reason=reason)
        for line in self._subscribers:
            line.put(event)
        if self._inbox is not None and self._inbox.cut:
            self._inbox.cut = False
            self._inbox.builder.gap()
            self._inbox.insert(event)

    def step(self, inbox: Inbox, what: Input, stored: StoredReply | None = None) -> bool:
        """Tell what happened to a message outside its events; return whether it mattered."""
        if stored is not None and not inbox.over.is_set():
            inbox.builder.take_stored(stored)
        if stored is not None:
            self.router.own(inbox.turn, stored.user_message_id, stored.message_id)
        changed = self.router.apply(inbox.turn, what)
        if changed and inbox.turn.phase in (Phase.RUNNING, Phase.ANSWERED):
            inbox.started.set()
        self._check(inbox)
        return changed

    def end_with(self, inbox: Inbox, failure: BaseException, what: Input) -> None:
        """End a message with a failure, and its turn with it."""
        inbox.fail(failure)
        self.router.apply(inbox.turn, what)
        self._check(inbox)

    def close(self, failure: Callable[[], BaseException], *, cleanly: bool) -> None:
        """End everything: the stream is over (rule 4).

        Args:
          failure: makes what each message, and each subscriber, sees raised.
          cleanly: whether subscribers just end, because the stream was closed on purpose.
        """
        self._failure = failure
        for line in self._subscribers:
            line.close(None if cleanly else failure())
        if self._inbox is not None:
            inbox, self._inbox = self._inbox, None
            inbox.fail(failure())
            inbox.turn_over.set()

    def finish(self, inbox: Inbox) -> None:
        """End a message whose turn is over, with all that is to be had of it."""
        if not inbox.turn_over.is_set():
            inbox.finish()
            inbox.turn_over.set()
            if self._inbox is inbox:
                self._inbox = None
            self._on_turn_over(inbox)

    def _check(self, inbox: Inbox) -> None:
        if not inbox.turn.over or inbox.turn_over.is_set() or inbox.filling:
            return
        if inbox.cut:
            inbox.builder.gap()
        if inbox.over.is_set() or not inbox.builder.patchy:
            self.finish(inbox)
        else:
            inbox.filling = True
            self.on_patchy(inbox)


def copies_of(failure: BaseException) -> Callable[[], BaseException]:
    """Return a maker of equal exceptions: one for each task that will see it raised."""
    return lambda: clone_error(failure)
