"""Every ``async with`` of the package lets the exception of its body pass, also when cancelled."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

import trio_mix
from tests.support.cases import case
from tests.support.devtools_kit import open_bench
from trio_mix import Mix, MixCore
from trio_mix.sse import open_event_source
from trio_mix.testing import FaultProxy, MixServer, record, replay

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path
    from typing import Self

ELSEWHERE = {
    "Chromium": "ends a program: tests/browser",
    "Hub": "tests/relay",
    "Log": "a protocol of the relay",
    "RedisLog": "tests/relay",
    "Relay": "tests/relay",
    "RelayClient": "tests/relay",
    "RelayMessage": "tests/relay",
    "RelaySubscription": "tests/relay",
    "SqliteLog": "tests/relay",
    "Upload": "for one call: see the uploads here",
    "_Subscriber": "of a session of the relay",
}
"""The classes that are left in other tests, or by no program."""


class Left(Exception):
    """Leaves a block."""


async def leave(manager: AbstractAsyncContextManager[Any]) -> None:
    """Leave a block with an exception, in a scope that is cancelled."""
    with trio.CancelScope() as scope, pytest.raises(Left):
        async with manager:
            scope.cancel()
            raise Left
    assert not scope.cancelled_caught


async def test_the_exception_of_a_block_is_not_replaced_by_its_cancellation(
    tmp_path: Path,
) -> None:
    recording = tmp_path / "made.jsonl"
    left: set[str] = set()
    async with (
        MixServer(pace=0) as server,
        Mix(server.url) as mix,
        open_bench(listen=False) as bench,
    ):
        session_id, other_id = server.create_session(), server.create_session()
        async with record(server, recording) as recorder, Mix(recorder.url) as recorded:
            await recorded.sessions.list()
        await mix.files.upload(id=session_id, file=b"content", filename="a.txt")
        async with mix.open_stream(session_id) as session:
            managers: list[AbstractAsyncContextManager[Any]] = [
                Mix(server.url),
                MixCore(server.url),
                mix.open_stream(other_id),
                mix.open_session(title="left"),
                session.send("Hello"),
                session.subscribe(),
                mix.streaming.stream_events(session_id=session_id),
                await mix.streaming.stream_events(session_id=session_id),
                mix.files.get(id=session_id, filename="a.txt"),
                open_event_source(f"{server.url}/stream?sessionId={session_id}"),
                MixServer(listen=False),
                MixServer(),
                FaultProxy(server),
                record(server, tmp_path / "left.jsonl"),
                replay(recording, listen=False),
                replay(recording),
                bench.tunnel(),
            ]
            for number, manager in enumerate(managers):
                with case(number, type(manager).__name__):
                    left |= {cls.__name__ for cls in type(manager).__mro__}
                    await leave(manager)
    assert not _managers() - left - set(ELSEWHERE)


def _managers() -> set[str]:
    """Return the names of the package's classes that are asynchronous context managers."""
    found = set()
    for module in pkgutil.walk_packages(trio_mix.__path__, "trio_mix."):
        if not module.name.startswith(("trio_mix.cli", "trio_mix._pytest", "trio_mix.otel")):
            for name, cls in inspect.getmembers(importlib.import_module(module.name)):
                if inspect.isclass(cls) and "__aexit__" in vars(cls):
                    found.add(name if cls.__module__.startswith("trio_mix") else "")
    return found - {""}


class Pieces:
    """A stream to upload, which is not closed by the upload."""

    def __init__(self) -> None:
        self.left = 4

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        await trio.lowlevel.checkpoint()
        self.left -= 1
        if self.left < 0:
            raise StopAsyncIteration
        return b"x" * 100_000


async def test_the_exception_of_a_progress_function_is_not_replaced_by_its_cancellation(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"x" * 1_000_000)

    async with (
        MixServer(pace=0) as server,
        httpx.AsyncClient() as client,
        Mix(server.url) as own,
        Mix(server.url, http_client=client) as others,
    ):
        session_id = server.create_session()
        await own.files.upload(id=session_id, file=b"x" * 1_000_000, filename="b.txt")
        for mix in (own, others):
            for when in (0, 1, 400_000):
                scope = trio.CancelScope()

                async def progress(done: int, total: int | None) -> None:
                    del total
                    if done >= when:  # noqa: B023
                        scope.cancel()  # noqa: B023
                        raise Left

                for file in (path, b"x" * 500_000, Pieces()):
                    scope = trio.CancelScope()
                    with case(mix, when, file), scope, pytest.raises(Left):
                        await mix.files.upload(
                            id=session_id, file=file, filename="a.txt", progress=progress
                        )
                    assert not scope.cancelled_caught, (mix, when, type(file))
                scope = trio.CancelScope()
                with case(mix, when), scope, pytest.raises(Left):
                    await mix.files.download(
                        id=session_id, filename="b.txt", to=tmp_path / "c", progress=progress
                    )
                assert not scope.cancelled_caught, (mix, when)
