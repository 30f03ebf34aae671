"""The chat in a pseudo-terminal: editing, history, commands, keys, the status line."""

from __future__ import annotations

import signal
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import attrs
import pytest
import trio
import trio.testing

from tests.support.command_line import PROMPT
from trio_mix import Mix
from trio_mix.cli._errors import REFUSED
from trio_mix.cli.commands import _chat as chat_module
from trio_mix.cli.commands._ask import ShowOptions
from trio_mix.cli.commands._permissions import PermissionDecisions
from trio_mix.testing import (
    AskPermission,
    Hang,
    MessageRun,
    MixServer,
    Say,
    StreamOpened,
    Turn,
    UseTool,
    WaitFor,
)

if TYPE_CHECKING:
    from tests.support.command_line import OpenTerminal, RunCommand, StartCommand
    from trio_mix.cli.commands._chat_session import ChatSession
    from trio_mix.cli.commands._chat_status import Status
    from trio_mix.cli.ui._keyboard import Keyboard

CTRL_C, CTRL_D, UP, ALT_ENTER = "\x03", "\x04", "\x1b[A", "\x1b\r"


async def test_several_lines_are_one_message_typed_or_pasted(open_terminal: OpenTerminal) -> None:
    async with MixServer(pace=0) as server:
        for text in ("one\ntwo", "three\nfour", "five\nsix"):
            server.script(text, Turn(Say(f"got {text.partition(chr(10))[2]}")))
        async with open_terminal("chat", "--server", server.url) as terminal:
            for typed, answer in (
                (f"one{ALT_ENTER}two\r", "got two"),
                ("three\\\rfour\r", "got four"),
                ("\x1b[200~five\nsix\x1b[201~\r", "got six"),
            ):
                await terminal.expect(PROMPT)
                await terminal.type(typed)
                await terminal.expect(answer)
            await terminal.expect(PROMPT)
            await terminal.type(CTRL_D)
            assert await terminal.end() == 0


async def test_tool_calls_are_one_line_and_shown_in_full_on_demand(
    open_terminal: OpenTerminal,
) -> None:
    async with MixServer(pace=0) as server:
        server.script("do", Turn(UseTool("write", {"path": "a", "content": "x" * 200 + "END"})))
        async with open_terminal("chat", "--server", server.url, columns=60) as terminal:
            await terminal.expect(PROMPT)
            await terminal.type("do\r")
            await terminal.expect("done: ")
            (line,) = [each for each in terminal.shown.splitlines() if each.startswith("tool: ")]
            assert line.endswith("x…")
            await terminal.expect(PROMPT)
            await terminal.type("/tools\r")
            await terminal.expect('END"}')
            await terminal.expect(PROMPT)
            await terminal.type(CTRL_D)
            assert await terminal.end() == 0


async def test_the_chats_own_commands_and_the_servers(open_terminal: OpenTerminal) -> None:
    async with MixServer(pace=0) as server:
        async with open_terminal("chat", "--server", server.url) as terminal:
            for typed, shown in (
                ("/help", "/context"),  # on the page with the chat's own commands
                ("/status", "session: none yet"),
                ("/context", "(made up)"),
                ("/status", "stream: connected"),
                ("//help", "/help: Show the available"),
                ("/nope", "unknown command"),
            ):
                await terminal.expect(PROMPT)
                await terminal.type(f"{typed}\r")
                await terminal.expect(shown)
            await terminal.expect(PROMPT)
            await terminal.type("/exit\r")
            await terminal.expect("To continue")
            assert await terminal.end() == 0
        assert (server.runs("/help"), server.runs("/tools")) == (1, 0)


async def test_permissions_are_granted_once_or_always_or_by_command(
    open_terminal: OpenTerminal,
) -> None:
    async with MixServer(pace=0) as server:
        asks = AskPermission(
            tool_name="edit",
            action="write",
            path="/srv/a",
            then=[Say("it ran")],
            otherwise=[Say("refused")],
        )
        server.script("do", Turn(asks))
        server.script("other", Turn(attrs.evolve(asks, path="/srv/b")))
        async with open_terminal("chat", "--server", server.url) as terminal:
            await terminal.expect(PROMPT)
            for typed, answer, outcome in (
                ("do", "y", "it ran"),
                ("do", "a", "it ran"),
                ("do", None, "it ran"),  # identical parameters
                ("other", "", "refused"),
                ("/allow", None, "granted from now on"),
                ("other", None, "it ran"),
                ("/ask", None, "you are asked"),
                ("other", "no", "refused"),
            ):
                await terminal.type(f"{typed}\r")
                if answer is not None:
                    await terminal.expect("Grant it? [y/N/a] ")
                    await terminal.type(f"{answer}\r")
                await terminal.expect(outcome)
                await terminal.expect(PROMPT)
            await terminal.type(CTRL_D)
            assert await terminal.end() == 0


async def test_a_lost_connection_is_shown_beside_an_open_question(
    open_terminal: OpenTerminal,
) -> None:
    async with MixServer(pace=0) as server:
        server.script("do", Turn(AskPermission(description="run it")))
        async with open_terminal("chat", "--server", server.url) as terminal:
            await terminal.expect(PROMPT)
            await terminal.type("do\r")
            await terminal.expect("Grant it? [y/N] ")
            server.answer_next("/stream", 503, times=1000)
            await server.drop_streams()
            await terminal.expect("(the stream is reconnecting)")
            await terminal.expect("Grant it? [y/N] ")
            await terminal.type(CTRL_C)
            await terminal.expect("info: cancelled")


async def test_a_status_line_is_shown_while_a_message_runs(
    open_terminal: OpenTerminal,
) -> None:
    async with MixServer(pace=0) as server:
        server.script("hang", Turn(Say("half a sentence"), Hang()))
        async with open_terminal("chat", "--server", server.url) as terminal:
            await terminal.expect(PROMPT)
            await terminal.type("hang\r")
            await terminal.see("half a sentence")
            await terminal.see("working · ")
            await terminal.type(CTRL_C)
            await terminal.expect("info: cancelled")
            await terminal.expect("connected · /help")
            assert "working" not in terminal.shown
            assert "half a sentence\ninfo: cancelled\n" in terminal.shown
            await terminal.type(CTRL_D)
            assert await terminal.end() == 0


async def test_tokens_and_cost_are_shown_if_the_server_counts_them(
    open_terminal: OpenTerminal,
) -> None:
    async with MixServer(pace=0) as server:
        server.script("count", Turn(Say("one two three")))
        async with open_terminal("chat", "--server", server.url) as terminal:
            await terminal.expect(PROMPT)
            await terminal.type("count\r")
            await terminal.expect("tokens in, ")
            await terminal.expect(" out · /help")
            await terminal.type(CTRL_D)
            assert await terminal.end() == 0


async def test_ctrl_c_clears_a_line_and_twice_on_an_empty_one_exits(
    open_terminal: OpenTerminal,
) -> None:
    async with MixServer(pace=0) as server, Mix(server.url) as mix:
        session = await mix.sessions.create(title="Old")
        args = ("chat", "--session", session.id, "--server", server.url)
        async with open_terminal(*args) as terminal:
            await terminal.expect(PROMPT)
            await terminal.see("connected")
            await terminal.type("half a thought")
            await terminal.expect("half a thought")
            await terminal.type(CTRL_C)
            await terminal.expect(PROMPT)
            await terminal.type(CTRL_C)
            await terminal.expect("(press Ctrl-C again, or Ctrl-D, to exit)")
            await terminal.expect(PROMPT)
            await terminal.type(CTRL_C)
            assert await terminal.end() == 130
        assert server.runs() == 0


async def test_a_second_ctrl_c_during_a_cancellation_exits() -> None:
    talk = chat_module._Chat(
        cast("ChatSession", None),
        cast("Keyboard", SimpleNamespace(is_terminal=False, is_editor=False)),
        cast("Status", SimpleNamespace(cancelling=lambda: None)),
        PermissionDecisions(None),
        ShowOptions(),
    )
    send, signals = trio.open_memory_channel[int](2)
    everything, talk._running = trio.CancelScope(), trio.CancelScope()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(talk.interrupt, signals, everything)
        for left in (False, True):
            send.send_nowait(signal.SIGINT)
            await trio.testing.wait_all_tasks_blocked()
            assert talk._running.cancel_called
            assert everything.cancel_called is left
        nursery.cancel_scope.cancel()
    assert talk.exit_code == 130


async def test_a_lost_stream_ends_the_chat_also_at_the_prompt(
    open_terminal: OpenTerminal,
) -> None:
    async with MixServer(pace=0) as server, Mix(server.url) as mix:
        session = await mix.sessions.create(title="Old")
        args = ("chat", "--session", session.id, "--server", server.url)
        async with open_terminal(*args) as terminal:
            await terminal.expect(PROMPT)
            await terminal.see("connected")
            await terminal.type("half a thought")
            await terminal.expect("half a thought")
            server.answer_next("/stream", 403, times=1000)
            await server.drop_streams()
            assert await terminal.end() == REFUSED
            await terminal.expect("trio-mix: ")


@pytest.mark.parametrize("busy", [False, True], ids=["resting", "working"])
async def test_a_forgotten_session_is_reported_on_one_line_with_a_remedy(
    start_command: StartCommand, busy: bool
) -> None:
    async with MixServer(pace=0) as server:
        server.script("hang", Turn(Say("half a sentence"), Hang()))
        async with Mix(server.url) as mix:
            session = await mix.sessions.create(title="Old")
        args = ("chat", "--session", session.id, "--server", server.url)
        async with start_command(*args) as chat:
            assert chat.stdin is not None
            await server.wait_for(StreamOpened)
            if busy:
                await chat.stdin.send_all(b"hang\n")
                await server.wait_for(MessageRun, text="hang")
            await server.restart(keep_sessions=False)
            assert await chat.wait() == 1
            assert chat.stderr is not None
            received = [data async for data in chat.stderr]
    (line,) = b"".join(received).decode().splitlines()
    assert "any more" in line
    assert "`trio-mix chat` without --session creates a new one" in line


async def test_a_signal_removes_the_prompt_and_restores_the_terminal(
    open_terminal: OpenTerminal,
) -> None:
    async with MixServer(pace=0) as server, Mix(server.url) as mix:
        session = await mix.sessions.create(title="Old")
        args = ("chat", "--session", session.id, "--server", server.url)
        async with open_terminal(*args) as terminal:
            await terminal.expect(PROMPT)
            await terminal.see("connected")
            await terminal.type("half a thought")
            await terminal.expect("half a thought")
            terminal.process.send_signal(signal.SIGTERM)
            assert await terminal.end() == 143
    assert "\x1b[?2004l" in terminal.raw  # what was set for pasting is set back


async def test_text_typed_during_a_message_is_read_by_the_next_prompt(
    open_terminal: OpenTerminal,
) -> None:
    async with MixServer(pace=0) as server:
        go = trio.Event()
        server.script("slow", Turn(Say("wait for it"), WaitFor(go), Say("done with it")))
        server.script("next", Turn(Say("still here")))
        async with open_terminal("chat", "--server", server.url) as terminal:
            await terminal.expect(PROMPT)
            await terminal.type("slow\r")
            await terminal.see("wait for it")
            await terminal.type("next\r")
            go.set()
            await terminal.expect("done with it")
            await terminal.expect("still here")
            await terminal.expect(PROMPT)
            assert "wait for itnext" not in terminal.shown
            await terminal.type(CTRL_D)
            assert await terminal.end() == 0


async def test_a_dumb_terminal_has_a_chat_without_escape_sequences(
    open_terminal: OpenTerminal,
) -> None:
    async with MixServer(pace=0) as server:
        server.script("hello", Turn(Say("hello you")))
        env = {"TERM": "dumb"}
        async with open_terminal("chat", "--server", server.url, env=env) as terminal:
            await terminal.expect(PROMPT)
            await terminal.type("hello\n")
            await terminal.expect("hello you")
            await terminal.expect(PROMPT)
            await terminal.type(CTRL_D)
            assert await terminal.end() == 0
    assert "\x1b" not in terminal.raw


async def test_a_pipe_can_use_the_commands_of_the_chat(run_command: RunCommand) -> None:
    async with MixServer(pace=0) as server:
        server.script("do", Turn(AskPermission(then=[Say("it ran")], otherwise=[Say("refused")])))
        done = await run_command(
            "chat", "--server", server.url, stdin="do\n/allow\ndo\n/exit\nno\n"
        )
        assert server.runs() == 2
    assert done.code == 0
    answers = [line for line in done.lines if line.startswith("text: ")]
    assert answers == ["text: refused", "text: it ran"]
