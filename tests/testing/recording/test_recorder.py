"""The recorder: it forwards everything unchanged, and records it with secrets masked."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_mix import Mix, errors
from trio_mix.events import UnknownEvent
from trio_mix.testing import (
    Drop,
    FaultPlan,
    FaultProxy,
    MixServer,
    Pause,
    Raw,
    Rule,
    Say,
    Split,
    Turn,
    expect_events,
    record,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from trio.testing import MockClock

    from trio_mix.testing import Recorder


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "recording.jsonl"


@pytest.fixture
async def recorder(mix_server: MixServer, path: Path) -> AsyncIterator[Recorder]:
    async with record(mix_server, path) as recorder:
        yield recorder


@pytest.fixture
async def client(recorder: Recorder) -> AsyncIterator[Mix]:
    network = recorder.network if recorder.in_memory else None
    async with Mix(recorder.url, network=network) as mix:
        yield mix


def text_of(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def lines(path: Path) -> list[dict[str, Any]]:
    read = [json.loads(line) for line in text_of(path).split("\n") if line]
    return sorted(read, key=lambda line: int(line.get("no", 0)))


@pytest.mark.parametrize(
    "mix_server", [{"listen": False}, {"listen": True}], indirect=True, ids=["memory", "sockets"]
)
async def test_a_conversation_is_recorded_in_order(
    mix_server: MixServer, client: Mix, recorder: Recorder, path: Path
) -> None:
    mix_server.script("Hi", Turn(Say("Grüß dich, Welt")))
    with trio.fail_after(10):
        async with client.open_stream(mix_server.create_session()) as session:
            assert (await session.ask("Hi")).text == "Grüß dich, Welt"
        await mix_server.wait_until(lambda: not mix_server.open_streams)
        await wait_all_tasks_blocked()
    head, *rest = lines(path)
    assert head["trio_mix_recording"] == 1
    assert head["upstream"] == mix_server.url
    assert [line["no"] for line in rest] == list(range(1, len(rest) + 1))
    opened = rest[0]
    assert opened["request"] == "GET /stream?sessionId=session-1"
    of_stream = [line for line in rest if line["n"] == opened["n"]]
    assert (of_stream[1]["answer"], of_stream[-1]["end"]) == (200, "client")
    recorded = "".join(line.get("chunk", "") for line in of_stream)
    assert recorded.startswith("id: 1\nevent: connected\n")
    assert "Grüß" in text_of(path)
    sent = next(line for line in rest if "messages" in line.get("request", ""))
    assert json.loads(sent["body"])["text"] == "Hi"
    assert sent["no"] < next(line["no"] for line in of_stream if "Welt" in line.get("chunk", ""))
    assert recorder.exchanges == max(line["n"] for line in rest)


async def test_no_secret_of_the_client_or_the_server_is_recorded(
    mix_server: MixServer, recorder: Recorder, path: Path
) -> None:
    mix_server.script("Hi", Turn(Say("Your token is header-secret-1 and mine is sesame street")))
    headers = {"Authorization": "Bearer header-secret-1", "X-Tenant-Key": "header-secret-2"}
    async with Mix(recorder.url, network=recorder.network, headers=headers) as mix:
        await mix.authentication.store_api_key(api_key="body-secret-3", provider="anthropic")
        async with mix.open_session() as session:
            reply = await session.ask("Hi")
    assert "header-secret-1" in reply.text  # the client receives everything unchanged
    text = text_of(path)
    assert "secret" not in text.replace("Your token", "")
    assert "mine " in text


async def test_a_secret_in_several_pieces_is_masked_in_the_file_and_forwarded_at_once(
    mix_server: MixServer, client: Mix, path: Path, autojump_clock: MockClock
) -> None:
    first, second = b'event: x\ndata: {"token":"sesame-', b'open"}\n\n'
    mix_server.script("Hi", Turn(Raw(first), Pause(5), Raw(second), Say("Hello")))
    async with client.open_stream(mix_server.create_session()) as session:
        async with session.subscribe() as events:
            await session.ask("Hi")
            (unknown,) = await expect_events(events, UnknownEvent)
    assert unknown == UnknownEvent(id="2", name="x", data='{"token":"sesame-open"}')
    assert "sesame" not in text_of(path)
    assert "-open" not in text_of(path)
    (line,) = [line for line in lines(path) if "event: x" in line.get("chunk", "")]
    assert line["chunk"] == "event: x\n"


@pytest.mark.parametrize("how", ["cut", "reset", "close"])
async def test_a_stream_ends_for_the_client_and_in_the_file_as_on_the_server(
    mix_server: MixServer, client: Mix, path: Path, how: Any, autojump_clock: MockClock
) -> None:
    mix_server.script("Hi", Turn(Say("Hello "), Drop(how), Pause(1), Say("there")))
    async with client.open_stream(mix_server.create_session()) as session:
        assert (await session.ask("Hi")).text == "Hello there"
        assert session.statistics().reconnects == 1
    await wait_all_tasks_blocked()
    first, second = [
        next(end["end"] for end in lines(path) if end.get("n") == opened["n"] and "end" in end)
        for opened in lines(path)
        if opened.get("request", "").startswith("GET /stream")
    ]
    assert (first, second) == ("complete" if how == "close" else how, "client")


async def test_pieces_are_forwarded_as_they_arrive(
    mix_server: MixServer, path: Path, autojump_clock: MockClock
) -> None:
    mix_server.script("Hi", Turn(Say("one "), Pause(10), Say("two")))
    plan = FaultPlan(Rule(Split(5), path="/stream"))
    async with (
        FaultProxy(mix_server, plan) as proxy,
        record(proxy, path) as recorder,
        Mix(recorder.url, network=recorder.network) as mix,
        mix.open_session() as session,
        session.send("Hi") as message,
    ):
        came = [(text, trio.current_time()) async for text in message.text_deltas()]
    assert [text for text, _ in came] == ["one ", "two"]
    assert came[1][1] - came[0][1] == pytest.approx(10, abs=0.1)
    times = {
        word: line["at"]
        for line in reversed(lines(path))
        for word in ("one", "two")
        if word in line.get("chunk", "")
    }
    assert times["two"] - times["one"] == pytest.approx(10, abs=0.1)


async def test_without_a_server_the_connection_of_the_client_ends(path: Path) -> None:
    async with MixServer() as server:
        gone = server.url
    async with record(gone, path) as recorder, Mix(recorder.url) as mix:
        with trio.fail_after(10), pytest.raises(errors.TransportError):
            await mix.sessions.create(title="x")
    assert lines(path)[-1]["end"] == "refused"


async def test_leaving_the_recorder_ends_and_records_open_exchanges(
    mix_server: MixServer, path: Path
) -> None:
    async with record(mix_server, path) as recorder:
        stream = recorder.network.connect()
        session = mix_server.create_session()
        request = f"GET /stream?sessionId={session} HTTP/1.1\r\nHost: mix.test\r\n\r\n"
        await stream.send_all(request.encode())
        await wait_all_tasks_blocked()
    assert lines(path)[-1]["end"] == "stopped"
    with pytest.raises(ConnectionRefusedError):
        recorder.network.connect()


async def test_of_binary_data_responses_are_recorded_and_requests_by_size(
    mix_server: MixServer, client: Mix, path: Path, tmp_path: Path
) -> None:
    session = mix_server.create_session()
    content = bytes(range(256)) * 8
    await client.files.upload(id=session, file=content, filename="picture.bin")
    back = await client.files.download(id=session, filename="picture.bin", to=tmp_path / "back")
    assert back.read_bytes() == content
    assert any(line.get("size", 0) > len(content) for line in lines(path))
    assert any("base64" in line for line in lines(path))


async def test_a_websocket_is_refused_with_a_reason(recorder: Recorder, path: Path) -> None:
    stream = recorder.network.connect()
    async with stream:
        await stream.send_all(
            b"GET /api/v1/tunnel/cdp/session/x?token=sesame-open HTTP/1.1\r\nHost: mix.test\r\n"
            b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 501")
    assert "sesame" not in text_of(path)


def test_an_invalid_url_is_refused(path: Path) -> None:
    for url, message in (
        ("localhost:8088", "needs an http"),
        ("ftp://host", "needs an http"),
        ("http://me:sesame@host", "send them as headers"),
    ):
        with pytest.raises(ValueError, match=message) as failed:
            record(url, path)
        assert "sesame" not in str(failed.value)


async def test_a_file_that_cannot_be_written_is_an_error_on_entering(
    mix_server: MixServer, path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        async with record(mix_server, path / "no" / "folder"):
            pass
