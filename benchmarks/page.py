"""How long the relay's web page takes to show a session with many stored events.

``python -m benchmarks.page`` opens the page in Chromium and measures the time from the start of the
navigation to the frame after the newest word is in the document. The peer is the same bytes of
events, shown as one plain text. The longest tasks are those that stop the page meanwhile, and while
a text of 10 MB arrives.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import trio

from tests.support.chromium_tab import launch, open_tab
from tests.support.relay_page import PageTab, serve_page
from trio_mix import Mix
from trio_mix.browser._program import find_chromium
from trio_mix.testing import MixServer, Say, Think, Turn, UseTool

if TYPE_CHECKING:
    from tests.support.chromium_tab import Tab
    from trio_mix.testing import Step

_LAST = "The-newest-word"
_PAINTED = """
(() => {
    const look = () => {
        const end = document.querySelector(
            ".turns > :last-child .reply > :last-child .pieces > :last-child");
        const place = location.pathname.includes("/page/") ? end : document.body;
        if (place?.textContent.includes("WORD") && READY) {
            requestAnimationFrame(() => setTimeout(() => { window.painted = performance.now(); }));
        } else requestAnimationFrame(look);
    };
    look();
    window.longest = 0;
    new PerformanceObserver(list => {
        for (const each of list.getEntries()) window.longest = Math.max(longest, each.duration);
    }).observe({type: "longtask", buffered: true});
})()
"""


def _turns(events: int) -> list[Turn]:
    """Return turns of about 100 events each: thinking, text and two tools."""
    turns = []
    for number in range(events // 100):
        steps: list[Step] = [Think("It is clear what is to be done here. " * 2)]
        for part in range(2):
            steps += [
                Say("The files were read, and each of them has what it should have, now. " * 3),
                UseTool("bash", {"command": f"cat part{part}.txt | sort | uniq -c"}),
            ]
        turns.append(Turn(*steps, Say(_LAST if number == events // 100 - 1 else "Done.")))
    return turns


async def _show(tab: Tab, url: str, ready: str) -> tuple[float, float]:
    """Open an address in a tab; return the milliseconds until it is shown, and the longest task."""
    script = _PAINTED.replace("WORD", _LAST).replace("READY", ready)
    await tab.command("Page.enable")
    added = await tab.command("Page.addScriptToEvaluateOnNewDocument", source=script)
    await tab.command("Page.navigate", url="about:blank")
    await tab.command("Page.navigate", url=url)
    await tab.until("window.painted")
    await tab.command("Page.removeScriptToEvaluateOnNewDocument", identifier=added["identifier"])
    return await tab.value_of("window.painted"), await tab.value_of("window.longest")


async def _measure(events: int, rounds: int) -> None:
    async with MixServer("async", pace=0) as server:
        session_id = server.create_session()
        with tempfile.TemporaryDirectory() as folder:
            async with serve_page(server, Path(folder)) as url:
                async with Mix(url) as mix, mix.open_stream(session_id) as session:
                    for number, turn in enumerate(_turns(events)):
                        server.script(f"message {number}", turn)
                        await session.ask(f"message {number}")
                async with httpx.AsyncClient() as client:
                    stored = bytearray()
                    events_url = f"{url}/stream?sessionId={session_id}&from=earliest&relay=1"
                    async with client.stream("GET", events_url) as answer:
                        async for piece in answer.aiter_bytes():
                            stored += piece
                            if _LAST.encode() in stored[-2000:] and b"event: complete" in piece:
                                break
                    count = stored.count(b"\nevent: ")
                    name = "events.txt"
                    async with Mix(server.url) as direct:
                        await direct.files.upload(id=session_id, file=bytes(stored), filename=name)
                text_url = f"{server.url}/api/sessions/{session_id}/files/{name}"
                async with (
                    launch(find_chromium()) as chromium,
                    open_tab(chromium, "about:blank") as tab,
                ):
                    page, text, longest = [], [], 0.0
                    for _ in range(rounds + 1):  # the first one fills the caches
                        address = f"{url}/relay/page/#session={session_id}"
                        took, task = await _show(tab, address, "true")
                        page.append(took)
                        longest = max(longest, task)
                        took, _ = await _show(tab, text_url, "document.readyState == 'complete'")
                        text.append(took)
                    huge = await _huge(PageTab(tab), server, url)
    shown, plain = statistics.median(page[1:]), statistics.median(text[1:])
    print(f"{count} events, {len(stored) / 2**20:.1f} MiB")
    print(f"page: {shown:.0f} ms; plain text: {plain:.0f} ms; ratio {shown / plain:.1f}")
    print(f"longest task while the events are shown: {longest:.0f} ms")
    print(f"longest task while a text of 10 MB arrives: {huge:.0f} ms")


async def _huge(tab: PageTab, server: MixServer, url: str) -> float:
    """Send a message whose answer has 10 MB; return the longest task in milliseconds."""
    answer = ("x" * 79 + "\n") * (10 * 2**20 // 80)
    server.script("huge", Turn(Say(answer, deltas=40), Say(_LAST)))
    session_id = server.create_session()
    await tab.tab.command("Page.navigate", url="about:blank")
    source = _PAINTED.replace("WORD", _LAST).replace("READY", "true")
    await tab.tab.command("Page.addScriptToEvaluateOnNewDocument", source=source)
    await tab.tab.command("Page.navigate", url=f"{url}/relay/page/#session={session_id}")
    await tab.until("document.querySelector('.pane .badge:not(.opening)')")
    await tab.value("window.longest = 0")
    await tab.say("huge")
    await tab.until("window.painted")
    longest: float = await tab.value("window.longest")
    return longest


def main() -> None:
    """Measure, and print the result."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    trio.run(_measure, chosen.events, chosen.rounds)


if __name__ == "__main__":
    main()
