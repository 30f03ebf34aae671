"""What a ticket contains, and what stored rows prove about it, for every history of a session."""

from __future__ import annotations

import json
import math

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_mix import Ticket
from trio_mix._ticket import LONGEST_ID, Baseline
from trio_mix._turns._baseline import baseline_of, judge_since
from trio_mix._turns._decisions import (
    Bind,
    Complete,
    Interrupt,
    Post,
    Reading,
    ReadStored,
    Restart,
    Wait,
)
from trio_mix._turns._limits import Limits
from trio_mix._turns._look_up import LookUp
from trio_mix._turns._recovery import Recovery
from trio_mix._turns._stored_rows import StoredRow
from trio_mix._turns._stored_turn import TurnOutcome, Verdict
from trio_mix._turns._turn import Identity, Input, Phase, Turn, same_text
from trio_mix._turns._wire_traits import WireTraits
from trio_mix.errors import ConfigurationError
from trio_mix.sse import ReconnectPolicy

TEXTS = ("go", " go", "stop", "/help")


def ticket(text: str = "go", **fields: object) -> Ticket:
    made = Ticket(session_id="s", text=text, ticket_id="t")
    return attrs.evolve(made, **fields)  # type: ignore[arg-type]


def rows_of(texts: list[str]) -> list[StoredRow]:
    """A question and its answer for each text."""
    return [
        row
        for i, text in enumerate(texts)
        for row in (
            StoredRow(id=f"u{i}", role="user", text=text),
            StoredRow(id=f"a{i}", role="assistant", text=f"answer {i}", finish="end_turn"),
        )
    ]


def noted(rows: list[StoredRow], equal: int = 0) -> Baseline:
    asked = [row.id for row in rows if row.role == "user"]
    return baseline_of(asked, older=False, last=rows[-1].id if rows else None, equal=equal)


def verdict(
    rows: list[StoredRow], of: Ticket, *, others: tuple[str, ...] = (), equal: int = 0
) -> Verdict:
    return judge_since(
        rows,
        of,
        user_message_id=None,
        matches=lambda stored: same_text(of.text, stored),
        others=others,
        equal=equal,
    )


histories = st.tuples(
    st.lists(st.sampled_from(TEXTS), max_size=45),  # stored before `prepare`
    st.lists(st.sampled_from(TEXTS), max_size=4),  # other clients' messages since
    st.sampled_from(TEXTS),
    st.integers(0, 4),  # where the message is among them
)


@given(histories, st.booleans())
def test_a_row_is_taken_for_the_message_only_if_it_can_be_no_other(
    history: tuple[list[str], list[str], str, int], stored: bool
) -> None:
    before, others, text, at = history
    baseline = noted(rows_of(before))
    at = min(at, len(others)) + len(before)
    texts = before + others
    if stored:
        texts = [*texts[:at], text, *texts[at:]]
    found = verdict(rows_of(texts), ticket(text, baseline=baseline))
    equal = sum(same_text(text, other) for other in others)
    if equal + stored == 0:
        assert found.outcome is TurnOutcome.ABSENT
    elif equal + stored > 1:
        assert found.outcome is TurnOutcome.UNKNOWN
    else:
        assert found.outcome is TurnOutcome.FINISHED
        assert found.reply is not None
        assert not stored or found.user_message_id == f"u{at}"


@given(histories, st.integers(1, 3), st.booleans())
def test_outstanding_messages_with_an_equal_text_make_every_row_ambiguous(
    history: tuple[list[str], list[str], str, int], equal: int, in_ticket: bool
) -> None:
    before, others, text, _ = history
    baseline = noted(rows_of(before), equal=equal if in_ticket else 0)
    rows = rows_of([*before, *others, text])
    found = verdict(rows, ticket(text, baseline=baseline), equal=0 if in_ticket else equal)
    assert found.outcome is TurnOutcome.UNKNOWN


@given(histories, st.data())
def test_after_the_session_was_rewound_only_an_id_proves_something(
    history: tuple[list[str], list[str], str, int], data: st.DataObject
) -> None:
    before, others, text, _ = history
    rows = rows_of([*before, *others, text])
    mine = f"u{len(before) + len(others)}"
    baseline = noted(rows_of(before))
    left = data.draw(st.integers(0, len(rows)))
    found = verdict(rows[:left], ticket(text, baseline=baseline))
    if left < 2 * len(before):
        assert found.outcome is TurnOutcome.UNKNOWN
    named = verdict(rows[:left], ticket(text, baseline=baseline, user_message_id=mine))
    assert (named.user_message_id == mine) == (left > 2 * (len(before) + len(others)))
    assert named.outcome is not TurnOutcome.ABSENT


def test_the_messages_of_this_stream_are_set_aside() -> None:
    rows = rows_of(["go", "go"])
    assert verdict(rows, ticket(), others=("u1",)).user_message_id == "u0"
    assert verdict(rows, ticket(), others=("u0", "u1")).outcome is TurnOutcome.ABSENT


def test_the_id_of_the_answer_names_the_message_where_events_name_no_other() -> None:
    rows = rows_of(["go", "go"])
    assert verdict(rows, ticket(message_id="a0")).user_message_id == "u0"
    assert verdict(rows, ticket(message_id="a9")).outcome is TurnOutcome.UNKNOWN


# -- the JSON of a ticket ---------------------------------------------------------------------

tickets = st.builds(
    Ticket,
    session_id=st.text(max_size=20),
    text=st.text(st.characters()),  # half a surrogate pair too
    state=st.sampled_from(["prepared", "posting", "running", "finished", "failed"]),
    ticket_id=st.text(max_size=40),
    recoverable=st.booleans(),
    user_message_id=st.none() | st.text(max_size=20),
    message_id=st.none() | st.text(max_size=20),
    plan_mode=st.booleans(),
    thinking_level=st.sampled_from([None, "off", "maximum"]),
    max_steps=st.none() | st.integers(1),
    media=st.lists(st.text(max_size=9), max_size=3).map(tuple),
    apps=st.lists(st.text(max_size=9), max_size=3).map(tuple),
    allow_shell=st.booleans(),
    baseline=st.builds(
        Baseline,
        known=st.lists(st.text(max_size=9), max_size=3).map(tuple),
        older=st.booleans(),
        last=st.none() | st.text(max_size=9),
        equal=st.integers(0, 9),
    ),
)


@given(tickets)
def test_a_ticket_survives_its_json(made: Ticket) -> None:
    saved = made.to_json()
    assert "\n" not in saved
    assert Ticket.from_json(saved) == Ticket.from_json(saved.encode("ascii")) == made


@given(tickets, st.data())
def test_a_torn_ticket_is_refused(made: Ticket, data: st.DataObject) -> None:
    saved = made.to_json()
    end = data.draw(st.integers(0, len(saved) - 1))
    with pytest.raises(ConfigurationError, match="not valid JSON"):
        Ticket.from_json(saved[:end])
    fields = json.loads(saved)
    del fields[data.draw(st.sampled_from(sorted(fields)))]
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Ticket.from_json(json.dumps(fields))


@given(
    tickets,
    st.sampled_from(["text", "state", "media", "baseline", "recoverable", "version", "max_steps"]),
    st.sampled_from([[1], 1.5, {"a": 1}, "?", -(10**40)]),
)
def test_a_ticket_with_a_wrong_field_is_read_or_refused(
    made: Ticket, name: str, value: object
) -> None:
    saved = json.dumps(json.loads(made.to_json()) | {name: value})
    try:
        read = Ticket.from_json(saved)
    except ConfigurationError:
        return
    assert type(getattr(read, name)) is type(value)


def test_a_ticket_of_a_newer_version_is_refused() -> None:
    saved = json.loads(ticket().to_json())
    assert Ticket.from_json(json.dumps(saved | {"later": "ignored"})) == ticket()
    with pytest.raises(ConfigurationError, match="update trio_mix"):
        Ticket.from_json(json.dumps(saved | {"version": 2}))
    for garbage in ("[]", "null", "[" * 100_000, b"\xff", "NaN"):
        with pytest.raises(ConfigurationError):
            Ticket.from_json(garbage)


def test_the_error_of_a_ticket_names_the_field_and_shows_no_value() -> None:
    saved = json.loads(ticket().to_json())
    wrong = [
        ("state", {"state": "secret"}),
        ("thinking_level", {"thinking_level": "secret" * 10_000}),
        (r"media\[1\]", {"media": ["a", 1]}),
        (r"baseline\.known\[0\]", {"baseline": saved["baseline"] | {"known": [1]}}),
    ]
    for field, change in wrong:
        with pytest.raises(ConfigurationError, match=rf"`{field}`") as caught:
            Ticket.from_json(json.dumps(saved | change))
        assert "secret" not in str(caught.value)


@given(st.lists(st.text(min_size=1, max_size=200), max_size=60), st.text())
def test_a_ticket_is_at_most_8_kib_longer_than_its_text(ids: list[str], text: str) -> None:
    baseline = baseline_of(ids, older=False, last=ids[-1] if ids else None, equal=3)
    assert set(baseline.known) <= set(ids)
    assert baseline.older or len(baseline.known) == len(ids)
    made = ticket(text, baseline=baseline)
    if not made._too_large:
        later = "i" * (LONGEST_ID - 2)
        made = attrs.evolve(made, user_message_id=later, message_id=later)
        assert len(made.to_json()) - len(json.dumps(text)) <= 8192


def test_the_text_is_not_in_a_tickets_repr() -> None:
    assert "secret" not in repr(ticket("my secret text"))


# -- look_up ----------------------------------------------------------------------------------


def looked_up(of: Ticket, *readings: tuple[float, Reading]) -> str | None:
    search = LookUp(of, Limits(), 0.0)
    for now, reading in readings:
        found = search.stored(reading, now)
        if found is not None:
            return found.state
    return None


def reading(outcome: TurnOutcome, *, whole: bool = False, at_work: bool = False) -> Reading:
    return Reading(verdict=Verdict(outcome=outcome, looks_whole=whole), at_work=at_work)


def test_what_is_stored_is_reported_at_once() -> None:
    for outcome, state in (
        (TurnOutcome.FINISHED, "finished"),
        (TurnOutcome.BROKEN_OFF, "failed"),
        (TurnOutcome.UNFINISHED, "running"),
    ):
        assert looked_up(ticket(state="posting"), (0.0, reading(outcome))) == state
    assert looked_up(ticket(state="posting"), (0.0, Reading(none_kept=True))) == "unknown"
    assert looked_up(ticket(state="finished"), (0.0, Reading(none_kept=True))) == "finished"
    assert looked_up(ticket(state="failed"), (0.0, reading(TurnOutcome.UNFINISHED))) == "failed"


def test_absence_is_believed_after_three_idle_seconds() -> None:
    absent = reading(TurnOutcome.ABSENT)
    busy = reading(TurnOutcome.ABSENT, at_work=True)
    assert looked_up(ticket(), (0, absent), (2.9, absent)) is None
    assert looked_up(ticket(), (0, absent), (3, absent)) == "absent"
    assert looked_up(ticket(), (0, absent), (2, busy), (3, absent)) is None
    assert looked_up(ticket(), (0, absent), (2, busy), (5, absent)) == "absent"
    assert looked_up(ticket(), *((t, busy) for t in range(7))) == "unknown"
    unknown = reading(TurnOutcome.UNKNOWN)
    assert looked_up(ticket(), (0, unknown), (3, unknown)) == "unknown"
    for arrived in (ticket(state="running"), ticket("/help", state="posting")):
        assert looked_up(arrived, (0, absent), (3, absent)) == "unknown"
    assert looked_up(ticket("/help"), (0, absent), (3, absent)) == "absent"


def test_rows_without_finish_reasons_are_finished_once_they_do_not_grow() -> None:
    whole = reading(TurnOutcome.UNFINISHED, whole=True)
    grown = Reading(verdict=Verdict(outcome=TurnOutcome.UNFINISHED, looks_whole=True, growth=5))
    assert looked_up(ticket(), (0, whole), (3, whole)) == "finished"
    assert looked_up(ticket(), (0, whole), (2, grown), (4, grown)) is None
    assert looked_up(ticket(), (0, whole), (2, grown), (5, grown)) == "finished"


# -- the recovery of a resumed message --------------------------------------------------------

readings = st.builds(
    Reading,
    verdict=st.none()
    | st.builds(
        Verdict,
        outcome=st.sampled_from(TurnOutcome),
        user_message_id=st.sampled_from([None, "u1"]),
        looks_whole=st.booleans(),
        growth=st.integers(0, 3),
    ),
    at_work=st.booleans(),
)


def resumed(
    of: Ticket, may_resend: bool, script: list[Reading]
) -> tuple[object, list[float], TurnOutcome | None]:
    """Resume a ticket with these readings, the last one again and again.

    Returns the last decision, the times at which the message was absent and the session idle in
    all readings up to the end, and the outcome in the last reading.
    """
    turn = Turn(text=of.text, ticket=of)
    recovery = Recovery(turn, WireTraits(), ReconnectPolicy(), Limits(), 0.0)
    recovery.resumed(may_resend=may_resend)
    now, absent = 0.0, list[float]()
    found = Reading()
    for _ in range(3000):
        decision = recovery.next(now)
        match decision:
            case Wait(until):
                assert until < math.inf, "nothing else is going to happen"
                now = max(now, until)
            case ReadStored():
                found = script.pop(0) if len(script) > 1 else script[0]
                gone = found.outcome is TurnOutcome.ABSENT and not found.at_work
                # A reading that failed says nothing.
                absent = absent if found.verdict is None else [*absent, now] if gone else []
                recovery.stored(found, now)
            case Bind(user_message_id, _):
                turn.identity = Identity(user_message_id=user_message_id)
                turn.step(Input.SENDING)
                turn.step(Input.ACCEPTED)
            case Restart():
                assert not turn.step(Input.RESEND) or turn.phase is Phase.REGISTERED
            case _:
                return decision, absent, found.outcome
    raise AssertionError("it does not end")


@given(
    st.sampled_from(["prepared", "posting", "running", "finished", "failed"]),
    st.booleans(),
    st.lists(readings, min_size=1, max_size=8),
)
def test_a_resumed_message_ends_and_is_sent_again_only_after_three_seconds_of_absence(
    state: str, may_resend: bool, script: list[Reading]
) -> None:
    decision, absent, last = resumed(ticket(state=state), may_resend, script)
    if isinstance(decision, Post):
        assert may_resend
        assert state not in ("finished", "failed")
        assert absent[-1] - absent[0] >= 3
    else:
        assert isinstance(decision, Complete | Interrupt)
        if isinstance(decision, Interrupt) and decision.outcome == "gone":
            assert state == "failed" or last in (TurnOutcome.BROKEN_OFF, TurnOutcome.UNFINISHED)
