"""What buffers, held events and replies may hold, in bytes, and what happens beyond."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from tests.support.raw_session import RawSession, client_of, connected, frame
from trio_mix import Mix, errors
from trio_mix import events as ev
from trio_mix._session._buffers import Budget, EventBuffer, MessageBuffer, SubscriberBuffer
from trio_mix.testing import (
    CancelRequested,
    Emit,
    Fail,
    Hang,
    MessageFinished,
    MixServer,
    Pause,
    Say,
    Turn,
    UseTool,
)

if TYPE_CHECKING:
    from trio_mix import SessionStream

LIMIT = 200_000
BIG = 20_000


def big(number: int) -> bytes:
    text = str(number % 10) * BIG
    return frame("content", f'{{"content":"{text}","assistantMessageId":"a"}}', str(number))


def budget_of(session: SessionStream) -> Budget:
    return session._services.budget


@pytest.mark.parametrize("raw", [False, True])
async def test_an_idle_subscriber_loses_what_exceeds_the_limit_and_the_others_nothing(
    raw: bool,
) -> None:
    world = RawSession(connected("1"))
    got: list[str | None] = []

    async def iterate(session: SessionStream, entered: trio.Event) -> None:
        async with session.subscribe() as everything:
            entered.set()
            async for event in everything:
                assert not isinstance(event, ev.StreamGapEvent)
                got.append(event.id)

    async with (
        client_of(world, max_buffered_size=LIMIT) as mix,
        mix.open_stream("s", max_event_size=LIMIT) as session,
        session.subscribe(raw=raw) if raw else session.subscribe() as idle,
        trio.open_nursery() as nursery,
    ):
        entered, budget = trio.Event(), budget_of(session)
        nursery.start_soon(iterate, session, entered)
        await entered.wait()
        for number in range(2, 102):
            await world.send(big(number))
            await trio.testing.wait_all_tasks_blocked()
            assert budget.used <= LIMIT
        assert got == [str(number) for number in range(2, 102)]
        first, rest = await anext(idle), []
        with trio.move_on_after(0.05):
            async for item in idle:
                rest.append(item)  # noqa: PERF401 - the loop ends by its timeout
        gap = first[0].data if isinstance(first, tuple) else repr(first)
        assert f"{100 - len(rest)}" in gap
        assert 2 <= len(rest) <= LIMIT // BIG
        nursery.cancel_scope.cancel()
    assert budget.used == 0


async def test_the_streams_of_a_client_share_the_limit_and_the_largest_buffer_is_reduced() -> None:
    idle_world, busy_world = RawSession(connected("1")), RawSession(connected("1"))

    async with (
        client_of(idle_world, max_buffered_size=LIMIT) as mix,
        client_of(busy_world) as other,
        mix.open_stream("s", max_event_size=LIMIT) as idle_session,
        other.open_stream("s") as busy_session,
        idle_session.subscribe() as idle,
        busy_session.subscribe() as small,
    ):
        assert budget_of(idle_session) is not budget_of(busy_session)
        assert small._buffer is not None
        small._buffer.budget = budget_of(idle_session)  # as if the client were the same
        for number in range(2, 11):
            await idle_world.send(big(number))
        await trio.testing.wait_all_tasks_blocked()
        await busy_world.send(big(2) + big(3))
        await trio.testing.wait_all_tasks_blocked()
        assert isinstance(await anext(idle), ev.StreamGapEvent)
        assert isinstance(await anext(small), ev.ContentEvent)


async def test_a_message_that_nobody_iterates_fails_with_the_name_of_the_setting() -> None:
    async with MixServer(pace=0.0, listen=False) as server:
        server.script("go", Turn(*(Say("x" * BIG, deltas=1) for _ in range(30))))
        async with (
            Mix(server.url, network=server.network, max_buffered_size=LIMIT) as mix,
            mix.open_stream(server.create_session(), max_event_size=LIMIT) as session,
            session.send("go") as message,
        ):
            state = message._opened()
            with trio.fail_after(10):
                await state.over.wait()
            with pytest.raises(errors.ConsumerTooSlow, match="max_buffered_size") as caught:
                await message.wait()
            assert caught.value.partial is not None
            assert caught.value.partial.text.startswith("x" * BIG)
            assert budget_of(session).used <= LIMIT


async def test_a_message_that_is_cancelled_before_its_first_event_holds_no_memory(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with MixServer("blocking", pace=0.0, listen=False, cancel_endpoint=False) as server:
        server.script("go", Turn(Pause(2), Say("x" * BIG)))
        async with (
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(server.create_session()) as session,
        ):
            with trio.move_on_after(0.5):
                await session.ask("go")
            await server.wait_for(MessageFinished)
            await trio.sleep(1)
            assert budget_of(session).used == 0


async def test_a_reply_that_is_iterated_may_be_larger_than_all_buffers() -> None:
    calls = [UseTool("bash", {"command": "x" * BIG}, result="") for _ in range(40)]
    async with MixServer(pace=0.0, listen=False) as server:
        server.script("go", Turn(*calls, Say("Done.")))
        async with (
            Mix(server.url, network=server.network, max_buffered_size=LIMIT) as mix,
            mix.open_stream(server.create_session(), max_event_size=LIMIT) as session,
            session.subscribe(),  # it stands still
        ):
            with trio.fail_after(20):
                reply = await session.ask("go")
            assert sum(len(call.input) for call in reply.tool_calls) > 40 * BIG


# -- replies ---------------------------------------------------------------------------------


@pytest.mark.parametrize("api", ["async", "blocking", "pipeline"])
async def test_a_reply_that_is_too_large_fails_and_its_turn_is_cancelled(api: str) -> None:
    async with MixServer(api, pace=0.0, listen=False) as server:  # type: ignore[arg-type]
        server.script("go", Turn(*(Say("x" * 100, deltas=1) for _ in range(5_000))))
        async with (
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(server.create_session(), max_reply_size=10_000) as session,
        ):
            with (
                trio.fail_after(20),
                pytest.raises(errors.ReplyTooLarge, match=r"max_reply_size=10000") as caught,
            ):
                await session.ask("go")
            assert caught.value.partial is not None
            assert 10_000 < len(caught.value.partial.text) < 12_000
            assert [record for record in server.log if isinstance(record, CancelRequested)]
            assert (await session.ask("hello")).text


@pytest.mark.parametrize("api", ["async", "pipeline-oldest"])
async def test_the_limit_of_a_reply_is_exact_and_counts_tools(api: str) -> None:
    text, inputs = "t" * 300, {"command": "c" * 400}
    size = len(text) + len('{"command": ""}') + 400
    async with MixServer(api, pace=0.0, listen=False) as server:  # type: ignore[arg-type]
        server.script("go", Turn(UseTool("bash", inputs, result=""), Say(text)))
        async with Mix(server.url, network=server.network) as mix:
            for limit in (size + 100, None):
                session_id = server.create_session()
                async with mix.open_stream(session_id, max_reply_size=limit) as session:
                    assert (await session.ask("go")).text == text
            async with mix.open_stream(server.create_session(), max_reply_size=600) as session:
                with trio.fail_after(20), pytest.raises(errors.ReplyTooLarge):
                    await session.ask("go")


async def test_an_agent_error_shows_the_beginning_of_what_the_server_said() -> None:
    said = "it broke " * 100_000
    async with MixServer("async", pace=0.0, listen=False) as server:
        server.script("go", Turn(Fail(said)))
        async with (
            Mix(server.url, network=server.network) as mix,
            mix.open_session() as session,
        ):
            with pytest.raises(errors.AgentError, match="it broke.*Check the server") as caught:
                await session.ask("go")
    assert len(str(caught.value)) < 3000
    assert caught.value.event.error == said


async def test_calls_that_are_only_named_count_as_well() -> None:
    def begun(number: int, length: int) -> Emit:
        return Emit("tool_use_start", {"toolCallId": f"call-{number}", "name": "n" * length})

    for count, length, limit in ((20, 1000, 10_000), (40, 1, 1000)):
        steps = [begun(number, length) for number in range(count)]
        async with MixServer("async", pace=0.0, listen=False) as server:
            server.script("go", Turn(*steps, Hang()))
            async with (
                Mix(server.url, network=server.network) as mix,
                mix.open_stream(server.create_session(), max_reply_size=limit) as session,
            ):
                with trio.fail_after(20), pytest.raises(errors.ReplyTooLarge):
                    await session.ask("go")


@pytest.mark.parametrize("size", [0, -1])
def test_a_limit_that_cannot_work_is_refused(size: int) -> None:
    with pytest.raises(errors.ConfigurationError, match="max_buffered_size"):
        Mix(max_buffered_size=size)
    with pytest.raises(errors.ConfigurationError, match="max_reply_size"):
        Mix().open_stream("s", max_reply_size=size)
    with pytest.raises(errors.ConfigurationError, match="max_buffered_size=1000"):
        Mix(max_buffered_size=1000).open_stream("s")


# -- the sum ---------------------------------------------------------------------------------

STEPS = st.lists(
    st.tuples(
        st.integers(0, 3), st.sampled_from(["put", "put", "take", "discard"]), st.integers(1, 60)
    ),
    max_size=60,
)


@given(steps=STEPS, limit=st.integers(20, 200))
def test_the_budget_is_the_sum_of_its_buffers_and_never_exceeded(
    steps: list[tuple[int, str, int]], limit: int
) -> None:
    async def main() -> None:
        budget = Budget(limit)
        buffers: list[EventBuffer[ev.Event]] = [
            SubscriberBuffer[ev.Event](3),
            SubscriberBuffer[ev.Event](100),
            MessageBuffer(4),
            MessageBuffer(100),
        ]
        for buffer in buffers:
            buffer.budget = budget
        for number, what, size in steps:
            buffer = buffers[number]
            if what == "put":
                count = 1 + size % 3
                event = ev.ContentEvent(content="x" * size)
                buffer.put([event] * count, size * count)
            elif what == "discard":
                buffer.discard()
            else:
                with trio.move_on_after(0):
                    await anext(buffer, None)
            assert budget.used == sum(each.bytes for each in buffers) <= limit
            assert all(each.bytes >= 0 for each in buffers)
            for each in buffers:
                if not len(each) and not each._received_bytes:
                    assert each.bytes == 0
        for buffer in buffers:
            buffer.discard()
        assert budget.used == 0

    trio.run(main)
