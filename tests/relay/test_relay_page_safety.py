"""The page in a real Chromium: hostile texts, answers by accident, tokens, screen readers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support.relay_page import open_page, serve_page
from trio_mix import Mix
from trio_mix.relay._grants import VERBS, Auth, new_token
from trio_mix.testing import (
    AskPermission,
    MixServer,
    Say,
    Turn,
    UseTool,
)

if TYPE_CHECKING:
    from pathlib import Path


PAGE = "/relay/page/"

pytestmark = pytest.mark.timeout(300)  # a browser on a machine with more to do


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
        await tab.value("[...document.querySelectorAll('.status button')].at(-1).click()")
        await tab.until_text("The relay asks for a token.", "dialog")


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


async def test_a_person_who_looks_elsewhere_is_notified_if_they_want_that(
    chromium_program: str, tmp_path: Path
) -> None:
    async with MixServer("async") as server:
        server.script("ask", Turn(AskPermission("bash")))
        one, two = server.create_session(title="One"), server.create_session(title="Two")
        async with (
            serve_page(server, tmp_path) as url,
            open_page(chromium_program, url + PAGE) as [tab],
        ):
            await tab.value(
                "window.shown = []; window.Notification = class {"
                " static permission = 'denied';"
                " constructor(title, {body}) { shown.push(body); } };"
                " Object.defineProperty(document, 'hidden', {get: () => !window.looking});"
            )
            await tab.open(one)
            await tab.say("ask")
            await tab.until("document.title == '(1) Mix'")
            assert await tab.value("shown") == []
            await tab.answer("deny")
            await tab.until("document.title == 'Mix'")
            await tab.value("Notification.permission = 'granted'")
            await tab.say("ask")
            await tab.until("document.title == '(1) Mix'")
            assert await tab.value("shown") == ["One needs an answer"]
            async with Mix(url) as mix:  # a session that is not open in the page
                await mix.messages.send(id=two, text="ask")
            await tab.until("document.title == '(2) Mix'")
            assert await tab.value("shown") == ["One needs an answer", "Two needs an answer"]
