"""JSON-RPC: order, cancellation, and what a broken side sends. Tests cite the peer's rules."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio
import trio.lowlevel
import trio.testing

from trio_mix.cli.acp._peer import Peer, RPCError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest


class Other:
    """The other side, as bytes."""

    def __init__(self, stream: trio.StapledStream[Any, Any]) -> None:
        self.stream = stream
        self.rest = b""

    async def send(self, *lines: object) -> None:
        for line in lines:
            data = line if isinstance(line, bytes) else json.dumps(line).encode()
            await self.stream.send_all(data + b"\n")

    async def receive(self) -> Any:
        with trio.fail_after(100):
            while b"\n" not in self.rest:
                self.rest += await self.stream.receive_some()
        line, _, self.rest = self.rest.partition(b"\n")
        return json.loads(line)


@asynccontextmanager
async def connect(**handlers: Any) -> AsyncIterator[tuple[Other, Peer, list[object]]]:
    ours, theirs = trio.testing.memory_stream_pair()
    received: list[object] = []
    peer = Peer(theirs, theirs, handlers, {"note": received.append})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.run)
        yield Other(ours), peer, received
        nursery.cancel_scope.cancel()


def request(number: int, method: str, params: object = None) -> dict[str, object]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


async def test_a_notification_finds_what_an_earlier_request_has_begun() -> None:  # rule 1
    order: list[str] = []

    async def finish() -> None:
        await trio.lowlevel.checkpoint()

    def begin(_params: object) -> Any:
        order.append("request")
        return finish()

    async with connect(begin=begin) as (other, _, received):
        note = {"jsonrpc": "2.0", "method": "note", "params": 1}
        await other.send(
            b"\n".join(json.dumps(each).encode() for each in [request(1, "begin"), note])
        )
        assert (await other.receive())["id"] == 1
        assert order == ["request"]
        assert received == [1]


async def test_requests_run_beside_each_other_and_a_cancelled_one_says_so() -> None:  # rules 1, 5
    async def slow(_params: object) -> None:
        await trio.sleep_forever()

    async def fast(params: object) -> object:
        await trio.lowlevel.checkpoint()
        return params

    async with connect(slow=slow, fast=fast) as (other, _, _received):
        await other.send(request(1, "slow"), request(2, "fast", {"a": 1}))
        assert await other.receive() == {"jsonrpc": "2.0", "id": 2, "result": {"a": 1}}
        await other.send({"method": "$/cancel_request", "params": {"requestId": 1}})
        response = await other.receive()
        assert (response["id"], response["error"]["code"]) == (1, -32800)


async def test_a_request_whose_caller_is_cancelled_is_cancelled_on_the_other_side() -> None:
    async with connect() as (other, peer, _received), trio.open_nursery() as nursery:
        nursery.start_soon(peer.request, "ask", {})
        asked = await other.receive()
        nursery.cancel_scope.cancel()
        with trio.CancelScope(shield=True):
            cancel = await other.receive()
            assert cancel["method"] == "$/cancel_request"  # rule 5
            assert cancel["params"] == {"requestId": asked["id"]}
            await other.send({"id": asked["id"], "result": 1})  # too late: ignored


async def test_a_broken_line_is_answered_by_an_error_and_the_next_one_is_served() -> None:
    async def fails(_params: object) -> None:
        await trio.lowlevel.checkpoint()
        raise RPCError(-32002, "not found", {"type": "X"})

    broken = [  # rule 3
        (b"{", -32700),
        (b'{"a": "\\ud800"}', -32700),
        (b"[" * 100_000, -32700),
        (b"x" * (17 * 2**20), -32700),
        (b"[]", -32600),
        (b'{"method": 1, "id": 1}', -32600),
        (b'{"method": "fails", "id": null}', -32600),
        (b'{"method": "unknown", "id": 1}', -32601),
        (b'{"method": "fails", "id": "x"}', -32002),
    ]
    async with (
        connect(fails=fails) as (other, _, _received),
        trio.open_nursery() as nursery,
    ):  # rule 3
        for line, code in broken:
            nursery.start_soon(other.send, line)
            assert (await other.receive())["error"]["code"] == code, line[:40]


async def test_a_defect_of_a_handler_ends_no_other_request(
    capsys: pytest.CaptureFixture[str],
) -> None:
    async def broken(_params: object) -> None:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError("secret detail")

    async with connect(broken=broken) as (other, _, _received):
        for number in (1, 2):
            await other.send(request(number, "broken"))
            response = await other.receive()
            assert response["error"]["code"] == -32603
            assert "secret" not in response["error"]["message"]
    assert "ZeroDivisionError" in capsys.readouterr().err


async def test_no_one_queues_more_than_the_bound_for_a_side_that_does_not_read() -> None:  # rule 6
    ours, theirs = trio.testing.memory_stream_pair()
    theirs.send_stream.send_all_hook = trio.sleep_forever
    peer = Peer(theirs, theirs, {}, {})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.run)

        async def flood() -> None:
            while True:
                await peer.notify("update", "x" * 10_000)

        nursery.start_soon(flood)
        nursery.start_soon(ours.send_all, b"garbage\n" * 100_000)
        await trio.testing.wait_all_tasks_blocked()
        assert peer._queued < 3 * 2**20
        nursery.cancel_scope.cancel()


async def test_the_end_of_the_other_side_cancels_its_requests() -> None:  # rule 4
    cancelled = trio.Event()

    async def slow(_params: object) -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.set()

    ours, theirs = trio.testing.memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(Peer(theirs, theirs, {"slow": slow}, {}).run)
        await ours.send_all(json.dumps(request(1, "slow")).encode() + b"\n")
        await trio.testing.wait_all_tasks_blocked()
        await ours.send_stream.aclose()
        with trio.fail_after(100):
            await cancelled.wait()
