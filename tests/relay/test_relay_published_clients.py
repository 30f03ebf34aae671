"""Published clients, unchanged, in front of a relay process: also while that is killed.

``mix-python-sdk`` 0.5.7 is installed with the tests. 0.8.1 cannot be installed beside it::

    pip install --target FOLDER --no-deps mix-python-sdk==0.8.1
    TRIO_MIX_SDK_0_8=FOLDER pytest tests/relay/test_relay_published_clients.py
"""

from __future__ import annotations

import os
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.relay_command import Lines, relay_of
from trio_mix.testing import AskPermission, MixServer, Say, Think, Turn, UseTool, WaitFor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.command_line import StartCommand
    from trio_mix.testing import Api

SDK_0_8 = os.environ.get("TRIO_MIX_SDK_0_8", "")
NEEDS_0_8 = pytest.mark.skipif(
    not SDK_0_8, reason="mix-python-sdk 0.8.1 was NOT tried: set TRIO_MIX_SDK_0_8 to its folder"
)
CLIENTS = [
    pytest.param("pipeline", "", id="0.5.7"),
    pytest.param("async", SDK_0_8, id="0.8.1", marks=NEEDS_0_8),
]

CLIENT = """
import json, sys
from mix_python_sdk import Mix

url, session_id, api = sys.argv[1:]
position, sent = None, False
with Mix(server_url=url, timeout_ms=30_000) as mix:
    while True:
        try:
            answer = mix.streaming.stream_events(session_id=session_id, last_event_id=position)
            with answer.result as stream:
                for event in stream:
                    position = str(event.id)
                    data = event.data
                    text = getattr(data, "content", None)
                    print(json.dumps([event.event, position, text]), flush=True)
                    if event.event == "connected" and not sent:
                        sent = True
                        if api == "pipeline":
                            content = json.dumps({"text": "go"})
                            mix.streaming.send_streaming_message(id=session_id, content=content)
                        else:
                            mix.messages.send(id=session_id, text="go")
                    elif event.event == "permission":
                        mix.permissions.grant(id=data.id)
                    elif event.event == "complete":
                        sys.exit()
        except OSError as error:
            print(json.dumps(["lost", None, type(error).__name__]), flush=True)
        except Exception as error:
            if "httpx" not in type(error).__module__ and "httpcore" not in type(error).__module__:
                raise
            print(json.dumps(["lost", None, type(error).__name__]), flush=True)
"""


@asynccontextmanager
async def client_of(url: str, session_id: str, api: str, sdk: str) -> AsyncIterator[trio.Process]:
    path = os.pathsep.join(filter(None, [sdk, os.environ.get("PYTHONPATH", "")]))
    process = await trio.lowlevel.open_process(
        [sys.executable, "-c", CLIENT, url, session_id, api],
        stdout=-1,
        env={**os.environ, "PYTHONPATH": path},
    )
    try:
        yield process
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


TURN = Turn(
    Think("Let me see."),
    UseTool("glob", {"pattern": "*"}, result="README.md"),
    AskPermission("bash", then=[Say("All done, I think.")], params={"command": "ls"}),
)


@pytest.mark.parametrize(("api", "sdk"), CLIENTS)
async def test_it_reads_a_whole_turn(
    api: Api, sdk: str, tmp_path: Path, start_command: StartCommand
) -> None:
    async with MixServer(api) as server:
        server.script("go", TURN)
        session_id = server.create_session()
        async with relay_of(server, tmp_path, start_command) as (_, url):
            async with client_of(url, session_id, api, sdk) as client:
                events = await Lines(client).until("complete")
        assert server.runs("go") == 1
    ids = [int(position) for _, position, _ in events]
    assert ids == sorted(set(ids))
    text = "".join(text for name, _, text in events if name == "content")
    assert text == "All done, I think."
    assert {"thinking", "permission", "tool_execution_complete"} <= {name for name, *_ in events}


@pytest.mark.parametrize(("api", "sdk"), CLIENTS)
async def test_it_loses_nothing_when_the_relay_and_the_connection_to_the_server_are_cut(
    api: Api, sdk: str, tmp_path: Path, start_command: StartCommand
) -> None:
    async with MixServer(api) as server:
        steps = [trio.Event(), trio.Event()]
        server.script(
            "go", Turn(Say("one "), WaitFor(steps[0]), Say("two "), WaitFor(steps[1]), Say("three"))
        )
        session_id = server.create_session()
        async with relay_of(server, tmp_path, start_command) as (relay, url):
            async with client_of(url, session_id, api, sdk) as client:
                lines = Lines(client)
                events = await lines.until("content")
                relay.kill()
                await relay.wait()
                steps[0].set()
                events += await lines.until("lost")
                port = url.rpartition(":")[2]
                async with relay_of(server, tmp_path, start_command, port):
                    events += await lines.until("connected")
                    await server.drop_streams(session_id)
                    steps[1].set()
                    events += await lines.until("complete")
        assert server.runs("go") == 1
    logged = [event for event in events if event[0] not in ("connected", "lost", "heartbeat")]
    ids = [int(position) for _, position, _ in logged]
    assert ids == sorted(set(ids))
    assert "".join(text for name, _, text in logged if name == "content") == "one two three"
    assert [name for name, *_ in logged].count("complete") == 1
