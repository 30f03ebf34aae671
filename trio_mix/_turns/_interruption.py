"""Word why a turn ended without its events: for errors, and for the gap events of a message."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mix._turns._facts import Concern
from trio_mix._turns._rules import Action

if TYPE_CHECKING:
    from trio_mix._turns._facts import Facts


def what_text(facts: Facts) -> str:
    """Return what happened to the message, as the predicate of a sentence."""
    if facts.concern is Concern.RUNNING:
        return "was not reported on any more, though the connection was not lost"
    return "was resumed" if facts.turn.resumed else f"was cut: {lost_text(facts)}"


def lost_text(facts: Facts) -> str:
    """Return why events, or the answer, may be missing."""
    if facts.concern is Concern.RUNNING:
        return "the stream did not report how a message went on"
    if facts.turn.overlap and not facts.was_cut:
        return "another client's message ran before it"
    if facts.was_cut or facts.leaving.left:
        return "the connection was lost" if facts.was_cut else "it was left"
    return (
        f"the answer to its POST {'did not come in time' if facts.post.timed_out else 'was lost'}"
    )


def silence_text(facts: Facts, action: Action) -> str:
    """Return for how long there was no sign of the turn, and what the stored messages showed."""
    limit = f"(settle_timeout={facts.limits.settle_timeout:g})"
    if facts.concern is Concern.RUNNING and action is Action.UNKNOWN:
        text = f"for {facts.signs.unheard(facts.now):.0f} s there was no event of it {limit}"
    else:
        text = f"for {facts.signs.silence(facts.now):.3g} s there was no sign of it {limit}"
    if action is Action.UNKNOWN:
        return f"{text}, and the server's stored messages could not tell"
    return f"{text}, and its stored messages did not grow"
