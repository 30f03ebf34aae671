"""What is missing of a turn that lost events, found out from what is stored of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from trio_mix._wire._events import decode_event
from trio_mix.relay._bridge import bridge, joined, overlap, rounds_of
from trio_mix.relay._outbox import Draft
from trio_mix.relay._records import Audience
from trio_mix.relay._turn_progress import Seen
from trio_mix.sse import ServerSentEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix.relay._bridge import Round, WireStyle
    from trio_mix.relay._records import Outcome
    from trio_mix.relay._turn_progress import TurnEvents


def released(
    turn: TurnEvents, rounds: Sequence[Round], held_before: str, style: WireStyle
) -> list[Draft]:
    """Return what is missing of a turn that runs, and what is held back; empty if it is not known.

    The turn is no longer cut then.

    Args:
      turn: the turn.
      rounds: what is stored of it.
      held_before: the text that was held back before the rounds were read.
      style: how the server's events look.
    """
    if not turn.cut or turn.tail:
        return []
    whole, seen = "".join(each.text for each in rounds), "".join(turn.seen.text)
    held = _seen_in_held(turn)
    at = overlap(whole, len(seen), held_before, "".join(held.text))
    if at is None:
        return []
    found = bridge(
        rounds,
        seen=seen,
        held=whole[at:],
        calls=turn.seen.calls,
        later_calls=held.calls,
        style=style,
    )
    if found is None or not found[1]:
        return []
    for draft in found[0]:
        event = decode_event(ServerSentEvent(event=draft.event, data=draft.data))
        turn.note_ids(event)
        turn.seen.add(event)
    for _, event in turn.held:
        turn.seen.add(event)
    drafts = found[0] + turn.passed_on()
    turn.cut, turn.held, turn.held_bytes = False, [], 0
    return drafts


def completed(
    turn: TurnEvents, outcome: Outcome, rounds: Sequence[Round], style: WireStyle
) -> tuple[list[Draft], bool]:
    """Return what is missing of a turn that is over, with what was held back of it.

    Args:
      turn: the turn.
      outcome: how it ended.
      rounds: what is stored of it; empty if that is not known.
      style: how the server's events look.

    Returns:
      The events, and whether some of them were missing.
    """
    held = _seen_in_held(turn)
    passed_on = turn.passed_on()
    if outcome.kind == "complete" and not rounds:
        rounds = rounds_of(outcome)
    found = None
    if rounds:
        found = bridge(
            rounds if turn.was_cut else [attrs.evolve(each, calls=()) for each in rounds],
            seen="".join(turn.seen.text),
            held="".join(held.text),
            calls=turn.seen.calls,
            later_calls=held.calls,
            style=style,
            tail=turn.tail,
        )
    if found is None:
        lost = turn.was_cut or outcome.kind == "complete"
        return ([gap_draft()] if lost and rounds else []) + passed_on, False
    missing, follows = found
    return missing + (passed_on if follows else []), bool(missing)


def corrected(turn: TurnEvents, outcome: Outcome, rounds: Sequence[Round]) -> Outcome:
    """Return an outcome with its whole text, where the message itself did not receive it.

    Args:
      turn: the turn.
      outcome: how it ended.
      rounds: what is stored of it; empty if that is not known.
    """
    if not outcome.incomplete or outcome.kind != "complete":
        return outcome
    text: str | None = "".join(each.text for each in rounds)
    if not rounds:
        text = None if turn.tail else joined("".join(turn.seen.text), outcome.final_text)
    if text is not None:
        return attrs.evolve(outcome, text=text, incomplete=False)
    if outcome.final_text.endswith(outcome.text):  # what is before that message is not known
        return attrs.evolve(outcome, text=outcome.final_text)
    return outcome


def gap_draft() -> Draft:
    """Return the report that events of a turn are lost for good."""
    data = '{"missed":null,"reason":"events of this turn were lost and are not stored"}'
    return Draft("gap", data, Audience.RELAY)


def _seen_in_held(turn: TurnEvents) -> Seen:
    held = Seen()
    for _, event in turn.held:
        held.add(event)
    return held
