"""Replies of which deltas were lost, and texts that differ in white space only."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from tests.support.event_makers import done, fed, says
from trio_mix._turns._stored_rows import StoredReply

if TYPE_CHECKING:
    from trio_mix._turns._reply_builder import ReplyBuilder

CASES = (
    ("hello", " world", "\n"),
    ("The answer", " is", " 42.", "\n\n", "Done."),
    ("\n", "abc"),
    ("  ", "abc"),
    ("a", "\n", "a", " b"),
    ("one", ".", "\n", "two", "\n"),
)
pieces = st.lists(st.text("ab \n", min_size=1, max_size=3), min_size=1, max_size=5)


def _settled(received: list[str], final: str, stored: str, name: str | None) -> ReplyBuilder:
    """Return the reply of a turn, compared with the stored rows where that is due."""
    builder = fed(*(says(piece, name) for piece in received), done(name, final))
    if builder.unproven:
        builder.check(StoredReply(texts=(stored,), recovered=True), certain=True)
    return builder


def test_the_text_is_whole_whichever_deltas_were_lost() -> None:
    for case in CASES:
        whole = "".join(case)
        for count in range(len(case)):
            for received in combinations(case, count):
                for name in ("m", None):
                    builder = _settled([*received], whole, whole, name)
                    reply = builder.build()
                    assert reply.text == whole, (received, name)
                    assert reply.doubts or "".join(received) + builder.rest == whole


@given(case=pieces, kept=st.sets(st.integers(0, 4)), ids=st.booleans())
def test_the_text_is_right_or_marked_whichever_deltas_were_lost(
    case: list[str], kept: set[int], ids: bool
) -> None:
    whole, received = "".join(case), [text for at, text in enumerate(case) if at in kept]
    name = "m" if ids else None
    reply = _settled(received, whole, whole, name).build()
    ambiguous = not ids and "".join(received).rstrip().endswith(whole)
    assert reply.text == whole or ambiguous
    unreadable = fed(*(says(piece, name) for piece in received), done(name, whole)).build()
    assert unreadable.text == whole or unreadable.doubts or ambiguous


@given(case=pieces, ids=st.booleans(), stored=st.booleans())
def test_a_server_that_trims_texts_neither_changes_nor_marks_a_reply(
    case: list[str], ids: bool, stored: bool
) -> None:
    whole, name = "".join(case), "m" if ids else None
    for trimmed in (whole.strip(), whole.lstrip(), whole.rstrip()):
        reply = _settled(case, trimmed, trimmed if stored else whole, name).build()
        assert (reply.text, reply.doubts) == (whole, ())


def test_rows_that_are_trimmed_one_by_one_are_those_of_the_reply() -> None:
    builder = fed(says("First. \n"), says("\nSecond.\n"), done(None, "Second."))
    for texts, same in (
        (("First.", "Second."), True),
        (("First. ", "\nSecond."), True),
        (("First.", "\n\n\nSecond."), False),
        (("First.", "second."), False),
    ):
        builder = fed(says("First. \n"), says("\nSecond.\n"), done(None, "Second."))
        builder.check(StoredReply(texts=texts, recovered=True), certain=True)
        assert (builder.build().doubts == ()) is same, texts
