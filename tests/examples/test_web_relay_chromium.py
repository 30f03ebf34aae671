"""examples/web_relay in a real Chromium; skipped with a reason if there is none."""

from __future__ import annotations

import trio

from tests.support.chromium_tab import Tab, launch, open_tab
from tests.support.example_programs import run_program
from trio_mix.testing import AskPermission, FaultProxy, MixServer, Say, Turn, WaitFor

_TALK = "(document.getElementById('talk')?.innerText ?? '')"
_STATE = "document.getElementById('state')?.textContent"


async def say(tab: Tab, text: str) -> None:
    """Type into the form and send it."""
    await tab.until(f"{_STATE} == 'live'")
    await tab.value_of(f"document.getElementById('text').value = {text!r}")
    await tab.value_of("document.querySelector('#form button').click()")


async def count_of(tab: Tab, text: str) -> int:
    count: int = await tab.value_of(f"{_TALK}.split({text!r}).length - 1")
    return count


async def test_two_tabs_show_one_conversation_and_a_lost_connection_costs_nothing(
    chromium_program: str,
) -> None:
    go_on = trio.Event()
    async with (
        MixServer(pace=0) as server,
        run_program("-m", "examples.web_relay", "--port=0", server=server.url) as program,
    ):
        server.script(
            "Ask", Turn(AskPermission("bash", description="<b>Run</b> it", then=[Say("I may.")]))
        )
        server.script(
            "Long", Turn(Say("Before. "), WaitFor(go_on), Say("Meanwhile. <i>After.</i>"))
        )
        await program.says(" in a browser")
        url = program.output.partition("open ")[2].split()[0]
        async with (
            FaultProxy(url) as proxy,
            launch(chromium_program) as chromium,
            open_tab(chromium, url) as one,
            open_tab(chromium, proxy.url) as two,
        ):
            await say(one, "Hello")
            for tab in (one, two):
                await tab.until(f"{_TALK}.includes('What can I do for you?')")
                assert await tab.value_of("document.querySelectorAll('.you').length") == 1

            await say(two, "Ask")
            for tab in (one, two):
                await tab.until("document.querySelectorAll('.permission button').length == 2")
            assert "<b>Run</b> it" in await one.value_of(_TALK)
            await one.value_of("document.querySelector('.permission button').click()")
            for tab in (one, two):
                await tab.until(f"{_TALK}.includes('I may.')")
                await tab.until("document.querySelectorAll('.permission button').length == 0")

            await say(one, "Long")
            await two.until(f"{_TALK}.includes('Before.')")
            await proxy.unplug()
            assert await proxy.drop("reset") > 0
            await two.until(f"{_STATE}.includes('lost')")
            go_on.set()
            await one.until(f"{_TALK}.includes('After.')")
            assert await count_of(two, "Meanwhile") == 0
            await proxy.plug_in()
            await two.until(f"{_TALK}.includes('After.')")
            assert await two.value_of(_TALK) == await one.value_of(_TALK)
            assert await count_of(two, "Meanwhile") == 1
            assert "<i>After.</i>" in await two.value_of(_TALK)
