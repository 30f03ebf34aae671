"""Chromium's ``EventSource`` and ``fetch`` against a relay process, also while that is killed."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from tests.support.chromium_tab import launch, open_tab
from tests.support.relay_command import relay_of
from trio_mix.testing import MixServer, Say, Turn, WaitFor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.chromium_tab import Tab
    from tests.support.command_line import StartCommand

WATCH = """
window.got = []; window.lost = 0;
window.source = new EventSource("/stream?sessionId=SESSION");
source.onerror = () => lost++;
for (const name of ["connected", "content", "complete", "error"])
    source.addEventListener(name, e => {
        if (e.data) got.push([name, e.lastEventId, JSON.parse(e.data)]);
    });
"""
SEND = """
fetch("URL/api/sessions/SESSION/messages", {
    method: "POST", headers: {"Content-Type": "application/json"}, body: '{"text": "go"}',
}).then(answer => answer.status, error => error.name)
"""


@asynccontextmanager
async def page_on(program: str, url: str) -> AsyncIterator[Tab]:
    with trio.fail_after(90):
        async with launch(program) as chromium, open_tab(chromium, url) as tab:
            await tab.until("document.readyState == 'complete' && location.protocol == 'http:'")
            yield tab


async def test_event_source_loses_nothing_when_the_relay_is_killed(
    chromium_program: str, tmp_path: Path, start_command: StartCommand
) -> None:
    async with MixServer("async") as server:
        go_on = trio.Event()
        server.script("go", Turn(Say("before "), WaitFor(go_on), Say("after")))
        session_id = server.create_session()
        async with relay_of(server, tmp_path, start_command) as (relay, url):
            async with page_on(chromium_program, f"{url}/relay/health/live") as tab:
                await tab.value_of(WATCH.replace("SESSION", session_id))
                await tab.until("got.length == 1")
                send = SEND.replace("SESSION", session_id).replace("URL", "")
                assert await tab.value_of(send) == 202
                await tab.until("got.some(each => each[0] == 'content')")
                relay.kill()
                await relay.wait()
                go_on.set()
                await tab.until("lost > 0")
                async with relay_of(server, tmp_path, start_command, url.rpartition(":")[2]):
                    await tab.until("got.some(each => each[0] == 'complete')")
                    got: list[Any] = await tab.value_of("got")
        assert server.runs("go") == 1
    logged = [event for event in got if event[0] != "connected"]
    ids = [int(position) for _, position, _ in logged]
    assert ids == sorted(set(ids))
    assert "".join(data["content"] for name, _, data in logged if name == "content") == (
        "before after"
    )
    assert [name for name, *_ in got].count("connected") == 2
    assert [name for name, *_ in got].count("complete") == 1


async def test_a_page_of_another_origin_can_neither_read_nor_send(
    chromium_program: str, tmp_path: Path, start_command: StartCommand
) -> None:
    async with MixServer("async") as server, MixServer("async") as other:
        session_id = server.create_session()
        async with relay_of(server, tmp_path, start_command) as (_, url):
            async with page_on(chromium_program, f"{other.url}/health") as tab:
                send = SEND.replace("SESSION", session_id).replace("URL", url)
                assert await tab.value_of(send) == "TypeError"
                plain = send.replace("application/json", "text/plain")
                assert await tab.value_of(plain) == "TypeError"
                read = f"fetch('{url}/api/sessions').then(() => 'read', error => error.name)"
                assert await tab.value_of(read) == "TypeError"
        assert not server.requests("POST", f"/api/sessions/{session_id}")
