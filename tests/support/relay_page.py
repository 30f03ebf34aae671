"""The relay's page in a real Chromium: a relay in this process, and tabs as people use them."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import attrs
import trio

from tests.support.chromium_tab import launch, open_tab
from trio_mix.relay import Relay, SqliteLog

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from tests.support.chromium_tab import Tab
    from trio_mix.testing import MixServer

__all__ = ["PageTab", "open_page", "serve_page"]

_KEYS = {
    "Enter": (13, "\r"),
    " ": (32, " "),
    "Tab": (9, ""),
    "Escape": (27, ""),
}


@asynccontextmanager
async def serve_page(
    server: MixServer, folder: Path, port: int = 0, **options: Any
) -> AsyncIterator[str]:
    """Run a relay with its page; return its address."""
    log = SqliteLog(str(folder / "relay.db"))
    async with (
        Relay(server.url, log=log, page=True, **options) as relay,
        trio.open_nursery() as nursery,
    ):
        url: str = await nursery.start(relay.serve, "127.0.0.1", port)
        await relay.wait_ready()
        yield url
        nursery.cancel_scope.cancel()


@attrs.frozen
class PageTab:
    """The page in a tab."""

    tab: Tab

    async def until(self, expression: str) -> None:
        """Wait until an expression is true in the page."""
        await self.tab.until(expression)

    async def value(self, expression: str) -> Any:
        """Return the value of an expression in the page."""
        return await self.tab.value_of(expression)

    async def until_text(self, text: str, where: str = "body") -> None:
        """Wait until an element shows a text."""
        await self.until(
            f"(document.querySelector({where!r})?.innerText ?? '').includes({json.dumps(text)})"
        )

    async def text(self, where: str = "body") -> str:
        """Return the text of an element."""
        found: str = await self.value(f"document.querySelector({where!r})?.innerText ?? ''")
        return found

    async def count(self, where: str) -> int:
        """Return how many elements match."""
        found: int = await self.value(f"document.querySelectorAll({where!r}).length")
        return found

    async def click(self, where: str) -> None:
        """Press the mouse on an element, as a person does."""
        place = await self.value(
            f"(() => {{ const found = document.querySelector({where!r});"
            " found.scrollIntoView({block: 'nearest'});"
            " const box = found.getBoundingClientRect();"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        for kind in ("mousePressed", "mouseReleased"):
            await self.tab.command(
                "Input.dispatchMouseEvent",
                type=kind,
                x=place[0],
                y=place[1],
                button="left",
                clickCount=1,
            )

    async def press(self, key: str, *, shift: bool = False, repeat: bool = False) -> None:
        """Press a key."""
        code, text = _KEYS[key]
        fields: dict[str, object] = {
            "key": key,
            "code": "Space" if key == " " else key,
            "windowsVirtualKeyCode": code,
            "modifiers": 8 if shift else 0,
        }
        down = {"type": "keyDown" if text else "rawKeyDown", "text": text, "autoRepeat": repeat}
        await self.tab.command("Input.dispatchKeyEvent", **fields, **down)
        await self.tab.command("Input.dispatchKeyEvent", **fields, type="keyUp")

    async def type(self, text: str) -> None:
        """Type a text into the element that has the focus."""
        await self.tab.command("Input.insertText", text=text)

    async def focus_by_tab(self, matches: str, *, back: bool = False) -> None:
        """Press Tab until the focused element matches a selector."""
        for _ in range(40):
            if await self.value(f"document.activeElement.matches({matches!r})"):
                return
            await self.press("Tab", shift=back)
        raise AssertionError(f"Tab never reached {matches}")

    async def resize(self, width: int, height: int) -> None:
        """Change the size of the window."""
        await self.tab.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )

    async def reload(self) -> None:
        """Load the page again."""
        await self.value("window.before = true")
        await self.tab.command("Page.reload")
        with trio.fail_after(30):
            while await self._is_old():
                await trio.lowlevel.checkpoint()

    async def _is_old(self) -> bool:
        """Return whether the page is not loaded again yet; it cannot be asked in between."""
        ready = "window.before || document.readyState != 'complete'"
        with suppress(AssertionError):
            return bool(await self.tab.value_of(ready))
        return True

    async def open(self, session_id: str) -> None:
        """Open a session from the list, in place of the others."""
        where = f"[data-key='open {session_id}']"
        await self.until(f"document.querySelector({where!r})")
        await self.click(where)
        await self.until("document.querySelector('.pane > header .badge:not(.opening)')")

    async def say(self, text: str) -> None:
        """Type a message and send it, in the first session."""
        await self.say_in(1, text)

    async def say_in(self, number: int, text: str) -> None:
        """Type a message and send it, in one of the open sessions."""
        await self.value(f"document.querySelectorAll('.composer textarea')[{number - 1}].focus()")
        await self.type(text)
        await self.press("Enter")

    async def answer(self, choice: str) -> None:
        """Press a button of a question, once it can be pressed."""
        where = f".prompt .{choice}"
        await self.until(
            f"document.querySelector({where!r})?.getAttribute('aria-disabled') === null"
        )
        await self.click(where)


@asynccontextmanager
async def open_page(program: str, *urls: str) -> AsyncIterator[list[PageTab]]:
    """Open the page in one tab for each address, within one browser."""
    with trio.fail_after(280):
        async with launch(program) as chromium:
            async with AsyncExitStack() as stack:
                opened = [await stack.enter_async_context(open_tab(chromium, url)) for url in urls]
                tabs = [PageTab(tab) for tab in opened]
                for tab in tabs:
                    await tab.resize(1200, 800)
                    await tab.until("document.querySelector('.sessions, dialog[open]')")
                yield tabs
