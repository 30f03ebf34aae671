"""Sends are first come, first served, also if a sender is cancelled or the queue is paused."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from trio_mix._session._send_queue import SendQueue


class ClosedError(Exception):
    pass


def resumed_queue() -> SendQueue:
    send_queue = SendQueue()
    send_queue.resume()
    return send_queue


class Senders:
    """Tasks that acquire the queue, and the order in which they did."""

    def __init__(self, send_queue: SendQueue, nursery: trio.Nursery) -> None:
        self.send_queue = send_queue
        self.nursery = nursery
        self.acquired: list[str] = []
        self.cancelled: list[str] = []
        self.failures: list[BaseException] = []
        self.scopes: dict[str, trio.CancelScope] = {}

    async def come(self, name: str) -> None:
        self.scopes[name] = trio.CancelScope()
        self.nursery.start_soon(self._acquire, name)
        await wait_all_tasks_blocked()

    async def _acquire(self, name: str) -> None:
        with self.scopes[name] as scope:
            try:
                await self.send_queue.acquire()
            except ClosedError as exc:
                self.failures.append(exc)
                return
            self.acquired.append(name)
            try:
                await trio.lowlevel.checkpoint()
                await trio.sleep_forever()
            finally:
                self.send_queue.release()
        if scope.cancelled_caught:
            self.cancelled.append(name)

    async def leave(self, name: str) -> None:
        self.scopes[name].cancel()
        await wait_all_tasks_blocked()


async def test_acquire_is_a_checkpoint() -> None:
    send_queue = resumed_queue()
    with assert_checkpoints():
        await send_queue.acquire()
    assert send_queue.held is True
    send_queue.release()
    assert [send_queue.held] == [False]
    with assert_checkpoints():
        await send_queue.wait_resumed()


async def test_a_cancelled_acquire_does_not_hold_the_queue() -> None:
    send_queue = resumed_queue()
    with trio.CancelScope() as scope:
        scope.cancel()
        await send_queue.acquire()
    assert scope.cancelled_caught
    assert not send_queue.held


async def test_the_longest_waiting_is_next() -> None:
    async with trio.open_nursery() as nursery:
        senders = Senders(resumed_queue(), nursery)
        for name in "abcd":
            await senders.come(name)
        assert senders.acquired == ["a"]
        assert senders.send_queue.waiting == 3
        for name in "abcd":
            await senders.leave(name)
        assert senders.acquired == list("abcd")
        assert not senders.send_queue.held


async def test_no_task_overtakes_one_that_was_passed_the_queue_and_has_not_run_yet() -> None:
    send_queue = resumed_queue()
    await send_queue.acquire()
    async with trio.open_nursery() as nursery:
        senders = Senders(send_queue, nursery)
        await senders.come("first")
        send_queue.release()
        assert send_queue.held
        with trio.move_on_after(0) as scope:
            await send_queue.acquire()
        assert scope.cancelled_caught
        assert senders.acquired == ["first"]
        nursery.cancel_scope.cancel()


async def test_no_task_acquires_a_paused_queue() -> None:
    async with trio.open_nursery() as nursery:
        senders = Senders(SendQueue(), nursery)
        await senders.come("a")
        assert senders.acquired == []
        senders.send_queue.resume()
        await wait_all_tasks_blocked()
        senders.send_queue.pause()
        await senders.come("b")
        await senders.leave("a")
        assert senders.acquired == ["a"]
        senders.send_queue.resume()
        await wait_all_tasks_blocked()
        assert senders.acquired == ["a", "b"]
        nursery.cancel_scope.cancel()


async def test_the_holder_waits_in_wait_resumed_while_the_queue_is_paused() -> None:
    send_queue = resumed_queue()
    await send_queue.acquire()
    send_queue.pause()
    with trio.move_on_after(0) as scope:
        await send_queue.wait_resumed()
    assert scope.cancelled_caught
    through: list[bool] = []

    async def wait() -> None:
        await send_queue.wait_resumed()
        through.append(True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        send_queue.resume()
        send_queue.pause()  # before the waiting task could run
        await wait_all_tasks_blocked()
        assert not through
        send_queue.resume()
    assert through
    assert send_queue.held


async def test_a_cancelled_waiter_leaves_the_queue() -> None:
    async with trio.open_nursery() as nursery:
        senders = Senders(resumed_queue(), nursery)
        for name in "abc":
            await senders.come(name)
        await senders.leave("b")
        assert senders.cancelled == ["b"]
        assert senders.send_queue.waiting == 1
        await senders.leave("a")
        assert senders.acquired == ["a", "c"]
        nursery.cancel_scope.cancel()


async def test_a_waiter_cancelled_after_it_was_passed_the_queue_releases_it() -> None:
    async with trio.open_nursery() as nursery:
        senders = Senders(resumed_queue(), nursery)
        for name in "abc":
            await senders.come(name)
        senders.scopes["a"].cancel()
        await wait_all_tasks_blocked()
        assert senders.acquired == ["a", "b"]
        # c is passed the queue in the same tick in which it is cancelled.
        senders.send_queue.release()
        senders.scopes["c"].cancel()
        await wait_all_tasks_blocked()
        assert senders.acquired == ["a", "b", "c"]
        assert senders.cancelled == ["a", "c"]
        assert not senders.send_queue.held
        nursery.cancel_scope.cancel()


async def test_closing_raises_an_own_exception_in_every_waiter() -> None:
    send_queue = resumed_queue()
    await send_queue.acquire()
    async with trio.open_nursery() as nursery:
        senders = Senders(send_queue, nursery)
        for name in "abc":
            await senders.come(name)
        send_queue.close(lambda: ClosedError("first"))
        send_queue.close(lambda: ClosedError("second"))
    assert [str(failure) for failure in senders.failures] == ["first"] * 3
    assert len(set(map(id, senders.failures))) == 3
    assert senders.acquired == []
    for wait in (send_queue.acquire, send_queue.wait_resumed):
        with assert_checkpoints(), suppress(ClosedError):
            await wait()
            pytest.fail("it is closed")
    send_queue.pause()
    with pytest.raises(ClosedError):
        await send_queue.wait_resumed()


@pytest.mark.parametrize("others", [0, 2])
async def test_a_task_that_was_passed_the_queue_and_has_not_run_when_it_closes_fails(
    others: int,
) -> None:
    send_queue = resumed_queue()
    await send_queue.acquire()
    async with trio.open_nursery() as nursery:
        senders = Senders(send_queue, nursery)
        for number in range(1 + others):
            await senders.come(str(number))
        send_queue.release()
        send_queue.close(ClosedError)
    assert senders.acquired == []
    assert len(senders.failures) == 1 + others
    assert not send_queue.held


async def test_closing_does_not_affect_the_holder() -> None:
    send_queue = resumed_queue()
    await send_queue.acquire()
    async with trio.open_nursery() as nursery:
        senders = Senders(send_queue, nursery)
        await senders.come("a")
        send_queue.close(ClosedError)
    assert send_queue.held is True
    send_queue.release()
    assert [send_queue.held] == [False]


async def test_closing_wakes_tasks_in_wait_resumed() -> None:
    send_queue = SendQueue()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(ClosedError):
                    await send_queue.wait_resumed()

            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            send_queue.close(ClosedError)


@given(
    acts=st.lists(
        st.tuples(
            st.sampled_from(["come", "leave", "pause", "resume", "settle"]), st.integers(0, 4)
        ),
        max_size=40,
    )
)
@settings(deadline=None, max_examples=100)
def test_in_any_case_one_task_holds_the_queue_in_the_order_of_arrival(
    acts: list[tuple[str, int]],
) -> None:
    async def main() -> None:
        send_queue = resumed_queue()
        arrived: list[str] = []
        async with trio.open_nursery() as nursery:
            senders = Senders(send_queue, nursery)
            for act, number in acts:
                if act == "come":
                    arrived.append(f"{len(arrived)}")
                    await senders.come(arrived[-1])
                elif act == "leave" and arrived:
                    # Without waiting: the next action may happen in the same tick.
                    senders.scopes[arrived[number % len(arrived)]].cancel()
                elif act == "pause":
                    send_queue.pause()
                elif act == "resume":
                    send_queue.resume()
                else:
                    await wait_all_tasks_blocked()
            send_queue.resume()
            await wait_all_tasks_blocked()
            left = [name for name in arrived if not senders.scopes[name].cancel_called]
            for name in left:
                assert send_queue.held
                assert senders.acquired[-1] == name
                await senders.leave(name)
            assert not send_queue.held
            assert send_queue.waiting == 0
            assert senders.acquired == sorted(senders.acquired, key=int)
            assert len(senders.acquired) == len(set(senders.acquired))

    trio.run(main)


async def test_any_number_of_tasks_wait_in_wait_resumed_each_time_it_is_paused() -> None:
    send_queue = resumed_queue()
    passed: list[int] = []

    async def wait(number: int) -> None:
        await send_queue.wait_resumed()
        passed.append(number)

    with trio.fail_after(5):
        for turn in range(2):
            send_queue.pause()
            async with trio.open_nursery() as nursery:
                for number in range(3):
                    nursery.start_soon(wait, number)
                    await wait_all_tasks_blocked()
                assert len(passed) == 3 * turn
                send_queue.resume()
            assert len(passed) == 3 * turn + 3
