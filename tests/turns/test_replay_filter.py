"""Replayed frames are dropped, new ones never, whatever server numbers them."""

from __future__ import annotations

import pytest

from tests.support.replay_frames import admitted, after, connect, frame
from trio_mix._turns._replay_filter import ReplayFilter
from trio_mix.sse import ServerSentEvent


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
