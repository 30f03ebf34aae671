"""The exception with which a scope is left is never replaced by a cancellation in its cleanup."""

from __future__ import annotations

import ast
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from tests.support.devtools_kit import open_bench
from trio_mix import Hooks, Mix
from trio_mix.relay import Relay, SqliteLog
from trio_mix.sse import open_event_source
from trio_mix.testing import FaultProxy, Hang, MixServer, Say, Turn, record, replay

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager

    from tests.support.devtools_kit import Bench

    Scope = AbstractAsyncContextManager[object]

PACKAGE = Path(__file__).parents[2] / "trio_mix"


class OwnError(Exception):
    pass


async def hook(_context: object) -> None:
    await trio.lowlevel.checkpoint()


class World:
    """A server, a client, a session with an open stream, and a folder."""

    def __init__(self, bench: Bench, server: MixServer, mix: Mix, session: Any, path: Path) -> None:
        self.bench, self.server, self.mix, self.session = bench, server, mix, session
        self.path = path
        self.file = server.create_session()
        self.stream_url = f"{server.url}/stream?sessionId={self.file}"

    @asynccontextmanager
    async def replayed(self) -> AsyncIterator[object]:
        async with record(self.server, self.path / "r.jsonl"):
            pass
        async with replay(self.path / "r.jsonl", listen=False) as server:
            yield server

    @asynccontextmanager
    async def finished(self) -> AsyncIterator[object]:
        async with self.session.send("hello") as message:
            await message.wait()
            yield message

    @asynccontextmanager
    async def awaited_events(self) -> AsyncIterator[object]:
        async with await self.mix.streaming.stream_events(session_id=self.file) as events:
            yield events

    @asynccontextmanager
    async def theirs(self) -> AsyncIterator[object]:
        async with httpx.AsyncClient() as client, Mix(self.server.url, http_client=client) as mix:
            async with mix.open_stream(self.server.create_session()) as session:
                async with session.send("hang") as message:
                    yield message


SCOPES: dict[str, tuple[str, Callable[[World], Scope]]] = {
    "a client": ("MixCore", lambda w: Mix(w.server.url)),
    "a caller's own client": ("", lambda w: w.theirs()),
    "a stream": ("SessionStream", lambda w: w.mix.open_stream(w.file)),
    "a session": ("SessionScope", lambda w: w.mix.open_session()),
    "a running message": ("Message", lambda w: w.session.send("hang")),
    "a finished message": ("", lambda w: w.finished()),
    "a subscription": ("_Subscriber", lambda w: w.session.subscribe()),
    "a raw subscription": ("", lambda w: w.session.subscribe(raw=True)),
    "raw events": ("Request", lambda w: w.mix.streaming.stream_events(session_id=w.file)),
    "awaited raw events": ("BodyStream", lambda w: w.awaited_events()),
    "a file": ("", lambda w: w.mix.files.get(id=w.file, filename="f")),
    "an event source": ("open_event_source", lambda w: open_event_source(w.stream_url)),
    "a tunnel": ("Tunnel", lambda w: w.bench.tunnel()),
    "a server": ("MixServer", lambda _: MixServer()),
    "a proxy": ("FaultProxy", lambda w: FaultProxy(w.server)),
    "a recorder": ("Recorder", lambda w: record(w.server, w.path / "x.jsonl")),
    "a replay": ("Replay", lambda w: w.replayed()),
    "a relay": ("Relay", lambda w: Relay(w.server.url, log=SqliteLog(w.path / "log.db"))),
    "a relay's log": ("SqliteLog", lambda w: SqliteLog(w.path / "log2.db")),
}
ELSEWHERE = {
    "Chromium": "tests/browser, where there is a real one",
    "Hub": "the relay's",
    "Log": "a protocol",
    "RedisLog": "tests/relay, with a real server",
    "RelayClient": "tests/relay, in front of a relay",
    "RelayMessage": "tests/relay, in front of a relay",
    "RelaySubscription": "tests/relay, in front of a relay",
}


def test_every_scope_of_the_package_is_tried() -> None:
    found = set()
    for path in PACKAGE.rglob("*.py"):
        if "cli" in path.parts:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                names = [f.name for f in node.body if isinstance(f, ast.AsyncFunctionDef)]
                if "__aexit__" in names:
                    found.add(node.name)
    tried = {name for name, _ in SCOPES.values()}
    assert found - tried - ELSEWHERE.keys() == set()
    assert ELSEWHERE.keys() <= found


@pytest.mark.parametrize("hooks", [False, True], ids=["plain", "hooks"])
@pytest.mark.parametrize("name", SCOPES)
async def test_an_exception_under_way_leaves_a_cancelled_scope_as_it_is(
    name: str, hooks: bool, tmp_path: Path
) -> None:
    slow = Hooks(
        before_request=hook,
        after_success=hook,
        after_error=hook,
        message_started=hook,
        message_finished=hook,
        stream_opened=hook,
        stream_lost=hook,
        stream_closed=hook,
    )
    async with open_bench() as bench, MixServer(pace=0.0) as server:
        server.script("hang", Turn(Say("so far "), Hang()))
        async with (
            Mix(server.url, hooks=slow if hooks else None) as mix,
            mix.open_stream(server.create_session()) as session,
        ):
            world = World(bench, server, mix, session, tmp_path)
            await mix.files.upload(id=world.file, file=b"x" * 100_000, filename="f")
            mine = OwnError("mine")
            seen: list[BaseException] = []
            with trio.fail_after(20), trio.CancelScope() as scope:
                try:
                    async with SCOPES[name][1](world):
                        scope.cancel()
                        raise mine
                except BaseException as exc:  # noqa: BLE001 - asserted below
                    seen.append(exc)
            assert seen == [mine]
            assert mine.__context__ is None
