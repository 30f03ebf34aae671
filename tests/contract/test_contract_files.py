"""Files on a real server: streamed up and down, with progress, whole or not there."""

from __future__ import annotations

import os
import random
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from tests.support.cases import case
from tests.support.contract_world import CLIENTS, caller_client, world_of
from trio_mix import Mix, RetryConfig, errors
from trio_mix.testing import Cut, FaultPlan, FaultProxy, Rule, cancel_at_every_checkpoint

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.contract_world import Client, World

DATA = random.Random(4).randbytes(3 * 2**20)
ONCE = RetryConfig(strategy="none")


@pytest.fixture(params=["0.6.4", "0.6.9", "0.11.4"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    async with world_of(request.param, max_upload=2 * len(DATA)) as world:
        yield world


@pytest.fixture(params=CLIENTS)
async def mix(request: pytest.FixtureRequest, world: World) -> AsyncIterator[Mix]:
    client: Client = request.param
    async with caller_client(client) as theirs:
        async with Mix(world.server.url, retries=ONCE, http_client=theirs) as mix:
            yield mix


async def pieces(size: int) -> AsyncIterator[bytes]:
    for start in range(0, len(DATA), size):
        await trio.lowlevel.checkpoint()
        yield DATA[start : start + size]


async def test_a_file_goes_up_and_comes_down_the_same(
    world: World, mix: Mix, tmp_path: Path
) -> None:
    path = tmp_path / "up.bin"
    path.write_bytes(DATA)
    sources: dict[str, Any] = {"path": path, "bytes": DATA, "stream": pieces(70_000)}
    for kind, source in sources.items():
        with case(kind), trio.fail_after(30):
            await up_and_down(world, mix, source, tmp_path / "down.bin", kind != "stream")


async def up_and_down(
    world: World, mix: Mix, source: Any, target: Path, size_is_known: bool
) -> None:
    up: list[tuple[int, int | None]] = []
    down: list[tuple[int, int | None]] = []
    info = await mix.files.upload(
        id=world.session,
        file=source,
        filename="up.bin",
        progress=lambda done, total: up.append((done, total)),
    )
    assert (info.name, info.size) == ("up.bin", len(DATA))
    assert info.modified.tzinfo is not None
    assert [each.name for each in await mix.files.list(id=world.session)] == ["up.bin"]
    saved = await mix.files.download(
        id=world.session,
        filename="up.bin",
        to=target,
        progress=lambda done, total: down.append((done, total)),
    )
    assert saved.read_bytes() == DATA
    async with mix.files.get(id=world.session, filename="up.bin") as stream:
        assert stream.size == len(DATA)
        first = await anext(stream)
        assert 0 < len(first) < len(DATA)
    assert await mix.files.get(id=world.session, filename="up.bin") == DATA
    await mix.files.delete(id=world.session, filename="up.bin")
    with pytest.raises(errors.ErrorResponse, match="404"):
        await mix.files.get(id=world.session, filename="up.bin")
    total = len(DATA) if size_is_known else None
    assert (up[0], up[-1]) == ((0, total), (len(DATA), total))
    assert (down[0], down[-1]) == ((0, len(DATA)), (len(DATA), len(DATA)))
    assert len(up) > 3 < len(down)


async def test_thumbnails(world: World, mix: Mix) -> None:
    await mix.files.upload(id=world.session, file=b"picture", filename="a.png")
    await mix.files.upload(id=world.session, file=b"text", filename="a.txt")
    sizes: list[tuple[str | int, str]] = [(100, "100"), ("w64", "w64"), ("h32", "h32"), ("5", "5")]
    for thumb, sent in sizes:
        with case(thumb):
            small = await mix.files.get(id=world.session, filename="a.png", thumb=thumb)
            assert small.endswith(sent.encode())
            with pytest.raises(errors.ErrorResponse, match="thumbnails"):
                await mix.files.get(id=world.session, filename="a.txt", thumb=thumb)
    with pytest.raises(errors.ConfigurationError, match="thumb"):
        await mix.files.get(id=world.session, filename="a.png", thumb="x100")


async def test_names_that_need_care_survive(world: World, mix: Mix) -> None:
    for name in ("a b.txt", "ü€😀.txt", "100%.txt", "a?b#c.txt", "a&b=c;d.txt", "'x'.txt"):
        info = await mix.files.upload(id=world.session, file=name.encode(), filename=name)
        assert info.name == name
        assert await mix.files.get(id=world.session, filename=name) == name.encode()
        await mix.files.delete(id=world.session, filename=name)
    assert await mix.files.list(id=world.session) == []


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_download_cut_in_the_middle_starts_over_and_leaves_one_file(
    client: Client, world: World, tmp_path: Path
) -> None:
    async with (
        FaultProxy(world.server) as proxy,
        caller_client(client) as theirs,
        Mix(proxy.url, http_client=theirs) as mix,
        Mix(world.server.url) as direct,
    ):
        await direct.files.upload(id=world.session, file=DATA, filename="a")
        path = f"/api/sessions/{world.session}/files/a"
        proxy.plan = FaultPlan(Rule(Cut(100_000), path=path, connections=[1]))
        with trio.fail_after(30):
            await mix.files.download(id=world.session, filename="a", to=tmp_path / "a")
        assert proxy.statistics().by_kind == {"Cut": 1}
    assert (tmp_path / "a").read_bytes() == DATA
    assert os.listdir(tmp_path) == ["a"]


@pytest.mark.parametrize("client", ["own", "httpx2"])
async def test_a_download_cancelled_at_any_checkpoint_is_whole_or_not_there(
    client: Client, tmp_path: Path
) -> None:
    async with world_of("0.11.4", max_upload=2**20) as world:
        data = DATA[:300_000]
        target = tmp_path / "a"
        async with Mix(world.server.url) as mix:
            await mix.files.upload(id=world.session, file=data, filename="a")
        await trio.testing.wait_all_tasks_blocked()

        async def download() -> None:
            target.write_bytes(b"old")
            async with caller_client(client) as theirs:
                async with Mix(world.server.url, retries=ONCE, http_client=theirs) as mix:
                    await mix.files.download(id=world.session, filename="a", to=target)

        async def check() -> None:
            await trio.lowlevel.checkpoint()
            assert target.read_bytes() in (b"old", data)
            assert os.listdir(tmp_path) == ["a"]

        with trio.fail_after(60):
            sweep = await cancel_at_every_checkpoint(download, check=check)
        assert sweep.checkpoints > 8
        assert target.read_bytes() == data


@pytest.mark.parametrize("client", ["own", "httpx2"])
@pytest.mark.parametrize("kind", ["path", "stream"])
async def test_an_upload_cancelled_at_any_checkpoint_leaves_no_file_open(
    client: Client, kind: str, tmp_path: Path
) -> None:
    async with world_of("0.11.4", max_upload=2**20) as world:
        data = DATA[:600_000]
        source = tmp_path / "a"
        source.write_bytes(data)
        await trio.testing.wait_all_tasks_blocked()

        class Stream:
            def __init__(self) -> None:
                self.at = 0

            def __aiter__(self) -> Stream:
                return self

            async def __anext__(self) -> bytes:
                await trio.lowlevel.checkpoint()
                self.at += 100_000
                if self.at > len(data):
                    raise StopAsyncIteration
                return data[self.at - 100_000 : self.at]

        async def upload() -> None:
            async with caller_client(client) as theirs:
                async with Mix(world.server.url, retries=ONCE, http_client=theirs) as mix:
                    file: Any = source if kind == "path" else Stream()
                    await mix.files.upload(id=world.session, file=file, filename="a")

        with trio.fail_after(60):
            sweep = await cancel_at_every_checkpoint(upload)
        assert sweep.checkpoints > 8
        async with Mix(world.server.url) as mix:
            assert await mix.files.get(id=world.session, filename="a") == data
