"""Files: up without being in memory, down whole or not at all."""

from __future__ import annotations

import os
import random
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from tests.support.cases import case
from tests.support.raw_server import Peer, serve
from tests.support.rest_kit import answer, refusal
from tests.support.rest_samples import FILE
from trio_mix import funcs
from trio_mix._rest._core import MixCore
from trio_mix._rest._options import BackoffStrategy, RequestOptions, RetryConfig
from trio_mix.errors import ConfigurationError, ConnectionFailed, ErrorResponse, RequestTimeout
from trio_mix.resources import Files

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.rest_kit import Asked, Canned

DATA = random.Random(1).randbytes(700_000)
CUT = b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 100\r\n\r\n" + b"x" * 50
STUCK = b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 50


class Pieces:
    """An async stream that counts what was taken from it."""

    def __init__(self, pieces: list[Any]) -> None:
        self.pieces = pieces
        self.taken = 0

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    async def __anext__(self) -> Any:
        await trio.lowlevel.checkpoint()
        if self.taken == len(self.pieces):
            raise StopAsyncIteration
        self.taken += 1
        return self.pieces[self.taken - 1]


def part_of(asked: Asked) -> tuple[str, bytes]:
    """The one part of a form: its head, and its content."""
    boundary = asked.headers["content-type"].partition("boundary=")[2].encode()
    before, part, after = asked.body.split(b"--" + boundary)
    assert before == b""
    assert after == b"--\r\n"
    head, _, content = part.partition(b"\r\n\r\n")
    return head.decode(), content.removesuffix(b"\r\n")


async def test_a_file_arrives_whole_with_its_name_and_progress(
    server: Canned, core: MixCore, tmp_path: Path
) -> None:
    server.say(answer(201, FILE))
    for kind in ("path", "text path", "bytes", "stream"):
        for size in (0, 1, 256 * 1024, len(DATA)):
            with case(kind, size):
                await upload_and_check(kind, size, server, core, tmp_path)


async def upload_and_check(
    kind: str, size: int, server: Canned, core: MixCore, tmp_path: Path
) -> None:
    data = DATA[:size]
    path = tmp_path / 'a "b" é.txt'
    path.write_bytes(data)
    seen: list[tuple[int, int | None]] = []
    pieces = Pieces([data[i : i + 50_000] for i in range(0, size, 50_000)])
    source: Any = {"path": path, "text path": str(path), "bytes": data, "stream": pieces}[kind]
    name = None if "path" in kind else path.name

    def note(done: int, total: int | None) -> None:
        seen.append((done, total))

    info = await Files(core).upload(id="s", file=source, filename=name, progress=note)
    assert (info.name, info.size, info.is_dir) == ("a.txt", 3, False)
    asked = server.asked[-1]
    head, content = part_of(asked)
    assert content == data
    assert 'form-data; name="file"; filename="a %22b%22 é.txt"' in head
    assert "Content-Type: text/plain" in head
    total = None if kind == "stream" else size
    assert ("content-length" in asked.headers) == (total is not None)
    assert seen[0] == (0, total)
    assert seen[-1] == (size, total)
    assert [done for done, _ in seen] == sorted({done for done, _ in seen})


async def test_an_async_progress_function_is_awaited_and_may_stop_it(
    server: Canned, core: MixCore
) -> None:
    server.say(answer(201, FILE))

    async def stop(done: int, _: int | None) -> None:
        await trio.lowlevel.checkpoint()
        if done:
            raise LookupError("enough")

    with pytest.raises(LookupError, match="enough"):
        await Files(core).upload(id="s", file=DATA, filename="a", progress=stop)


async def test_an_upload_that_ends_early_closes_a_generator_but_no_file_of_the_caller(
    server: Canned, core: MixCore, tmp_path: Path
) -> None:
    server.say(answer(201, FILE))
    path = tmp_path / "a"
    path.write_bytes(DATA)
    closed: list[str] = []

    async def pieces() -> AsyncIterator[bytes]:
        try:
            while True:
                yield DATA
        finally:
            await trio.lowlevel.checkpoint()
            closed.append("generator")

    with trio.CancelScope() as scope:

        def cancel(done: int, _: int | None) -> None:
            if done:
                scope.cancel()

        await Files(core).upload(id="s", file=pieces(), filename="a", progress=cancel)
    assert closed == ["generator"]

    def stop(done: int, _: int | None) -> None:
        if done:
            raise LookupError("enough")

    async with await trio.open_file(path, "rb") as file:
        with pytest.raises(LookupError):
            await Files(core).upload(id="s", file=file, filename="a", progress=stop)
        assert not file.closed


async def test_an_upload_reads_no_further_than_the_server_takes(server: Canned) -> None:
    pieces = Pieces([b"x" * 2**20] * 200)
    listening = trio.Event()

    async def stuck(stream: trio.SocketStream) -> None:
        await stream.receive_some(1000)
        listening.set()
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, stuck, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        async with MixCore(f"http://127.0.0.1:{port}") as core:

            @nursery.start_soon
            async def send() -> None:
                await Files(core).upload(id="s", file=pieces, filename="a")

            with trio.fail_after(10):
                await listening.wait()
                await trio.testing.wait_all_tasks_blocked(0.05)
            assert 0 < pieces.taken < 50
            nursery.cancel_scope.cancel()


async def test_a_refusal_in_the_middle_of_an_upload_is_read(server: Canned, core: MixCore) -> None:
    server.say(refusal(413, "too large", "validation_error"))
    result = await funcs.files_upload(core, id="s", file=DATA, filename="a")
    assert isinstance(result, funcs.Err)
    assert isinstance(result.error, ErrorResponse)
    assert result.error.status_code == 413


async def test_a_refusal_ends_an_upload_that_the_server_does_not_read(
    nursery: trio.Nursery, tmp_path: Path
) -> None:
    async def refuse(peer: Peer) -> None:
        await peer.stream.receive_some(1000)
        await peer.send(refusal(413, "at most 10 MB, please", "validation_error"))
        await trio.sleep_forever()

    server = await serve(nursery, refuse)
    path = tmp_path / "a"
    path.write_bytes(b"x" * 2**25)
    async with MixCore(server.url) as core:
        for file in (path, path.read_bytes()):
            with trio.fail_after(10), pytest.raises(ErrorResponse, match="at most 10 MB") as caught:
                await Files(core).upload(id="s", file=file, filename="a")
            assert caught.value.status_code == 413


async def test_an_upload_to_nobody_is_retried_without_having_read_the_stream() -> None:
    pieces = Pieces([b"abc"])
    quick = RetryConfig(backoff=BackoffStrategy(initial_interval=0.001, max_elapsed_time=2))
    async with MixCore("http://127.0.0.1:9", retries=quick) as core:
        with pytest.raises(ConnectionFailed) as caught:
            await Files(core).upload(id="s", file=pieces, filename="a")
    assert caught.value.attempts > 1
    assert pieces.taken == 0


async def test_a_file_that_shrinks_meanwhile_is_an_error_and_one_that_grows_is_cut(
    server: Canned, core: MixCore, tmp_path: Path
) -> None:
    server.say(answer(201, FILE))
    path = tmp_path / "a"
    path.write_bytes(DATA)

    def shrink(done: int, _: int | None) -> None:
        if not done:
            path.write_bytes(b"x")

    with pytest.raises(ConfigurationError, match="shorter"):
        await Files(core).upload(id="s", file=path, progress=shrink)
    path.write_bytes(DATA)

    def grow(done: int, _: int | None) -> None:
        if not done:
            path.write_bytes(DATA + b"more")

    await Files(core).upload(id="s", file=path, progress=grow)
    assert part_of(server.asked[-1])[1] == DATA


NO_UPLOADS: list[dict[str, Any]] = [
    {"file": b"x"},
    {"file": Pieces([])},
    {"file": b"x", "filename": ""},
    {"file": b"x", "filename": "a\r\nX: 1"},
    {"file": b"x", "filename": "\ud800"},
    {"file": b"x", "filename": "a", "content_type": "text/plain\r\nX: 1"},
    {"file": 5, "filename": "a"},
    {"file": "/does/not/exist"},
    {"file": "/"},
    {"file": "a\0b"},
]


async def test_what_cannot_be_uploaded_is_refused_before_any_io(
    server: Canned, core: MixCore
) -> None:
    for args in NO_UPLOADS:
        with case(args), pytest.raises(ConfigurationError, match="upload"):
            await Files(core).upload(id="s", **args)
    assert server.asked == []


async def test_a_stream_of_something_else_is_refused(server: Canned, core: MixCore) -> None:
    server.say(answer(201, FILE))
    with pytest.raises(ConfigurationError, match="yielded str"):
        await Files(core).upload(id="s", file=Pieces(["text"]), filename="a")


async def test_a_file_is_got_whole_or_piece_by_piece(server: Canned, core: MixCore) -> None:
    server.say(answer(200, raw=DATA, headers={"Content-Type": "image/png"}))
    assert await Files(core).get(id="s", filename="a.png", thumb=100) == DATA
    assert server.asked[0].target == "/api/sessions/s/files/a.png?thumb=100"
    async with Files(core).get(id="s", filename="a.png") as stream:
        assert (stream.size, stream.content_type) == (len(DATA), "image/png")
        first = await anext(stream)
        assert 0 < len(first) < len(DATA)
        assert first + await stream.read() == DATA
        assert [piece async for piece in stream] == []
    assert await funcs.files_get(core, id="s", filename="a.png") == funcs.Ok(DATA)


async def test_a_download_that_is_cut_or_stuck_is_an_error(server: Canned, core: MixCore) -> None:
    server.say(CUT)
    async with Files(core).get(id="s", filename="a") as stream:
        assert await anext(stream) == b"x" * 50
        with pytest.raises(ConnectionFailed, match=r"files\.get"):
            await anext(stream)
    server.say(STUCK)
    with trio.fail_after(5), pytest.raises(RequestTimeout):
        await Files(core).get(id="s", filename="a", options=RequestOptions(timeout=0.05))


async def test_a_second_reader_of_a_file_is_refused(server: Canned, core: MixCore) -> None:
    server.say(STUCK)
    async with (
        Files(core).get(id="s", filename="a") as stream,
        trio.open_nursery() as nursery,
    ):
        await anext(stream)

        @nursery.start_soon
        async def first() -> None:
            await anext(stream)

        await trio.testing.wait_all_tasks_blocked(0.01)
        with pytest.raises(trio.BusyResourceError):
            await anext(stream)
        nursery.cancel_scope.cancel()


async def test_a_download_replaces_the_file_in_one_step(
    server: Canned, core: MixCore, tmp_path: Path
) -> None:
    server.say(answer(200, raw=DATA))
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")
    seen: list[tuple[int, int | None]] = []

    async def note(done: int, total: int | None) -> None:
        await trio.lowlevel.checkpoint()
        assert target.read_bytes() == b"old"
        seen.append((done, total))

    saved = await Files(core).download(id="s", filename="x", to=target, progress=note)
    assert saved == target
    assert target.read_bytes() == DATA
    assert seen[0] == (0, len(DATA))
    assert seen[-1] == (len(DATA), len(DATA))
    assert os.listdir(tmp_path) == [target.name]


async def test_a_download_that_fails_leaves_the_folder_as_it_was(
    server: Canned, core: MixCore, tmp_path: Path
) -> None:
    target = tmp_path / "a.bin"
    target.write_bytes(b"old")

    def stop(done: int, _: int | None) -> None:
        if done:
            raise LookupError("enough")

    server.say(CUT)
    with pytest.raises(ConnectionFailed):
        await Files(core).download(id="s", filename="x", to=target)
    server.say(refusal(404, "gone"))
    with pytest.raises(ErrorResponse):
        await Files(core).download(id="s", filename="x", to=target)
    server.say(answer(200, raw=DATA))
    with pytest.raises(LookupError):
        await Files(core).download(id="s", filename="x", to=str(target), progress=stop)
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == [target.name]


async def test_a_cancelled_download_leaves_nothing_behind(
    server: Canned, core: MixCore, tmp_path: Path
) -> None:
    server.say(STUCK)
    with trio.CancelScope() as scope:

        def cancel(done: int, _: int | None) -> None:
            if done:
                scope.cancel()

        with trio.fail_after(5):
            await Files(core).download(id="s", filename="x", to=tmp_path / "a", progress=cancel)
    assert scope.cancelled_caught
    assert os.listdir(tmp_path) == []


async def test_a_download_that_is_cut_starts_over(server: Canned, tmp_path: Path) -> None:
    server.say(CUT, refusal(503), answer(200, raw=DATA))
    quick = RetryConfig(backoff=BackoffStrategy(initial_interval=0.001))
    async with MixCore(server.url, retries=quick) as core:
        result = await funcs.files_download(core, id="s", filename="x", to=tmp_path / "a")
        assert result == funcs.Ok(tmp_path / "a")
        assert (tmp_path / "a").read_bytes() == DATA
        server.say(CUT, answer(200, raw=DATA))
        assert await Files(core).get(id="s", filename="x") == DATA


async def test_a_download_s_target_must_be_a_file_in_a_folder(
    server: Canned, core: MixCore, tmp_path: Path
) -> None:
    os.mkfifo(tmp_path / "pipe")
    for target in (".", "none/a", "pipe", "a\0b", "a\ud800"):
        with pytest.raises(ConfigurationError, match="download"):
            await Files(core).download(id="s", filename="x", to=f"{tmp_path}/{target}")
    assert server.asked == []
    assert os.listdir(tmp_path) == ["pipe"]


async def test_a_download_can_have_the_longest_name_that_a_file_can_have(
    server: Canned, core: MixCore, tmp_path: Path
) -> None:
    for name in ("a" * 255, "\N{CJK UNIFIED IDEOGRAPH-5B57}" * 85):
        server.say(answer(200, raw=DATA))
        await Files(core).download(id="s", filename="x", to=tmp_path / name)
        assert (tmp_path / name).read_bytes() == DATA
