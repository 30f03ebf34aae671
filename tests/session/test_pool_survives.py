"""Cancelled calls cost the client nothing: it answers after any number of them.

``TRIO_MIX_ROUNDS`` says how many rounds of 20 cancelled calls (40; by hand 1,500).
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


async def test_a_client_answers_after_rounds_of_cancelled_calls() -> None:
    async with MixServer(pace=0.0) as server, Mix(server.url) as mix:
        session = server.create_session()
        await mix.sessions.list()
        before = open_files()
        for number in range(_ROUNDS):
            async with trio.open_nursery() as nursery:
                for call in range(_CALLS):
                    nursery.start_soon(
                        cancelled_after, (number + call) % 31, lambda: mix.sessions.get(id=session)
                    )
        with trio.fail_after(10):
            assert (await mix.sessions.get(id=session)).id == session
            await server.wait_until(lambda: server.connections <= 10)
        assert open_files() <= before + 20


@pytest.mark.parametrize("api", ["async", "pipeline"])
async def test_streams_abandoned_at_any_point_leave_no_warning(api: str) -> None:
    async with MixServer(api, pace=0.0) as server, Mix(server.url) as mix:  # type: ignore[arg-type]
        server.script("go", Turn(Say("Look: "), UseTool("glob"), Say("so.")))
        server.script("hang", Turn(Say("Wait."), Hang()))
        texts = ("go", "hang")
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for point in range(0, 60, 3):
                session = server.create_session()

                async def use(session: str = session, text: str = texts[point // 3 % 2]) -> None:
                    async with mix.open_stream(session) as stream, stream.subscribe() as every:
                        async with stream.send(text) as message:
                            async for _ in message.text_deltas():
                                await every.__anext__()

                await cancelled_after(2 * point, use)
                mix.open_stream(session)  # never entered
                async with mix.open_stream(session) as stream:
                    stream.send("never entered")
                    stream.subscribe()
                async with mix.streaming.stream_events(session_id=session) as events:
                    async for _ in events:
                        break
            gc.collect()
        assert [str(warning.message) for warning in caught] == []
        with trio.fail_after(10):
            await server.wait_until(lambda: server.open_streams == 0)
