"""A tab of a real Chromium that a test drives."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import trio
from trio_websocket import open_websocket_url

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_websocket import WebSocketConnection

    from trio_mix.browser import Chromium

__all__ = ["Tab", "open_tab"]


class Tab:
    """A tab, for one task at a time."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self._socket = socket
        self._last = 0

    async def command(self, method: str, **params: object) -> dict[str, Any]:
        """Send a command and return its result."""
        self._last += 1
        await self._socket.send_message(
            json.dumps({"id": self._last, "method": method, "params": params})
        )
        while True:
            answer = json.loads(await self._socket.get_message())
            if answer.get("id") == self._last:
                assert "error" not in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    async def value_of(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        result = await self.command(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    async def until(self, expression: str) -> None:
        """Poll until an expression is true in the page."""
        with trio.move_on_after(30):
            while not await self.value_of(f"Boolean({expression})"):
                await self.value_of("new Promise(done => setTimeout(done, 20))")
            return
        text = await self.value_of("document.body?.innerText")
        raise AssertionError(f"never true: {expression}. The text of the page:\n{text}")


@asynccontextmanager
async def open_tab(chromium: Chromium, url: str) -> AsyncIterator[Tab]:
    """Open a tab on a page."""
    host = urlsplit(chromium.cdp_url).netloc
    async with open_websocket_url(chromium.cdp_url) as browser:
        found = await Tab(browser).command("Target.createTarget", url="about:blank")
        page = f"ws://{host}/devtools/page/{found['targetId']}"
        async with open_websocket_url(page) as socket:
            tab = Tab(socket)
            await tab.command("Page.navigate", url=url)  # answered when the page has begun
            yield tab
