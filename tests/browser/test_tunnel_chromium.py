"""The tunnel with a real Chromium. Skipped, with a notice, where there is none."""

from __future__ import annotations

import base64
import os
import struct
import subprocess
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.support.chromium_tab import SANDBOX, launch
from tests.support.devtools_kit import QUICK, TOKEN
from trio_mix import Mix, StreamState
from trio_mix.browser import DEFAULT_METHODS, BrowserGone, Policy, open_tunnel
from trio_mix.testing import MixServer, TunnelOpened

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_mix.browser import Chromium, Tunnel

PAGE = "data:text/html,<title>Tunnel</title><h1 style='color:red'>Hello, agent</h1>"


class Scene:
    """A server, a Chromium, a tunnel between them."""

    def __init__(self, server: MixServer, chromium: Chromium, tunnel: Tunnel) -> None:
        self.server = server
        self.chromium = chromium
        self.tunnel = tunnel

    async def ask(self, method: str, **params: object) -> Any:
        """Send a command as the server does; return its result or its error."""
        end = self.server.browser_tunnels[self.tunnel.session_id]
        answer = await end.command(method, params or None)
        return answer.get("error", answer.get("result"))

    async def visit(self, url: str) -> None:
        """Navigate to a page and wait until it is loaded: the command is answered before."""
        assert "frameId" in await self.ask("Page.navigate", url=url)
        expected = "document.URL != 'about:blank' && document.readyState == 'complete'"
        while await self.value_of(expected) is not True:
            await trio.lowlevel.checkpoint()

    async def value_of(self, expression: str) -> Any:
        result = await self.ask(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        return result.get("result", {}).get("value", result)


@asynccontextmanager
async def open_scene(program: str, **policy: Any) -> AsyncIterator[Scene]:
    with trio.fail_after(90):
        async with MixServer(heartbeat_interval=None) as server, Mix(server.url) as mix:
            policy.setdefault("allow", [server.url.removeprefix("http://")])
            session = server.create_session()
            async with (
                launch(program, policy=Policy(**policy)) as chromium,
                open_tunnel(mix, session, token=TOKEN, browser=chromium, reconnect=QUICK) as tunnel,
            ):
                yield Scene(server, chromium, tunnel)


async def test_a_page_is_visited_read_and_captured(chromium_program: str) -> None:
    async with open_scene(chromium_program) as scene:
        await scene.visit(PAGE)
        assert await scene.value_of("document.querySelector('h1').innerText") == "Hello, agent"
        assert await scene.value_of("document.title") == "Tunnel"
        picture = base64.b64decode((await scene.ask("Page.captureScreenshot"))["data"])
        assert picture.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = struct.unpack(">II", picture[16:24])
        assert width > 100
        assert height > 100
        assert (await scene.ask("Browser.getVersion"))["product"].startswith("Chrome/")
        denied = await scene.ask("No.such")
        assert "No.such was denied by the tunnel's policy" in denied["message"]
        thrown = await scene.ask("Runtime.evaluate", expression="nothing.at.all")
        assert "nothing is not defined" in thrown["exceptionDetails"]["exception"]["description"]


async def test_a_page_on_a_server_is_visited_and_events_are_not_sent(chromium_program: str) -> None:
    async with open_scene(chromium_program) as scene:
        for domain in ("Page", "Network", "Runtime"):
            await scene.ask(f"{domain}.enable")
        await scene.visit(f"{scene.server.url}/health")
        assert '"status"' in await scene.value_of("document.body.innerText")
        assert scene.tunnel.statistics().events > 5
        assert scene.server.requests("GET", "/health")


async def test_several_targets_are_used_at_once_by_their_sessions(chromium_program: str) -> None:
    async with open_scene(chromium_program) as scene:
        end = scene.server.browser_tunnels[scene.tunnel.session_id]
        sessions: list[str] = []
        for _ in range(3):
            made = await scene.ask("Target.createTarget", url="about:blank")
            attached = await scene.ask(
                "Target.attachToTarget", targetId=made["targetId"], flatten=True
            )
            sessions.append(attached["sessionId"])
        slow: list[Any] = []

        async def wait_for_long() -> None:
            expression = "new Promise(done => { window.go = () => done('gone') })"
            params = {"expression": expression, "awaitPromise": True}
            slow.append(await end.command("Runtime.evaluate", params, session_id=sessions[0]))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for_long)
            for number, session in list(enumerate(sessions))[1:]:
                asked = {"expression": f"{number} * 100"}
                answer: Any = await end.command("Runtime.evaluate", asked, session_id=session)
                assert answer["result"]["result"]["value"] == number * 100
            assert slow == []
            # The next command of the first target is run although its answer is queued.
            params = {"expression": "typeof window.go == 'function' && (go(), 5)"}
            answer = await end.command("Runtime.evaluate", params, session_id=sessions[0])
            assert answer["result"]["result"]["value"] == 5
        assert slow[0]["result"]["result"]["value"] == "gone"


async def test_a_dialog_that_blocks_a_page_can_be_answered(chromium_program: str) -> None:
    async with open_scene(chromium_program) as scene, trio.open_nursery() as nursery:
        end = scene.server.browser_tunnels[scene.tunnel.session_id]
        await scene.ask("Page.enable")
        targets = (await scene.ask("Target.getTargets"))["targetInfos"]
        (page,) = (target["targetId"] for target in targets if target["type"] == "page")
        attached = await scene.ask("Target.attachToTarget", targetId=page, flatten=True)
        other = attached["sessionId"]
        await end.command("Page.enable", session_id=other)
        values: list[Any] = []

        async def confirm() -> None:
            values.append(await scene.value_of("confirm('Really?')"))

        nursery.start_soon(confirm)
        answer: Any = {"error": "not yet"}
        while "error" in answer:
            answer = await end.command(
                "Page.handleJavaScriptDialog", {"accept": True}, session_id=other
            )
    assert values == [True]


async def test_an_answer_of_eight_megabytes_passes_and_one_of_twelve_becomes_an_error(
    chromium_program: str,
) -> None:
    async with open_scene(chromium_program) as scene:
        text = await scene.value_of("'0123456789abcdef'.repeat(2**19)")
        assert text == "0123456789abcdef" * 2**19
        refused = await scene.ask("Runtime.evaluate", expression="'x'.repeat(12e6)")
        assert "too large for the tunnel: 12,000,0" in refused["message"]
        assert await scene.value_of("6 * 7") == 42
        assert scene.tunnel.statistics().connects == 1


async def test_lone_surrogates_pass(chromium_program: str) -> None:
    async with open_scene(chromium_program) as scene:
        assert await scene.value_of(r"'ö\ud800\u0000😀'") in ("ö\ud800\0😀", "ö\ufffd\0😀")


async def test_a_browser_that_is_killed_ends_the_tunnel_with_an_error(
    chromium_program: str,
) -> None:
    async with open_scene(chromium_program) as scene, trio.open_nursery() as nursery:
        answers: list[Any] = []

        async def wait_forever() -> None:
            expression = "new Promise(() => {})"
            answers.append(
                await scene.ask("Runtime.evaluate", expression=expression, awaitPromise=True)
            )

        assert await scene.value_of("1") == 1
        nursery.start_soon(wait_forever)
        while not scene.tunnel.statistics().pending:
            await trio.lowlevel.checkpoint()
        os.kill(scene.chromium.pid, 9)
        with pytest.raises(BrowserGone, match="Start the browser again"):
            await scene.tunnel.wait_closed()
        assert scene.tunnel.state is StreamState.CLOSED
        assert await scene.chromium.wait() == -9
    assert "the browser was lost" in answers[0]["message"]


async def test_two_tunnels_of_one_browser_do_not_share_targets_and_cookies(
    chromium_program: str,
) -> None:
    async with open_scene(chromium_program) as scene:
        await scene.visit(f"{scene.server.url}/health")
        await scene.value_of("document.cookie = 'mine=1'")
        page = (await scene.ask("Target.getTargets"))["targetInfos"][0]["targetId"]
        session = (await scene.ask("Target.attachToTarget", targetId=page))["sessionId"]
        other = scene.server.create_session()
        async with (
            Mix(scene.server.url) as mix,
            open_tunnel(mix, other, token=TOKEN, browser=scene.chromium) as tunnel,
        ):
            second = Scene(scene.server, scene.chromium, tunnel)
            await second.visit(f"{scene.server.url}/health")
            assert await second.value_of("document.cookie") == ""
            targets = (await second.ask("Target.getTargets"))["targetInfos"]
            assert page not in [target["targetId"] for target in targets]
            for method in ("Target.attachToTarget", "Target.closeTarget", "Target.activateTarget"):
                denied = await second.ask(method, targetId=page)
                assert "the target is not one of this tunnel" in denied["message"]
            answer = await scene.server.browser_tunnels[other].command(
                "Runtime.evaluate", {"expression": "document.cookie"}, session_id=session
            )
            assert "the session is not one of this tunnel" in str(answer["error"])
            assert tunnel.folder != scene.tunnel.folder
        assert await scene.value_of("document.cookie") == "mine=1"
        # Closing what belongs to the tunnel leaves the browser running.
        assert await scene.ask("Browser.close") == {}
        assert await scene.value_of("document.URL") == "about:blank"
        assert scene.chromium.returncode is None


async def test_the_users_browser_is_used_through_a_context_of_its_own(
    chromium_program: str, tmp_path: Path
) -> None:
    async with users_browser(chromium_program, tmp_path) as address, MixServer() as server:
        async with Mix(server.url) as mix:
            allow = [server.url.removeprefix("http://")]
            session = server.create_session()
            async with open_tunnel(
                mix, session, token=TOKEN, cdp_url=address, policy=Policy(allow=allow)
            ) as tunnel:
                end = server.browser_tunnels[session]

                async def ask(method: str, **params: object) -> Any:
                    answer = await end.command(method, params)
                    return answer.get("error", answer.get("result"))

                targets = (await ask("Target.getTargets"))["targetInfos"]
                assert len(targets) == 1
                await ask("Page.navigate", url=f"{server.url}/health")
                expression = "document.body.innerText"
                while not (text := await ask("Runtime.evaluate", expression=expression)):
                    await trio.lowlevel.checkpoint()
                while '"status"' not in str(text):
                    text = await ask("Runtime.evaluate", expression=expression)
                other = f"http://localhost:{allow[0].partition(':')[2]}/health"
                await ask("Page.navigate", url=other)
                while "may not connect" not in str(text):
                    text = await ask("Runtime.evaluate", expression=expression)
                assert tunnel.statistics().refused
                assert await ask("Browser.close") == {}


@asynccontextmanager
async def users_browser(program: str, folder: Path) -> AsyncIterator[str]:
    """Start a browser as a user does, with a port for its DevTools; return its address."""
    sandbox = [] if SANDBOX else ["--no-sandbox"]
    flags = ["--headless", "--remote-debugging-port=0", f"--user-data-dir={folder}", *sandbox]
    with trio.fail_after(60):
        process = await trio.lowlevel.open_process(
            [program, *flags, "data:text/html,mine"], stderr=subprocess.PIPE
        )
        try:
            port_file = folder / "DevToolsActivePort"
            while not port_file.exists() or "/" not in port_file.read_text():
                await trio.lowlevel.checkpoint()
            port = port_file.read_text().split()[0]
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


async def test_a_command_whose_page_crashes_is_answered_and_the_page_is_replaced(
    chromium_program: str,
) -> None:
    methods = DEFAULT_METHODS | {"Page.crash"}
    async with open_scene(chromium_program, methods=methods) as scene:
        failed = await scene.ask("Page.crash")
        assert "crashed" in failed["message"] or "detached" in failed["message"], failed
        made = await scene.ask("Target.createTarget", url="data:text/html,new")
        assert made["targetId"]


async def test_the_browser_keeps_its_state_while_the_server_restarts(
    chromium_program: str,
) -> None:
    async with open_scene(chromium_program) as scene:
        await scene.visit(PAGE)
        await scene.value_of("window.kept = 'still here'")
        await scene.server.restart()
        await scene.server.wait_for(TunnelOpened, count=2)
        assert await scene.value_of("window.kept") == "still here"
        assert scene.tunnel.statistics().connects == 2


async def test_the_example_runs_unchanged(chromium_program: str) -> None:
    root = Path(__file__).parents[2]
    program = root / "examples" / "browser_tunnel.py"
    async with MixServer(pace=0) as server:
        done = await trio.run_process(
            [sys.executable, "-W", "error", program, *([] if SANDBOX else ["--no-sandbox"])],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env={**os.environ, "MIX_SERVER_URL": server.url, "TRIO_MIX_CHROMIUM": chromium_program},
        )
        opened = await server.wait_for(TunnelOpened)
    assert (done.returncode, done.stderr.decode()) == (0, "")
    assert done.stdout.decode().endswith("DevTools commands answered: 0\n")
    assert opened.session_id
    assert program.read_text() in (root / "docs" / "how-to" / "browser.md").read_text()
