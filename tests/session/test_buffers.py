"""PendingDelta lines between a producer that never waits and one consumer that may be slow."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from tests.support.event_makers import done, says, thinks, tool
from trio_mix import events as ev
from trio_mix._session._buffers import (
    HARD_LIMIT_FACTOR,
    MERGED_CHARACTERS,
    EventBuffer,
    MessageBuffer,
    SubscriberBuffer,
)

LINES = [EventBuffer, lambda: MessageBuffer(4), lambda: SubscriberBuffer(4)]


def overflowed(line: MessageBuffer) -> bool:
    return line.overflowed


async def drain(line: EventBuffer) -> list[ev.Event]:
    line.close()
    got: list[ev.Event] = []
    with trio.fail_after(5):
        while (event := await anext(line, None)) is not None:
            got.append(event)
    return got


@pytest.fixture(params=LINES, ids=["plain", "merging", "dropping"])
def line(request: pytest.FixtureRequest) -> EventBuffer:
    made = request.param()
    assert isinstance(made, EventBuffer)
    return made


# -- every line ------------------------------------------------------------------------------


async def test_events_come_out_as_they_went_in(line: EventBuffer) -> None:
    events = [thinks("a"), says("b"), tool("c")]
    for event in events:
        line.put(event)
    assert len(line) == 3
    assert await drain(line) == events
    assert line.closed


async def test_getting_is_a_checkpoint_also_when_something_waits(line: EventBuffer) -> None:
    line.put(says("a"))
    with assert_checkpoints():
        await anext(line, None)
    line.close()
    with assert_checkpoints():
        assert await anext(line, None) is None


async def test_a_waiting_consumer_is_woken_once_for_many_events(line: EventBuffer) -> None:
    got: list[ev.Event | None] = []

    async def consume() -> None:
        while None not in got:
            got.append(await anext(line, None))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        await wait_all_tasks_blocked()
        line.put(says("a"))
        line.put(tool("b"))
        line.close()
    assert got == [says("a"), tool("b"), None]


async def test_closing_wakes_a_waiting_consumer(line: EventBuffer) -> None:
    async def consume() -> None:
        assert await anext(line, None) is None

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        await wait_all_tasks_blocked()
        line.close()


async def test_a_second_consumer_is_refused_while_the_first_waits(line: EventBuffer) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(line.__anext__)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await anext(line, None)
        line.put(says("a"))


async def test_a_second_consumer_is_refused_between_wake_and_run(line: EventBuffer) -> None:
    got: list[ev.Event | None] = []

    async def consume() -> None:
        got.append(await anext(line, None))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        await wait_all_tasks_blocked()
        line.put(says("a"))  # rescheduled, and not run yet
        with pytest.raises(trio.BusyResourceError):
            await anext(line, None)
    assert got == [says("a")]
    line.put(says("b"))
    assert await anext(line, None) == says("b")


async def test_a_cancelled_wait_loses_nothing(line: EventBuffer) -> None:
    with trio.move_on_after(0):
        await anext(line, None)
    line.put(says("a"))
    with trio.CancelScope() as scope:
        scope.cancel()
        await anext(line, None)
    assert scope.cancelled_caught
    assert await drain(line) == [says("a")]


async def test_a_consumer_cancelled_after_it_was_woken_still_gets_its_event(
    line: EventBuffer,
) -> None:
    got: list[ev.Event | None] = []
    scope = trio.CancelScope()

    async def consume() -> None:
        with scope:
            got.append(await anext(line, None))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        await wait_all_tasks_blocked()
        line.put(says("a"))
        scope.cancel()
    assert got == [says("a")]


async def test_what_stood_waiting_comes_before_the_failure(line: EventBuffer) -> None:
    line.put(says("a"))
    line.close(ValueError("broken"))
    line.put(says("ignored"))
    line.close()
    assert await anext(line, None) == says("a")
    for _ in range(2):
        with pytest.raises(ValueError, match="broken"):
            await anext(line, None)


async def test_a_discarded_line_is_empty_and_ended(line: EventBuffer) -> None:
    for _ in range(9):
        line.put(tool("a"))
    line.discard()
    assert await anext(line, None) is None


# -- merging ---------------------------------------------------------------------------------


async def test_below_the_mark_nothing_is_merged() -> None:
    line = MessageBuffer(3)
    for text in "abc":
        line.put(says(text))
    assert await drain(line) == [says("a"), says("b"), says("c")]


async def test_at_the_mark_deltas_of_one_message_are_merged_and_the_last_id_kept() -> None:
    line = MessageBuffer(2)
    line.put(tool("t"))
    for number, text in enumerate("abcd"):
        line.put(says(text, "m", sse_id=str(number)))
    assert await drain(line) == [tool("t"), says("abcd", "m", sse_id="3")]


async def test_deltas_of_different_kind_message_or_agent_are_not_merged() -> None:
    events = [
        says("a", "m"),
        thinks("b", "m"),
        says("merged", "m"),
        says("merged", "m"),
        thinks("b", "m"),
        says("c", "m"),
        says("d", "n"),
        says("e", "n", "call"),
        says("f", "n", "other"),
        tool("t"),
        says("g", "n", "other"),
    ]
    line = MessageBuffer(1)
    for event in events:
        line.put(event)
    events[2:4] = [says("mergedmerged", "m")]
    assert await drain(line) == events


@pytest.mark.parametrize("mark", [0, 1, 3])
async def test_past_the_hard_limit_the_line_says_so_and_takes_no_more(mark: int) -> None:
    line = MessageBuffer(mark)
    limit = max(mark, 1) * HARD_LIMIT_FACTOR
    for number in range(limit):
        line.put(tool(str(number)))
    assert not overflowed(line)
    line.put(tool("one too many"))
    assert overflowed(line)
    line.put(tool("ignored"))
    assert len(await drain(line)) == limit


async def test_merged_text_has_a_limit_too() -> None:
    line = MessageBuffer(1)
    half = "x" * (MERGED_CHARACTERS // 2)
    line.put(says(half))
    line.put(says(half))
    assert not overflowed(line)
    line.put(says("y"))
    assert overflowed(line)
    (merged,) = await drain(line)
    assert isinstance(merged, ev.ContentEvent)
    assert merged.content == half * 2 + "y"


def split(events: list[ev.Event]) -> list[tuple[object, ...]]:
    """Events with deltas cut into single characters: equal for lines that only merge."""
    cut: list[tuple[object, ...]] = []
    for event in events:
        if isinstance(event, ev.ContentEvent | ev.ThinkingEvent):
            ids = (event.assistant_message_id, event.parent_tool_call_id)
            cut += [(type(event), *ids, character) for character in event.content]
        else:
            cut.append((event,))
    return cut


some_event = st.one_of(
    st.builds(
        says, st.text(min_size=1, max_size=3), st.sampled_from(["m", None]), st.sampled_from([None])
    ),
    st.builds(thinks, st.text(min_size=1, max_size=3), st.sampled_from(["m", None])),
    st.builds(tool, st.sampled_from(["c", "d"])),
    st.just(done("m")),
)


@given(acts=st.lists(some_event | st.just("get"), max_size=60), mark=st.integers(1, 5))
def test_any_order_of_puts_and_gets_loses_and_reorders_nothing(
    acts: list[ev.Event | str], mark: int
) -> None:
    async def main() -> None:
        line = MessageBuffer(mark)
        put: list[ev.Event] = []
        got: list[ev.Event] = []
        for act in acts:
            if not isinstance(act, str):
                line.put(act)
                if not line.overflowed:
                    put.append(act)
            elif len(line):
                event = await anext(line, None)
                assert event is not None
                got.append(event)
        got += await drain(line)
        assert split(got) == split(put)

    trio.run(main)


# -- dropping --------------------------------------------------------------------------------


async def test_the_oldest_give_way_and_their_number_stands_in_their_place() -> None:
    line = SubscriberBuffer(2)
    for number in range(5):
        line.put(tool(str(number)))
    assert await drain(line) == [
        ev.StreamGapEvent(missed=3, reason="this subscriber fell behind"),
        tool("3"),
        tool("4"),
    ]


async def test_each_gap_counts_anew() -> None:
    line = SubscriberBuffer(1)
    missed: list[int | None] = []
    for round_ in (1, 3):
        for _ in range(round_ + 1):
            line.put(tool("x"))
        gap = await anext(line, None)
        assert isinstance(gap, ev.StreamGapEvent)
        missed.append(gap.missed)
        assert await anext(line, None) == tool("x")
    assert missed == [1, 3]


async def test_a_dropped_gap_counts_as_one_and_says_why() -> None:
    line = SubscriberBuffer(1)
    line.put(ev.StreamGapEvent(missed=None, reason="the connection was lost"))
    line.put(tool("1"))
    line.put(tool("2"))
    gap = await anext(line, None)
    assert isinstance(gap, ev.StreamGapEvent)
    assert gap.missed == 2
    assert gap.reason == "this subscriber fell behind; the connection was lost"
    line.put(tool("3"))
    gap = await anext(line, None)
    assert isinstance(gap, ev.StreamGapEvent)
    assert (gap.missed, gap.reason) == (1, "this subscriber fell behind")


@pytest.mark.parametrize("size", [0, 1])
async def test_the_smallest_line_holds_one(size: int) -> None:
    line = SubscriberBuffer(size)
    line.put(tool("1"))
    assert await drain(line) == [tool("1")]


@given(acts=st.lists(st.sampled_from(["put", "put", "get"]), max_size=60), size=st.integers(1, 5))
def test_gaps_count_exactly_what_is_missing_where_it_is_missing(acts: list[str], size: int) -> None:
    async def main() -> None:
        line = SubscriberBuffer(size)
        got: list[ev.Event] = []
        count = 0
        for act in acts:
            if act == "put":
                line.put(tool(str(count)))
                count += 1
            elif len(line):
                event = await anext(line, None)
                assert event is not None
                got.append(event)
        got += await drain(line)
        at = 0
        for event in got:
            if isinstance(event, ev.StreamGapEvent):
                assert event.missed
                at += event.missed
            else:
                assert event == tool(str(at))
                at += 1
        assert at == count

    trio.run(main)
