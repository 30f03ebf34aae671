"""Attacks on the browser itself through the tunnel's commands, with a real Chromium."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import trio

from tests.support.hostile_browsing import open_attack

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


async def test_the_machine_and_the_browser_are_not_described() -> None:
    async with open_attack() as attack:
        for method in (
            *("SystemInfo.getInfo", "SystemInfo.getProcessInfo", "Browser.getBrowserCommandLine"),
            *("Browser.getHistograms", "Browser.getWindowForTarget", "Browser.grantPermissions"),
            *("Browser.executeBrowserCommand", "Browser.crash", "Storage.getCookies"),
            *("Tracing.start", "Tethering.bind", "Security.setIgnoreCertificateErrors"),
            *("Emulation.setVirtualTimePolicy", "Network.setExtraHTTPHeaders"),
        ):
            await attack.denied(method)
        assert (await attack.ask("Browser.getVersion"))["product"].startswith("Chrome/")


async def test_other_targets_contexts_and_the_browsers_own_pages_are_out_of_reach() -> None:
    async with open_attack() as attack:
        devtools, _ = attack.chromium._connection()
        found = await devtools.call("Target.getTargets", {"filter": [{}]})
        result = found["result"]
        assert isinstance(result, dict)
        every = {target["targetId"]: target for target in result["targetInfos"]}
        own = (await attack.ask("Target.getTargets", filter=[{}]))["targetInfos"]
        assert [target["type"] for target in own] == ["page"]
        foreign = [each for each in every if each != own[0]["targetId"]]
        assert foreign
        for target in foreign:
            for method in (
                *("Target.attachToTarget", "Target.closeTarget", "Target.activateTarget"),
                *("Target.getTargetInfo", "Target.exposeDevToolsProtocol"),
            ):
                await attack.denied(method, targetId=target)
        for method in (
            *("Target.getTargetInfo", "Target.createBrowserContext", "Target.getBrowserContexts"),
            *("Target.attachToBrowserTarget", "Target.setDiscoverTargets", "Target.setAutoAttach"),
            *("Target.sendMessageToTarget", "Target.setRemoteLocations"),
        ):
            await attack.denied(method)
        for context in ("", "0", "default", None, 5):
            await attack.denied("Target.createTarget", url="about:blank", browserContextId=context)
        await attack.denied("Target.createTarget", url="about:blank", forTab=True)


async def test_the_policy_holds_in_sessions_and_for_sessions_that_are_guessed() -> None:
    async with open_attack() as attack:
        page = (await attack.ask("Target.getTargets"))["targetInfos"][0]["targetId"]
        session = (await attack.ask("Target.attachToTarget", targetId=page))["sessionId"]
        for method in ("SystemInfo.getInfo", "IO.read", "Browser.getVersion", "Fetch.enable"):
            await attack.denied(method, session)
        await attack.denied("Page.navigate", session, url="chrome://settings")
        await attack.denied("Target.attachToTarget", targetId=page, flatten=False)
        await attack.denied("Runtime.evaluate", "0" * 32, expression="1")
        devtools, _ = attack.chromium._connection()
        made = await devtools.call("Target.createTarget", {"url": "about:blank"})
        result = made["result"]
        assert isinstance(result, dict)
        attached = await devtools.call(
            "Target.attachToTarget", {"targetId": result["targetId"], "flatten": True}
        )
        other = attached["result"]
        assert isinstance(other, dict)
        await attack.denied("Runtime.evaluate", other["sessionId"], expression="1")


async def test_a_page_cannot_use_devtools_and_a_second_look_denies_local_pages() -> None:
    async with open_attack() as attack:
        await attack.visit(attack.site.url)
        assert await attack.value_of("typeof window.cdp") == "undefined"
        page = (await attack.ask("Target.getTargets"))["targetInfos"][0]["targetId"]
        devtools, _ = attack.chromium._connection()
        attached = await devtools.call("Target.attachToTarget", {"targetId": page, "flatten": True})
        result = attached["result"]
        assert isinstance(result, dict)
        # The user opens one of the browser's own pages in the agent's tab.
        await devtools.call("Page.navigate", {"url": "chrome://version"}, result["sessionId"])
        while "result" in await attack.ask("Runtime.evaluate", expression="1"):
            await trio.lowlevel.checkpoint()
        for method in ("Runtime.evaluate", "Page.captureScreenshot", "DOM.getDocument"):
            assert "not one of the web" in await attack.denied(method, expression="1")
        await attack.ask("Page.navigate", url=attack.site.url)
        title: object = None
        while title != "Site":
            answer = await attack.ask("Runtime.evaluate", expression="document.title")
            title = answer.get("result", {}).get("value")


async def test_a_command_that_is_nested_deep_does_not_end_the_tunnel() -> None:
    async with open_attack() as attack:
        end = attack.server.browser_tunnels[attack.tunnel.session_id]
        for depth in (200, 240, 300, 500, 900, 960, 990, 5000):
            deep = '{"a":' * depth + "1" + "}" * depth
            for message in (
                f'{{"id":77,"method":"DOM.getDocument","params":{deep}}}',
                f'{{"id":77,"method":"Runtime.evaluate","params":{deep}}}',
                f'{{"id":{deep},"method":"Browser.getVersion"}}',
            ):
                await end.send_text(message)
        assert "product" in await attack.ask("Browser.getVersion")


async def test_keys_do_not_open_the_browsers_own_pages() -> None:
    async with open_attack() as attack:
        await attack.visit(attack.site.url)
        for letter, modifiers in (
            *((letter, 2) for letter in "TNOSJLUHP"),
            *((letter, 10) for letter in "NTIJ"),
        ):
            for kind in ("rawKeyDown", "keyDown"):
                await attack.denied(
                    "Input.dispatchKeyEvent",
                    type=kind,
                    key="a",
                    windowsVirtualKeyCode=ord(letter),
                    modifiers=modifiers,
                )
        await attack.denied("Input.dispatchKeyEvent", type="rawKeyDown", windowsVirtualKeyCode=123)
        await attack.pause(0.5)
        devtools, _ = attack.chromium._connection()
        found = await devtools.call("Target.getTargets")
        result = found["result"]
        assert isinstance(result, dict)
        pages = [each["url"] for each in result["targetInfos"] if each["type"] == "page"]
        assert pages == [f"{attack.site.url}/"]


async def test_a_page_does_not_start_another_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Chromium opens ``mailto:`` in another program without a question."""
    started = tmp_path / "started"
    for name in ("xdg-open", "gio", "xdg-email"):
        program = tmp_path / name
        program.write_text(f'#!/bin/sh\necho "$@" >> {started}\n')
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    async with open_attack() as attack:
        await attack.visit(attack.site.url)
        for url in ("mailto:a@b", "tel:1", "ssh://x", "vscode://x", "unknown:x"):
            await attack.value_of(f"location.href = '{url}'; 1")
            await attack.pause(0.3)
            await attack.denied("Page.navigate", url=url)
        await attack.pause(1)
    assert not started.exists()
