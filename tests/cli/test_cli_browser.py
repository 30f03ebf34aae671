"""``trio-mix browser``, with a real Chromium."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.support.chromium_tab import SANDBOX
from trio_mix.browser import ChromiumNotFound
from trio_mix.browser._program import find_chromium
from trio_mix.testing import MixServer, TunnelClosed, TunnelOpened

if TYPE_CHECKING:
    from tests.support.command_line import RunCommand, StartCommand

FLAGS = [] if SANDBOX else ["--no-sandbox"]


@pytest.fixture
def chromium() -> str:
    try:
        return find_chromium()
    except ChromiumNotFound:
        pytest.skip("no Chromium on this machine")


async def lines_of(stream: trio.abc.ReceiveStream | None, count: int) -> list[str]:
    assert stream is not None
    text = b""
    while text.count(b"\n") < count:
        data = await stream.receive_some()
        assert data, text
        text += bytes(data)
    return text.decode().splitlines()


async def test_a_new_session_gets_a_browser_until_the_command_ends(
    start_command: StartCommand, chromium: str
) -> None:
    with trio.fail_after(60):
        async with MixServer() as server:
            allowed = server.url.removeprefix("http://")
            args = ["browser", "--allow-host", allowed, "--server", server.url, *FLAGS]
            async with start_command(*args) as process:
                (session,) = await lines_of(process.stdout, 1)
                noted = await lines_of(process.stderr, 2)
                assert noted[0] == f"session {session} has a browser"
                assert noted[1].startswith("files: ")
                await server.wait_for(TunnelOpened)
                tunnel = server.browser_tunnels[session]
                for url, expected in (
                    (f"{server.url}/health", "status"),
                    (f"http://localhost:{allowed.partition(':')[2]}/", "may not connect"),
                ):
                    await tunnel.command("Page.navigate", {"url": url})
                    text = ""
                    while expected not in text:
                        expression = {"expression": "document.body?.innerText"}
                        answer: Any = await tunnel.command("Runtime.evaluate", expression)
                        text = str(answer)
                warned = (await lines_of(process.stderr, 1))[0]
                assert "The browser may not connect to localhost:" in warned
                assert "--allow-host localhost:" in warned
                assert "Policy" not in warned
                process.terminate()
                assert await process.wait() == 143
            closed = await server.wait_for(TunnelClosed)
            assert closed.session_id == session


async def test_mistakes_are_named_in_the_words_of_the_command_line(
    run_command: RunCommand,
) -> None:
    done = await run_command("browser", "--allow-host", "http://localhost:3000")
    assert done.code == 2
    assert "--allow-host takes a host such as localhost:3000" in done.err


@pytest.mark.skipif(SANDBOX, reason="only as root the sandbox cannot be used")
async def test_as_root_the_way_out_is_named(run_command: RunCommand, chromium: str) -> None:
    async with MixServer() as server:
        session = server.create_session()
        done = await run_command("browser", "--session", session, "--server", server.url)
    assert done.code == 1
    assert "does not start as root with its sandbox" in done.err
    assert "--no-sandbox" in done.err
    assert "launch_chromium" not in done.err
