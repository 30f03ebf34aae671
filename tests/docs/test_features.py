"""Try what the page of features says was tried, with the published releases of the others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import httpx_sse
import mix_python_sdk
import pytest
import trio
from httpx_sse._decoders import SSEDecoder, SSELineDecoder
from mix_python_sdk.errors import MixDefaultError

from trio_mix.testing import (
    AskPermission,
    Drop,
    Emit,
    Hang,
    MessageRun,
    MixServer,
    RateLimit,
    Say,
    Turn,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PAGE = (Path(__file__).parents[2] / "docs" / "reference" / "features.md").read_text("utf-8")
ROWS = {row.split(" | ")[0].removeprefix("| "): row for row in PAGE.splitlines() if row[:2] == "| "}

pytestmark = pytest.mark.filterwarnings("ignore")  # the others' own


def said(row: str, column: int) -> str:
    """Return a cell of the page, with its evidence."""
    return ROWS[row].strip("|").split(" | ")[column]


def tried_of_sdk(row: str) -> None:
    assert "**tried**" in said(row, 1)


async def with_sdk(
    server: MixServer, run: Callable[[mix_python_sdk.Mix, list[str]], None]
) -> list[str]:
    """Run blocking code in a thread; return what it has seen, its exception last."""
    seen: list[str] = []

    def work() -> None:
        with mix_python_sdk.Mix(server_url=server.url, timeout_ms=10_000) as client:
            try:
                run(client, seen)
            except Exception as error:  # noqa: BLE001 - the test checks it
                seen.append(type(error).__name__)

    with trio.fail_after(30):
        await trio.to_thread.run_sync(work)
    return seen


def events(client: mix_python_sdk.Mix, last_event_id: str | None = None) -> Iterator[Any]:
    stream: Any = client.streaming.stream_events(session_id="s", last_event_id=last_event_id).result
    with stream:
        yield from stream


def talk(client: mix_python_sdk.Mix, seen: list[str]) -> None:
    for event in events(client):
        seen.append(event.event)
        if event.event == "connected":
            text = json.dumps({"text": "Hi"})
            client.streaming.send_streaming_message(id="s", content=text)
        if event.event == "complete":
            break


async def conversation(*steps: Any, **server_settings: Any) -> list[str]:
    settings = {"api": "pipeline", "version": "0.6.9", **server_settings}
    async with MixServer(pace=0, **settings) as server:
        server.create_session(session_id="s")
        server.script("Hi", Turn(*steps))
        return await with_sdk(server, talk)


def test_every_row_names_its_evidence() -> None:
    assert len(ROWS) > 20
    for name, row in ROWS.items():
        cells = row.strip("|").split(" | ")
        if name.strip() and not set(name) <= {"-", " ", "|"}:
            assert len(cells) == 6, name
            for cell in cells[2:4]:  # neither of these two was run
                assert "tried" not in cell, name


async def test_the_sdk_works_with_the_api_that_it_was_generated_for() -> None:
    tried_of_sdk("a conversation with API 0.6.9")
    tried_of_sdk("the reply put together")
    assert await conversation(Say("a b")) == ["connected", "content", "content", "complete"]


@pytest.mark.parametrize(
    ("how", "end"), [("cut", ["RemoteProtocolError"]), ("close", [])], ids=["cut", "closed"]
)
async def test_the_sdk_does_not_reconnect(how: Any, end: list[str]) -> None:
    tried_of_sdk("reconnects after a lost connection")
    tried_of_sdk("an interrupted reply is completed")
    assert await conversation(Say("a"), Drop(how), Hang()) == ["connected", "content", *end]


@pytest.mark.parametrize(
    ("row", "steps", "settings"),
    [
        ("an event name that is not in its OpenAPI", [Emit("news", {"a": 1})], {}),
        ("`rate_limit_error`", [RateLimit()], {}),
        (
            "frames without ids (oldest servers)",
            [Say("a")],
            {"api": "pipeline-oldest", "version": None},
        ),
    ],
    ids=["unknown", "rate limit", "no ids"],
)
async def test_the_sdk_ends_its_stream_at_an_unknown_event(
    row: str, steps: list[Any], settings: dict[str, Any]
) -> None:
    tried_of_sdk(row)
    assert (await conversation(*steps, **settings))[-1] == "ValidationError"


async def test_the_sdk_does_not_work_with_the_newest_api() -> None:
    tried_of_sdk("a conversation with API 0.11.4")

    def run(client: mix_python_sdk.Mix, seen: list[str]) -> None:
        for event in events(client):
            seen.append(event.event)
            with pytest.raises(MixDefaultError, match="202"):
                client.messages.send(id="s", text="Hi")

    async with MixServer(version="0.11.4", pace=0) as server:
        server.create_session(session_id="s")
        assert await with_sdk(server, run) == ["connected", "ValidationError"]


async def test_the_sdk_posts_a_message_again_after_a_503() -> None:
    tried_of_sdk("a message whose POST gets a 503")

    def run(client: mix_python_sdk.Mix, _: list[str]) -> None:
        client.streaming.send_streaming_message(id="s", content='{"text": "Hi"}')

    async with MixServer("pipeline", pace=0) as server:
        server.create_session(session_id="s")
        server.answer_next("/stream/", 503)
        assert await with_sdk(server, run) == []
        assert len(server.requests("POST", "/stream/")) == 2


async def test_the_sdk_yields_the_events_of_all_messages_and_does_not_cancel_the_turn() -> None:
    tried_of_sdk("a message's own events, apart from all others")
    tried_of_sdk("leaving early cancels the work on the server")
    tried_of_sdk("`Last-Event-ID`")

    def run(client: mix_python_sdk.Mix, seen: list[str]) -> None:
        for event in events(client, last_event_id="7"):
            seen.append(event.event)
            if event.event == "content":
                seen.append(event.data.content)
                break

    async with MixServer(version="0.6.9", api="pipeline", pace=0) as server:
        server.create_session(session_id="s")
        server.script("Not mine", Turn(Say("news"), Hang()))
        async with trio.open_nursery() as nursery:

            async def another() -> None:
                await server.wait_until(lambda: server.open_streams > 0)
                server.run_message("s", "Not mine")

            nursery.start_soon(another)
            seen = await with_sdk(server, run)
            await server.wait_for(MessageRun)
            assert seen == ["connected", "content", "news"]
            assert server.requests("GET", "/stream")[0].headers["last-event-id"] == "7"
            assert not [each for each in server.requests("POST") if "cancel" in each.path]


async def test_the_sdk_has_no_policy_for_permissions() -> None:
    tried_of_sdk("a policy for permissions")
    seen = await conversation(AskPermission("bash"), permission_timeout=0.1)
    assert seen[:2] == ["connected", "permission"]
    assert seen[-1] == "complete"


async def test_the_sdk_runs_on_trio_until_a_retry_has_to_wait() -> None:
    tried_of_sdk("runs on Trio")
    tried_of_sdk("blocking, or on asyncio")
    async with MixServer("pipeline", pace=0) as server:
        server.create_session(session_id="s")
        async with mix_python_sdk.Mix(server_url=server.url) as client:
            assert len(await client.sessions.list_async()) == 1
            server.answer_next("/api/sessions", 503)
            with pytest.raises(RuntimeError, match="no running event loop"):
                await client.sessions.list_async()


async def test_httpx_sse_runs_on_trio_accepts_frames_without_ids_and_does_not_reconnect() -> None:
    assert "**tried**" in said("runs on Trio", 4)
    assert "**tried**" in said("reconnects after a lost connection", 4)
    assert "**tried**" in said("frames without ids (oldest servers)", 4)
    seen: list[str] = []
    async with MixServer("pipeline-oldest", pace=0) as server:
        server.create_session(session_id="s")
        async with (
            httpx.AsyncClient(timeout=30) as client,
            httpx_sse.aconnect_sse(client, "GET", f"{server.url}/stream?sessionId=s") as source,
        ):
            with pytest.raises(httpx.RemoteProtocolError):
                async for event in source.aiter_sse():
                    seen.append(event.event)
                    await server.drop_streams("s")
        assert len(server.requests("GET", "/stream")) == 1
    assert seen == ["connected"]


def decoded(text: str) -> list[str]:
    lines, decoder = SSELineDecoder(), SSEDecoder()
    events = [decoder.decode(line) for line in lines.decode(text)]
    return [event.data for event in events if event is not None]


def sdk_decoded(data: bytes) -> list[Any]:
    from mix_python_sdk.utils.eventstreaming import stream_events

    return [json.loads(each) for each in stream_events(httpx.Response(200, content=data), str)]


def test_both_lose_a_field_after_a_byte_order_mark_and_yield_events_without_data() -> None:
    for column in (1, 4):
        assert "**tried**" in said("a byte order mark before the first field", column)
        assert "**tried**" in said("an event without data", column)
    assert decoded("\ufeffdata: x\n\n") == []
    assert decoded("event: news\n\n") == [""]
    assert sdk_decoded("\ufeffdata: x\n\n".encode()) == []
    assert [each["event"] for each in sdk_decoded(b"event: news\n\n")] == ["news"]
