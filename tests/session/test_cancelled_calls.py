"""A client works after any number of cancelled calls and abandoned streams.

``TRIO_MIX_ROUNDS`` is the number of rounds of 20 cancelled calls (by default 40).
"""

from __future__ import annotations

import gc
import os
import warnings
from typing import TYPE_CHECKING

import pytest
import trio

from trio_mix import Mix
from trio_mix.testing import Hang, MixServer, Say, Turn, UseTool

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

_ROUNDS = int(os.environ.get("TRIO_MIX_ROUNDS", "40"))
_CALLS = 20
_FILES = "/proc/self/fd"


def open_files() -> int:
    return len(os.listdir(_FILES)) if os.path.isdir(_FILES) else 0


async def cancelled_after(checkpoints: int, call: Callable[[], Awaitable[object]]) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(call)
        for _ in range(checkpoints):
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


async def test_a_client_works_after_rounds_of_cancelled_calls() -> None:
    async with MixServer(pace=0.0) as server, Mix(server.url) as mix:
        session_id = server.create_session()
        await mix.sessions.list()
        before = open_files()
        for number in range(_ROUNDS):
            async with trio.open_nursery() as nursery:
                for call in range(_CALLS):
                    nursery.start_soon(
                        cancelled_after,
                        (number + call) % 31,
                        lambda: mix.sessions.get(id=session_id),
                    )
        with trio.fail_after(10):
            assert (await mix.sessions.get(id=session_id)).id == session_id
            await server.wait_until(lambda: server.connections <= 10)
        assert open_files() <= before + 20


@pytest.mark.parametrize("api", ["async", "pipeline"])
async def test_streams_abandoned_at_any_point_cause_no_warning(api: str) -> None:
    async with MixServer(api, pace=0.0) as server, Mix(server.url) as mix:  # type: ignore[arg-type]
        server.script("go", Turn(Say("Look: "), UseTool("glob"), Say("so.")))
        server.script("hang", Turn(Say("Wait."), Hang()))
        texts = ("go", "hang")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for point in range(0, 60, 3):
                session_id = server.create_session()

                async def use(
                    session_id: str = session_id, text: str = texts[point // 3 % 2]
                ) -> None:
                    async with mix.open_stream(session_id) as session, session.subscribe() as every:
                        async with session.send(text) as message:
                            async for _ in message.text_deltas():
                                await every.__anext__()

                await cancelled_after(2 * point, use)
                mix.open_stream(session_id)  # never entered
                async with mix.open_stream(session_id) as session:
                    session.send("never entered")
                    session.subscribe()
                async with mix.streaming.stream_events(session_id=session_id) as events:
                    async for _ in events:
                        break
            gc.collect()
        assert [str(warning.message) for warning in caught] == []
        with trio.fail_after(10):
            await server.wait_until(lambda: server.open_streams == 0)
