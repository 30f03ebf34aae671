"""A turn of which nothing is heard, though no connection was lost.

What it knows: when silence is worth a question, and what the stored messages' answer means for a
turn that was not cut. What it must never know: how rows are judged, who holds the message.

Events get lost without a connection: a server drops them for a slow reader, or tears a frame. What
names a turn, or ends it, may be among them; and an error that ends it may look like the repetition
of an earlier one.

Rule 1  Nothing is asked while events come. ``settle_timeout`` without one, and the stored messages
        are asked, and after that as often again: to be silent is normal for a turn.
Rule 2  Where the last that was heard may have been this turn's end (`Turn.doubt`), they are asked
        after a moment, and then less and less often.
Rule 3  Finished or broken off there, and no event within a moment: it ends so.
Rule 4  Unfinished there, it goes on. Nothing tells a dead turn from one that thinks, so only long
        silence is taken for an end: where the rows hold all that an ended turn would, and where
        not even a tool is at work.
Rule 5  Not to be found there: its outcome is unknown. It is never sent again, for it was accepted.
Rule 6  Where nothing can be asked, it goes on, unless what names it is overdue, or its end doubted.
Rule 7  Once a connection is lost, or its sender has left, settling is in charge.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import trio

from trio_mix import errors
from trio_mix import events as ev
from trio_mix._session._recovery import (
    ARRIVAL_GRACE,
    Signs,
    endurance,
    interrupt,
    look,
    recover,
    silence_of,
)
from trio_mix._turns._router import Input, Phase
from trio_mix._turns._stored_turn import TurnOutcome

if TYPE_CHECKING:
    from trio_mix._session._message_state import MessageState
    from trio_mix._session._recovery import RecoveryHost
    from trio_mix._turns._stored_turn import Verdict

__all__ = ["watch"]

_END_GRACE: Final = 1.0
_QUEUED: Final = 10
"""How many settle timeouts it may be nowhere to be found while the session is at another turn."""

_UNHEARD: Final = "the stream did not tell how a message went on"
_WHAT: Final = "was not heard of any more, though the connection was not lost"


async def watch(host: RecoveryHost, state: MessageState) -> None:
    """See a turn that the server has accepted to its end; raises only Cancelled.

    Args:
      host: the stream.
      state: the message.
    """
    state.watches += 1
    mine = state.watches
    signs = Signs(host, state)
    limit = host.settle_timeout
    pause = min(ARRIVAL_GRACE, limit)
    due = limit
    over = False
    while True:
        with trio.move_on_after(pause):
            await state.turn_over.wait()
            return
        others = state.settling or state.watches != mine or state.turn.phase is not Phase.RUNNING
        if others:
            return
        signs.note(host, state)
        if state.turn.doubt is not None:
            due = min(due, signs.unheard)
        if signs.unheard < due:
            pause, due, over = limit - min(signs.unheard, limit - _END_GRACE), limit, False
            continue
        verdict, busy = await look(host, state)
        if state.settling or state.turn.phase is not Phase.RUNNING:
            continue
        signs.note(host, state, verdict)
        if _decide(host, state, verdict, signs, busy=busy, over=over):
            return
        over = verdict is not None and verdict.outcome in (
            TurnOutcome.FINISHED,
            TurnOutcome.BROKEN_OFF,
        )
        pause = min(_END_GRACE if over else max(pause, _END_GRACE) * 2, limit)


def _decide(
    host: RecoveryHost,
    state: MessageState,
    verdict: Verdict | None,
    signs: Signs,
    *,
    busy: bool,
    over: bool,
) -> bool:
    """Do what a look means; return whether that ends the turn."""
    limit, doubt = host.settle_timeout, state.turn.doubt
    failure = doubt if isinstance(doubt, ev.ErrorEvent | ev.RateLimitEvent) else None
    outcome = TurnOutcome.UNKNOWN if verdict is None else verdict.outcome
    if verdict is not None and outcome is not TurnOutcome.ABSENT:
        _bind(host, state, verdict)
    if outcome is TurnOutcome.FINISHED and verdict is not None:
        if over:
            _recover(host, state, verdict)
        return over
    if outcome is TurnOutcome.BROKEN_OFF:
        if over:
            _fail(host, state, verdict, failure, "gone", "the server broke it off")
        return over
    if outcome is TurnOutcome.UNFINISHED and verdict is not None:
        return _if_dead(host, state, verdict, signs, failure)
    if verdict is None and host.dispatcher.router.traits.ids is not True and failure is None:
        return False
    if state.turn.bound or state.turn.text.startswith(("/", "!")):
        return False
    # While the session is at another turn this one may be queued behind it.
    patience = _QUEUED if busy else 1 if doubt is not None else 2
    if signs.unheard < patience * limit:
        return False
    unheard = f"for {signs.unheard:.0f} s there was no event of it (settle_timeout={limit:g})"
    why = f"{unheard}, and the server's stored messages could not tell"
    _fail(host, state, verdict, failure, "unknown", why)
    return True


def _if_dead(
    host: RecoveryHost,
    state: MessageState,
    verdict: Verdict,
    signs: Signs,
    failure: ev.ErrorEvent | ev.RateLimitEvent | None,
) -> bool:
    patience = endurance(verdict)
    if failure is not None and not verdict.looks_whole and math.isfinite(patience):
        patience = 1
    if signs.silence < patience * host.settle_timeout:
        return False
    if verdict.looks_whole:
        state.builder.doubtful = True  # these rows do not tell whether that is all
        _recover(host, state, verdict)
    else:
        silent = silence_of(signs.silence, host.settle_timeout)
        why = f"{silent}, not even among the stored messages"
        _fail(host, state, verdict, failure, "gone", why)
    return True


def _bind(host: RecoveryHost, state: MessageState, verdict: Verdict) -> None:
    """Take in which stored message it is: what named it was lost, and perhaps more with it."""
    if verdict.user_message_id is None or state.turn.bound:
        return
    if host.dispatcher.router.traits.ids:
        state.builder.gap()
        state.insert(ev.StreamGapEvent(missed=None, reason=_UNHEARD))
    host.dispatcher.router.bind(state.turn, verdict.user_message_id)


def _recover(host: RecoveryHost, state: MessageState, verdict: Verdict) -> None:
    state.cut = True  # so that its reader sees where events are missing
    recover(host, state, verdict, why=_UNHEARD)


def _fail(
    host: RecoveryHost,
    state: MessageState,
    verdict: Verdict | None,
    failure: ev.ErrorEvent | ev.RateLimitEvent | None,
    outcome: str,
    why: str,
) -> None:
    """End it as an error that was taken for another's says, where the rows agree, else as cut."""
    if failure is not None and verdict is not None:
        state.turn.ended_by = failure
        host.dispatcher.step(state, Input.SETTLED)
        return
    if failure is not None:
        error = errors.AgentError(
            failure.error, event=failure, session_id=host.session_id, partial=state.partial()
        )
        state.refusal = error
    interrupt(host, state, verdict, outcome, why, what=_WHAT)
