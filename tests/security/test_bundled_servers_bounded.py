"""What the bundled servers keep, write and show is bounded, private and without secrets."""

from __future__ import annotations

import os
import stat
import traceback
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.bundled_servers import authority, open_scene, request
from tests.support.raw_server import Peer, serve
from tests.support.wire_client import connect
from trio_mix.testing import (
    FaultProxy,
    MixServer,
    Replay,
    RequestReceived,
    record,
    replay,
)
from trio_mix.testing.recording import _exchange_recorder, _recorder, _replay

if TYPE_CHECKING:
    from pathlib import Path

    from trio_mix.testing import Api


async def test_the_log_is_bounded_in_bytes() -> None:
    async with MixServer(log_bytes=1_000_000) as server:
        for number in range(40):
            body = b'{"title": "%d%s"}' % (number, b"x" * 100_000)
            reply = await request(
                server, authority(server), method="POST", target="/api/sessions", body=body
            )
            assert reply.status == 400
        kept = [entry for entry in server.log if isinstance(entry, RequestReceived)]
        assert sum(len(entry.body) for entry in kept) <= 1_000_000
        assert kept
        assert kept[-1].body.startswith(b'{"title": "39')


async def test_a_body_without_end_is_answered_and_cut_off(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_recorder, "MAX_BODY", 100_000)
    monkeypatch.setattr(_replay, "MAX_BODY", 100_000)
    async with open_scene(tmp_path) as scene, MixServer(max_upload=100_000) as small:
        for server in (small, *scene.exposed[1:]):
            sent = 0
            async with await connect(server) as stream:
                head = f"POST /api/sessions HTTP/1.1\r\nHost: {authority(server)}\r\n"
                await stream.send_all(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode())
                with pytest.raises(trio.BrokenResourceError), trio.fail_after(60):
                    while sent < 500_000_000:
                        await stream.send_all(b"10000\r\n" + b"x" * 65536 + b"\r\n")
                        sent += 65536
            assert sent < 100_000_000, type(server)
        assert len(scene.real.requests()) == 1


@pytest.mark.parametrize("api", ["async", "blocking", "pipeline"])
async def test_a_body_that_is_nested_too_deep_is_refused_and_breaks_no_server(api: Api) -> None:
    body = b"[" * 200_000
    async with MixServer(api) as server:
        session = server.create_session()
        for path in ("sessions", f"sessions/{session}/messages", f"stream/{session}/message"):
            async with await connect(server) as stream:
                head = (
                    f"POST /api/{path} HTTP/1.1\r\nHost: {authority(server)}\r\n"
                    f"Connection: close\r\nContent-Length: {len(body)}\r\n\r\n"
                )
                await stream.send_all(head.encode() + body)
                answer = b"".join([bytes(data) async for data in stream])
            assert answer.startswith(b"HTTP/1.1 4"), (path, answer)


async def test_a_body_over_the_limit_is_not_forwarded_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_recorder, "MAX_BODY", 1000)
    async with open_scene(tmp_path) as scene:
        recorder = scene.exposed[1]
        reply = await request(
            recorder, authority(recorder), method="POST", target="/api/sessions", body=b"x" * 2000
        )
        assert reply.status == 413
        assert len(scene.real.requests()) == 1


async def test_what_a_recorder_holds_back_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_exchange_recorder, "MAX_HELD", 100_000)
    size = 3_000_000
    secret = "sk-" + "s" * 40

    async def flood(peer: Peer) -> None:
        if await peer.request() is not None:
            head = f"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {size}\r\n\r\n"
            await peer.send(head.encode() + (secret + "x").encode())
            for _ in range(size // 1000 - 1):
                await peer.send(b"y" * 1000)
            await peer.send(b"z" * (size - (size // 1000 - 1) * 1000 - len(secret) - 1))

    async with trio.open_nursery() as nursery:
        upstream = await serve(nursery, flood)
        async with record(upstream.url, tmp_path / "r.jsonl") as recorder:
            reply = await request(recorder, authority(recorder))
        nursery.cancel_scope.cancel()
    assert len(reply.body) == size
    text = (tmp_path / "r.jsonl").read_text(encoding="utf-8")
    assert len(text) < 200_000
    assert secret not in text
    (exchange,) = replay(tmp_path / "r.jsonl").recording.exchanges
    assert exchange.end == "cut"


async def test_a_recording_is_bounded_in_bytes(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    async with MixServer() as real:
        session_id = real.create_session("t" * 10_000)
        async with record(real, path, max_size=100_000) as recorder:
            for _ in range(30):
                target = f"/api/sessions/{session_id}"
                assert (await request(recorder, authority(recorder), target=target)).status == 200
            assert recorder.full
    assert 50_000 < path.stat().st_size <= 100_000
    assert 3 < len(replay(path).recording.exchanges) < 15  # what was recorded can be read


async def test_what_a_replay_reports_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_replay, "MAX_UNEXPECTED", 10)
    async with open_scene(tmp_path) as scene:
        server = scene.exposed[2]
        assert isinstance(server, Replay)
        for number in range(15):
            reply = await request(
                server,
                authority(server),
                method="POST",
                target="/health",
                body=b"%d" % number + b"x" * 10_000,
            )
            assert reply.status == 410
            assert len(reply.body) < 2_000
        assert len(server.unexpected) == 10


# -- Files --------------------------------------------------------------------------------------


async def test_a_recording_is_private_when_it_replaces_an_older_file(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text("old")
    path.chmod(0o644)
    async with MixServer() as real:
        with path.open() as other:  # another user, who had the old file open
            async with record(real, path) as recorder:
                await request(recorder, authority(recorder))
            assert other.read() == "old"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.stat().st_nlink == 1


async def test_a_recording_follows_a_link_and_is_private(tmp_path: Path) -> None:
    target, path = tmp_path / "target", tmp_path / "r.jsonl"
    target.write_text("old")
    target.chmod(0o666)
    path.symlink_to(target)
    async with MixServer() as real, record(real, path) as recorder:
        await request(recorder, authority(recorder))
    assert path.is_symlink()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert "trio_mix_recording" in target.read_text()


async def test_a_device_is_written_and_not_replaced() -> None:
    before = os.stat("/dev/null")
    async with MixServer() as real, record(real, "/dev/null") as recorder:
        await request(recorder, authority(recorder))
    after = os.stat("/dev/null")
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)


# -- Secrets in addresses -----------------------------------------------------------------------


async def test_secrets_of_a_query_are_in_no_file_and_no_timeline(tmp_path: Path) -> None:
    queries = (
        "token=sesame-1",
        "token='sesame-1'",
        "token=first;sesame-1",
        "%74oken=sesame-1",
        "api_key=sesame-1",
        "a=1&access_token=sesame-1&b=2",
        "Token=sesame-1",
        "x=token=sesame-1",
        *("key=sesame-1", "auth=sesame-1", "jwt=sesame-1", "pwd=sesame-1", "pass=sesame-1"),
        *("sig=sesame-1", "X-Amz-Signature=sesame-1", "bearer=sesame-1"),
    )
    path = tmp_path / "r.jsonl"
    async with MixServer() as real, record(real, path) as recorder:
        for query in queries:
            await request(recorder, authority(recorder), target=f"/health?{query}")
        assert len(real.requests()) == len(queries)  # the real server receives them unchanged
        for query, entry in zip(queries, real.requests(), strict=True):
            assert "sesame-1" in str(dict(entry.query)), query
            assert "sesame" not in repr(entry), query
        assert "sesame" not in real.timeline
    assert "sesame" not in path.read_text(encoding="utf-8")


def test_errors_do_not_show_the_password_of_a_url(tmp_path: Path) -> None:
    urls = (
        "ftp://me:sesame@host",
        "http://host:sesame",
        "http://[sesame",
        "https://me:sesame@host",
    )
    for url in urls:
        with pytest.raises(ValueError, match="needs") as failed:
            FaultProxy(url)
        assert "sesame" not in "".join(traceback.format_exception_only(failed.value)), url
        assert failed.value.__cause__ is failed.value.__context__ is None
    for url in (*urls, "http://me:se@sesame:x@host:80", "http://host/?token=sesame"):
        with pytest.raises(ValueError, match="record") as failed:
            record(url, tmp_path / "r.jsonl")
        assert "sesame" not in "".join(traceback.format_exception_only(failed.value)), url
        assert failed.value.__cause__ is failed.value.__context__ is None
