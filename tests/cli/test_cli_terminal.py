"""Commands in a pseudo-terminal."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
import trio

from trio_mix import Mix
from trio_mix.testing import (
    AskPermission,
    CancelRequested,
    Fail,
    Hang,
    MixServer,
    Say,
    Turn,
    WaitFor,
)

if TYPE_CHECKING:
    from tests.support.command_line import OpenTerminal

CTRL_C, CTRL_D = "\x03", "\x04"
PROMPT = "you> "
_COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-7]|38;\d+;\d+)m")


async def test_chat_replies_line_by_line_and_exits_at_ctrl_d(open_terminal: OpenTerminal) -> None:
    async with MixServer(pace=0) as server:
        server.script("one", Turn(Say("first answer")))
        server.script("two", Turn(Say("second answer")))
        async with open_terminal("chat", "--server", server.url) as terminal:
            for text, answer in (("one", "first answer"), ("two", "second answer")):
                await terminal.expect(PROMPT)
                await terminal.type(f"{text}\r")
                await terminal.expect(answer)
            await terminal.expect(PROMPT)
            await terminal.type(CTRL_D)
            await terminal.expect("To continue: trio-mix chat --session ")
            assert await terminal.end() == 0


async def test_ctrl_c_in_chat_cancels_the_message_and_the_chat_continues(
    open_terminal: OpenTerminal,
) -> None:
    async with MixServer(pace=0) as server:
        server.script("hang", Turn(Say("working on it"), Hang()))
        server.script("next", Turn(Say("still here")))
        async with open_terminal("chat", "--server", server.url) as terminal:
            await terminal.expect(PROMPT)
            await terminal.type("hang\r")
            await terminal.expect("working on it")
            await terminal.type(CTRL_C)
            await terminal.expect("cancelled")
            await server.wait_for(CancelRequested)
            await terminal.expect(PROMPT)
            await terminal.type("next\r")
            await terminal.expect("still here")
            await terminal.expect(PROMPT)
            await terminal.type(CTRL_C)
            await terminal.expect("(press Ctrl-C again, or Ctrl-D, to exit)")
            await terminal.type(CTRL_D)
            assert await terminal.end() == 0


async def test_chat_asks_the_user_for_permission(open_terminal: OpenTerminal) -> None:
    async with MixServer(pace=0) as server:
        asks = AskPermission(
            description="run it", then=[Say("it ran")], otherwise=[Say("it did not run")]
        )
        server.script("do", Turn(asks))
        async with open_terminal("chat", "--server", server.url) as terminal:
            for answer, outcome in (("y", "it ran"), ("", "it did not run")):
                await terminal.expect(PROMPT)
                await terminal.type("do\r")
                await terminal.expect("tool: bash")
                await terminal.expect("description: run it")
                await terminal.expect("Grant it? [y/N] ")
                await terminal.type(f"{answer}\r")
                await terminal.expect(outcome)
            await terminal.expect(PROMPT)
            await terminal.type(CTRL_D)
            assert await terminal.end() == 0


async def test_ctrl_c_at_a_permission_prompt_cancels_the_message_and_loses_no_line(
    open_terminal: OpenTerminal,
) -> None:
    async with MixServer(pace=0) as server:
        server.script("do", Turn(AskPermission(then=[Say("it ran")])))
        server.script("next", Turn(Say("still here")))
        async with open_terminal("chat", "--server", server.url) as terminal:
            await terminal.expect(PROMPT)
            await terminal.type("do\r")
            await terminal.expect("Grant it? [y/N] ")
            await terminal.type(CTRL_C)
            await terminal.expect("cancelled")
            await terminal.expect(PROMPT)
            await terminal.type("next\r")
            await terminal.expect("still here")
            await terminal.expect(PROMPT)
            await terminal.type(CTRL_D)
            assert await terminal.end() == 0


async def test_a_failed_message_does_not_end_the_chat(open_terminal: OpenTerminal) -> None:
    async with MixServer(pace=0) as server:
        server.script("bad", Turn(Fail("out of luck")))
        async with open_terminal("chat", "--server", server.url) as terminal:
            await terminal.expect(PROMPT)
            await terminal.type("bad\r")
            await terminal.expect("out of luck")
            await terminal.expect(PROMPT)
            await terminal.type(CTRL_D)
            assert await terminal.end() == 0


async def test_ctrl_c_in_ask_cancels_on_the_server_and_exits_with_130(
    open_terminal: OpenTerminal,
) -> None:
    async with MixServer(pace=0) as server:
        server.script("hang", Turn(Say("working on it"), Hang()))
        async with open_terminal("ask", "hang", "--server", server.url) as terminal:
            await terminal.expect("working on it")
            await terminal.type(CTRL_C)
            assert await terminal.end() == 130
        await server.wait_for(CancelRequested)
        assert "Traceback" not in terminal.shown


async def test_ask_has_a_status_line_and_asks_the_user_in_a_terminal(
    open_terminal: OpenTerminal,
) -> None:
    async with MixServer(pace=0) as server:
        go = trio.Event()
        asks = AskPermission(description="run it", then=[Say("it ran")], otherwise=[Say("no")])
        server.script("do", Turn(Say("wait for it"), WaitFor(go), asks))
        async with open_terminal("ask", "do", "--server", server.url) as terminal:
            await terminal.see("wait for it")
            await terminal.see("working · ")
            go.set()
            await terminal.expect("description: run it")
            await terminal.expect("Grant it? [y/N] ")
            await terminal.type("y\n")
            await terminal.expect("it ran")
            assert await terminal.end() == 0
    assert "working" not in terminal.shown


async def test_requests_granted_by_yes_are_shown(open_terminal: OpenTerminal) -> None:
    async with MixServer(pace=0) as server:
        server.script("do", Turn(AskPermission(description="run it", then=[Say("it ran")])))
        async with open_terminal("ask", "do", "--yes", "--server", server.url) as terminal:
            await terminal.expect("permission: bash: run it")
            await terminal.expect("permission: granted")
            await terminal.expect("it ran")
            assert await terminal.end() == 0


async def test_demo_is_live_and_coloured_in_a_terminal(open_terminal: OpenTerminal) -> None:
    async with open_terminal("demo", columns=120) as terminal:
        await terminal.expect("queued: ")
        await terminal.expect("tool calls")
        assert await terminal.end() == 0
    assert "\x1b[" in terminal.raw


@pytest.mark.parametrize("env", [{}, {"NO_COLOR": "1"}], ids=["colours", "NO_COLOR"])
async def test_no_color_leaves_colours_out(
    open_terminal: OpenTerminal, env: dict[str, str]
) -> None:
    coloured = not env
    async with MixServer(pace=0) as server:
        for args in (("ask", "List the files here"), ("doctor",), ("sessions", "--help")):
            url = () if "--help" in args else ("--server", server.url)
            async with open_terminal(*args, *url, env=env) as terminal:
                assert await terminal.end() == 0
            assert bool(_COLOUR.search(terminal.raw)) is coloured, (args, terminal.raw)
        async with open_terminal("chat", "--server", server.url, env=env) as terminal:
            await terminal.expect(PROMPT)
            await terminal.type("List the files here\r")
            await terminal.expect("done: ")
            await terminal.expect(PROMPT)
            await terminal.type(CTRL_D)
            assert await terminal.end() == 0
        assert bool(_COLOUR.search(terminal.raw)) is coloured


async def test_serve_prints_its_address_and_stops_at_ctrl_c(
    open_terminal: OpenTerminal,
) -> None:
    async with open_terminal("serve", "--port", "0") as terminal:
        await terminal.expect("at http://127.0.0.1:")
        await terminal.type(CTRL_C)
        assert await terminal.end() == 130
    assert "Traceback" not in terminal.shown
    assert terminal.last_line == "stopped"


async def test_a_server_without_pace_sends_its_story_at_once(open_terminal: OpenTerminal) -> None:
    async with open_terminal("serve", "--port", "0", "--pace", "0") as terminal:
        await terminal.expect("Ctrl-C stops it")
        found = re.search(r"http://127\.0\.0\.1:\d+", terminal.shown)
        assert found is not None
        async with Mix(found[0]) as mix, mix.open_session() as session:
            with trio.fail_after(10):  # half of what it takes at the usual pace
                assert len((await session.ask("Tell me a story")).text.split()) > 50
        await terminal.type(CTRL_C)
        assert await terminal.end() == 130


async def test_watch_shows_the_events_of_others_until_ctrl_c(open_terminal: OpenTerminal) -> None:
    async with MixServer(pace=0) as server:
        session_id = server.create_session()
        server.script("from elsewhere", Turn(Say("seen by all")))
        async with open_terminal("watch", session_id, "--server", server.url) as terminal:
            await terminal.expect("watching session")
            server.run_message(session_id, "from elsewhere")
            await terminal.expect("from elsewhere")
            await terminal.expect("seen by all")
            await terminal.expect("complete")
            await terminal.type(CTRL_C)
            assert await terminal.end() == 130
