"""Who may send next: first come, first served, whoever is cancelled or wherever it is shut."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from trio_mix._session._gate import SendGate


class ClosedError(Exception):
    pass


def open_gate() -> SendGate:
    gate = SendGate()
    gate.open()
    return gate


class Senders:
    """Tasks that want through, and who got through in which order."""

    def __init__(self, gate: SendGate, nursery: trio.Nursery) -> None:
        self.gate = gate
        self.nursery = nursery
        self.passed: list[str] = []
        self.cancelled: list[str] = []
        self.failures: list[BaseException] = []
        self.scopes: dict[str, trio.CancelScope] = {}

    async def come(self, name: str) -> None:
        self.scopes[name] = trio.CancelScope()
        self.nursery.start_soon(self._want, name)
        await wait_all_tasks_blocked()

    async def _want(self, name: str) -> None:
        with self.scopes[name] as scope:
            try:
                await self.gate.acquire()
            except ClosedError as exc:
                self.failures.append(exc)
                return
            self.passed.append(name)
            try:
                await trio.lowlevel.checkpoint()
                await trio.sleep_forever()
            finally:
                self.gate.release()
        if scope.cancelled_caught:
            self.cancelled.append(name)

    async def leave(self, name: str) -> None:
        self.scopes[name].cancel()
        await wait_all_tasks_blocked()


async def test_passing_an_open_gate_is_a_checkpoint() -> None:
    gate = open_gate()
    with assert_checkpoints():
        await gate.acquire()
    assert gate.held is True
    gate.release()
    assert [gate.held] == [False]
    with assert_checkpoints():
        await gate.wait_open()


async def test_a_cancelled_pass_does_not_hold_the_gate() -> None:
    gate = open_gate()
    with trio.CancelScope() as scope:
        scope.cancel()
        await gate.acquire()
    assert scope.cancelled_caught
    assert not gate.held


async def test_the_longest_waiting_is_next() -> None:
    async with trio.open_nursery() as nursery:
        senders = Senders(open_gate(), nursery)
        for name in "abcd":
            await senders.come(name)
        assert senders.passed == ["a"]
        assert senders.gate.waiting == 3
        for name in "abcd":
            await senders.leave(name)
        assert senders.passed == list("abcd")
        assert not senders.gate.held


async def test_nobody_overtakes_who_was_handed_the_gate_and_has_not_run_yet() -> None:
    gate = open_gate()
    await gate.acquire()
    async with trio.open_nursery() as nursery:
        senders = Senders(gate, nursery)
        await senders.come("first")
        gate.release()
        assert gate.held
        with trio.move_on_after(0) as scope:
            await gate.acquire()
        assert scope.cancelled_caught
        assert senders.passed == ["first"]
        nursery.cancel_scope.cancel()


async def test_nobody_passes_while_it_is_shut() -> None:
    async with trio.open_nursery() as nursery:
        senders = Senders(SendGate(), nursery)
        await senders.come("a")
        assert senders.passed == []
        senders.gate.open()
        await wait_all_tasks_blocked()
        senders.gate.shut()
        await senders.come("b")
        await senders.leave("a")
        assert senders.passed == ["a"]
        senders.gate.open()
        await wait_all_tasks_blocked()
        assert senders.passed == ["a", "b"]
        nursery.cancel_scope.cancel()


async def test_who_passed_waits_where_it_is_shut_again_behind_it() -> None:
    gate = open_gate()
    await gate.acquire()
    gate.shut()
    with trio.move_on_after(0) as scope:
        await gate.wait_open()
    assert scope.cancelled_caught
    through: list[bool] = []

    async def wait() -> None:
        await gate.wait_open()
        through.append(True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        gate.open()
        gate.shut()  # before the one who waits could run
        await wait_all_tasks_blocked()
        assert not through
        gate.open()
    assert through
    assert gate.held


async def test_a_waiter_that_is_cancelled_leaves_no_trace() -> None:
    async with trio.open_nursery() as nursery:
        senders = Senders(open_gate(), nursery)
        for name in "abc":
            await senders.come(name)
        await senders.leave("b")
        assert senders.cancelled == ["b"]
        assert senders.gate.waiting == 1
        await senders.leave("a")
        assert senders.passed == ["a", "c"]
        nursery.cancel_scope.cancel()


async def test_a_waiter_cancelled_after_it_was_handed_the_gate_gives_it_back() -> None:
    async with trio.open_nursery() as nursery:
        senders = Senders(open_gate(), nursery)
        for name in "abc":
            await senders.come(name)
        senders.scopes["a"].cancel()
        await wait_all_tasks_blocked()
        assert senders.passed == ["a", "b"]
        # b runs next, and c is handed the gate in the same tick in which it is cancelled.
        senders.gate.release()
        senders.scopes["c"].cancel()
        await wait_all_tasks_blocked()
        assert senders.passed == ["a", "b", "c"]
        assert senders.cancelled == ["a", "c"]
        assert not senders.gate.held
        nursery.cancel_scope.cancel()


async def test_closing_wakes_everyone_with_an_exception_of_their_own() -> None:
    gate = open_gate()
    await gate.acquire()
    async with trio.open_nursery() as nursery:
        senders = Senders(gate, nursery)
        for name in "abc":
            await senders.come(name)
        gate.close(lambda: ClosedError("first"))
        gate.close(lambda: ClosedError("second"))
    assert [str(failure) for failure in senders.failures] == ["first"] * 3
    assert len(set(map(id, senders.failures))) == 3
    assert senders.passed == []
    for wait in (gate.acquire, gate.wait_open):
        with assert_checkpoints(), suppress(ClosedError):
            await wait()
            pytest.fail("it is closed")
    gate.shut()
    with pytest.raises(ClosedError):
        await gate.wait_open()


@pytest.mark.parametrize("others", [0, 2])
async def test_who_was_handed_the_gate_and_has_not_run_when_it_closes_gets_the_reason(
    others: int,
) -> None:
    gate = open_gate()
    await gate.acquire()
    async with trio.open_nursery() as nursery:
        senders = Senders(gate, nursery)
        for number in range(1 + others):
            await senders.come(str(number))
        gate.release()
        gate.close(ClosedError)
    assert senders.passed == []
    assert len(senders.failures) == 1 + others
    assert not gate.held


async def test_closing_leaves_the_holder_holding() -> None:
    gate = open_gate()
    await gate.acquire()
    async with trio.open_nursery() as nursery:
        senders = Senders(gate, nursery)
        await senders.come("a")
        gate.close(ClosedError)
    assert gate.held is True
    gate.release()
    assert [gate.held] == [False]


async def test_closing_wakes_who_waits_for_it_to_open() -> None:
    gate = SendGate()
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                with pytest.raises(ClosedError):
                    await gate.wait_open()

            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            gate.close(ClosedError)


@given(
    acts=st.lists(
        st.tuples(st.sampled_from(["come", "leave", "shut", "open", "settle"]), st.integers(0, 4)),
        max_size=40,
    )
)
@settings(deadline=None, max_examples=100)
def test_whatever_happens_one_holds_it_in_the_order_of_arrival(acts: list[tuple[str, int]]) -> None:
    async def main() -> None:
        gate = open_gate()
        arrived: list[str] = []
        async with trio.open_nursery() as nursery:
            senders = Senders(gate, nursery)
            for act, number in acts:
                if act == "come":
                    arrived.append(f"{len(arrived)}")
                    await senders.come(arrived[-1])
                elif act == "leave" and arrived:
                    # Not waited for: what follows may come in the same tick.
                    senders.scopes[arrived[number % len(arrived)]].cancel()
                elif act == "shut":
                    gate.shut()
                elif act == "open":
                    gate.open()
                else:
                    await wait_all_tasks_blocked()
            gate.open()
            await wait_all_tasks_blocked()
            left = [name for name in arrived if not senders.scopes[name].cancel_called]
            for name in left:
                assert gate.held
                assert senders.passed[-1] == name
                await senders.leave(name)
            assert not gate.held
            assert gate.waiting == 0
            assert senders.passed == sorted(senders.passed, key=int)
            assert len(senders.passed) == len(set(senders.passed))

    trio.run(main)


async def test_any_number_wait_for_it_to_open_each_time_it_is_shut() -> None:
    gate = open_gate()
    passed: list[int] = []

    async def wait(number: int) -> None:
        await gate.wait_open()
        passed.append(number)

    with trio.fail_after(5):
        for turn in range(2):
            gate.shut()
            async with trio.open_nursery() as nursery:
                for number in range(3):
                    nursery.start_soon(wait, number)
                    await wait_all_tasks_blocked()
                assert len(passed) == 3 * turn
                gate.open()
            assert len(passed) == 3 * turn + 3
