"""The bundled servers as an attacker reaches them: over sockets, with any Host and Origin."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import attrs

from tests.support.wire_client import Wire, connect
from trio_mix.testing import (
    MixServer,
    Recorder,
    Replay,
    record,
    replay,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from tests.support.wire_client import Reply


__all__ = ["Bundled", "Scene", "authority", "open_scene", "port", "request"]

Bundled = MixServer | Recorder | Replay


async def request(
    server: Bundled,
    host: str,
    *,
    method: str = "GET",
    target: str = "/health",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Reply:
    async with await connect(server) as stream:
        wire = Wire(stream)
        await wire.send(method, target, body, {"Host": host, **(headers or {})})
        return await wire.reply()


def authority(server: Bundled) -> str:
    return urlsplit(server.url).netloc


def port(server: Bundled) -> int | None:
    return urlsplit(server.url).port


@attrs.frozen
class Scene:
    """The real server, and the three bundled servers that an attacker may reach."""

    real: MixServer
    exposed: tuple[Bundled, ...]


@asynccontextmanager
async def open_scene(folder: Path, **options: Any) -> AsyncIterator[Scene]:
    async with AsyncExitStack() as stack:
        real = await stack.enter_async_context(MixServer())
        async with record(real, folder / "first.jsonl") as recorder:
            await request(recorder, authority(recorder))
        seen = len(real.requests())
        server = await stack.enter_async_context(MixServer(**options))
        again = await stack.enter_async_context(record(real, folder / "more.jsonl", **options))
        replayed = await stack.enter_async_context(replay(folder / "first.jsonl", **options))
        assert seen == 1
        yield Scene(real, (server, again, replayed))
