"""Sessions in a chat: titles, new ones, copies, undoing, exports, and how to go on."""

from __future__ import annotations

import json
import stat
from typing import TYPE_CHECKING

from trio_mix import Mix
from trio_mix.testing import CancelRequested, Hang, MixServer, RequestReceived, Say, Turn

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.command_line import OpenTerminal, RunCommand

CTRL_C, CTRL_D = "\x03", "\x04"
PROMPT = "you> "


async def _texts(mix: Mix, session_id: str) -> list[str]:
    rows = await mix.messages.get_session(id=session_id)
    return [row.user_input for row in rows if row.role == "user"]


async def test_a_session_is_created_with_the_first_message_and_titled_with_its_first_line(
    run_command: RunCommand,
) -> None:
    async with MixServer(pace=0) as server, Mix(server.url) as mix:
        server.script(lambda _: True, Turn(Say("yes")))
        nothing = await run_command("chat", "--server", server.url, stdin="\n/status\n")
        assert (nothing.code, nothing.err) == (0, "")
        assert await mix.sessions.list() == []
        stdin = "Explain   the parser\nand more\n/new\nAnother\n"
        done = await run_command("chat", "--server", server.url, stdin=stdin)
        assert done.code == 0, done.err
        first, second = await mix.sessions.list()
        assert [first.title, second.title] == ["Explain the parser", "Another"]
        assert await _texts(mix, first.id) == ["Explain   the parser", "and more"]
        assert f"To continue: trio-mix chat --session {second.id} --server {server.url}" in done.err


async def test_undo_deletes_the_last_message_and_its_reply(run_command: RunCommand) -> None:
    async with MixServer(pace=0) as server, Mix(server.url) as mix:
        server.script(lambda _: True, Turn(Say("yes")))
        stdin = "/undo\none\ntwo\n/undo\nthree\n/undo\n/undo\n"
        done = await run_command("chat", "--server", server.url, stdin=stdin)
        assert "deleted, with its reply: two" in done.lines
        assert "deleted, with its reply: three" in done.lines
        assert "there is no session yet" in done.err
        assert "the first message of a session cannot be undone" in done.err
        (session,) = await mix.sessions.list()
        assert await _texts(mix, session.id) == ["one"]


async def test_fork_continues_in_a_copy_where_the_server_can(run_command: RunCommand) -> None:
    async with MixServer("pipeline", pace=0) as server, Mix(server.url) as mix:
        done = await run_command("chat", "--server", server.url, stdin="one\n/fork\ntwo\n")
        assert done.code == 0, done.err
        first, copy = await mix.sessions.list()
        assert f"continuing in the copy {copy.id}" in done.lines
        assert await _texts(mix, first.id) == ["one"]
        assert await _texts(mix, copy.id) == ["one", "two"]
    async with MixServer(pace=0) as server:
        done = await run_command("chat", "--server", server.url, stdin="one\n/fork\ntwo\n")
        assert (done.code, server.runs("two")) == (0, 1)
        assert "this server cannot fork a session" in done.err


async def test_model_begins_a_new_session_with_it(run_command: RunCommand) -> None:
    async with MixServer(pace=0) as server:
        stdin = "one\n/model openai/gpt\n/model\ntwo\n/model default\nthree\n"
        done = await run_command("chat", "--server", server.url, stdin=stdin)
        assert done.code == 0, done.err
        assert "model: openai/gpt" in done.lines
        created = [
            json.loads(each.body)
            for each in server.log
            if isinstance(each, RequestReceived)
            and (each.method, each.path) == ("POST", "/api/sessions")
        ]
        models = {each["title"]: each.get("modelId") for each in created}
        assert models == {"one": None, "two": "gpt", "three": None}


async def test_attach_names_files_in_the_next_message(
    run_command: RunCommand, tmp_path: Path
) -> None:
    file = tmp_path / "a b.txt"
    file.write_text("x", encoding="utf-8")
    async with MixServer(pace=0) as server, Mix(server.url) as mix:
        stdin = f'/attach gone\n/attach "{file}"\none\ntwo\n'
        done = await run_command("chat", "--server", server.url, stdin=stdin)
        assert "gone is not a file" in done.err
        (session,) = await mix.sessions.list()
        assert await _texts(mix, session.id) == [
            "one\n\nAttached to this session as files: a b.txt",
            "two",
        ]


async def test_export_writes_markdown_or_json_to_a_new_file(
    run_command: RunCommand, tmp_path: Path
) -> None:
    text, data = tmp_path / "talk.md", tmp_path / "talk.json"
    async with MixServer(pace=0) as server:
        server.script("one", Turn(Say("**first** reply\x1b[31m")))
        stdin = f"one\n/export {text}\n/export {data}\n/export {text}\n"
        done = await run_command("chat", "--server", server.url, stdin=stdin)
    assert f"{text} exists" in done.err
    written = text.read_text(encoding="utf-8")
    assert written.startswith("# one\n")
    assert "## User\n\none\n" in written
    assert "## Assistant\n\n**first** reply[31m\n" in written
    assert stat.S_IMODE(text.stat().st_mode) == 0o600
    exported = json.loads(data.read_text(encoding="utf-8"))
    assert exported["messages"][0]["content"] == "one"
    assert "\x1b" not in data.read_text(encoding="utf-8")


async def test_enter_after_a_stop_lets_the_agent_go_on_and_both_exits_say_how_to_continue(
    open_terminal: OpenTerminal,
) -> None:
    async with MixServer(pace=0) as server, Mix(server.url) as mix:
        server.script("hang", Turn(Say("working"), Hang()))
        server.script("Go on where you stopped.", Turn(Say("and here is the rest")))
        async with open_terminal("chat", "--server", server.url) as terminal:
            await terminal.expect(PROMPT)
            await terminal.type("hang\r")
            await terminal.see("· working")
            await terminal.type(CTRL_C)
            await server.wait_for(CancelRequested)
            await terminal.expect("(Enter goes on with it)")
            await terminal.expect(PROMPT)
            await terminal.type("\r")
            await terminal.expect("and here is the rest")
            await terminal.expect(PROMPT)
            await terminal.type("\r")  # sends nothing now
            await terminal.expect(PROMPT)
            await terminal.type(CTRL_C)
            await terminal.expect("(press Ctrl-C again, or Ctrl-D, to exit)")
            await terminal.type(CTRL_C)
            await terminal.expect("To continue: trio-mix chat --session ")
            assert await terminal.end() == 130
        (session,) = await mix.sessions.list()
        assert await _texts(mix, session.id) == ["hang", "Go on where you stopped."]


async def test_edit_sends_what_the_editor_wrote(
    open_terminal: OpenTerminal, tmp_path: Path, run_command: RunCommand
) -> None:
    editor = tmp_path / "editor"
    editor.write_text("#!/bin/sh\nprintf 'first\\nsecond' > \"$1\"\n", encoding="utf-8")
    editor.chmod(0o700)
    async with MixServer(pace=0) as server:
        server.script("first\nsecond", Turn(Say("two lines")))
        for name, shown in ((str(editor), "two lines"), ("/does/not/exist", "cannot be run")):
            env = {"EDITOR": name, "VISUAL": ""}
            async with open_terminal("chat", "--server", server.url, env=env) as terminal:
                await terminal.expect(PROMPT)
                await terminal.type("/edit\r")
                await terminal.expect(shown)
                await terminal.expect(PROMPT)
                await terminal.type(CTRL_D)
                assert await terminal.end() == 0
        done = await run_command("chat", "--server", server.url, stdin="/edit\n")
        assert "/edit needs a terminal" in done.err
