"""Take the pictures of the web page of a relay, in a real Chromium.

``python docs/pictures/web.py`` runs a bundled server and a relay, and writes the pictures to
``docs/_static/web``: for light and for dark pages, and of a phone. It needs the ``dev`` extra and
Chromium.
"""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from tests.support.relay_page import open_page, serve_page
from trio_mix.browser._program import find_chromium
from trio_mix.testing import AskPermission, Hang, MixServer, Say, Think, Turn, UseTool

if TYPE_CHECKING:
    from tests.support.relay_page import PageTab

FOLDER: Final = Path(__file__).parents[1] / "_static" / "web"

_TESTS: Final = Turn(
    Think("The tests first, then the failing one."),
    Say("I ran the tests. One of 214 fails, in the parser of dates:"),
    UseTool("bash", {"command": "pytest -q"}),
    Say(
        " a year before 1900 is read as of this century.\n\nI have a fix. May I clean up the old"
        " build first?"
    ),
    AskPermission(
        "bash",
        description="Run a shell command",
        params={"command": "rm -rf build/ && python -m build", "timeout": 120},
    ),
)
_STORY: Final = Turn(
    Think("A short one."),
    UseTool("glob", {"pattern": "docs/**/*.md"}),
    Say("There are 41 pages. I am reading the one about releases, and"),
    Hang(),
)


async def _take(tab: PageTab, name: str, *, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    await tab.tab.command("Emulation.setEmulatedMedia", features=features)
    await tab.until("!document.querySelector('[aria-disabled]')")
    await tab.value("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")
    taken = await tab.tab.command("Page.captureScreenshot", format="webp", quality=85)
    await trio.Path(FOLDER / name).write_bytes(base64.b64decode(taken["data"]))


async def main() -> None:
    """Write the pictures."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    async with MixServer("async") as server:
        server.script("Run the tests, and fix what fails", _TESTS)
        server.script("Summarise the docs", _STORY)
        for title in ("Translate the error texts", "Release notes of 2.1"):
            server.create_session(title=title)
        docs = server.create_session(title="Summary of the docs")
        tests = server.create_session(title="Failing tests")
        with tempfile.TemporaryDirectory() as folder:
            async with (
                serve_page(server, Path(folder)) as url,
                open_page(find_chromium(), f"{url}/relay/page/") as [tab],
            ):
                await tab.resize(1200, 720)
                await tab.open(tests)
                await tab.say("Run the tests, and fix what fails")
                await tab.click(f"[data-key='beside {docs}']")
                await tab.until("document.querySelectorAll('.pane').length == 2")
                await tab.say_in(2, "Summarise the docs")
                await tab.until_text("about releases", ".pane:nth-of-type(2) .log")
                await tab.until("document.querySelector('.prompt .allow')")
                await _take(tab, "light.webp", scheme="light")
                await _take(tab, "dark.webp", scheme="dark")
                await tab.resize(390, 720)
                await tab.value("document.querySelectorAll('.pane')[0].scrollIntoView()")
                await _take(tab, "phone.webp", scheme="light")


if __name__ == "__main__":
    trio.run(main)
