"""Healing a subscriber: whatever a loss took of a turn, its text is whole, and it ends once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from trio_mix import events as ev
from trio_mix._turns._healing import Healer
from trio_mix._turns._stored_rows import StoredRow

if TYPE_CHECKING:
    from trio_mix.events import Event

ROUNDS = ["Before ", "the tool, ", "and after."]


def turn_events(*, ids: bool) -> list[Event]:
    """A turn of three rounds, with tools between them."""
    events: list[Event] = []
    if ids:
        events.append(ev.UserMessageCreatedEvent(message_id="u1", content="go"))
    for number, text in enumerate(ROUNDS):
        name = f"a{number}" if ids else None
        half = len(text) // 2
        events += [
            ev.ContentEvent(content=part, assistant_message_id=name)
            for part in (text[:half], text[half:])
        ]
        if number < 2:
            events.append(
                ev.ToolEvent(tool_call_id=f"t{number}", name="ls", input="{}", status="completed")
            )
    last = f"a{len(ROUNDS) - 1}"
    events.append(ev.CompleteEvent(done=True, content=ROUNDS[-1], message_id=last))
    return events


def rows(sent: list[Event], *, over: bool) -> list[StoredRow]:
    """What is stored when these events of the turn were sent."""
    found = [
        StoredRow(id="u0", role="user", text="go"),
        StoredRow(id="b0", role="assistant", text="An older answer.", finish="end_turn"),
        StoredRow(id="u1", role="user", text="go"),
    ]
    left = "".join(each.content for each in sent if isinstance(each, ev.ContentEvent))
    for number, text in enumerate(ROUNDS):
        finish = "tool_use" if number < 2 else "end_turn" if over else ""
        found.append(
            StoredRow(id=f"a{number}", role="assistant", text=left[: len(text)], finish=finish)
        )
        left = left[len(text) :]
        if not left and not over:
            break
    return found


def text_of(events: list[Event]) -> str:
    return "".join(each.content for each in events if isinstance(each, ev.ContentEvent))


@given(st.booleans(), st.data())
def test_a_turn_that_was_cut_anywhere_is_whole_in_order_and_ends_once(
    ids: bool, data: st.DataObject
) -> None:
    events = turn_events(ids=ids)
    cut = data.draw(st.integers(1, len(events) - 1))
    missed = data.draw(st.integers(cut, len(events)))
    read_at = data.draw(st.integers(missed, len(events)))
    healer = Healer()
    got = healer.feed(events[:cut])
    assert got == events[:cut]
    healer.lost()
    got += healer.feed([ev.StreamGapEvent(missed=None, reason="lost"), *events[missed:read_at]])
    over = read_at == len(events)
    got += healer.stored(rows(events[:read_at], over=over))
    got += healer.feed(events[read_at:])
    if healer.holding:  # it has ended, and the rows are read again
        assert healer.ended
        got += healer.stored(rows(events, over=True))
    assert text_of(got) == "".join(ROUNDS)
    assert [type(each) for each in got].count(ev.CompleteEvent) == 1
    assert isinstance(got[-1], ev.CompleteEvent)
    gaps = [each for each in got if isinstance(each, ev.StreamGapEvent)]
    assert [gap.healed for gap in gaps] == [True]
    nothing_missed_of_text = got.index(gaps[0])
    assert text_of(got[:nothing_missed_of_text]) == text_of(events[:cut])
    following = turn_events(ids=False)
    assert healer.feed(following) == following


@given(st.booleans(), st.integers(1, 7), st.sampled_from(["unreadable", "other text", "rewound"]))
def test_what_cannot_be_healed_is_passed_on_after_an_ordinary_gap(
    ids: bool, cut: int, why: str
) -> None:
    events = turn_events(ids=ids)
    healer = Healer()
    got = healer.feed(events[:cut])
    seen = text_of(got)
    healer.lost()
    gap = ev.StreamGapEvent(missed=None, reason="lost")
    got += healer.feed([gap, *events[cut:]])
    stored = None
    if why != "unreadable":
        stored = rows(events, over=True)[: 2 if why == "rewound" else None]
    if why == "other text" and stored is not None:
        stored[3] = StoredRow(id="a0", role="assistant", text="Quite another", finish="end_turn")
    got += healer.stored(stored)
    if why == "unreadable" or seen or (why == "rewound" and ids):
        assert got == [*events[:cut], gap, *events[cut:]]
    assert not healer.holding


def test_without_finish_reasons_rows_that_stay_the_same_are_believed() -> None:
    events = turn_events(ids=False)
    healer = Healer()
    healer.feed(events[:2])
    healer.lost()
    whole = [StoredRow(id=row.id, role=row.role, text=row.text) for row in rows(events, over=True)]
    got: list[Event] = []
    again: list[bool] = []
    for stored in (whole[:4], whole, whole):  # it has grown in the second reading
        assert got == []
        got = healer.stored(stored)
        again.append(healer.again)
    assert again == [True, True, False]
    assert text_of(got) == "".join(ROUNDS[1:])
    assert isinstance(got[-1], ev.CompleteEvent)


def test_requests_to_the_user_and_other_turns_are_never_held_back() -> None:
    events = turn_events(ids=True)
    healer = Healer()
    healer.feed(events[:2])
    healer.lost()
    asks = ev.PermissionEvent(
        permission_id="p", tool_name="bash", description="", action="", path="", session_id="s"
    )
    assert healer.feed([asks]) == [asks]
    healer.stored(rows(events[:2], over=False))
    tool = events[3]
    assert healer.feed([tool]) == [tool]
    other = ev.ContentEvent(content="theirs", assistant_message_id="c0")
    assert healer.feed([other]) == []
    got = healer.feed(events[4:]) + healer.stored(rows(events, over=True))
    assert got[-1] is other
    assert text_of(events[:2]) + text_of(got[:-1]) == "".join(ROUNDS)


def test_a_replay_and_the_end_of_the_stream_release_what_was_held_back() -> None:
    events = turn_events(ids=True)
    for release in (Healer.replayed, Healer.abandon):
        healer = Healer()
        got = healer.feed(events[:3])
        healer.lost()
        got += healer.feed(events[3:])
        got += release(healer)
        gaps = [each for each in got if isinstance(each, ev.StreamGapEvent)]
        assert [each for each in got if each not in gaps] == events
        assert len(gaps) == (release is Healer.abandon)
