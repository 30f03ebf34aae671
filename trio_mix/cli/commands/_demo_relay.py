"""``demo --relay``: a relay is killed in the middle of an answer, and two clients lose nothing.

Rules:

1. The exit code tells whether everything that the demo is to show has happened.
2. The relay is a process of its own, and is killed as a power cut would kill it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs
import trio

from trio_mix import Mix, ReconnectPolicy
from trio_mix.cli._errors import FAILED, OK
from trio_mix.cli.commands._permissions import PermissionDecisions
from trio_mix.cli.commands._show_message import show_message
from trio_mix.cli.ui._panels import open_panels
from trio_mix.cli.ui._text import print_error
from trio_mix.sse import open_event_source
from trio_mix.testing import MixServer, Say, Think, Turn, WaitFor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_mix import Reply
    from trio_mix.cli.commands._demo import DemoApi
    from trio_mix.cli.ui._panels import Panels

_TIMEOUT = 60.0
_RECONNECT = ReconnectPolicy(initial_interval=0.1, max_interval=0.5)
_STORY = "Tell me a story"
_BEFORE = "Once upon a time a relay was killed "
_AFTER = "and not a word was missing."


@asynccontextmanager
async def _relay(upstream: str, folder: str, port: str) -> AsyncIterator[tuple[trio.Process, str]]:
    """Run a relay in a process; return the process and the relay's address."""
    process = await trio.lowlevel.open_process(
        [
            *(sys.executable, "-m", "trio_mix.cli", "relay"),
            *("--upstream", upstream, "--log", f"sqlite:{folder}/relay.db"),
            *("--listen", f"127.0.0.1:{port}"),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        line = b""
        while not line.endswith(b"\n"):
            data = await process.stdout.receive_some(1000)
            if not data:
                raise OSError("the process of the relay has ended")
            line += data
        yield process, line.decode().split(" at ")[1].split(";")[0]
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


@attrs.define
class _Watcher:
    """Any SSE client: what it received, and whether the first part of the answer is among it."""

    first_part: trio.Event = attrs.field(factory=trio.Event)
    complete: trio.Event = attrs.field(factory=trio.Event)
    ids: list[int] = attrs.field(factory=list[int])
    text: str = ""
    connects: int = 0

    async def watch(
        self, url: str, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Read the stream until the message is complete."""
        async with open_event_source(url, reconnect=_RECONNECT) as source:
            async for event in source:
                if event.event == "connected":
                    self.connects += 1
                    if self.connects == 1:
                        task_status.started()
                elif event.event != "heartbeat":
                    self.ids.append(int(event.id or 0))
                if event.event == "content":
                    self.text += json.loads(event.data)["content"]
                    if self.text == _BEFORE:
                        self.first_part.set()
                elif event.event == "complete":
                    self.complete.set()
                    return


async def demo_relay(api: DemoApi) -> int:
    """Run the demo and return 0 if it showed what it should."""
    panels = open_panels(lambda: "")
    missing: list[str] = ["everything ended in time"]
    with trio.move_on_after(_TIMEOUT), tempfile.TemporaryDirectory() as folder:
        go_on = trio.Event()
        async with MixServer(api=api) as server:
            story = Turn(Think("One sentence will do."), Say(_BEFORE), WaitFor(go_on), Say(_AFTER))
            server.script(_STORY, story)
            missing = await _show(panels, server, go_on, folder, api)
    for fact in missing:
        print_error(f"the demo failed: it is not true that {fact}")
    if not missing:
        panels.note("everything worked; the relay and the server are stopped")
    return FAILED if missing else OK


async def _show(
    panels: Panels, server: MixServer, go_on: trio.Event, folder: str, api: str
) -> list[str]:
    watcher = _Watcher()
    replies: list[Reply] = []
    replied = trio.Event()
    session_id = server.create_session()
    async with _relay(server.url, folder, "0") as (process, url), Mix(url) as mix:
        panels.note(f"a bundled server (API generation: {api}), and a relay in front of it")
        async with (
            mix.open_stream(session_id, reconnect=_RECONNECT) as session,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(watcher.watch, f"{url}/stream?sessionId={session_id}")
            panels.note("two clients on one session: a session stream, and any SSE client")

            async def send() -> None:
                with panels.messages([_STORY]) as [screen]:
                    async with session.send(_STORY) as message:
                        replies.append(
                            await show_message(message, screen, PermissionDecisions(None))
                        )
                replied.set()

            nursery.start_soon(send)
            await watcher.first_part.wait()
            panels.note("the relay is killed in the middle of the answer")
            process.kill()
            await process.wait()
            go_on.set()
            panels.note("the server finishes the answer while nobody listens")
            async with _relay(server.url, folder, url.rpartition(":")[2]):
                panels.note("the relay is started again, with its log")
                await watcher.complete.wait()
                await replied.wait()
                connects = session.statistics().connects
    whole = _BEFORE + _AFTER
    panels.table(
        ("client", "connects", "text"),
        [
            ("session stream", str(connects), replies[0].text),
            ("any SSE client", str(watcher.connects), watcher.text),
        ],
    )
    facts = {
        "the session stream has the whole text": replies[0].text == whole,
        "the SSE client has the whole text": watcher.text == whole,
        "the SSE client received no event twice": watcher.ids == sorted(set(watcher.ids)),
        "both clients connected again": watcher.connects == 2 and connects >= 2,
        "the message ran once": server.runs(_STORY) == 1,
    }
    return [fact for fact, happened in facts.items() if not happened]
