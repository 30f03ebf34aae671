"""Buffers between a producer that never waits and one consumer that may be slow."""

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
    Budget,
    EventBuffer,
    MessageBuffer,
    SubscriberBuffer,
)

BUFFERS = [EventBuffer, lambda: MessageBuffer(4), lambda: SubscriberBuffer(4)]


def overflowed(buffer: MessageBuffer) -> bool:
    return buffer.overflowed


async def drain(buffer: EventBuffer[ev.Event]) -> list[ev.Event]:
    buffer.close()
    got: list[ev.Event] = []
    with trio.fail_after(5):
        while (event := await anext(buffer, None)) is not None:
            got.append(event)
    return got


@pytest.fixture(params=BUFFERS, ids=["plain", "merging", "dropping"])
def buffer(request: pytest.FixtureRequest) -> EventBuffer[ev.Event]:
    made = request.param()
    assert isinstance(made, EventBuffer)
    return made


# -- every buffer ----------------------------------------------------------------------------


async def test_events_come_out_as_they_went_in(buffer: EventBuffer[ev.Event]) -> None:
    events = [thinks("a"), says("b"), tool("c")]
    for event in events:
        buffer.put([event])
    assert len(buffer) == 3
    assert await drain(buffer) == events
    assert buffer.closed


async def test_taking_an_event_is_a_checkpoint_also_if_one_is_buffered(
    buffer: EventBuffer[ev.Event],
) -> None:
    buffer.put([says("a")])
    with assert_checkpoints():
        await anext(buffer, None)
    buffer.close()
    with assert_checkpoints():
        assert await anext(buffer, None) is None


async def test_while_the_consumer_is_behind_one_batch_takes_all_that_is_put() -> None:
    buffer: EventBuffer[ev.Event] = EventBuffer()
    for number in range(100):
        buffer.put([says(f"{number}"), tool(f"{number}")])
    assert buffer._receiver.statistics().current_buffer_used == 1
    assert await anext(buffer) == says("0")
    buffer.put([says("more")])
    assert len(buffer) == 200
    assert (await drain(buffer))[-2:] == [tool("99"), says("more")]


async def test_an_empty_batch_wakes_nobody(buffer: EventBuffer[ev.Event]) -> None:
    with trio.move_on_after(0):
        buffer.put([])
        await anext(buffer, None)
        raise AssertionError("it was woken")


async def test_what_is_put_before_a_woken_consumer_runs_is_taken_too(
    buffer: EventBuffer[ev.Event],
) -> None:
    got: list[ev.Event | None] = []

    async def consume() -> None:
        while None not in got:
            got.append(await anext(buffer, None))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        await wait_all_tasks_blocked()
        buffer.put([says("a")])
        buffer.put([tool("b")])
        buffer.close()
    assert got == [says("a"), tool("b"), None]


async def test_closing_wakes_a_waiting_consumer(buffer: EventBuffer[ev.Event]) -> None:
    async def consume() -> None:
        assert await anext(buffer, None) is None

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        await wait_all_tasks_blocked()
        buffer.close()


async def test_a_second_consumer_is_refused_while_the_first_waits(
    buffer: EventBuffer[ev.Event],
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(buffer.__anext__)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await anext(buffer, None)
        buffer.put([says("a")])


async def test_a_second_consumer_is_refused_between_wake_and_run(
    buffer: EventBuffer[ev.Event],
) -> None:
    got: list[ev.Event | None] = []

    async def consume() -> None:
        got.append(await anext(buffer, None))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        await wait_all_tasks_blocked()
        buffer.put([says("a")])  # rescheduled, and not run yet
        with pytest.raises(trio.BusyResourceError):
            await anext(buffer, None)
    assert got == [says("a")]
    buffer.put([says("b")])
    assert await anext(buffer, None) == says("b")


async def test_a_cancelled_wait_loses_nothing(buffer: EventBuffer[ev.Event]) -> None:
    with trio.move_on_after(0):
        await anext(buffer, None)
    buffer.put([says("a")])
    with trio.CancelScope() as scope:
        scope.cancel()
        await anext(buffer, None)
    assert scope.cancelled_caught
    assert await drain(buffer) == [says("a")]


async def test_a_consumer_cancelled_after_it_was_woken_still_gets_its_event(
    buffer: EventBuffer[ev.Event],
) -> None:
    got: list[ev.Event | None] = []
    scope = trio.CancelScope()

    async def consume() -> None:
        with scope:
            got.append(await anext(buffer, None))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        await wait_all_tasks_blocked()
        buffer.put([says("a")])
        scope.cancel()
    assert got == [says("a")]


async def test_what_is_buffered_comes_before_the_failure(buffer: EventBuffer[ev.Event]) -> None:
    buffer.put([says("a")])
    failure = ValueError("broken")
    failure.__cause__ = cause = OSError("why")
    buffer.close(failure)
    buffer.put([says("ignored")])
    buffer.close()
    assert await anext(buffer, None) == says("a")
    for _ in range(2):
        with pytest.raises(ValueError, match="broken") as caught:
            await anext(buffer, None)
        assert caught.value.__cause__ is cause


async def test_a_discarded_buffer_is_empty_and_ended(buffer: EventBuffer[ev.Event]) -> None:
    for _ in range(9):
        buffer.put([tool("a")])
    buffer.discard()
    assert await anext(buffer, None) is None


# -- merging ---------------------------------------------------------------------------------


async def test_below_the_mark_nothing_is_merged() -> None:
    buffer = MessageBuffer(3)
    for text in "abc":
        buffer.put([says(text)])
    assert await drain(buffer) == [says("a"), says("b"), says("c")]


async def test_at_the_mark_deltas_of_one_message_are_merged_and_the_last_id_kept() -> None:
    buffer = MessageBuffer(2)
    buffer.put([tool("t")])
    for number, text in enumerate("abcd"):
        buffer.put([says(text, "m", sse_id=str(number))])
    assert await drain(buffer) == [tool("t"), says("abcd", "m", sse_id="3")]


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
    buffer = MessageBuffer(1)
    for event in events:
        buffer.put([event])
    events[2:4] = [says("mergedmerged", "m")]
    assert await drain(buffer) == events


@pytest.mark.parametrize("mark", [0, 1, 3])
async def test_past_the_hard_limit_it_overflows_and_takes_no_more(mark: int) -> None:
    buffer = MessageBuffer(mark)
    limit = max(mark, 1) * HARD_LIMIT_FACTOR
    for number in range(limit):
        buffer.put([tool(str(number))])
    assert not overflowed(buffer)
    buffer.put([tool("one too many")])
    assert overflowed(buffer)
    buffer.put([tool("ignored")])
    assert len(await drain(buffer)) == limit


async def test_merged_text_has_a_limit_too() -> None:
    buffer = MessageBuffer(1)
    half = "x" * (MERGED_CHARACTERS // 2)
    buffer.put([says(half)])
    buffer.put([says(half)])
    assert not overflowed(buffer)
    buffer.put([says("y")])
    assert overflowed(buffer)
    (merged,) = await drain(buffer)
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
        buffer = MessageBuffer(mark)
        put: list[ev.Event] = []
        got: list[ev.Event] = []
        for act in acts:
            if not isinstance(act, str):
                buffer.put([act])
                if not buffer.overflowed:
                    put.append(act)
            elif len(buffer):
                event = await anext(buffer, None)
                assert event is not None
                got.append(event)
        got += await drain(buffer)
        assert split(got) == split(put)

    trio.run(main)


# -- dropping --------------------------------------------------------------------------------


async def test_the_oldest_are_dropped_and_a_gap_has_their_number() -> None:
    buffer: SubscriberBuffer[ev.Event] = SubscriberBuffer(2)
    for number in range(5):
        buffer.put([tool(str(number))])
    assert await drain(buffer) == [
        ev.StreamGapEvent(missed=3, reason="this subscriber fell behind"),
        tool("3"),
        tool("4"),
    ]


async def test_each_gap_has_a_count_of_its_own() -> None:
    buffer: SubscriberBuffer[ev.Event] = SubscriberBuffer(1)
    missed: list[int | None] = []
    for round_ in (1, 3):
        for _ in range(round_ + 1):
            buffer.put([tool("x")])
        gap = await anext(buffer, None)
        assert isinstance(gap, ev.StreamGapEvent)
        missed.append(gap.missed)
        assert await anext(buffer, None) == tool("x")
    assert missed == [1, 3]


async def test_a_dropped_gap_counts_as_one_and_its_reason_is_kept() -> None:
    buffer: SubscriberBuffer[ev.Event] = SubscriberBuffer(1)
    buffer.put([ev.StreamGapEvent(missed=None, reason="the connection was lost")])
    buffer.put([tool("1")])
    buffer.put([tool("2")])
    gap = await anext(buffer, None)
    assert isinstance(gap, ev.StreamGapEvent)
    assert gap.missed == 2
    assert gap.reason == "this subscriber fell behind; the connection was lost"
    buffer.put([tool("3")])
    gap = await anext(buffer, None)
    assert isinstance(gap, ev.StreamGapEvent)
    assert (gap.missed, gap.reason) == (1, "this subscriber fell behind")


@pytest.mark.parametrize("size", [0, 1])
async def test_the_smallest_buffer_holds_one_event(size: int) -> None:
    buffer: SubscriberBuffer[ev.Event] = SubscriberBuffer(size)
    buffer.put([tool("1")])
    assert await drain(buffer) == [tool("1")]


@given(acts=st.lists(st.sampled_from(["put", "put", "get"]), max_size=60), size=st.integers(1, 5))
def test_gaps_count_exactly_what_is_missing_where_it_is_missing(acts: list[str], size: int) -> None:
    async def main() -> None:
        buffer: SubscriberBuffer[ev.Event] = SubscriberBuffer(size)
        got: list[ev.Event] = []
        count = 0
        for act in acts:
            if act == "put":
                buffer.put([tool(str(count))])
                count += 1
            elif len(buffer):
                event = await anext(buffer, None)
                assert event is not None
                got.append(event)
        got += await drain(buffer)
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


async def test_shedding_drops_the_older_half_also_if_frames_are_larger_than_texts() -> None:
    for received in (False, True):
        buffer: SubscriberBuffer[ev.Event] = SubscriberBuffer(1000)
        buffer.budget = Budget(100_000)
        for _ in range(400):
            buffer.put([says("word")], 150)
        if received:
            assert await anext(buffer) == says("word")
        before, held = buffer.bytes, len(buffer)
        buffer.shed()
        assert held // 2 - 1 <= len(buffer) <= held // 2 + 1
        assert before // 2 - 150 <= buffer.bytes <= before // 2
        gap = await anext(buffer)
        assert isinstance(gap, ev.StreamGapEvent)
        assert gap.missed == held - len(buffer)
