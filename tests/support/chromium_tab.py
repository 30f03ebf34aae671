"""A tab of a real Chromium that a test drives."""

from __future__ import annotations

import os
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio

from trio_mix.browser import Chromium, Policy, launch_chromium
from trio_mix.browser._devtools import text_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_mix.browser._devtools import DevTools

__all__ = ["SANDBOX", "Tab", "launch", "open_tab"]

SANDBOX = not hasattr(os, "geteuid") or os.geteuid() != 0
"""Whether Chromium can use its sandbox: not as root."""


def launch(program: str, **options: Any) -> Chromium:
    """Return a Chromium that can reach the test's servers on loopback."""
    options.setdefault("policy", Policy(filter_network=False))
    return launch_chromium(program, sandbox=SANDBOX, **options)


class Tab:
    """A tab, for one task at a time."""

    def __init__(self, devtools: DevTools, session: str) -> None:
        self._devtools = devtools
        self._session = session

    async def command(self, method: str, **params: object) -> dict[str, Any]:
        """Send a command and return its result."""
        answer = await self._devtools.call(method, params, self._session)
        assert "error" not in answer, answer
        result = answer["result"]
        assert isinstance(result, dict)
        return result

    async def value_of(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        result = await self.command(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def _is_true(self, expression: str) -> bool:
        """Return whether an expression is true in the page; waits a little if it is not."""
        polled = f"({expression}) || new Promise(done => setTimeout(done, 20))"
        call = {"expression": f"Promise.resolve({polled}).then(Boolean)", "returnByValue": True}
        answer = await self._devtools.call(
            "Runtime.evaluate", {**call, "awaitPromise": True}, self._session
        )
        match answer:
            case {"error": {"message": "Inspected target navigated or closed"}}:
                return False
            case {"result": {"result": {"value": bool(found)}}}:
                return found
            case _:
                raise AssertionError(answer)

    async def until(self, expression: str) -> None:
        """Poll until an expression is true in the page, which may navigate meanwhile."""
        with trio.move_on_after(30):
            while not await self._is_true(expression):
                pass
            return
        text = await self.value_of("document.body?.innerText")
        raise AssertionError(f"never true: {expression}. The text of the page:\n{text}")


@asynccontextmanager
async def open_tab(chromium: Chromium, url: str) -> AsyncIterator[Tab]:
    """Open a tab on a page."""
    devtools, _ = chromium._connection()
    target = text_of(await devtools.call("Target.createTarget", {"url": "about:blank"}), "targetId")
    attached = await devtools.call("Target.attachToTarget", {"targetId": target, "flatten": True})
    session = text_of(attached, "sessionId")
    assert session is not None, attached
    tab = Tab(devtools, session)
    await tab.command("Page.navigate", url=url)  # answered when the page has begun
    yield tab
