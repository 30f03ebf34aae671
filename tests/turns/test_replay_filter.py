"""Replayed frames are dropped, new ones never, whatever server numbers them."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from trio_mix._turns._replay_filter import ReplayFilter
from trio_mix.sse import ServerSentEvent

if TYPE_CHECKING:
    from collections.abc import Callable


def frame(number: int | str, data: str = "", event: str = "content") -> ServerSentEvent:
    return ServerSentEvent(id=str(number), event=event, data=data or f"data {number}")


def connect(replay_filter: ReplayFilter, connected_id: int | str = "") -> None:
    replay_filter.opened()
    replay_filter.connected(str(connected_id))


def admitted(replay_filter: ReplayFilter, *frames: ServerSentEvent) -> list[bool]:
    return [bool(replay_filter.admit([one])) for one in frames]


def after(*numbers: int | str, connected_id: int | str = "") -> ReplayFilter:
    """A filter that has seen one connection with these events."""
    replay_filter = ReplayFilter()
    connect(replay_filter, connected_id)
    assert all(admitted(replay_filter, *map(frame, numbers)))
    return replay_filter


def test_nothing_is_dropped_on_the_first_connection() -> None:
    replay_filter = after(5, 3, 4, 4)
    assert replay_filter.duplicates == 0
    assert replay_filter.continued is False


def test_connected_does_not_count_for_the_mark() -> None:
    replay_filter = after(connected_id=1)
    assert replay_filter.mark == ""
    replay_filter.admit([frame(2)])
    assert replay_filter.mark == "2"
    connect(replay_filter, 1)
    assert replay_filter.mark == "2"


def test_a_frame_without_an_id_is_new_and_leaves_the_mark() -> None:
    replay_filter = after(1, 2)
    connect(replay_filter)
    assert admitted(replay_filter, ServerSentEvent(data="x"))
    assert replay_filter.mark == "2"
    assert replay_filter.continued is None


@pytest.mark.parametrize("mark", [2, 3, 40])
def test_a_numbered_connected_that_the_next_frame_follows_is_a_new_epoch(mark: int) -> None:
    replay_filter = after(*range(2, mark + 1), connected_id=1)
    connect(replay_filter, 1)
    # Even where the frames look the same as those of before.
    assert all(admitted(replay_filter, *map(frame, range(2, mark + 5))))
    assert replay_filter.continued is False
    assert replay_filter.epoch == 2


def test_a_connected_above_the_mark_is_a_replaying_servers() -> None:
    replay_filter = after(2, 3, 4, connected_id=1)
    connect(replay_filter, 9)
    assert admitted(replay_filter, frame(3), frame(4), frame(5), frame(10)) == [
        False,
        False,
        True,
        True,
    ]
    assert replay_filter.continued
    assert replay_filter.duplicates == 2
    assert replay_filter.epoch == 1


@pytest.mark.parametrize("connected_id", ["", 0, 1, 4])
def test_ids_that_go_on_are_the_same_epoch(connected_id: int | str) -> None:
    replay_filter = after(1, 2, 3, 4)
    connect(replay_filter, connected_id)
    assert admitted(replay_filter, frame(5), frame(6), frame(3), frame(5)) == [
        True,
        True,
        False,
        False,
    ]
    assert replay_filter.continued


def test_an_overlapping_replay_is_dropped_frame_by_frame() -> None:
    replay_filter = after(1, 2, 3, 4)
    connect(replay_filter)
    assert admitted(replay_filter, frame(3), frame(4)) == [False, False]
    assert replay_filter.continued is None
    assert admitted(replay_filter, frame(5), frame(6)) == [True, True]
    assert replay_filter.continued


def test_a_restart_that_begins_with_the_same_frame_loses_no_other() -> None:
    replay_filter = after(1, 2, 3, 4)
    connect(replay_filter)
    assert admitted(replay_filter, frame(1), frame(2, "new"), frame(3), frame(4)) == [
        False,
        True,
        True,
        True,
    ]
    assert replay_filter.continued is False


def test_heartbeats_look_the_same_and_prove_nothing() -> None:
    beats = [frame(number, "ping", "heartbeat") for number in range(1, 5)]
    replay_filter = ReplayFilter()
    connect(replay_filter)
    assert all(admitted(replay_filter, *beats))
    connect(replay_filter)
    assert all(admitted(replay_filter, *beats[:2]))
    assert replay_filter.continued is None
    assert admitted(replay_filter, frame(3, "new"), frame(4)) == [True, True]
    assert replay_filter.continued is False


def test_a_heartbeat_with_an_old_number_leaves_it_open_whether_the_epoch_goes_on() -> None:
    replay_filter = after(1, 2, 3)
    connect(replay_filter)
    assert admitted(replay_filter, frame(2, "ping", "heartbeat"))
    assert (replay_filter.continued, replay_filter.epoch, replay_filter.mark) == (None, 1, "3")


def test_a_replayed_heartbeat_does_not_move_the_mark_back() -> None:
    replay_filter = after(1, 2, 3)
    connect(replay_filter)
    admitted(replay_filter, frame(4))
    assert admitted(replay_filter, frame(2, "ping", "heartbeat"))
    assert replay_filter.mark == "4"
    assert admitted(replay_filter, frame(5, "ping", "heartbeat"), frame(5)) == [True, True]
    assert replay_filter.mark == "5"


def test_an_inherited_id_is_no_number_of_its_own() -> None:
    replay_filter = after(1, 2, 3)
    connect(replay_filter, 1)
    assert admitted(replay_filter, frame(1, "no id of its own")) == [True]
    assert (replay_filter.mark, replay_filter.continued) == ("3", None)
    assert (
        admitted(replay_filter, frame(4), frame(4, "nor this"), frame(4, "nor this")) == [True] * 3
    )
    assert replay_filter.mark == "4"


def test_connected_with_the_id_of_the_mark_is_distinguished_from_replayed_events() -> None:
    replay_filter = after(1, 2, 3)
    connect(replay_filter, 3)
    assert admitted(replay_filter, frame(3), frame(4)) == [False, True]
    assert replay_filter.continued


def test_opaque_ids_are_compared_with_the_recent_ones() -> None:
    replay_filter = after("a", "b")
    connect(replay_filter)
    assert admitted(replay_filter, frame("b"), frame("c"), frame("a")) == [False, True, False]
    assert replay_filter.continued
    connect(replay_filter)
    assert admitted(replay_filter, frame("d"), frame("b", "other data")) == [True, True]
    assert (replay_filter.continued, replay_filter.mark) == (False, "b")


@pytest.mark.parametrize("number", ["٣", "-1", "1" * 5000, "0x3", " 3"])
def test_what_is_no_plain_number_is_opaque(number: str) -> None:
    replay_filter = after(5)
    connect(replay_filter, 9)  # where a plain 3 would be a replay
    assert admitted(replay_filter, frame(3), frame(number)) == [False, True]
    assert replay_filter.mark == number


def test_a_mark_from_outside_resumes_and_unseen_frames_are_new() -> None:
    replay_filter = ReplayFilter("7")
    connect(replay_filter)
    assert admitted(replay_filter, frame(7), frame(8)) == [True, True]
    replay_filter = ReplayFilter("7")
    connect(replay_filter, 9)
    assert admitted(replay_filter, frame(7), frame(8)) == [False, True]


def test_what_is_remembered_is_bounded() -> None:
    replay_filter = after(*range(1, 5000))
    assert 1024 <= len(replay_filter._recent) <= 2 * 1024
    connect(replay_filter)
    assert admitted(replay_filter, frame(4999), frame(5000)) == [False, True]


def test_what_is_remembered_of_ids_that_are_no_numbers_is_bounded_too() -> None:
    replay_filter = after("before")
    connect(replay_filter)
    for number in range(5000):
        assert replay_filter.admit([frame(f"id {number}")])
    assert len(replay_filter._known or ()) <= 2 * 1024
    assert admitted(replay_filter, frame("id 4000"), frame("id 0")) == [False, True]


# -- servers ---------------------------------------------------------------------------------


class Server:
    """Numbers frames per connection or over all of them, and replays chosen events."""

    def __init__(self, style: str) -> None:
        self.style = style
        self.log: list[ServerSentEvent] = []
        self._ids = itertools.count(1)
        self._texts = itertools.count(1)

    def connect(
        self, replay_filter: ReplayFilter, overlap: int
    ) -> tuple[str, list[ServerSentEvent]]:
        """Return the id of connected, and what is replayed."""
        connection = self.style
        if connection.startswith("restart"):
            self._ids = itertools.count(1)
            return (str(next(self._ids)) if connection == "restart numbered" else ""), []
        mark = int(replay_filter.mark or 0)
        replay = [one for one in self.log if int(one.id) > mark - overlap]
        first = self.log[0].id if self.log else ""
        match connection:
            case "replay numbered":
                return str(next(self._ids)), replay
            case "replay low":
                # Below all numbers, so that no overlap can seem to follow it.
                return ("0" if first != "1" else ""), replay
        return "", replay

    def emit(self) -> ServerSentEvent:
        text = f"text {next(self._texts)}"
        made = ServerSentEvent(id=str(next(self._ids)), event="content", data=text)
        self.log.append(made)
        return made


STYLES = [
    "restart numbered",
    "restart unnumbered",
    "replay numbered",
    "replay unnumbered",
    "replay low",
]


def run_server(style: str, draw: Callable[[int], int]) -> None:
    server, replay_filter = Server(style), ReplayFilter()
    delivered: list[str] = []
    expected: list[str] = []
    for _ in range(1 + draw(5)):
        if style == "any":
            server.style = STYLES[draw(2)]
        replay_filter.opened()
        connected_id, replay = server.connect(replay_filter, overlap=draw(3))
        replay_filter.connected(connected_id)
        delivered += [one.data for one in replay if replay_filter.admit([one])]
        for _ in range(draw(6)):
            one = server.emit()
            expected.append(one.data)
            if draw(4) < 3:
                assert replay_filter.admit([one]) or one.data in delivered
                delivered.append(one.data)
            elif style.startswith("restart") or style == "any":
                expected.pop()  # lost for good, with what follows
                break
            else:
                break  # cut here: replayed on the next connection
    if style.startswith("replay"):
        replay_filter.opened()
        connected_id, replay = server.connect(replay_filter, overlap=draw(3))
        replay_filter.connected(connected_id)
        delivered += [one.data for one in replay if replay_filter.admit([one])]
    assert delivered == expected
    if style.startswith("replay"):
        assert replay_filter.epoch == 1


@pytest.mark.parametrize("style", [*STYLES, "any"])
@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_no_new_event_is_dropped_and_no_replayed_one_delivered_twice(
    style: str, data: st.DataObject
) -> None:
    run_server(style, lambda bound: data.draw(st.integers(0, bound - 1)))


@given(
    connections=st.lists(
        st.tuples(
            st.sampled_from(["", "0", "1", "3", "x", "99"]),
            st.lists(
                st.builds(
                    frame,
                    st.sampled_from(["", "1", "2", "3", "a", "007", "9" * 25]),
                    st.sampled_from(["p", "q"]),
                    st.sampled_from(["content", "heartbeat"]),
                ),
                max_size=8,
            ),
        ),
        max_size=5,
    )
)
def test_whatever_comes_nothing_raises_and_only_seen_ids_are_dropped(
    connections: list[tuple[str, list[ServerSentEvent]]],
) -> None:
    replay_filter = ReplayFilter()
    dropped = 0
    for connected_id, frames in connections:
        connect(replay_filter, connected_id)
        for one in frames:
            if not replay_filter.admit([one]):
                dropped += 1
                opaque = not one.id.isdigit() or len(one.id) > 19
                assert replay_filter.continued is not False or opaque
                assert one.id
                assert one.event != "heartbeat"
    assert replay_filter.duplicates == dropped


def state_of(replay_filter: ReplayFilter) -> dict[str, object]:
    return {**vars(replay_filter), "_recent": list(replay_filter._recent), "_known": None}


@given(
    connections=st.lists(
        st.tuples(
            st.sampled_from(["", "0", "1", "3", "x", "99"]),
            st.lists(
                st.one_of(
                    # Batches of a server that counts, among others.
                    st.builds(
                        lambda first, size: [frame(n) for n in range(first, first + size)],
                        st.integers(1, 9),
                        st.integers(1, 5),
                    ),
                    st.lists(
                        st.builds(
                            frame,
                            st.sampled_from(["", "", "1", "2", "3", "4", "5", "a", "b", "9" * 25]),
                            st.sampled_from(["p", "q"]),
                            st.sampled_from(["content", "heartbeat"]),
                        ),
                        max_size=4,
                    ),
                ),
                max_size=6,
            ),
        ),
        max_size=4,
    ),
    mark=st.sampled_from(["", "", "3", "a"]),
)
def test_the_size_of_batches_makes_no_difference(
    connections: list[tuple[str, list[list[ServerSentEvent]]]], mark: str
) -> None:
    batches, single = ReplayFilter(mark), ReplayFilter(mark)
    for connected_id, reads in connections:
        connect(batches, connected_id)
        connect(single, connected_id)
        for frames in reads:
            expected = [one for one in frames if single.admit([one])]
            assert list(map(id, batches.admit(frames))) == list(map(id, expected))
            assert state_of(batches) == state_of(single)


# -- what proves that the epoch goes on ------------------------------------------------------


def test_a_start_that_the_response_names_proves_at_once_whether_the_epoch_goes_on() -> None:
    for mark, start, continued in (
        ("7", "7", True),
        ("a", "a", True),
        ("7", "9", False),
        ("7", "6", False),
        ("a", "7", False),
    ):
        replay_filter = after(mark)
        replay_filter.opened(start)
        replay_filter.connected(start)
        assert (replay_filter.continued, replay_filter.mark) == (continued, start)
        again = frame(mark)
        assert admitted(replay_filter, again) == [not continued]
        assert admitted(replay_filter, frame("8000")) == [True]


def test_connected_counts_for_the_mark_where_the_start_is_named() -> None:
    replay_filter = ReplayFilter()
    replay_filter.opened("1000000000")
    replay_filter.connected("1000000000")
    assert replay_filter.mark == "1000000000"
    replay_filter.opened("")
    replay_filter.connected("1000000007")
    assert replay_filter.mark == "1000000000"


@pytest.mark.parametrize(("mark", "proven"), [(1, False), (2, True), (900, True)])
def test_a_connected_with_the_id_of_the_mark_proves_the_epoch(mark: int, proven: bool) -> None:
    replay_filter = after(mark)
    connect(replay_filter, mark)
    assert replay_filter.continued is (True if proven else None)


def test_an_empty_id_clears_the_mark() -> None:
    for compared in (False, True):
        for at_once in (False, True):
            replay_filter = after(1, 2) if compared else ReplayFilter()
            connect(replay_filter, 3 if compared else "")
            events = [frame(5), frame(6), frame("", "cleared"), frame("", "again")]
            for batch in [events] if at_once else [[one] for one in events]:
                assert replay_filter.admit(batch) == batch
            assert replay_filter.mark == ""
            assert replay_filter.admit([frame(7)])
            assert replay_filter.mark == "7"


def test_an_id_that_is_cleared_before_any_other_clears_the_mark() -> None:
    replay_filter = after(1, 2)
    connect(replay_filter)
    replay_filter.id_cleared()
    assert replay_filter.mark == ""
    replay_filter = after(1, 2)
    replay_filter.id_cleared()
    assert replay_filter.mark == "2"
