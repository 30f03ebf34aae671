"""What became of a turn that was cut: asked of the session's stored messages.

What it knows: when to look, how often, and what each verdict means for the message. What it must
never know: the rows' shapes (`_turns._stored` judges them), sockets, who holds the message.

Rule 1  A server that replays settles the turn itself: once that is known, nothing is asked while
        the turn gives signs of life; and until it is known, it is given a moment.
Rule 2  Finished there: the reply is completed from there. Still running: it goes on.
Rule 3  Never arrived there, proven and for a while: sent again, once. Never while the POST's own
        outcome is open, never after an event of the turn, never when the POST was given up by our
        own clock (it may be on its way), and not while the session is at another turn, behind
        which this one may be queued.
Rule 4  No sign of life (an event of the turn, growth of what is stored) for ``settle_timeout``
        ends it: as gone where its rows are there, else as unknown, and the error says which. Time
        without a connection does not count, nor does silence while the POST is open. A turn whose
        events come again is as good as one that was never cut: it is seldom asked for, and may be
        silent for long (`endurance`).
Rule 5  A turn that its sender has left is settled only to know when the next may start; the server
        is told to cancel until it has heard it.
Rule 6  What a gap took of a turn that was seen to end is read from there before its message ends.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Protocol

import trio

from trio_mix import errors
from trio_mix._session._stored_messages import History, StoredMessages
from trio_mix._turns._router import Input, Phase
from trio_mix._turns._stored_turn import TurnOutcome, Verdict, at_work

if TYPE_CHECKING:
    from trio_mix._session._dispatcher import EventDispatcher
    from trio_mix._session._message_state import MessageState
    from trio_mix._session._send_queue import SendQueue

__all__ = [
    "ARRIVAL_GRACE",
    "History",
    "RecoveryHost",
    "Signs",
    "StoredMessages",
    "endurance",
    "fill_in",
    "interrupt",
    "look",
    "recover",
    "settle",
    "silence_of",
]

ARRIVAL_GRACE: Final = 3.0
"""Seconds that a message must stay absent before it counts as never arrived."""

_REPLAY_GRACE: Final = 1.0
_LIVE: Final = 2.0
_END_GRACE: Final = 5.0
_FIRST_LOOK: Final = 0.05
_SLOWEST_LOOK: Final = 5.0
_WHOLE: Final = 5
_DEAD: Final = 10


class RecoveryHost(Protocol):
    """What settling needs of the stream."""

    session_id: str
    send_queue: SendQueue
    dispatcher: EventDispatcher
    history: History
    stored: StoredMessages
    settle_timeout: float

    losses: int

    @property
    def up_time(self) -> float:
        """For how many seconds there has been a connection, all in all."""
        ...

    @property
    def continued(self) -> bool | None:
        """Whether the server replays; None: not known."""

    def send_again(self, state: MessageState) -> None:
        """Send a message a second time."""

    async def cancel(self) -> bool:
        """Tell the server to cancel; return whether it has heard it."""
        ...


async def settle(host: RecoveryHost, state: MessageState, *, patience: float = _FIRST_LOOK) -> None:
    """Find out what became of a turn, and end it or let it go on; raises only Cancelled.

    Args:
      host: the stream.
      state: the message.
      patience: seconds before the first look.
    """
    try:
        await _settle(host, state, patience)
    except errors.TrioMixError:
        return  # noqa: ASYNC910 - the stream is over, and has told everybody
    finally:
        state.settling = False


async def fill_in(host: RecoveryHost, state: MessageState) -> None:  # noqa: ASYNC910 - a task of its own: nobody awaits it
    """Read what a gap took of a turn that is over, then end its message (rule 6)."""
    pause = _FIRST_LOOK
    with trio.move_on_after(_END_GRACE):  # noqa: ASYNC912 - it asks, unless all is over
        while not state.over.is_set():
            verdict, _ = await look(host, state)
            if verdict is not None and verdict.reply is not None:
                state.builder.take_stored(verdict.reply)
                if verdict.looks_whole or verdict.outcome is not TurnOutcome.UNFINISHED:
                    break
            if host.stored.silent or (
                verdict is not None and verdict.outcome is TurnOutcome.UNKNOWN
            ):
                break
            await trio.sleep(pause)
            pause *= 2
    host.dispatcher.finish(state)


async def _settle(host: RecoveryHost, state: MessageState, pause: float) -> None:
    await host.send_queue.wait_resumed()
    signs = Signs(host, state)
    while True:
        with trio.move_on_after(pause):
            await state.turn_over.wait()
            return
        pause = min(pause * 2, _SLOWEST_LOOK, host.settle_timeout / 8)
        if _has_ended(state):
            await _end(host, state)
            return
        if not host.send_queue.is_resumed:
            await host.send_queue.wait_resumed()
        signs.note(host, state)
        if state.abandoned and not state.cancel_heard:
            state.turn.cancelling = True
            state.cancel_heard = await host.cancel()
        if host.continued and signs.silence < host.settle_timeout / 2:
            continue
        if signs.goes_on and signs.looked_ago < host.settle_timeout:
            continue
        if host.continued is None and signs.connected < _REPLAY_GRACE and signs.up < _LIVE:
            continue
        verdict, busy = await look(host, state)
        if state.turn.over or _has_ended(state):
            continue
        signs.note(host, state, verdict)
        if verdict is not None and _decide(host, state, verdict, signs, busy=busy):
            return
        patience = host.settle_timeout
        if signs.attached and verdict is not None and verdict.outcome is TurnOutcome.UNFINISHED:
            patience *= endurance(verdict)
        if signs.silence >= patience and not state.unanswered:
            _give_up(host, state, verdict, signs.silence)
            return


def endurance(verdict: Verdict) -> float:
    """Return how many settle timeouts an unfinished turn may be silent on a good connection.

    Nothing tells a dead turn from one that thinks. Fewer, where the rows hold all that an ended
    turn would; without end, while a tool is at work.
    """
    calls = () if verdict.reply is None else verdict.reply.tool_calls
    if verdict.looks_whole:
        return _WHOLE
    return math.inf if any(not call.finished for call in calls) else _DEAD


def _has_ended(state: MessageState) -> bool:
    return state.turn.phase is Phase.ENDED


async def _end(host: RecoveryHost, state: MessageState) -> None:  # noqa: ASYNC910 - `settle` has waited
    """End a turn whose terminal event has come; only the POST's answer may still be due."""
    if state.unanswered:
        with trio.move_on_after(_END_GRACE):
            await state.turn_over.wait()
    host.dispatcher.step(state, Input.SETTLED)


def _decide(
    host: RecoveryHost, state: MessageState, verdict: Verdict, signs: Signs, *, busy: bool
) -> bool:
    """Do what a verdict means; return whether that settles the turn."""
    if verdict.outcome is TurnOutcome.FINISHED:
        recover(host, state, verdict)
        return True
    if verdict.outcome is TurnOutcome.BROKEN_OFF:
        interrupt(host, state, verdict, "gone", "the server broke it off")
        return True
    if verdict.outcome is TurnOutcome.ABSENT:
        patience = host.settle_timeout if busy else min(ARRIVAL_GRACE, host.settle_timeout)
        if state.turn.events or state.unanswered or signs.absent < patience:
            return False
        if state.under_way and state.refusal is None and not state.abandoned:
            return False
        _never_arrived(host, state, verdict)
        return True
    if verdict.user_message_id is not None and not state.turn.bound:
        host.dispatcher.router.bind(state.turn, verdict.user_message_id)
    return False


async def look(host: RecoveryHost, state: MessageState) -> tuple[Verdict | None, bool]:
    """Return what the stored messages say of a turn, and whether the session is at another."""
    try:
        rows = await host.stored.rows(host.session_id)
    except Exception:  # noqa: BLE001 - refused, unreachable, or a hook's veto: not told this time
        return None, False  # noqa: ASYNC910 - the request was one
    if rows is None:
        return None, False
    asked = [row.id for row in rows if row.role == "user"]
    answers = [row.id for row in rows if row.role != "user"]
    others = host.dispatcher.router.of_others(state.turn, asked, answers)
    mine = [row for row in rows if row.id not in others]
    return host.history.judge(mine, state), at_work(rows)


class Signs:
    """When a turn last gave a sign of life, counting only the time that there was a connection."""

    def __init__(self, host: RecoveryHost, state: MessageState) -> None:
        self._now = trio.current_time()
        self._up = self._begun = self._last = self._since = self._heard = host.up_time
        self._losses = host.losses
        self._events, self._count = state.turn.events, state.turn.heard
        self._growth = 0
        self._absent_since: float | None = None
        self.attached = False
        """Whether an event of the turn has come that was no replay."""
        self._bound = False
        self._looked = -math.inf

    def note(self, host: RecoveryHost, state: MessageState, verdict: Verdict | None = None) -> None:
        """Take in what there is to see now."""
        self._now, self._up = trio.current_time(), host.up_time
        if host.losses != self._losses:
            self._losses, self._since = host.losses, self._up
            self.attached = False
        if state.turn.heard != self._count:
            self._count, self._heard = state.turn.heard, self._up
        if state.turn.events != self._events:
            self._events, self._last = state.turn.events, self._up
            self.attached = host.continued is False or self.connected > _LIVE
        self._bound = state.turn.bound or not host.dispatcher.router.traits.ids
        if verdict is None:
            return
        self._looked = self._now
        if verdict.growth > self._growth:
            self._growth, self._last = verdict.growth, self._up
        if verdict.outcome is not TurnOutcome.ABSENT:
            self._absent_since = None
        elif self._absent_since is None:
            self._absent_since = self._now

    @property
    def silence(self) -> float:
        """Seconds since the last sign."""
        return self._up - self._last

    @property
    def goes_on(self) -> bool:
        """Whether its events come again, and all that are to come will be known for its own."""
        return self.attached and self._bound

    @property
    def looked_ago(self) -> float:
        """Seconds since the stored messages were read."""
        return self._now - self._looked

    @property
    def unheard(self) -> float:
        """Seconds since the last event that was the turn's, or may turn out to have been."""
        return self._up - self._heard

    @property
    def up(self) -> float:
        """Seconds for which there was a connection since settling began."""
        return self._up - self._begun

    @property
    def connected(self) -> float:
        """Seconds since the connection was made again, at least."""
        return self._up - self._since

    @property
    def absent(self) -> float:
        """Seconds for which the turn was not among the stored ones."""
        return 0.0 if self._absent_since is None else self._now - self._absent_since


def recover(
    host: RecoveryHost,
    state: MessageState,
    verdict: Verdict,
    *,
    why: str = "the connection was lost",
) -> None:
    """Complete a message from what is stored."""
    if verdict.mixed:
        state.builder.doubtful = True
    host.dispatcher.gap(f"{why}; the rest was read from the stored messages")
    host.dispatcher.step(state, Input.SETTLED, verdict.reply)


def _never_arrived(host: RecoveryHost, state: MessageState, verdict: Verdict) -> None:
    if state.abandoned:
        host.dispatcher.step(state, Input.SETTLED)
    elif state.refusal is not None:
        host.dispatcher.end_with(state, state.refusal, Input.SETTLED)
    elif state.builder.resent:
        interrupt(host, state, verdict, "gone", "it was sent twice and never arrived")
    else:
        state.builder.restart()
        host.dispatcher.step(state, Input.RESEND)
        host.send_again(state)


def silence_of(silence: float, settle_timeout: float) -> str:
    """Say for how long nothing was heard, and by which setting that was too long."""
    return f"for {silence:.3g} s there was no sign of it (settle_timeout={settle_timeout:g})"


def _give_up(
    host: RecoveryHost, state: MessageState, verdict: Verdict | None, silence: float
) -> None:
    silent = silence_of(silence, host.settle_timeout)
    if verdict is None or verdict.outcome in (TurnOutcome.UNKNOWN, TurnOutcome.ABSENT):
        why = "and the server's stored messages could not tell"
        interrupt(host, state, verdict, "unknown", f"{silent}, {why}")
    elif verdict.looks_whole:
        state.builder.doubtful = True  # these rows do not tell whether that is all
        recover(host, state, verdict)
    else:
        interrupt(host, state, verdict, "gone", f"{silent}, not even among the stored messages")


def interrupt(
    host: RecoveryHost,
    state: MessageState,
    verdict: Verdict | None,
    outcome: str,
    why: str,
    *,
    what: str = "was cut by a lost connection",
) -> None:
    """End a message that cannot be completed, with what is known of its outcome."""
    if verdict is not None and verdict.reply is not None and not state.over.is_set():
        state.builder.take_stored(verdict.reply)
    remedy = (
        "It is not running any more: send it again if it is still wanted."
        if outcome == "gone"
        else "It may have run, or may still run: look at the session before sending it again."
    )
    failure = errors.MessageInterrupted(
        f"The message on session {host.session_id} {what}; {why}. {remedy} "
        "What had come is in .partial.",
        session_id=host.session_id,
        partial=state.partial(),
        outcome=outcome,
    )
    failure.__cause__ = state.refusal
    host.dispatcher.end_with(state, failure, Input.SETTLED)
