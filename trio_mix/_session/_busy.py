"""A message that met a server at work on another one: when it may be sent again.

What it knows: that "busy" is said by one of perhaps several streams of a session. What it must
never know: sockets, who holds the message.

A pipeline server gives a message to every stream that it takes for open: also to one whose client
has gone without its noticing. That one may run the message while ours is told that the session is
busy; or keep it queued, and run it when the old turn is over.

Rule 1  While the session is at a turn that shows growth, nothing is sent.
Rule 2  Once it is not, and the message is still not among the stored ones, twice in a row, it is
        sent again. Is it there, then it runs, or ran: it is settled, not sent.
Rule 3  A server that keeps nothing that can be asked for is asked by sending again: it said that it
        did not run the message. The reply says that it was sent again.
Rule 4  All that takes as long as the reconnect policy allows; then the server's error ends it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import trio

from trio_mix import errors
from trio_mix._turns._router import Input
from trio_mix._turns._stored_turn import TurnOutcome, at_work, weight_of
from trio_mix.events import StreamGapEvent
from trio_mix.sse import ReconnectSchedule

if TYPE_CHECKING:
    from trio_mix._session._dispatcher import EventDispatcher
    from trio_mix._session._message_state import MessageState
    from trio_mix._session._send_queue import SendQueue
    from trio_mix._session._stored_messages import History, StoredMessages
    from trio_mix._turns._stored_turn import StoredRow
    from trio_mix.events import Event
    from trio_mix.sse import ReconnectPolicy

__all__ = ["BusyHost", "send_when_free"]

_LEAST_DELAY: Final = 0.25


class BusyHost(Protocol):
    """What waiting for a busy server needs of the stream."""

    session_id: str
    send_queue: SendQueue
    dispatcher: EventDispatcher
    history: History
    stored: StoredMessages
    reconnect: ReconnectPolicy
    settle_timeout: float

    def settle(self, state: MessageState) -> None:
        """Find out what became of a turn."""

    def send_again(self, state: MessageState) -> None:
        """Send a message a second time."""


async def send_when_free(host: BusyHost, state: MessageState, event: Event) -> None:
    """Send a message again once the server is free; raises only Cancelled.

    Args:
      host: the stream.
      state: the message.
      event: the error that said that the server is busy.
    """
    if state.busy is None:
        state.busy = ReconnectSchedule(host.reconnect)
        state.busy.begin(trio.current_time())
    watch = _Watch(host)
    while True:
        delay = state.busy.lost(trio.current_time())
        if delay is None:
            state.turn.ended_by = event
            host.dispatcher.step(state, Input.SETTLED)
            return  # noqa: ASYNC910 - a task of its own: nobody awaits it
        with trio.move_on_after(max(delay, _LEAST_DELAY)):
            await state.turn_over.wait()
            return
        try:
            await host.send_queue.wait_resumed()
        except errors.TrioMixError:
            return  # the stream is over, and has told everybody
        if state.unanswered:
            continue  # the first POST is still under way
        free = await _is_free(host, state, watch)
        if state.turn_over.is_set():
            return
        if free is None:
            # It was run by another stream: its end is found among the stored messages.
            state.cut = True
            state.builder.gap()
            state.insert(StreamGapEvent(missed=None, reason="what came meanwhile was nobody's"))
            host.dispatcher.step(state, Input.SENDING)
            host.dispatcher.step(state, Input.ACCEPTED)
            host.settle(state)
            return
        if free:
            state.builder.restart()
            host.send_again(state)
            return


async def _is_free(host: BusyHost, state: MessageState, watch: _Watch) -> bool | None:
    """Return whether it may be sent again; None: it has run, or it cannot be known."""
    if host.stored.silent:
        return True  # noqa: ASYNC910 - its caller has waited
    try:
        rows = await host.stored.rows(host.session_id)
    except Exception:  # noqa: BLE001 - refused, unreachable, or a hook's veto: not told this time
        return False  # noqa: ASYNC910 - the request was one
    if rows is None:
        return True
    if host.history.judge(rows, state).outcome is not TurnOutcome.ABSENT:
        return None
    return watch.is_quiet(rows)


class _Watch:
    """Whether anything is going on in a session, from one look to the next."""

    def __init__(self, host: BusyHost) -> None:
        self._patience = host.settle_timeout
        self._weight = -1
        self._since = 0.0
        self._idle_before = False

    def is_quiet(self, rows: list[StoredRow]) -> bool:
        """Take in a look; return whether the session was idle twice, or silent for long."""
        now, weight = trio.current_time(), weight_of(rows)
        if weight != self._weight:
            self._weight, self._since = weight, now
        idle = not at_work(rows)
        twice, self._idle_before = idle and self._idle_before, idle
        return twice or now - self._since >= self._patience
