"""Causes of errors of `trio_mix.browser`, `trio_mix.sse` and `trio_mix.testing`."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import trio
import trio.testing

from tests.support.devtools_kit import POLICY, FakeDevTools
from tests.support.error_stage import cause
from trio_mix import browser, errors, sse, testing

if TYPE_CHECKING:
    from tests.support.error_stage import Stage


@cause(
    browser.ChromiumNotFound,
    "the named program does not exist",
    operation="executable=",
    target="'no-such-browser'",
    remedy="Fix the path",
)
async def no_such_program(_: Stage) -> None:
    async with browser.launch_chromium("no-such-browser"):
        pass


@cause(
    browser.ChromiumFailed,
    "the program ends at once",
    operation="ended with exit code 1",
    target="false",
    remedy="Run it by hand with --headless to see why",
    real_clock=True,
)
async def not_a_browser(_: Stage) -> None:
    async with browser.launch_chromium("false", sandbox=False):
        pass


@cause(
    browser.BrowserGone,
    "no browser is running at the address",
    operation="No browser can be reached at",
    target="http://127.0.0.1:",
    remedy="Start one with --remote-debugging-port",
    real_clock=True,
)
async def no_browser(stage: Stage) -> None:
    with trio.socket.socket() as free:
        await free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        url = f"http://127.0.0.1:{port}"
        async with browser.open_tunnel(stage.mix, stage.session_id, token="t", cdp_url=url):
            pass


@cause(
    browser.TunnelRefused,
    "the server does not know the token",
    operation="The tunnel",
    target="/api/v1/tunnel/cdp/session/session-1 was refused with HTTP 401",
    remedy="Check",
    server={"listen": True},
    client={"network": None},
    real_clock=True,
)
async def tunnel_refused(stage: Stage) -> None:
    body = b'{"error": {"code": 401, "message": "invalid token", "type": "unauthorized"}}'
    stage.server.answer_next("/api/v1/tunnel", 401, body=body)
    devtools = FakeDevTools()
    await stage.nursery.start(devtools.serve)
    async with browser.open_tunnel(
        stage.mix, stage.session_id, token="t", cdp_url=devtools.url, policy=POLICY
    ):
        pass


@cause(
    testing.RecordingError,
    "the file to replay is not a recording",
    operation="is not a recording",
    target="/notes.jsonl",
    remedy="make a recording with trio_mix.testing.record",
)
async def no_recording(stage: Stage) -> None:
    path = stage.folder / "notes.jsonl"
    path.write_text("{}\n")
    async with testing.replay(path, listen=False):
        pass


@cause(
    testing.LeftBehindError,
    "a function under test leaves a task running",
    operation="cancelled at checkpoint 1",
    target="left_running",
    remedy="in a finally, await what it started and close what it opened",
)
async def left_behind(stage: Stage) -> None:
    async def left_running() -> None:
        await trio.sleep_forever()

    async def careless() -> None:
        stage.nursery.start_soon(left_running)
        await trio.lowlevel.checkpoint()

    await testing.cancel_at_every_checkpoint(careless)


@cause(
    trio.BusyResourceError,
    "two tasks iterate one message",
    operation="another task is already iterating",
    target="this message or subscription",
    remedy="let one task iterate it",
)
async def two_readers(stage: Stage) -> None:
    stage.server.script("Hi", testing.Turn(testing.Hang()))
    async with (
        stage.mix.open_stream(stage.session_id) as session,
        session.send("Hi") as message,
    ):

        async def read() -> None:
            with suppress(errors.TrioMixError):  # the message is left below
                await message.wait()

        stage.nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        await message.wait()


@cause(
    errors.ProtocolError,
    "a line exceeds the limit of a decoder",
    operation="A line of the event stream",
    target="max_event_size=10 bytes",
    remedy="Raise max_event_size",
)
async def long_line(_: Stage) -> None:
    sse.SSEDecoder(max_event_size=10).feed(b"data: 0123456789\n\n")
