"""The policy and ``on_command`` in a tunnel. Rules of `trio_mix.browser._filter`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio

from trio_mix import StreamState
from trio_mix.browser import BrowserCommand, BrowserGone, Policy, open_tunnel
from trio_mix.errors import ConfigurationError, UsageError
from trio_mix.testing import TunnelMessage

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.devtools_kit import Bench


async def test_a_denied_command_is_answered_and_not_passed_on(bench: Bench) -> None:
    async with bench.tunnel() as tunnel:
        denied: Any = await bench.end.command(
            "SystemInfo.getInfo", id="i", browser_id="b", session_id=None
        )
        assert denied["id"] == "i"
        assert denied["browserId"] == "b"
        assert denied["error"] == {
            "code": -32000,
            "message": "SystemInfo.getInfo was denied by the tunnel's policy: the method is not in"
            " browser.Policy(methods=…).",
        }
        foreign: Any = await bench.end.command("X.y", session_id="guessed")
        assert "the session is not one of this tunnel" in foreign["error"]["message"]
        assert bench.browser.asked == []
        statistics = tunnel.statistics()
        assert (statistics.denied, statistics.errors) == (2, 2)


async def test_a_command_is_run_only_if_on_command_returns_true(bench: Bench) -> None:
    seen: list[BrowserCommand] = []
    answers = iter([True, False, None])

    async def decide(command: BrowserCommand) -> bool | None:
        await trio.lowlevel.checkpoint()
        seen.append(command)
        return next(answers)

    async with bench.tunnel(on_command=decide) as tunnel:
        run = await bench.end.command("X.y", {"a": 1}, session_id="S")
        assert run["result"] == {"did": "X.y"}
        for _ in range(2):
            denied: Any = await bench.end.command("Page.go")
            assert "on_command did not permit it" in denied["error"]["message"]
        await bench.end.command("SystemInfo.getInfo")
        assert bench.browser.methods == ["X.y"]
        assert tunnel.statistics().denied == 3
    first, second, _ = seen
    assert (first.method, first.params, first.session_id) == ("X.y", {"a": 1}, "S")
    assert (second.method, second.params, second.session_id) == ("Page.go", {}, None)


async def test_a_decision_delays_only_the_commands_of_its_session(bench: Bench) -> None:
    decided = trio.Event()

    async def decide(command: BrowserCommand) -> bool:
        await trio.lowlevel.checkpoint()
        if command.method == "X.z":
            await decided.wait()
        return True

    async with bench.tunnel(on_command=decide):
        for number, (method, session) in enumerate([("X.z", "one"), ("X.y", "one")]):
            command = {"id": number, "method": method, "sessionId": session}
            await bench.end.send_text(json.dumps(command))
        assert "result" in await bench.end.command("A.b", session_id="two")
        assert bench.browser.methods == ["A.b"]
        decided.set()
        await bench.server.wait_for(TunnelMessage, count=2)
        assert bench.browser.methods == ["A.b", "X.z", "X.y"]


async def test_a_command_that_timed_out_before_its_decision_is_not_run(bench: Bench) -> None:
    decided = trio.Event()

    async def decide(_: BrowserCommand) -> bool:
        await decided.wait()
        return True

    async with bench.tunnel(on_command=decide, command_timeout=0.1):
        late: Any = await bench.end.command("X.y", session_id="S")
        assert "did not answer X.y" in late["error"]["message"]
        decided.set()
        assert "result" in await bench.end.command("X.z", session_id="S")
        assert bench.browser.methods == ["X.z"]


async def test_an_exception_of_on_command_denies_and_ends_the_tunnel(bench: Bench) -> None:
    error = LookupError("no policy today")

    def decide(_: BrowserCommand) -> bool:
        raise error

    async with bench.tunnel(on_command=decide) as tunnel:
        denied: Any = await bench.end.command("X.y", session_id="S")
        assert "on_command failed" in denied["error"]["message"]
        with pytest.raises(LookupError) as caught:
            await tunnel.wait_closed()
        assert caught.value is error
        assert tunnel.state is StreamState.CLOSED
    assert bench.browser.asked == []


async def test_a_result_that_is_not_a_bool_denies_and_ends_the_tunnel(bench: Bench) -> None:
    for result in ("yes", 1, [True], object()):
        with pytest.raises(UsageError, match="on_command=.*Return True"):
            async with bench.tunnel(on_command=lambda _, result=result: result) as tunnel:
                await bench.end.command("X.y", session_id="S")
                await tunnel.wait_closed()
    assert bench.browser.asked == []


async def test_where_the_browser_is_must_be_clear(bench: Bench) -> None:
    for options, expected in (
        ({"cdp_url": None}, "pass browser="),
        ({"cdp_url": "ws://browser.example:9222/devtools/browser/1", "policy": None}, "filtered"),
        ({"cdp_url": "ws://localhost:9222/devtools/page/1", "policy": None}, "one page"),
        ({"cdp_url": "ws://10.0.0.1:9222/devtools/browser/1", "policy": Policy()}, "this machine"),
    ):
        with pytest.raises(ConfigurationError, match=expected):
            bench.tunnel(**options)
    for url in ("ws://127.0.0.1:1/devtools/browser/1", "ws://[::1]:1/", "http://localhost:9222"):
        open_tunnel(bench.mix, bench.session, token="t", cdp_url=url)


async def test_a_browser_that_does_not_use_the_proxy_is_refused(bench: Bench) -> None:
    with pytest.raises(BrowserGone, match="does not use the filtering proxy of this machine"):
        async with bench.tunnel(policy=Policy()):
            pass


async def test_the_folder_of_a_tunnel_is_private_and_a_temporary_one_is_removed(
    bench: Bench, tmp_path: Path
) -> None:
    async with bench.tunnel() as tunnel:
        folder = tunnel.folder
        assert folder is not None
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "file").write_text("x")
    assert not folder.exists()
    named = tmp_path / "a" / "b"
    async with bench.tunnel(folder=named) as tunnel:
        assert tunnel.folder == named.resolve()
        assert named.stat().st_mode & 0o777 == 0o700
        (named / "file").write_text("x")
    assert (named / "file").exists()
    open_to_all = tmp_path / "open"
    open_to_all.mkdir(mode=0o755)
    for path, expected in ((open_to_all, "chmod 700"), (named / "file" / "x", "cannot be created")):
        with pytest.raises(ConfigurationError, match=expected):
            async with bench.tunnel(folder=path):
                pass
