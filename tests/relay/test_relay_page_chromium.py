"""The relay's page in a real Chromium: what people do with it, and what may go wrong."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.relay_command import relay_of
from tests.support.relay_page import open_page, serve_page
from trio_mix import Mix
from trio_mix.testing import (
    AskPermission,
    FaultProxy,
    Hang,
    MixServer,
    Notify,
    Say,
    Think,
    Turn,
    UseTool,
    WaitFor,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.command_line import StartCommand

PAGE = "/relay/page/"

pytestmark = pytest.mark.timeout(300)  # a browser on a machine with more to do


async def test_a_conversation_with_a_permission_by_keyboard_alone(
    chromium_program: str, tmp_path: Path
) -> None:
    async with MixServer("async") as server:
        turn = Turn(
            Think("Hm."),
            AskPermission("bash", params={"command": "ls -l"}, then=[Say("Two files.")]),
            UseTool("glob", {"pattern": "*"}),
            Say("That is all."),
        )
        server.script("What is here?", turn)
        async with (
            serve_page(server, tmp_path) as url,
            open_page(chromium_program, url + PAGE) as [tab],
        ):
            await tab.focus_by_tab(".new")
            await tab.press("Enter")
            await tab.until("document.activeElement.matches('.composer textarea')")
            await tab.type("What is here?")
            await tab.press("Enter")
            await tab.until("document.querySelector('.prompt')")
            assert await tab.value("document.activeElement.matches('.composer textarea')")
            assert "ls -l" in await tab.text(".prompt")
            await tab.focus_by_tab(".prompt .allow", back=True)
            await tab.until("!document.activeElement.hasAttribute('aria-disabled')")
            await tab.press("Enter", repeat=True)  # a key that is held down does not answer
            assert await tab.count(".prompt") == 1
            await tab.press("Enter")
            await tab.until_text("That is all.")
            await tab.until("document.querySelector('.pane > header .badge').textContent == ''")
            log = await tab.text(".log")
            assert "You allowed bash" in log
            assert log.index("What is here?") < log.index("Two files.") < log.index("That is all.")
            assert await tab.count(".thinking:not([open])") == 1
            assert await tab.count(".tool:not([open])") == 1
            assert await tab.value("document.activeElement.matches('.composer textarea')")


async def test_the_relay_killed_in_mid_answer_costs_not_one_word(
    chromium_program: str, tmp_path: Path, start_command: StartCommand
) -> None:
    words = [f"word{number} " for number in range(60)]
    go_on = trio.Event()
    async with MixServer("async") as server:
        before, after = "".join(words[:20]), "".join(words[20:])
        server.script("go", Turn(Say(before), WaitFor(go_on), Say(after)))
        server.script("next", Turn(Say("Still here.")))
        session_id = server.create_session()
        async with relay_of(server, tmp_path, start_command, "0", "--page") as (relay, url):
            async with open_page(chromium_program, f"{url}{PAGE}") as [tab]:
                await tab.open(session_id)
                await tab.say("go")
                await tab.until_text("word19")
                relay.kill()
                await relay.wait()
                await tab.until("document.body.dataset.link == 'false'")
                await tab.until_text("reconnecting", ".link")
                await tab.say("next")  # is sent when the relay is back
                await tab.until_text("not sent yet", ".outbox")
                go_on.set()
                port = url.rpartition(":")[2]
                async with relay_of(server, tmp_path, start_command, port, "--page"):
                    await tab.until_text("Still here.")
                    await tab.until("document.body.dataset.link == 'true'")
                    await tab.until("!document.querySelector('.outbox li')")
                    shown = await tab.value("document.querySelector('.text').textContent")
                    assert shown == "".join(words)
                    assert await tab.count(".turn") == 2
        assert (server.runs("go"), server.runs("next")) == (1, 1)


async def test_the_network_cut_under_the_page_costs_nothing(
    chromium_program: str, tmp_path: Path
) -> None:
    go_on = trio.Event()
    async with MixServer("async") as server:
        server.script("go", Turn(Say("Before. "), WaitFor(go_on), Say("Meanwhile. After.")))
        session_id = server.create_session()
        async with (
            serve_page(server, tmp_path) as url,
            FaultProxy(url) as proxy,
            open_page(chromium_program, url + PAGE, proxy.url + PAGE) as [one, two],
        ):
            for tab in (one, two):
                await tab.open(session_id)
            await one.say("go")
            await two.until_text("Before.")
            await proxy.unplug()
            await proxy.drop("reset")
            await two.until("document.body.dataset.link == 'false'")
            go_on.set()
            await one.until_text("After.")
            assert "Meanwhile" not in await two.text(".log")
            await proxy.plug_in()
            await two.until_text("After.")
            text = "document.querySelector('.turn .text').textContent"
            assert await two.value(text) == await one.value(text) == "Before. Meanwhile. After."


async def test_a_phone_sized_window_shows_one_thing_at_a_time(
    chromium_program: str, tmp_path: Path
) -> None:
    async with MixServer("async") as server:
        long = Say("A" * 500 + " " + "word " * 200)
        server.script("go", Turn(long, AskPermission("bash", params={"command": "B" * 5000})))
        session_id = server.create_session(title="C" * 300)
        async with (
            serve_page(server, tmp_path) as url,
            open_page(chromium_program, url + PAGE) as [tab],
        ):
            await tab.resize(360, 640)
            await tab.open(session_id)
            assert not await tab.value("document.querySelector('.sessions').checkVisibility()")
            await tab.say("go")
            await tab.until("document.querySelector('.prompt')")
            assert await tab.value("document.scrollingElement.scrollWidth") <= 360
            for where in (".send", ".stop", ".prompt .allow", ".prompt .deny", ".back"):
                box = await tab.value(
                    f"(() => {{ const found = document.querySelector({where!r});"
                    " found.scrollIntoView({block: 'nearest'});"
                    " const box = found.getBoundingClientRect();"
                    " return [box.left, box.right, box.top, box.bottom]; })()"
                )
                assert 0 <= box[0] < box[1] <= 360, where
                assert 0 <= box[2] < box[3] <= 640, where
            await tab.click(".back")
            await tab.until("document.querySelector('.sessions').checkVisibility()")
            assert "needs an answer" in await tab.text(".sessions")


async def test_sessions_side_by_side_with_notifications_and_files(
    chromium_program: str, tmp_path: Path
) -> None:
    async with MixServer("async") as server:
        ask = Notify("Which?", title="Colour", response="choice", choices=["red", "blue"])
        server.script("ask", Turn(ask, Say("Thanks.")))
        server.script("hi", Turn(Say("Hello.")))
        one, two = server.create_session(title="One"), server.create_session(title="Two")
        async with (
            serve_page(server, tmp_path) as url,
            open_page(chromium_program, f"{url}{PAGE}#session={one}&session={two}") as [tab],
        ):
            await tab.until("document.querySelectorAll('.pane').length == 2")
            await tab.until("document.querySelectorAll('.badge.opening').length == 0")
            await tab.say("ask")  # in the first one
            await tab.say_in(2, "hi")
            await tab.until_text("Hello.", ".pane:nth-of-type(2) .log")
            await tab.until_text("Which?", ".prompt")
            await tab.until("document.title == '(1) Mix'")
            await tab.until(
                "!document.querySelector('.answers button').hasAttribute('aria-disabled')"
            )
            await tab.click(".answers button:nth-of-type(2)")
            await tab.until_text("Thanks.", ".pane .log")
            await tab.until_text("Answered: blue", ".pane .log")

            await tab.click(".pane > header [aria-expanded]")
            await tab.value(
                "(() => { const given = new DataTransfer();"
                " given.items.add(new File(['some text'], 'a <b>.txt'));"
                " const input = document.querySelector('.panel input');"
                " input.files = given.files; input.dispatchEvent(new Event('change')); })()"
            )
            await tab.until_text("a <b>.txt", ".files")
            link = "document.querySelector('.files a')"
            assert await tab.value(f"fetch({link}.href).then(r => r.text())") == "some text"
            assert await tab.value(f"{link}.download") == "a <b>.txt"


async def test_every_generation_shows_what_is_stored_what_is_new_and_the_same_after_a_reload(
    chromium_program: str, tmp_path: Path
) -> None:
    ask = AskPermission("bash", params={"command": "ls"}, then=[Say("Allowed.")])
    async with AsyncExitStack() as stack:
        urls = []
        for api in ("async", "blocking", "pipeline", "pipeline-oldest"):
            server = await stack.enter_async_context(MixServer(api))
            server.script("old", Turn(Say("An old answer.")))
            server.script("go", Turn(Think("Hm."), Say("May I? "), ask))
            server.script("long", Turn(Say("Working."), Hang()))
            session_id = server.create_session(title="Ours")
            async with Mix(server.url) as mix, mix.open_stream(session_id) as session:
                await session.ask("old")
            folder = tmp_path / api
            folder.mkdir()
            url = await stack.enter_async_context(serve_page(server, folder))
            urls.append(f"{url}{PAGE}#session={session_id}")
        tabs = await stack.enter_async_context(open_page(chromium_program, *urls))
        for tab in tabs:
            await tab.until_text("An old answer.", ".stored")
            await tab.say("go")
            await tab.answer("allow")
            await tab.until_text("Allowed.", ".turns")
            await tab.until("document.querySelector('.stop[hidden]')")
            await tab.say("long")
            await tab.until("document.querySelector('.stop:not([hidden])')")
            await tab.click(".stop")
            await tab.until("document.querySelector('.stop[hidden]')")
            words = ("An old answer.", "go", "Allowed.", "long")
            for word in words:
                await tab.until_text(word, ".log")
            before = await tab.text(".log")
            assert [before.index(word) for word in words] == sorted(map(before.index, words))
            await tab.reload()
            await tab.until("document.querySelectorAll('.turns .turn').length == 2")
            await tab.until("!document.querySelector('.badge.opening')")
            await tab.until("!document.querySelector('.prompt')")
            for text in ("go", "Allowed.", "long", "Allowed: bash"):
                await tab.until_text(text, ".turns")
            await tab.until("document.querySelector('.earlier button:not([hidden])')")
            await tab.click(".earlier button")
            await tab.until_text("An old answer.", ".stored")
            assert "go" not in await tab.text(".stored")


async def test_commands_are_answered_and_a_refused_message_can_be_sent_again_or_discarded(
    chromium_program: str, tmp_path: Path
) -> None:
    async with MixServer("async") as server:
        server.script("after", Turn(Say("Went on.")))
        session_id = server.create_session()
        async with (
            serve_page(server, tmp_path) as url,
            open_page(chromium_program, url + PAGE) as [tab],
        ):
            await tab.open(session_id)
            await tab.say("/help")
            await tab.until_text("Show the available commands", ".turns")
            await tab.say("/nosuch")
            await tab.say("after")  # waits behind the refused one
            await tab.until_text("unknown command", ".outbox")
            await tab.click(".outbox button")
            await tab.until("document.querySelectorAll('.turn').length == 3")
            await tab.until_text("unknown command", ".outbox")
            assert await tab.count(".outbox li") == 2
            await tab.click(".outbox button:nth-of-type(2)")
            await tab.until_text("Went on.", ".turns")
            await tab.until("!document.querySelector('.outbox li')")
