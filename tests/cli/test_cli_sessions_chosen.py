"""How ``ask`` and ``chat`` choose a session, and what the options add to a message."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from trio_mix import Mix
from trio_mix.testing import (
    Hang,
    MixServer,
    RequestReceived,
    Say,
    Think,
    Turn,
    UseTool,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.command_line import OpenTerminal, RunCommand


def _received(server: MixServer, method: str, path: str) -> list[RequestReceived]:
    return [
        each
        for each in server.log
        if isinstance(each, RequestReceived) and (each.method, each.path) == (method, path)
    ]


async def test_continue_uses_the_session_that_was_used_last_on_the_server(
    run_command: RunCommand, tmp_path: Path
) -> None:
    env = {"XDG_STATE_HOME": str(tmp_path)}
    async with MixServer(pace=0) as server, Mix(server.url) as mix, MixServer(pace=0) as other:
        nothing = await run_command("ask", "-c", "Hi", "--server", server.url, **env)
        assert (nothing.code, nothing.out) == (2, "")
        assert "no session was used on" in nothing.err
        await run_command("ask", "one", "--keep", "--server", server.url, **env)
        (first,) = await mix.sessions.list()
        await run_command("ask", "elsewhere", "--keep", "--server", other.url, **env)
        again = await run_command("ask", "two", "--continue", "--server", server.url, **env)
        assert again.code == 0
        chat = await run_command("chat", "-c", "--server", server.url, stdin="three\n", **env)
        assert f"trio-mix chat --session {first.id}" in chat.err
        rows = await mix.messages.get_session(id=first.id)
        assert [row.user_input for row in rows if row.role == "user"] == ["one", "two", "three"]
    path = tmp_path / "trio-mix" / "sessions.json"
    assert path.stat().st_mode & 0o077 == 0


async def test_a_session_that_ask_deleted_on_a_terminal_is_not_continued(
    run_command: RunCommand, open_terminal: OpenTerminal, tmp_path: Path
) -> None:
    env = {"XDG_STATE_HOME": str(tmp_path)}
    async with MixServer(pace=0) as server:
        await run_command("ask", "one", "--keep", "--server", server.url, **env)
        async with open_terminal("ask", "two", "--server", server.url, env=env) as terminal:
            assert await terminal.end() == 0
        done = await run_command("ask", "three", "-c", "--server", server.url, **env)
        assert done.code == 2
        assert "deleted its session" in done.err
        assert server.runs("three") == 0


async def test_options_that_contradict_each_other_are_refused(run_command: RunCommand) -> None:
    async with MixServer(pace=0) as server:
        for args, named in (
            (["--continue", "--session", "s"], "--continue and --session"),
            (["--model", "m", "--session", "s"], "--model is for a new session"),
            (["--system", "Be brief", "--session", "s"], "--system is for a new session"),
        ):
            done = await run_command("ask", "Hi", *args, "--server", server.url)
            assert (done.code, done.out) == (2, "")
            assert named in done.err


async def test_model_and_system_describe_the_new_session(
    run_command: RunCommand, tmp_path: Path
) -> None:
    prompt = tmp_path / "prompt.txt"
    prompt.write_text("Be brief", encoding="utf-8")
    async with MixServer(pace=0) as server:
        done = await run_command(
            *("ask", "Hi", "--model", "openai/gpt/x", "--system", f"@{prompt}"),
            *("--server", server.url),
        )
        assert done.code == 0
        request = _received(server, "POST", "/api/sessions")[-1]
        body = json.loads(request.body)
        sent = {key: body[key] for key in ("provider", "modelId", "promptMode")}
        assert sent == {"provider": "openai", "modelId": "gpt/x", "promptMode": "append"}
        assert body["customSystemPrompt"] == "Be brief"


async def test_attached_files_are_uploaded_and_named_in_the_message(
    run_command: RunCommand, tmp_path: Path
) -> None:
    for name in ("a.txt", "b.txt"):
        (tmp_path / name).write_text(name, encoding="utf-8")
    files = ["--attach", str(tmp_path / "a.txt"), "--attach", str(tmp_path / "b.txt")]
    async with MixServer(pace=0) as server, Mix(server.url) as mix:
        done = await run_command("ask", "Compare", *files, "--keep", "--server", server.url)
        assert done.code == 0
        (session,) = await mix.sessions.list()
        assert [file.name for file in await mix.files.list(id=session.id)] == ["a.txt", "b.txt"]
        text = (await mix.messages.get_session(id=session.id))[0].user_input
        assert text == "Compare\n\nAttached to this session as files: a.txt, b.txt"
        missing = await run_command("ask", "Hi", "--attach", "gone.txt", "--server", server.url)
        assert (missing.code, missing.err.count("\n")) == (2, 1)
        assert "gone.txt is not a file" in missing.err


async def test_several_words_and_options_before_the_command(run_command: RunCommand) -> None:
    async with MixServer(pace=0) as server:
        server.script("hi there", Turn(Say("Hello")))
        server.script("- a list", Turn(Say("Listed")))
        address = server.url.removeprefix("http://")
        for args in (
            ["ask", "hi", "there"],
            ["--quiet", "ask", "hi", "--plan", "there"],
            ["--thinking", "off", "ask", "hi there"],
        ):
            done = await run_command("--server", address, *args)
            assert (done.code, done.out) == (0, "Hello\n"), done.err
        assert (await run_command("ask", "- a list", "--server", address)).out == "Listed\n"
        listed = await run_command("--server", address, "--jsonl", "sessions", "list")
        assert listed.code == 0
        typo = await run_command("ask", "--sesion", "x", "hi", "--server", address)
        assert (typo.code, typo.out) == (2, "")
        assert "unknown option: --sesion" in typo.err


async def test_quiet_prints_the_text_only(
    run_command: RunCommand, open_terminal: OpenTerminal
) -> None:
    async with MixServer(pace=0) as server:
        server.script("Hi", Turn(Think("Hm."), UseTool("glob", {"p": "*"}), Say("Hello")))
        done = await run_command("ask", "Hi", "--keep", "--quiet", "--server", server.url)
        assert (done.code, done.out, done.err) == (0, "Hello\n", "")
        done = await run_command("chat", "-q", "--server", server.url, stdin="Hi\n")
        assert (done.code, done.out, done.err) == (0, "text: Hello\n", "")
        async with open_terminal("ask", "Hi", "-q", "--server", server.url) as terminal:
            assert await terminal.end() == 0
            assert terminal.shown == "Hello"


async def test_the_time_limit_cancels_the_message(run_command: RunCommand) -> None:
    async with MixServer(pace=0) as server:
        server.script("hang", Turn(Say("so far"), Hang()))
        done = await run_command("ask", "hang", "--timeout", "0.2", "--server", server.url)
        assert done.code == 1
        assert done.err == (
            "trio-mix: the message was cancelled: it did not finish within 0.2 s (--timeout)\n"
        )
        args = ("chat", "--timeout", "0.2", "--server", server.url)
        done = await run_command(*args, stdin="hang\nHi\n")
        assert "info: cancelled after 0.2 s" in done.out


async def test_headers_are_sent_and_a_secret_is_taken_from_a_file_only(
    run_command: RunCommand, tmp_path: Path
) -> None:
    file = tmp_path / "headers"
    file.write_text("# mine\nAuthorization: Bearer abc\n", encoding="utf-8")
    async with MixServer(pace=0) as server:
        args = ("sessions", "list", "--server", server.url)
        done = await run_command(*args, "--header", "X-Team: red", "--header", f"@{file}")
        assert done.code == 0
        (request,) = _received(server, "GET", "/api/sessions")
        assert request.headers["x-team"] == "red"
        assert request.headers["authorization"] == "Bearer abc"
        for header, problem in (
            ("Authorization: Bearer abc", "may be a secret"),
            ("X-Team", 'a header is "Name: value"'),
            ("X Team: red", "valid header name"),
            ("@/does/not/exist", "/does/not/exist"),
        ):
            done = await run_command(*args, "--header", header)
            assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
            assert problem in done.err
            assert "abc" not in done.err
