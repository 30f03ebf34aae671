"""Files, tools and keys of a server, with pipes for the standard streams."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from trio_mix import Mix
from trio_mix.testing import Hang, MixServer, RequestReceived, Say, Turn

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.command_line import RunCommand

KEY = "sk-ant-0123456789abcdefghij"


async def test_files_are_uploaded_listed_downloaded_and_deleted(
    run_command: RunCommand, tmp_path: Path
) -> None:
    here, there = tmp_path / "a b.txt", tmp_path / "there"
    here.write_bytes(b"x" * 100_000)
    there.mkdir()
    async with MixServer(pace=0) as server:
        session = server.create_session()
        url = {"MIX_SERVER_URL": server.url}
        up = await run_command("files", "upload", session, str(here), **url)
        assert (up.code, up.out, up.err) == (0, "uploaded a b.txt (100,000 bytes)\n", "")
        listed = await run_command("files", "list", session, "--jsonl", **url)
        (info,) = map(json.loads, listed.lines)
        assert (info["name"], info["size"], info["is_dir"]) == ("a b.txt", 100_000, False)
        cells = (await run_command("files", "list", session, **url)).out.split("\t")
        assert cells[:2] == ["a b.txt", "100000"]
        down = await run_command("files", "download", session, "a b.txt", "--to", str(there), **url)
        assert (down.code, down.err) == (0, "")
        assert (there / "a b.txt").read_bytes() == here.read_bytes()
        gone = await run_command("files", "delete", session, "a b.txt", **url)
        assert (gone.code, gone.out) == (0, "deleted a b.txt\n")
        assert (await run_command("files", "list", session, **url)).out == ""


async def test_a_download_to_stdout_is_the_file_only(
    run_command: RunCommand, tmp_path: Path
) -> None:
    path = tmp_path / "x.txt"
    path.write_text("one\ntwo\n", encoding="utf-8")
    async with MixServer() as server:
        session = server.create_session()
        url = {"MIX_SERVER_URL": server.url}
        up = await run_command("files", "upload", session, str(path), "--name", "y", **url)
        assert up.code == 0
        done = await run_command("files", "download", session, "y", "--to", "-", **url)
    assert (done.code, done.out, done.err) == (0, "one\ntwo\n", "")


async def test_a_failed_download_leaves_the_existing_file_only(
    run_command: RunCommand, tmp_path: Path
) -> None:
    target = tmp_path / "x.txt"
    target.write_text("mine", encoding="utf-8")
    async with MixServer() as server:
        session = server.create_session()
        args = ("files", "download", session, "x.txt", "--to", str(target))
        refused = await run_command(*args, "--server", server.url)
        assert refused.code == 2
        assert "--force" in refused.err
        failed = await run_command(*args, "--force", "--server", server.url)
    assert failed.code == 1
    assert failed.err.count("\n") == 1
    assert target.read_text(encoding="utf-8") == "mine"
    assert os.listdir(tmp_path) == ["x.txt"]


async def test_an_invalid_path_is_a_usage_error_and_nothing_is_sent(
    run_command: RunCommand,
) -> None:
    for args, hint in (
        (["upload", "s", "no such file"], "no such file"),
        (["upload", "s", ".", "--name", "x"], "not a file"),
        (["upload", "s", __file__, __file__, "--name", "x"], "--name"),
        (["download", "s", ".."], "--to"),
        (["download", "s", "a", "b", "--to", "-"], "--to"),
        (["download", "s", "a", "b", "--to", "/nowhere"], "not a folder"),
    ):
        done = await run_command("files", *args, "--server", "http://127.0.0.1:1")
        assert (done.code, done.out) == (2, "")
        assert hint in done.err


async def test_a_name_from_the_server_is_no_path(
    run_command: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    async with MixServer() as server:
        session = server.create_session()
        server.answer_next(f"/api/sessions/{session}/files/", 200, body=b"evil")
        done = await run_command(
            "files", "download", session, "../outside.txt", "--server", server.url
        )
    assert done.code == 0
    assert os.listdir(inside) == ["outside.txt"]
    assert os.listdir(tmp_path) == ["inside"]


async def test_tools_commands_and_mcp_servers_are_listed(run_command: RunCommand) -> None:
    async with MixServer() as server:
        url = {"MIX_SERVER_URL": server.url}
        tools = await run_command("tools", "list", "--jsonl", **url)
        assert all("name" in json.loads(line) for line in tools.lines)
        assert tools.lines
        (status,) = (await run_command("tools", "status", "--jsonl", **url)).lines
        assert json.loads(status)["authenticated"] is False
        plain = await run_command("tools", "status", **url)
        assert plain.out.split("\t")[:3] == ["brave", "Brave Search", "missing (BSA...)"]
        commands = await run_command("tools", "commands", **url)
        assert any(line.startswith("/help\t") for line in commands.lines)
        mcp = await run_command("tools", "mcp", **url)
        assert any(line.startswith("docs\tconnected\t") for line in mcp.lines)


async def test_an_older_server_lists_its_keys_but_not_its_tools(run_command: RunCommand) -> None:
    async with MixServer("blocking") as server:
        status = await run_command("tools", "status", "--server", server.url)
        assert status.out.startswith("brave\t")
        done = await run_command("tools", "list", "--server", server.url)
    assert done.code == 2
    assert "tools status" in done.err


async def test_a_key_is_read_from_stdin_stored_checked_and_deleted_and_never_shown(
    run_command: RunCommand,
) -> None:
    async with MixServer(provider_key=False) as server:
        url = {"MIX_SERVER_URL": server.url}
        before = await run_command("auth", "check", **url)
        assert before.code == 4
        assert "trio-mix auth set" in before.err
        stored = await run_command("auth", "set", "anthropic", stdin=f"{KEY}\n", **url)
        assert (stored.code, stored.err) == (0, "")
        assert KEY not in stored.out
        sent = [each for each in server.log if isinstance(each, RequestReceived) and each.body]
        assert any(KEY.encode() in each.body for each in sent)
        assert (await run_command("auth", "check", **url)).code == 0
        status = [
            json.loads(x) for x in (await run_command("auth", "status", "--jsonl", **url)).lines
        ]
        (line,) = [each for each in status if each["provider"] == "anthropic"]
        assert (line["authenticated"], line["method"]) == (True, "api_key")
        assert (await run_command("auth", "delete", "anthropic", **url)).code == 0
        assert (await run_command("auth", "check", **url)).code == 4


async def test_a_key_as_an_argument_is_refused_and_not_shown(run_command: RunCommand) -> None:
    for args in (
        ["set", "anthropic", KEY],
        ["set", "anthropic", f"--api-key={KEY}"],
        ["set", "anthropic", "--api-key", KEY],
        ["set", f"--api-key={KEY}", "anthropic"],
        ["set", KEY],
        ["set", KEY, "anthropic"],
        ["set", "--key", KEY],
    ):
        done = await run_command("auth", *args, "--server", "http://127.0.0.1:1")
        assert done.code == 2
        assert KEY not in done.out + done.err
        assert done.err.count("\n") == 1


async def test_an_invalid_key_is_not_sent(run_command: RunCommand) -> None:
    async with MixServer() as server:
        for text in ("", "\n", "two words\n"):
            done = await run_command("auth", "set", "openai", "--server", server.url, stdin=text)
            assert done.code == 2
        assert not any(isinstance(e, RequestReceived) and e.method == "POST" for e in server.log)


async def test_a_login_shows_the_url_and_sends_the_code(run_command: RunCommand) -> None:
    async with MixServer(provider_key=False) as server:
        done = await run_command(
            "auth", "login", "anthropic", "--server", server.url, stdin="the-code-123\n"
        )
        assert done.code == 0, done.err
        assert "https://" in done.err
        assert "the-code-123" not in done.out + done.err
        status = await run_command("auth", "status", "--server", server.url)
    assert any(line.startswith("anthropic\t") and line.endswith("oauth") for line in status.lines)


@pytest.mark.parametrize("command", [["watch"], ["ask", "hang", "--jsonl", "--session"]])
async def test_a_reader_that_exits_ends_the_command_at_once_with_exit_code_0(
    command: list[str],
) -> None:
    async with MixServer(pace=0) as server, Mix(server.url) as mix:
        session = (await mix.sessions.create(title="x")).id
        server.script("hang", Turn(Say("one two three"), Hang()))
        process = await trio.lowlevel.open_process(
            [sys.executable, "-W", "error", "-m", "trio_mix.cli", *command, session]
            + (["--jsonl"] if command == ["watch"] else [])
            + ["--server", server.url],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        with trio.fail_after(30):
            if command == ["watch"]:
                await process.stderr.receive_some()  # it watches
                server.run_message(session, "hang")
            out = b""
            while b"three" not in out:  # all that will ever be written
                out += await process.stdout.receive_some()
            await process.stdout.aclose()
            assert await process.wait() == 0
            errors = b""
            while data := await process.stderr.receive_some():
                errors += data
            await process.stderr.aclose()
    assert b"trio-mix:" not in errors
    assert b"Error" not in errors


async def test_ask_with_jsonl_writes_every_event_and_then_the_reply(
    run_command: RunCommand,
) -> None:
    async with MixServer(pace=0) as server:
        server.script("Hi", Turn(Say("Hello you")))
        done = await run_command("ask", "-", "--jsonl", "--server", server.url, stdin="Hi")
    assert (done.code, done.err) == (0, "")
    records = [json.loads(line) for line in done.lines]
    assert "".join(r["content"] for r in records if r["event"] == "content") == "Hello you"
    assert [r["event"] for r in records][-2:] == ["complete", "reply"]
    assert records[-1]["text"] == "Hello you"


async def test_chat_with_jsonl_writes_each_messages_events_and_reply(
    run_command: RunCommand,
) -> None:
    async with MixServer(pace=0) as server:
        done = await run_command("chat", "--jsonl", "--server", server.url, stdin="one\ntwo\n")
    assert done.code == 0
    records = [json.loads(line) for line in done.lines]
    assert sum(r["event"] == "reply" for r in records) == 2
