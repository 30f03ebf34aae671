"""Replies assembled from whatever events come, and the text that deltas lack of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.event_makers import (
    asked,
    begins,
    deltas,
    done,
    fed,
    ran,
    runs,
    says,
    thinks,
    tool,
)
from trio_mix._reply import Reply, ToolCall
from trio_mix._turns._reply_builder import ReplyBuilder
from trio_mix._turns._stored_rows import StoredReply

if TYPE_CHECKING:
    from trio_mix import events as ev

# -- text ------------------------------------------------------------------------------------

TEXTS: dict[str, tuple[list[ev.Event], str, str, str]] = {
    "nothing at all": ([], "", "", ""),
    "an oldest server's: no deltas": ([done("m", "all")], "all", "all", "all"),
    "a command's: no id either": ([done(None, "all")], "all", "all", "all"),
    "deltas, then the same": ([says("a"), says("b"), done("m", "ab")], "ab", "ab", ""),
    "deltas, no content": ([says("a", "m"), done("m", None)], "a", "a", ""),
    "deltas, empty content": ([says("a", "m"), done("m", "")], "a", "a", ""),
    "no end yet": ([says("a", "m1"), says("b", "m2")], "ab", "b", ""),
    "ids: overtaken": ([says("a", "m"), done("m", "abc")], "abc", "abc", "bc"),
    "ids: overtaken by several rounds": (
        [says("x", "m1"), begins("c", "m1"), ran("c"), says("a", "m2"), done("m2", "ab")],
        "xab",
        "ab",
        "b",
    ),
    "ids: the last message had no deltas": (
        [says("x", "m1"), begins("c", "m1"), done("m2", "whole")],
        "xwhole",
        "whole",
        "whole",
    ),
    "ids: the last message repeats the first": (
        [says("ok", "m1"), begins("c", "m1"), done("m2", "ok")],
        "okok",
        "ok",
        "ok",
    ),
    "ids: the end names what no event has named": (
        [says("a", "m1"), begins("c", "m1"), says("b", "m2"), says("c", "m2"), done("nan", "bc")],
        "abc",
        "bc",
        "",
    ),
    "ids: the same, and it overtakes deltas": (
        [asked("u1", "go"), says("a", "m1"), done("u1", "abc")],
        "abc",
        "abc",
        "bc",
    ),
    "ids: the same, with the text of all rounds": (
        [says("a", "m1"), begins("c", "m1"), says("b", "m2"), done("7", "abc")],
        "abc",
        "abc",
        "c",
    ),
    "ids: the last message is empty": ([says("x", "m1"), done("m2", "")], "x", "", ""),
    "ids: content is the whole turn's": (
        [says("x", "m1"), begins("c", "m1"), says("a", "m2"), done("m2", "xab")],
        "xab",
        "xab",
        "b",
    ),
    "ids, but none on complete": ([says("a", "m"), done(None, "ab")], "ab", "ab", "b"),
    "ids, but complete is another text": ([says("a", "m"), done("m", "zzz")], "a", "zzz", ""),
    "no ids: the last round's text": (
        [says("x"), tool("c"), says("a"), done("m", "a")],
        "xa",
        "a",
        "",
    ),
    "no ids: the last round, overtaken": (
        [says("x"), tool("c"), says("a"), done("m", "ab")],
        "xab",
        "ab",
        "b",
    ),
    "no ids: all rounds' text": (
        [says("x"), tool("c"), says("a"), done("m", "xa")],
        "xa",
        "xa",
        "",
    ),
    "no ids: all rounds, overtaken": (
        [says("a"), tool("c"), says("a"), done("m", "aab")],
        "aab",
        "aab",
        "b",
    ),
    "no ids: a last round without deltas": (
        [says("x"), tool("c"), tool("c", "{}"), done("m", "end")],
        "xend",
        "end",
        "end",
    ),
    "no ids: nothing after the tool": ([says("ok"), tool("c"), done("m", "ok")], "ok", "ok", ""),
    "a tool's text never counts": (
        [begins("c", "m1"), says("sub", "s", "c"), done("s", "sub", "c"), done("m2", "a")],
        "a",
        "a",
        "a",
    ),
    "deltas after a complete that is not done": (
        [says("Hel"), done("m", "Hello", is_done=False), says("lo"), done("m", "Hello")],
        "Hello",
        "Hello",
        "",
    ),
    "late deltas after the end": (
        [says("a", "m"), done("m", "ab"), says("b", "m")],
        "ab",
        "ab",
        "",
    ),
}


def test_text_is_the_deltas_and_what_they_lack() -> None:
    for name, (events, text, final, rest) in TEXTS.items():
        builder = fed(*events)
        reply = builder.build()
        assert (reply.text, reply.final_text, builder.rest) == (text, final, rest), name
        assert deltas(events) + builder.rest == reply.text, name


STORED: dict[str, tuple[list[ev.Event], StoredReply, str, str]] = {
    "an answer alone": ([], StoredReply(texts=("all",), message_id="r"), "all", "all"),
    "an answer after its events": (
        [says("a"), done("m", "a")],
        StoredReply(texts=("a",)),
        "a",
        "a",
    ),
    "recovered after its end": (
        [says("x"), done("m", "end")],
        StoredReply(texts=("x", "other"), recovered=True),
        "xother",
        "end",
    ),
    "an answer before the last deltas": ([says("a")], StoredReply(texts=("ab",)), "ab", "ab"),
    "an answer to several rounds": (
        [says("x"), tool("c"), says("a")],
        StoredReply(texts=("ab",), message_id="r"),
        "xab",
        "ab",
    ),
    "recovered from the beginning": (
        [],
        StoredReply(texts=("x", "ab"), recovered=True),
        "xab",
        "ab",
    ),
    "recovered in the first round": (
        [says("h", "m1")],
        StoredReply(texts=("hi ", "there"), message_id="m2", recovered=True),
        "hi there",
        "there",
    ),
    "recovered after a hole in the last message": (
        [says("he", "m1"), says("d", "m1")],
        StoredReply(texts=("hello world",), message_id="m1", recovered=True),
        "hed",
        "hello world",
    ),
    "recovered, last message unheard": (
        [says("ole", "m1")],
        StoredReply(texts=("hole", "end"), message_id="m2", recovered=True),
        "oleend",
        "end",
    ),
}


def test_stored_texts_without_the_end_do_not_make_up_for_a_gap() -> None:
    """Of two turns that run at once, the last row of one follows the question of the other."""
    builder = fed(says("x"))
    builder.gap()
    builder.feed([done("m", "end")])
    builder.take_stored(StoredReply(texts=("x", "other "), message_id="m", recovered=True))
    assert builder.build().doubts == ("gap",)
    builder.take_stored(StoredReply(texts=("x", "other ", "end"), recovered=True))
    assert builder.build().doubts == ()
    assert builder.build().text == "xother end"


def test_stored_texts_complete_the_reply() -> None:
    for name, (events, stored, text, final) in STORED.items():
        builder = fed(*events)
        builder.take_stored(stored)
        reply = builder.build()
        assert (reply.text, reply.final_text) == (text, final), name
        assert deltas(events) + builder.rest == reply.text, name
        assert reply.recovered is stored.recovered, name


def test_deltas_after_the_answer_are_not_said_twice() -> None:
    builder = fed(says("a"))
    builder.take_stored(StoredReply(texts=("abc",)))
    builder.feed([says("b")])
    assert builder.build().text == "abc"
    builder.feed([done("m", "abc")])
    assert (builder.rest, builder.build().text) == ("c", "abc")


def test_text_that_is_not_stored_is_not_checked_by_what_is_stored() -> None:
    for texts, checked in (((), False), (("one ", "two"), True)):
        builder = ReplyBuilder()
        builder.feed([says("one ", "m")])
        builder.take_stored(StoredReply(texts=texts, recovered=True))
        assert builder.checked is checked


def test_after_a_gap_the_stored_text_takes_the_place_of_what_came_behind_it() -> None:
    builder = fed(says("one ", "m"))
    builder.gap()
    builder.feed([says("four", "m")])
    builder.gap()
    assert builder.build().incomplete
    builder.take_stored(StoredReply(texts=("one two three four",), recovered=True))
    assert (builder.build().text, builder.patchy) == ("one two three four", False)


def test_a_stored_text_that_contradicts_the_received_text_leaves_the_reply_incomplete() -> None:
    builder = fed(says("one ", "m"))
    builder.gap()
    builder.take_stored(StoredReply(texts=("another",), message_id="m", recovered=True))
    assert (builder.build().text, builder.build().incomplete) == ("one ", True)


# -- the rest of the reply -------------------------------------------------------------------


def test_reasoning_is_all_pieces_or_what_complete_has() -> None:
    assert fed(thinks("a"), thinks("b")).build().reasoning == "ab"
    assert fed(done("m", "x", reasoning="only here", duration=7)).build().reasoning == "only here"
    assert fed(thinks("a"), done("m", "x", reasoning="ab")).build().reasoning == "ab"
    two = fed(thinks("a", "m1"), begins("c", "m1"), thinks("b", "m2"), done("m2", reasoning="b"))
    assert two.build().reasoning == "ab"
    assert fed(thinks("sub", "s", "c")).build().reasoning == ""


def test_ids_and_durations_are_those_of_the_top_level() -> None:
    builder = fed(asked("u", "hi"), asked("su", "task", "c"), thinks("a", "m1"), says("x", "m2"))
    assert builder.build().message_id == "m2"
    builder.feed([done("sub", "x", "c", duration=9)])
    builder.feed([done("m3", "x", duration=5)])
    builder.feed([done("m3", "x")])
    reply = builder.build()
    assert (reply.user_message_id, reply.message_id, reply.reasoning_duration) == ("u", "m3", 5)


def test_a_restart_forgets_all_but_that_it_was_sent_again() -> None:
    builder = fed(says("x", "m"), begins("c"), done("m", "xy", reasoning="r"))
    builder.take_stored(StoredReply(texts=("z",), recovered=True, user_message_id="u"))
    builder.restart()
    assert builder.build() == Reply(resent=True)


# -- tool calls ------------------------------------------------------------------------------


def test_a_tool_that_runs_on_after_the_end_may_be_another_turns() -> None:
    stored = StoredReply(texts=("x",), recovered=True)
    builder = fed(begins("c"), runs("c"), says("x", "m"), done("m", "x"))
    assert builder.unproven
    builder.check(stored, certain=True)
    assert builder.build() == Reply(
        text="x", final_text="x", incomplete=False, recovered=False, doubts=("shared",)
    )
    assert not fed(begins("c"), runs("c"), ran("c"), says("x", "m"), done("m", "x")).unproven
    assert not fed(runs("c", "parent"), says("x", "m"), done("m", "x")).unproven


def test_an_end_that_overtook_text_before_a_last_tool_adds_only_the_rest() -> None:
    for message_id in ("m", None):
        for final, text in (("b c ", "a b c "), ("other", "a b other"), ("b ", "a b ")):
            builder = fed(
                says("a ", message_id),
                begins("c"),
                ran("c"),
                says("b ", "n" if message_id else None),
            )
            builder.feed([begins("d"), ran("d"), done(None, final)])
            assert builder.build().text == text


def test_a_partial_reply_whose_text_is_not_the_stored_text_is_marked() -> None:
    for streamed, stored, doubts in (
        ("of another", "our text", ("shared",)),
        ("our", "our text", ()),
        ("our text", "our", ()),
        ("our text", "our text ", ()),
    ):
        builder = fed(says(streamed))
        builder.take_stored(StoredReply(texts=(stored,), recovered=True))
        assert builder.build().doubts == doubts


def test_a_tool_that_is_called_while_another_one_runs_may_be_another_turns() -> None:
    """The agent waits for its tools, and its sub-agents call tools meanwhile."""
    for events, unproven in (
        ((begins("a"), runs("a"), begins("b"), ran("a"), runs("b"), ran("b")), True),
        ((begins("a"), begins("b"), runs("a"), runs("b"), ran("a"), ran("b")), False),
        ((begins("a"), runs("a"), begins("b", parent="a"), ran("a")), False),
        ((begins("a"), runs("a"), ran("a"), begins("b"), runs("b"), ran("b")), False),
    ):
        assert fed(*events, says("x", "m"), done("m", "x")).unproven is unproven


def test_a_tool_call_that_is_not_stored_is_another_turns() -> None:
    for stored, doubts in (((), ("shared",)), ((ToolCall(tool_call_id="c", name="ls"),), ())):
        builder = fed(begins("c"), ran("c"), says("x", "m"))
        builder.gap()
        builder.take_stored(StoredReply(texts=("x y",), tool_calls=stored, recovered=True))
        assert builder.build().doubts == doubts


def test_an_answer_wins_over_the_events_of_another_clients_turn() -> None:
    for end_first in (True, False):
        builder = ReplyBuilder()
        if end_first:
            builder.feed([says("theirs"), done("a1", "theirs")])
        builder.take_stored(StoredReply(texts=("ours",), message_id="a2"))
        if not end_first:
            builder.feed([says("theirs"), done("a1", "theirs")])
        reply = builder.build()
        assert (reply.text, reply.final_text, reply.message_id) == ("ours", "ours", "a2")
        assert (reply.doubts, reply.incomplete) == (("answer",), True), "it has the last round only"
        builder.check(StoredReply(texts=("All of ", "ours"), recovered=True), certain=True)
        reply = builder.build()
        assert (reply.text, reply.final_text) == ("All of ours", "ours")
        assert (reply.doubts, reply.incomplete) == (("answer",), False)


def test_what_the_deltas_lack_is_added_whatever_white_space_they_have() -> None:
    for delta, final, text, doubted in (
        (" ", "The answer is 42.", " The answer is 42.", True),  # it may be one of the others
        ("\n\n", "The answer is 42.", "\n\nThe answer is 42.", False),
        ("\n\nThe answer", "The answer is 42.", "\n\nThe answer is 42.", False),
        (" The answer is 42. ", "The answer is 42.", " The answer is 42. ", False),
        (" The answer", "Another one", " The answer", True),
    ):
        builder = fed(asked("u", "hello"), says(delta, "a"), done("a", final))
        reply = builder.build()
        assert reply.text == text
        assert bool(reply.doubts) is doubted


def test_calls_whose_events_did_not_come_are_taken_from_the_stored_rows() -> None:
    builder = fed(asked("u", "hello"), says("done", "a"), done("a", "done"))
    call = ToolCall(tool_call_id="c", name="ls", input="{}", finished=True)
    builder.check(StoredReply(texts=("done",), tool_calls=(call,), recovered=True), certain=True)
    assert [each.name for each in builder.build().tool_calls] == ["ls"]


def test_the_end_of_a_turn_that_overlaps_ours_is_not_its_final_text() -> None:
    builder = fed(asked("u", "hello"), says("ours", "a"), done(None, "theirs"))
    builder.check(StoredReply(texts=("ours",), recovered=True), certain=True, overlap=True)
    reply = builder.build()
    assert (reply.text, reply.final_text) == ("ours", "ours")
    assert (reply.doubts, reply.incomplete) == (("shared",), False)


def test_stored_rows_settle_what_the_events_leave_in_doubt() -> None:
    for events, rows, certain, text, doubts in (
        ([says("One", "m"), says("One", "m"), done("m", "One")], ("One",), True, "One", True),
        ([says("One two", "m"), done("m", "One")], ("One two",), True, "One two", False),
        ([says("two", "m"), done("m", "One two")], ("One two",), True, "One two", True),
        ([says("two", "m"), done("m", "One two")], ("One two",), False, "two", True),
    ):
        builder = ReplyBuilder()
        builder.feed(events)
        assert builder.unproven
        builder.check(StoredReply(texts=rows, recovered=True), certain=certain)
        reply = builder.build()
        assert (reply.text, reply.incomplete) == (text, not certain)
        assert reply.doubts == (("contradicted",) if doubts else ())
        assert not reply.recovered


def test_an_answer_that_agrees_with_the_events_leaves_no_doubt() -> None:
    for answered, message_id in (("ours", "a1"), ("ours", None), (" ours\n", None)):
        builder = ReplyBuilder()
        builder.feed([says("All of "), says("ours"), done("a1", "ours")])
        builder.take_stored(StoredReply(texts=(answered,), message_id=message_id))
        reply = builder.build()
        assert (reply.text, reply.doubts) == ("All of ours", ())


def test_every_reason_for_an_incomplete_reply_is_named() -> None:
    lost, contradicted, stored = ReplyBuilder(), ReplyBuilder(), ReplyBuilder()
    lost.feed([says("one ")])
    lost.gap()
    contradicted.feed([says("one "), done(None, "two")])
    stored.doubtful = True
    for builder, doubt in ((lost, "gap"), (contradicted, "contradicted"), (stored, "stored")):
        assert builder.build().doubts == (doubt,)
        assert builder.build().incomplete
