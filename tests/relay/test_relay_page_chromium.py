"""The relay's page in a real Chromium: what people do with it, and what may go wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from tests.support.relay_command import relay_of
from tests.support.relay_page import open_page, serve_page
from trio_mix import Mix
from trio_mix.relay._grants import VERBS, Auth, new_token
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


async def test_a_question_that_appears_under_the_finger_is_not_answered(
    chromium_program: str, tmp_path: Path
) -> None:
    async with MixServer("async") as server:
        second = AskPermission("edit", params={"text": "x"}, then=[Say("Edited.")])
        server.script("go", Turn(AskPermission("bash", then=[second])))
        session_id = server.create_session()
        async with (
            serve_page(server, tmp_path) as url,
            open_page(chromium_program, url + PAGE) as [tab],
        ):
            await tab.open(session_id)
            # Presses every button of a question in the moment in which it appears.
            await tab.value(
                "new MutationObserver(changes => { for (const change of changes)"
                " for (const added of change.addedNodes)"
                " for (const each of added.querySelectorAll?.('.answers button') ?? [])"
                " for (const kind of ['pointerdown', 'click'])"
                " each.dispatchEvent(new PointerEvent(kind, {bubbles: true, cancelable: true})); }"
                ").observe(document.querySelector('.dock'), {childList: true})"
            )
            await tab.say("go")
            await tab.answer("allow")
            await tab.until_text("edit", ".prompt h3")
            await tab.answer("deny")
            await tab.until("!document.querySelector('.prompt')")
            log = await tab.text(".log")
            assert "You allowed bash" in log
            assert "You denied edit" in log
            assert "Edited." not in log


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


async def test_two_people_answer_one_permission_and_the_second_sees_who_was_first(
    chromium_program: str, tmp_path: Path
) -> None:
    file = tmp_path / "tokens.toml"
    tokens = [new_token(file, sessions=None, verbs=VERBS, subject=who) for who in ("ada", "bob")]
    async with MixServer("async") as server:
        server.script("go", Turn(AskPermission("bash", then=[Say("Done.")])))
        session_id = server.create_session()
        async with (
            serve_page(server, tmp_path, auth=Auth.tokens(file)) as url,
            open_page(chromium_program, f"{url}{PAGE}#token={tokens[0]}") as [ada],
            open_page(chromium_program, f"{url}{PAGE}#token={tokens[1]}") as [bob],
        ):
            for tab in (ada, bob):
                await tab.until("location.hash == ''")
                assert tokens[0] not in await tab.value("document.cookie + location.href")
                await tab.open(session_id)
            await ada.say("go")
            for tab in (ada, bob):
                await tab.until("document.querySelector('.prompt')")
            await bob.until_text("ada", ".you .by")
            await ada.answer("allow")
            await bob.until_text("Allowed by ada: bash", ".log")
            assert await bob.count(".prompt") == 0
            await bob.until_text("Done.")


async def test_a_wrong_token_leads_to_the_form_and_the_right_one_past_it(
    chromium_program: str, tmp_path: Path
) -> None:
    token = new_token(tmp_path / "t.toml", sessions=None, verbs=VERBS)
    async with (
        MixServer("async") as server,
        serve_page(server, tmp_path, auth=Auth.tokens(tmp_path / "t.toml")) as url,
        open_page(chromium_program, f"{url}{PAGE}#token=wrong") as [tab],
    ):
        await tab.until("document.querySelector('dialog').open")
        assert "wrong" not in await tab.value("location.href")
        await tab.value("document.querySelector('#token').focus()")
        await tab.type(token)
        await tab.press("Enter")
        await tab.until_text("There are no sessions yet.")


async def test_hostile_text_is_shown_as_text_and_does_not_stop_the_page(
    chromium_program: str, tmp_path: Path
) -> None:
    script = "<script>window.owned = 1</script><img src=x onerror='window.owned = 1'>"
    bidi = "safe\u202egnp.exe\u2066\x1b[31m\x00\u200b\U000e0041"
    marks = ("202E", "2066", "001B", "0000", "200B", "E0041")
    huge = ("x" * 79 + "\n") * (10 * 2**20 // 80)
    async with MixServer("async") as server:
        ask = AskPermission(
            "bash",
            description=script,
            params={"command": "ls\n" * 2000 + bidi, script: "\u00a0\u3164"},
            then=[Say(script, deltas=1), UseTool(script, bidi)],
            otherwise=[Say("Denied.")],
        )
        server.script("go", Turn(Say(bidi, deltas=1), ask))
        server.script("huge", Turn(Say(huge, deltas=12), Say("The end.")))
        session_id = server.create_session(title=f"{script}{bidi}")
        async with (
            serve_page(server, tmp_path) as url,
            open_page(chromium_program, url + PAGE) as [tab],
        ):
            await tab.open(session_id)
            await tab.say("go")
            await tab.until("document.querySelector('.prompt')")
            shown = await tab.value("document.querySelector('.prompt').textContent")
            for mark in (*marks, "00A0", "3164"):
                assert f"⟨U+{mark}⟩" in shown
            assert shown.count("ls\n") == 2000
            assert script in shown
            values = "[...document.querySelectorAll('.value')]"
            long = f"{values}.find(each => each.scrollHeight > each.clientHeight)"
            assert await tab.value(f"{long}.tabIndex") == 0
            assert "2,001 lines" in await tab.value(f"{long}.getAttribute('aria-label')")
            await tab.answer("allow")
            await tab.until("document.querySelector('.tool')")
            said = await tab.value("document.querySelector('.log').textContent")
            for mark in marks:
                assert f"⟨U+{mark}⟩" in said
            assert not set(bidi[4:5] + "\x1b\x00") & set(await tab.value("document.body.innerText"))

            await tab.say("huge")
            await tab.until_text("The end.")
            size = "document.querySelector('.turn:last-child').textContent.length"
            assert await tab.value(size) < 600_000
            assert "characters are not shown here" in await tab.text(".turn:last-child .cut")
            assert await tab.value("window.owned === undefined")
            assert await tab.count("body script, body img, body iframe") == 0
            await tab.value(
                "HTMLAnchorElement.prototype.click = function () { window.saved = this.href }"
            )
            await tab.click(".turn:last-child .cut button")
            await tab.until("window.saved")
            whole = await tab.value(
                "fetch(saved).then(r => r.text()).then(t => t.length, e => String(e))"
            )
            assert whole in (len(huge) + 8, "TypeError: Failed to fetch")


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
            assert "Answered: blue" in await tab.text(".pane .log")

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


async def test_a_screen_reader_gets_names_and_each_answer_once(
    chromium_program: str, tmp_path: Path
) -> None:
    async with MixServer("async") as server:
        server.script("go", Turn(Say("one two three four five")))
        server.script("ask", Turn(AskPermission("bash", params={"command": "ls"})))
        session_id = server.create_session(title="Ours")
        async with (
            serve_page(server, tmp_path) as url,
            open_page(chromium_program, url + PAGE) as [tab],
        ):
            await tab.open(session_id)
            await tab.until("document.querySelector('.link').textContent == 'connected'")
            await tab.value(
                "window.said = []; for (const place of ['news', 'alerts'])"
                " new MutationObserver(changes => changes.forEach(change =>"
                " change.addedNodes.forEach(added => said.push([place, added.textContent]))"
                ")).observe(document.getElementById(place), {childList: true})"
            )
            await tab.value("window.replayed = new Promise(done => setTimeout(done, 1200))")
            await tab.value("replayed")  # the page announces nothing of a replay
            await tab.say("go")
            await tab.until_text("five", ".log")
            await tab.until("said.length")
            await tab.say("ask")
            await tab.until("said.length == 2")
            assert await tab.value("said") == [
                ["news", "Ours: one two three four five"],
                ["alerts", "Permission for bash, in Ours"],
            ]
            await tab.tab.command("Accessibility.enable")
            nodes = (await tab.tab.command("Accessibility.getFullAXTree"))["nodes"]
            named = {
                (node["role"]["value"], node.get("name", {}).get("value", ""))
                for node in nodes
                if not node.get("ignored")
            }
            assert {
                ("navigation", "Sessions"),
                ("main", ""),
                ("region", "Ours"),
                ("log", "Conversation"),
                ("textbox", "Message"),
                ("button", "Send"),
                ("button", "Stop"),
                ("region", "Questions of the agent"),
                ("group", "Allow bash?"),
                ("group", "command, 2 characters"),
                ("button", "Allow"),
                ("button", "Deny"),
            } <= named
            unnamed = [role for role, name in named if role in ("button", "textbox") and not name]
            assert not unnamed


async def test_earlier_messages_are_loaded_from_the_server_also_from_the_oldest(
    chromium_program: str, tmp_path: Path
) -> None:
    for api in ("async", "pipeline-oldest"):
        async with MixServer(api) as server:
            server.script("old", Turn(Say("An old answer.")))
            server.script("new", Turn(Say("A new answer.")))
            session_id = server.create_session(title="Ours")
            async with Mix(server.url) as mix, mix.open_stream(session_id) as session:
                await session.ask("old")
            folder = tmp_path / api
            folder.mkdir()
            async with (
                serve_page(server, folder) as url,
                open_page(chromium_program, url + PAGE) as [tab],
            ):
                await tab.open(session_id)
                await tab.until_text("An old answer.", ".stored")
                await tab.say("new")
                await tab.until_text("A new answer.", ".turns")
                assert "new" in await tab.text(".turns .you")
                assert await tab.count(".turn") == 3


async def test_every_generation_of_servers_and_a_reload_shows_the_same_again(
    chromium_program: str, tmp_path: Path
) -> None:
    for api in ("async", "blocking", "pipeline", "pipeline-oldest"):
        async with MixServer(api) as server:
            ask = AskPermission("bash", params={"command": "ls"}, then=[Say("Allowed.")])
            server.script("go", Turn(Think("Hm."), Say("May I? "), ask))
            server.script("long", Turn(Say("Working."), Hang()))
            session_id = server.create_session(title="Ours")
            folder = tmp_path / api
            folder.mkdir()
            async with (
                serve_page(server, folder) as url,
                open_page(chromium_program, f"{url}{PAGE}#session={session_id}") as [tab],
            ):
                await tab.until("document.querySelector('.pane .badge:not(.opening)')")
                await tab.say("go")
                await tab.answer("allow")
                await tab.until_text("Allowed.", ".reply")
                await tab.until("document.querySelector('.stop[hidden]')")
                await tab.say("long")
                await tab.until("document.querySelector('.stop:not([hidden])')")
                await tab.click(".stop")
                await tab.until("document.querySelector('.stop[hidden]')")
                before = await tab.text(".log")
                assert before.index("go") < before.index("Allowed.") < before.index("long")
                await tab.reload()
                await tab.until("document.querySelectorAll('.turn').length == 2")
                await tab.until("document.querySelector('.pane .badge:not(.opening)')")
                await tab.until("!document.querySelector('.prompt')")
                after = await tab.text(".log")
                for text in ("go", "Allowed.", "long", "Allowed: bash"):
                    assert text in after, api
