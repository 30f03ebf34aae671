"""Whatever a server sends, the replay filter drops what was seen, and nothing else."""

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

from tests.support.replay_frames import connect, frame

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
