"""examples/web_relay as a process, over HTTP: events, resuming, refused requests."""

from __future__ import annotations

import json
import signal
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import trio

from examples.web_relay.history import History
from tests.support.example_programs import Program, run_program
from trio_mix.sse import open_event_source
from trio_mix.testing import AskPermission, Fail, Hang, MixServer, PermissionAnswered, Say, Turn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_mix.sse import ServerSentEvent


class Site:
    """The running relay, as an HTTP client sees it."""

    def __init__(self, program: Program, http: httpx.AsyncClient) -> None:
        self.program = program
        self.http = http

    async def post(self, path: str, **body: object) -> int:
        return (await self.http.post(path, json=body)).status_code

    async def read(self, *, until: str, after: str | None = None) -> list[ServerSentEvent]:
        """Return the events up to the first of a kind."""
        found: list[ServerSentEvent] = []
        url = f"{self.http.base_url}/events"
        with trio.fail_after(30):
            async with open_event_source(url, last_event_id=after) as source:
                async for event in source:
                    found.append(event)
                    if event.event == until:
                        return found
        raise AssertionError("the events ended")


def data(event: ServerSentEvent) -> dict[str, Any]:
    value: dict[str, Any] = json.loads(event.data)
    return value


def text_of(events: list[ServerSentEvent]) -> str:
    return "".join(data(event)["text"] for event in events if event.event == "text")


@asynccontextmanager
async def open_site(server: MixServer, *options: str) -> AsyncIterator[Site]:
    command = ("-m", "examples.web_relay", "--port=0", *options)
    async with run_program(*command, server=server.url) as program:
        await program.says(" in a browser")
        url = program.output.partition("open ")[2].split()[0]
        async with httpx.AsyncClient(base_url=url) as http:
            yield Site(program, http)


@pytest.mark.parametrize("api", ["async", "pipeline"])
async def test_every_reader_sees_the_messages_and_the_answers(api: str) -> None:
    async with MixServer(api, pace=0) as server, open_site(server) as site:  # type: ignore[arg-type]
        assert "EventSource" in (await site.http.get("/")).text
        assert await site.post("/send", text="Hello") == 202
        first = await site.read(until="end")
        assert [event.event for event in first if event.event == "you"] == ["you"]
        assert (
            text_of(first) == "Hello! I am the agent of the bundled server. What can I do for you?"
        )
        assert await site.read(until="end") == first
        site.program.signal(signal.SIGTERM)
        assert await site.program.ended() == 0
        assert server.requests("DELETE", "/api/sessions/")
        assert "Traceback" not in site.program.output


async def test_a_reader_that_reconnects_receives_missed_events_once() -> None:
    async with MixServer(pace=0) as server, open_site(server) as site:
        await site.post("/send", text="Hello")
        seen = await site.read(until="you")
        await site.read(until="end")
        rest = await site.read(until="end", after=seen[-1].id)
        assert "reset" not in [event.event for event in rest]
        assert seen + rest == await site.read(until="end")


async def test_a_reader_that_returns_too_late_receives_the_number_of_missing_events() -> None:
    async with MixServer(pace=0) as server, open_site(server, "--history=3") as site:
        await site.post("/send", text="Hello")
        with trio.fail_after(30):
            seen = await site.read(until="end")
        total = int((seen[-1].id or "").partition("-")[2])
        late = await site.read(until="end", after=(seen[-1].id or "").partition("-")[0] + "-1")
        assert late[0].event == "gap"
        assert data(late[0])["missed"] == total - 1 - 3
        assert len(late) == 4


async def test_an_id_of_another_run_resets_the_page() -> None:
    async with MixServer(pace=0) as server, open_site(server) as site:
        await site.post("/send", text="Hello")
        events = await site.read(until="end", after="0000-5")
        assert events[0].event == "reset"
        assert events[1:] == (await site.read(until="end"))[1:]


async def test_the_first_tab_answers_a_permission_request() -> None:
    async with MixServer(pace=0) as server, open_site(server) as site:
        asks = AskPermission("bash", params={"command": "ls \u202e"}, then=[Say("Thanks")])
        server.script("Hi", Turn(asks))
        await site.post("/send", text="Hi")
        asked = (await site.read(until="permission"))[-1]
        assert '"command": "ls \\u202e"' in data(asked)["text"]  # all that would be granted
        assert await site.post("/permission", id=data(asked)["id"], grant=True) == 200
        assert await site.post("/permission", id=data(asked)["id"], grant=False) == 410
        with trio.fail_after(30):
            assert (await server.wait_for(PermissionAnswered)).answer == "granted"
        assert text_of(await site.read(until="end")) == "Thanks"
        assert data((await site.read(until="settled"))[-1])["granted"] is True


async def test_stop_cancels_and_a_failure_is_shown() -> None:
    async with MixServer(pace=0) as server, open_site(server) as site:
        server.script("Hang", Turn(Say("so far"), Hang()))
        server.script("Fail", Turn(Fail("no luck")))
        await site.post("/send", text="Hang")
        await site.read(until="text")
        assert await site.post("/cancel") == 202
        end = (await site.read(until="error"))[-1]
        assert data(end) == {"text": "cancelled"}
        assert server.running_turns == 0
        await site.post("/send", text="Fail")
        assert "no luck" in data((await site.read(until="error", after=end.id))[-1])["text"]


async def test_a_lost_and_restored_connection_is_shown() -> None:
    async with MixServer(pace=0) as server, open_site(server) as site:
        before = (await site.read(until="state"))[-1]
        assert data(before) == {"text": "connected"}
        await server.restart()
        lost = (await site.read(until="state", after=before.id))[-1]
        assert "reconnecting" in data(lost)["text"]
        assert data((await site.read(until="state", after=lost.id))[-1]) == {"text": "connected"}
        await site.post("/send", text="Hello")
        await site.read(until="end", after=lost.id)


async def test_requests_that_other_pages_can_send_are_refused() -> None:
    async with MixServer(pace=0) as server, open_site(server) as site:
        assert (await site.http.post("/send", content='{"text": "Hi"}')).status_code == 415
        assert (await site.http.post("/send", data={"text": "Hi"})).status_code == 415
        assert (await site.http.get("/", headers={"Host": "evil.example"})).status_code == 400
        assert (await site.http.post("/send", json=["Hi"])).status_code == 415
        assert await site.post("/send", text=" ") == 400
        assert server.runs() == 0
        assert await site.post("/send", text="x" * 300_000) == 415, "bodies are bounded"


async def test_a_missing_server_is_reported_without_a_traceback() -> None:
    async with run_program(
        "-m",
        "examples.web_relay",
        "--port=0",
        server="http://127.0.0.1:9",
        new_interpreter=True,
    ) as program:
        assert await program.ended() == 1
    assert "Check that a Mix server is running" in program.output
    assert "Traceback" not in program.output


async def test_an_idle_reader_is_kept_alive(autojump_clock: trio.testing.MockClock) -> None:
    reader = History().read(None)
    assert "event: reset" in await anext(reader)
    assert await anext(reader) == ": still here\n\n"
    assert trio.current_time() == 15
