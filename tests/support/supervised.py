"""What the tests of the supervisor share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import trio

from tests.support.raw_server import SSE_HEAD, Peer, chunk
from trio_mix.sse import ReconnectPolicy
from trio_mix.sse._connect import StreamRequest
from trio_mix.sse._supervisor import Events, Supervisor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_mix._http import Http

T = TypeVar("T")
URL = "http://host/events"


class Highest:
    """Draw the upper end of each range, so that delays can be predicted."""

    def uniform(self, a: float, b: float) -> float:
        return max(a, b)


def supervisor(http: Http, url: str = URL, **options: Any) -> Supervisor:
    request: dict[str, Any] = {"connect_timeout": 30.0}
    for name in ("method", "headers", "content", "connect_timeout", "session_id"):
        if name in options:
            request[name] = options.pop(name)
    settings: dict[str, Any] = {
        "reconnect": ReconnectPolicy(initial_interval=1.0, exponent=2.0, max_elapsed_time=100.0),
        "auto_mark": True,
        "rng": Highest(),
        "wall_clock": lambda: 784111740.0,  # Sun, 06 Nov 1994 08:49:00 GMT
    }
    return Supervisor(StreamRequest(http, url, **request), **(settings | options))


def script(*answers: bytes | None) -> Callable[[Peer], Awaitable[None]]:
    """Answer the n-th connection with the n-th text and close it; at None leave it open."""

    async def handler(peer: Peer) -> None:
        answer = answers[min(peer.server.connections, len(answers)) - 1]
        await peer.request()
        await peer.send(SSE_HEAD if answer is None else answer)
        if answer is None:
            await peer.closed()

    return handler


def events(*data: str) -> bytes:
    return chunk("".join(f"id: {d}\ndata: {d}\n\n" for d in data).encode())


async def frames(source: Supervisor) -> list[str]:
    item = await source.next()
    assert isinstance(item, Events)
    return [frame.data for frame in item.events]


async def resuming(peer: Peer) -> None:
    """Serve the numbers from 1 on, three per connection, continuing after Last-Event-ID."""
    request = await peer.request()
    if request is None:
        return
    last = int(request.headers.get("last-event-id", "0"))
    await peer.send(SSE_HEAD)
    for number in range(last + 1, last + 4):
        await peer.send(events(str(number)))


async def cancelled_after(checkpoints: int, function: Callable[[], Awaitable[T]]) -> T | None:
    """Call a function, and cancel it after a number of checkpoints of another task."""
    result: list[T] = []

    async def call() -> None:
        result.append(await function())
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        for _ in range(checkpoints):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()
    return result[0] if result else None
