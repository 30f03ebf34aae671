"""What consumers receive of turns: ids, one end each, and what completes a turn after a hole."""

from __future__ import annotations

import json

import attrs
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.relay_scripts import (
    Script,
    frame,
    outline,
    plain,
    rounds_at,
    scripts,
    session_events,
)
from trio_mix.relay import _turn_progress
from trio_mix.relay._bridge import Round, WireStyle, joined
from trio_mix.relay._followed import FollowedTurns
from trio_mix.relay._outbox import TRANSITIONS, Draft, may_resend, with_turn_id
from trio_mix.relay._records import Audience, LoggedEvent, Outcome, TurnState
from trio_mix.relay._turn_progress import TurnEvents
from trio_mix.relay._turn_repair import corrected


@given(scripts())
def test_an_undisturbed_turn_is_passed_on_as_it_is_with_its_id(script: Script) -> None:
    events = session_events()
    events.begin("t", cut=False)
    drafts = [draft for each in script.frames for draft in events.take(each, mine=True)]
    assert len(drafts) == len(script.frames) - 1  # the end is withheld until it is settled
    drafts += events.settle(script.outcome, script.rounds)
    assert [each.event for each in drafts] == [each.event for each in script.frames]
    for draft, sent in zip(drafts, script.frames, strict=True):
        assert json.loads(draft.data) == {**json.loads(sent.data), "turnId": "t"}


@given(scripts(), st.data())
def test_a_turn_is_complete_after_any_holes(script: Script, data: st.DataObject) -> None:
    """Whatever was lost, however often: text, calls and end are there once and in order."""
    holes = data.draw(
        st.lists(
            st.tuples(st.integers(0, len(script.frames)), st.integers(0, 8)), min_size=1, max_size=3
        )
    )
    lost = {at + more for at, size in holes for more in range(size)}
    events = session_events()
    # Some servers call no tools before the hole: the generation says how such events look.
    events.style = WireStyle(ids=script.frames[0].event == "user_message_created")
    events.style = attrs.evolve(events.style, tool_use=events.style.ids)
    events.begin("t", cut=False)
    drafts: list[Draft] = []
    for number, each in enumerate(script.frames):
        if number in lost:
            if number - 1 not in lost:
                events.hole()
            continue
        # Once something was lost, the router may not know whose an event is.
        known = number < min(lost, default=99) or each.event == "user_message_created"
        drafts += events.take(each, mine=known or data.draw(st.booleans()))
    drafts += events.settle(script.outcome, script.rounds)
    assert outline(drafts) == outline(plain(script.frames))
    ends = [draft for draft in drafts if draft.event in ("complete", "error")]
    assert ends == drafts[-1:]
    end = json.loads(ends[0].data)
    assert (end["content"], end["done"], end["turnId"]) == (script.rounds[-1].text, True, "t")
    calls = [call for each in script.rounds for call in each.calls]
    whole = [
        json.loads(each.data)["id"]
        for each in drafts
        if "_complete" in each.event and "execution" not in each.event
    ]
    if events.style.tool_use:
        assert whole == [call.tool_call_id for call in calls]
    assert all(json.loads(each.data)["turnId"] == "t" for each in drafts)


@given(scripts(), st.integers(0, 30))
def test_a_turn_is_completed_after_a_restart(script: Script, stored: int) -> None:
    """The log has the beginning of the turn; nothing but its reply comes after the restart."""
    stored = min(stored, len(script.frames) - 1)
    before = script.frames[:stored]
    events = session_events(style=WireStyle(tool_use="u1" in script.frames[0].data))
    events.begin("t", before, cut=True)
    drafts = plain(before) + events.settle(script.outcome, script.rounds)
    assert outline(drafts) == outline(plain(script.frames))
    assert [draft.event for draft in drafts].count("complete") == 1


@given(scripts(ids=True), st.integers(1, 30), st.integers(0, 30))
@example(
    Script(
        [
            frame("user_message_created", messageId="u1", content="hi"),
            *[frame("content", content="a", assistantMessageId="m0") for _ in range(3)],
            frame("complete", done=True, content="aaa", messageId="m0"),
        ],
        [Round(message_id="m0", text="aaa")],
    ),
    4,
    2,
)  # found twice, the places overlap
def test_a_turn_whose_beginning_was_deleted_is_completed_where_its_rest_is_found(
    script: Script, stored: int, deleted: int
) -> None:
    stored = min(stored, len(script.frames) - 1)
    before = script.frames[min(deleted, stored - 1) : stored]
    events = session_events()
    events.begin("t", before, cut=True, tail=True)
    drafts = events.settle(script.outcome, script.rounds)
    assert [draft.event for draft in drafts].count("complete") == 1
    if drafts[0].event != "gap":
        whole = outline(plain([*script.frames[:stored], *script.frames[stored:]]))
        assert outline(plain(script.frames[:stored]) + drafts) == whole


def test_without_stored_messages_the_last_message_follows_the_tool_calls() -> None:
    """The log has no more than a tool call of the turn, whose beginning was deleted."""
    events = session_events()
    call = frame("tool_use_start", id="c", name="bash")
    events.begin("t", [call], cut=True, tail=True)
    called = {"id": "c", "name": "bash", "input": "{}", "finished": True}
    reply = Outcome(kind="complete", text="Look. Done.", final_text="Done.", tool_calls=(called,))
    drafts = events.settle(reply, [])
    contents = [json.loads(draft.data)["content"] for draft in drafts if draft.event == "content"]
    assert contents == ["Done."]


def test_of_a_very_long_turn_the_end_is_compared_with_what_is_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(_turn_progress, "_MAX_SEEN", 500)
    words = [f"word {number}. " for number in range(200)]
    events = session_events()
    events.begin("t", cut=False)
    drafts = [
        draft
        for word in words[:150]
        for draft in events.take(frame("content", content=word), mine=True)
    ]
    assert events.own is not None
    assert events.own.seen.size <= 500
    events.hole()
    text = "".join(words)
    outcome = Outcome(kind="complete", text=text, final_text=text)
    drafts += events.settle(outcome, [Round(text=text)])
    contents = [json.loads(draft.data)["content"] for draft in drafts if draft.event == "content"]
    assert "".join(contents) == text


def test_text_that_contradicts_what_was_appended_adds_only_the_end() -> None:
    events = session_events()
    events.begin("t", cut=False)
    events.take(frame("content", content="one"), mine=True)
    events.hole()
    events.take(frame("content", content="two"), mine=True)
    outcome = Outcome(kind="complete", text="other", final_text="other")
    drafts = events.settle(outcome, [Round(text="other")])
    assert [(draft.event, draft.audience) for draft in drafts] == [
        ("gap", Audience.RELAY),
        ("content", Audience.ALL),
        ("complete", Audience.ALL),
    ]


def test_permissions_are_not_held_back_and_are_open_until_the_end() -> None:
    events = session_events()
    events.begin("t", cut=False)
    events.hole()
    asked = {
        "id": "p1",
        "sessionId": "s",
        "toolName": "bash",
        "description": "",
        "action": "execute",
        "params": {},
        "path": "/",
    }
    [draft] = events.take(frame("permission", **asked), mine=True)
    assert json.loads(draft.data)["turnId"] == "t"
    assert list(events.requests) == ["p1"]
    assert events.take(frame("content", content="x"), mine=True) == []
    events.settle(Outcome(kind="error", error="x"))
    assert not events.requests


def test_an_error_that_is_sent_twice_ends_its_turn_once() -> None:
    events = session_events()
    events.begin("t", cut=False)
    assert events.take(frame("error", error="no key"), mine=True) == []
    [end] = events.settle(Outcome(kind="error", error="no key"))
    assert json.loads(end.data) == {"type": "error", "error": "no key", "turnId": "t"}
    assert events.take(frame("error", error="no key"), mine=False) == []
    [other] = events.take(frame("error", error="another"), mine=False)
    assert json.loads(other.data)["turnId"] == "foreign 1"


def test_deltas_that_the_end_has_overtaken_are_not_doubled() -> None:
    events = session_events()
    events.begin("t", cut=False)
    first = events.take(frame("content", content="a", assistantMessageId="m"), mine=True)
    late = frame("content", content="b", assistantMessageId="m")
    events.take(frame("complete", done=True, content="ab", messageId="m"), mine=True)
    assert events.take(late, mine=False) == []
    outcome = Outcome(kind="complete", text="ab", final_text="ab", message_id="m")
    drafts = [*first, *events.settle(outcome)]
    assert events.take(late, mine=False) == []
    assert outline(drafts) == ["ab"]


def test_a_turn_that_was_sent_past_the_relay_gets_an_id() -> None:
    events = session_events()
    for number in (1, 2):
        drafts = [
            draft
            for each in (
                frame("user_message_created", messageId=f"u{number}", content="x"),
                frame("content", content="a", assistantMessageId=f"m{number}"),
                frame("error", error="failed", parentToolCallId="c"),
                frame("complete", done=True, content="a", messageId=f"m{number}"),
            )
            for draft in events.take(each, mine=False)
        ]
        assert [draft.event for draft in drafts] == [
            *("user_message_created", "content", "error", "complete")
        ]
        ids = {json.loads(draft.data)["turnId"] for draft in drafts}
        assert ids == {f"foreign {number}"}
        assert events.foreign is None


def test_a_foreign_turn_whose_end_was_lost_is_ended_before_the_next_turn() -> None:
    events = session_events()
    events.take(frame("content", content="a", assistantMessageId="m1"), mine=False)
    events.hole()
    assert events.take(frame("content", content="b", assistantMessageId="m1"), mine=False) == []
    drafts = events.take(frame("user_message_created", messageId="u2", content="x"), mine=False)
    assert [draft.event for draft in drafts] == ["gap", "content", "error", "user_message_created"]
    ids = [json.loads(draft.data)["turnId"] for draft in drafts]
    assert ids == ["foreign 1"] * 3 + ["foreign 2"]


def test_what_belongs_to_a_connection_is_dropped_and_sessions_are_announced() -> None:
    events = session_events()
    created = frame("session_created", sessionId="s2", title="x", createdAt=1)
    for each in (frame("connected", sessionId="s"), frame("heartbeat"), created):
        assert events.take(each, mine=False) == []
    assert events.announced == [("session_created", created.data, "s2")]
    for name in ("gap", "turn", "permission_settled"):  # events that only a relay makes
        assert events.take(frame(name, turnId="t", state="done"), mine=False) == []
    assert events.foreign is None


def test_a_busy_server_s_error_is_not_passed_on_while_the_message_is_sent_again() -> None:
    events = session_events()
    events.begin("t", cut=False)
    busy = frame("error", error="session is currently processing another request")
    assert events.take(busy, mine=False) == []
    assert events.own is not None


def test_a_rate_limit_ends_a_turn_only_where_the_server_gives_up() -> None:
    for ends in (False, True):
        events = session_events(rate_limit_ends=ends)
        events.begin("t", cut=False)
        drafts = events.take(frame("rate_limit_error", error="slow down"), mine=True)
        assert len(drafts) == (0 if ends else 1)
        drafts += events.settle(Outcome(kind="error", error="slow down"))
        assert drafts[0].audience is Audience.RATE_LIMIT
        assert [draft.event for draft in drafts][1:] == ([] if ends else ["error"])


@pytest.mark.parametrize(
    ("data", "marked"),
    [
        ('{"a":1}', '{"a":1,"turnId":"t"}'),
        ('{"a":1} \n', '{"a":1,"turnId":"t"}'),
        ("{}", '{"turnId":"t"}'),
        ("{ }", '{ "turnId":"t"}'),
        ('{"a":1}{"to', '{"a":1}{"to'),
        ("[1]", "[1]"),
        ("", ""),
    ],
)
def test_a_turn_id_is_added_to_objects_only(data: str, marked: str) -> None:
    assert with_turn_id(data, "t") == marked


@given(st.dictionaries(st.text(), st.none() | st.text() | st.integers()))
def test_a_turn_id_changes_nothing_else(data: dict[str, object]) -> None:
    marked = json.loads(with_turn_id(json.dumps(data), "t"))
    assert marked == {**data, "turnId": "t"}


@given(st.text("ab ", max_size=40), st.text(min_size=16, max_size=30), st.text("ab ", max_size=40))
@example("a" * 300, "a" * 16, "b")  # too many places to compare
def test_a_text_is_joined_with_the_last_message_where_they_overlap(
    before: str, both: str, after: str
) -> None:
    found = joined(before + both, both + after)
    assert found is None or found.startswith(before + both)
    assert found is None or found.endswith(both + after)
    assert found is not None or set(both) <= set("ab ")


def test_the_text_of_an_incomplete_reply_is_taken_from_what_is_stored_or_was_appended() -> None:
    said = "The first part of it. The second part."
    reply = Outcome(kind="complete", text="part.", final_text=said, incomplete=True)
    turn = TurnEvents("t", own=True, cut=True)
    found = corrected(turn, reply, [])
    assert (found.text, found.incomplete) == (said, True)  # perhaps there was more before it
    rounds = [Round(text="Before. "), Round(text=said)]
    assert corrected(turn, reply, rounds).text == "Before. " + said
    for text in ("Before. ", "The first part of it. "):
        turn.seen.text.append(text)
    found = corrected(turn, reply, [])
    assert (found.text, found.incomplete) == ("Before. " + said, False)
    turn.tail = True
    assert corrected(turn, reply, []).incomplete


def test_every_state_leads_to_an_end_and_ends_lead_nowhere() -> None:
    for state in TurnState:
        assert state.over == (not TRANSITIONS[state])
        assert state not in TRANSITIONS[state]
    assert may_resend(TurnState.ACCEPTED, takeover=True)
    assert may_resend(TurnState.POSTING, takeover=False)
    assert not may_resend(TurnState.POSTING, takeover=True)
    assert not may_resend(TurnState.RUNNING, takeover=False)


@given(scripts(ids=True), st.integers(0, 25), st.integers(0, 8), st.data())
def test_what_is_held_back_is_released_in_mid_turn_where_the_stored_text_shows_its_place(
    script: Script, at: int, size: int, data: st.DataObject
) -> None:
    """At any moment after the hole, what is stored is between what was sent and what will be.

    The message may not know that what follows the hole is its own.
    """
    words = [f"word {number} " for number in range(60)]
    named = {"assistantMessageId": "m9"}
    more = [frame("content", content=word, **named) for word in words]
    whole = Round(message_id="m9", text="".join(words))
    last = frame("complete", done=True, content=whole.text, messageId="m9")
    script = Script([*script.frames[:-1], *more, last], [*script.rounds, whole])
    lost = range(min(at, 40), min(at, 40) + size)
    asked = data.draw(st.integers(lost.stop, len(script.frames) - 2))
    answered = data.draw(st.integers(asked, len(script.frames) - 2))
    stored = data.draw(st.integers(asked, answered))
    recognized = not size or data.draw(st.booleans())
    events = session_events()
    events.begin("t", cut=False)
    drafts: list[Draft] = []
    held, released = "", False
    for number, each in enumerate(script.frames):
        if number in lost:
            events.hole()
        else:
            drafts += events.take(each, mine=recognized or number < lost.start)
        if number == asked:
            held = events.held_text
        if number == answered and held:
            missing = events.release(rounds_at(script, stored), held)
            released = released or bool(missing)
            drafts += missing
    if released:
        before = len(drafts)
        assert [draft.event for draft in drafts].count("content") > 0
        assert not events.held_text
        assert before > 0
    drafts += events.settle(script.outcome, script.rounds)
    assert outline(drafts) == outline(plain(script.frames))
    contents = [json.loads(draft.data)["content"] for draft in drafts if draft.event == "content"]
    assert "".join(contents) == script.text


def test_a_follower_reads_events_of_any_depth() -> None:
    # How deep a parser can follow a field that is ignored depends on the parser and on its caller.
    followed = FollowedTurns()
    for depth in (1, *range(900, 1010)):
        for name in ("permission", "error", "complete"):
            data = (
                '{"id": "p", "sessionId": "s", "toolName": "t", "description": "d", "action": "a",'
                ' "path": "", "error": "e", "x": ' + "[" * depth + "]" * depth
            )
            stored = with_turn_id(data + "}", f"turn-{depth}")
            whole = f"id: 1\nevent: {name}\ndata: {stored}\n\n".encode()
            followed.note([LoggedEvent(1, Audience.ALL, whole)])
            if name == "permission" and depth == 1:
                assert followed.requests["p"].turn_id == "turn-1"
    assert not followed.requests
