"""Commands with pipes for their standard streams."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

import trio_mix
from trio_mix import Mix
from trio_mix.testing import AskPermission, Fail, MixServer, Say, Think, Turn, UseTool

if TYPE_CHECKING:
    from tests.support.command_line import RunCommand, StartCommand
    from trio_mix.testing import Api

API: list[Api] = ["async", "blocking", "pipeline"]


async def test_ask_prints_the_text_on_stdout_and_the_rest_on_stderr(
    run_command: RunCommand,
) -> None:
    turn = Turn(Think("Greet."), UseTool("glob", {"p": "*"}), Say("Hello you"))
    for api in API:
        async with MixServer(api, pace=0) as server:
            server.script("Hi", turn)
            done = await run_command("ask", "Hi", "--server", server.url)
        assert (done.code, done.out) == (0, "Hello you\n")
        assert "thinking: Greet." in done.err
        assert 'tool: glob {"p": "*"}' in done.err.replace('{"p":"*"}', '{"p": "*"}')


async def test_ask_deletes_its_session_without_keep(run_command: RunCommand) -> None:
    async with MixServer(pace=0) as server, Mix(server.url) as mix:
        assert (await run_command("ask", "Hi", MIX_SERVER_URL=server.url)).code == 0
        assert await mix.sessions.list() == []
        done = await run_command("ask", "Hi", "--keep", MIX_SERVER_URL=server.url)
        (session,) = await mix.sessions.list()
        assert f"session {session.id}\n" in done.err
        again = await run_command("ask", "Ho", "--session", session.id, MIX_SERVER_URL=server.url)
        assert again.code == 0
        assert len(await mix.sessions.list()) == 1


async def test_ask_denies_permissions_without_an_option(run_command: RunCommand) -> None:
    async with MixServer(pace=0) as server:
        turn = Turn(AskPermission(then=[Say("granted")], otherwise=[Say("denied")]))
        server.script("Do it", turn)
        for flags, answer in (
            (["--yes"], "granted"),
            (["--grant", "edit", "--grant", "bash"], "granted"),
            (["--grant", "edit"], "denied"),
            ([], "denied"),
        ):
            done = await run_command("ask", "Do it", *flags, "--server", server.url)
            assert (done.code, done.out) == (0, f"{answer}\n")
            assert f"permission: {answer}" in done.err
            assert ("--grant bash grants this tool" in done.err) is (answer == "denied")


async def test_ask_runs_shell_commands_only_when_allowed(run_command: RunCommand) -> None:
    async with MixServer("pipeline", pace=0) as server:
        refused = await run_command("ask", "!ls", "--server", server.url)
        assert (refused.code, refused.out) == (2, "")
        assert server.runs() == 0
        done = await run_command("ask", "!ls", "--allow-shell", "--server", server.url)
        assert done.code == 0
        assert done.out.startswith("$ ls\n")


async def test_an_error_of_the_agent_is_one_line_and_exit_code_1(
    run_command: RunCommand,
) -> None:
    async with MixServer(pace=0) as server:
        server.script("Hi", Turn(Fail("no provider key")))
        done = await run_command("ask", "Hi", "--server", server.url)
    assert done.code == 1
    assert done.out == ""
    assert "no provider key" in done.err
    assert done.err.count("\n") == 1


async def test_an_unreachable_server_is_one_line_at_once(run_command: RunCommand) -> None:
    async with MixServer(pace=0) as server:
        url = server.url
    for args in (["ask", "Hi"], ["chat"], ["watch", "s"], ["sessions", "list"]):
        done = await run_command(*args, "--server", url)
        assert (done.code, done.out) == (3, "")
        assert done.err.count("\n") == 1
        assert done.err.startswith(f"trio-mix: {url}: the connection was refused: ")
        assert "Errno" not in done.err


async def test_a_session_that_does_not_exist_is_one_line(run_command: RunCommand) -> None:
    async with MixServer(pace=0) as server:
        for line in (
            "watch nobody",
            "ask Hi --session nobody",
            "chat --session nobody",
            "sessions show nobody",
            "sessions delete nobody",
        ):
            done = await run_command(*line.split(), "--server", server.url)
            assert (done.code, done.out) == (1, ""), line
            assert done.err.count("\n") == 1, line
            assert "nobody" in done.err


async def test_a_typo_is_one_line_that_names_it(run_command: RunCommand) -> None:
    for line, hint in (
        ("aks Hi", "aks"),
        ("ask", "TEXT"),
        ("ask Hi --sesion x", "--sesion"),
        ("serve --api sync", "sync"),
        ("serve --port many", "into a whole number."),
        ("ask Hi --timeout many", "into a number."),
        ("chat extra", "unexpected argument: extra"),
        ("--quiet aks Hi", '"aks"'),
        ("--server localhost:1", "none is named"),
        ("serve --port 99999", "--port"),
        ("serve --pace -1", "--pace"),
        ("ask Hi --server ftp://localhost:1", "--server: 'ftp://localhost:1'"),
    ):
        done = await run_command(*line.split())
        assert (done.code, done.out) == (2, ""), line
        assert done.err.count("\n") == 1, line
        assert done.err.startswith("trio-mix: "), line
        assert hint in done.err, line


async def test_each_line_of_a_pipe_is_a_message_of_the_chat(run_command: RunCommand) -> None:
    async with MixServer(pace=0) as server:
        server.script("one", Turn(Say("first")))
        server.script("two", Turn(Fail("out of luck")))
        server.script("three", Turn(Say("third")))
        done = await run_command("chat", "--server", server.url, stdin="one\n\ntwo\nthree")
    assert [line for line in done.lines if line.startswith("text")] == [
        "text: first",
        "text: third",
    ]
    assert "out of luck" in done.err
    assert done.code == 1


async def test_sessions_are_created_listed_shown_and_deleted(run_command: RunCommand) -> None:
    async with MixServer(pace=0) as server:
        url = {"MIX_SERVER_URL": server.url}
        created = (await run_command("sessions", "create", "My title", **url)).out.strip()
        await run_command("ask", "List the files", "--session", created, **url)
        (listed,) = (await run_command("sessions", "list", **url)).lines
        assert listed.split("\t")[0] == created
        assert listed.split("\t")[-1] == "My title"
        (record,) = (await run_command("sessions", "list", "--jsonl", **url)).lines
        assert json.loads(record)["title"] == "My title"
        shown = await run_command("sessions", "show", created, **url)
        assert f"id: {created}" in shown.lines
        assert [each for each in shown.lines if each.startswith("user: ")] == [
            "user: List the files"
        ]
        records = (await run_command("sessions", "show", created, "--jsonl", **url)).lines
        assert json.loads(records[0])["id"] == created
        assert json.loads(records[1])["user_input"] == "List the files"
        gone = await run_command("sessions", "delete", created, **url)
        assert (gone.code, gone.out) == (0, f"deleted {created}\n")
        assert (await run_command("sessions", "list", **url)).out == ""


async def test_watch_writes_each_event_as_a_line_of_json_as_it_happens(
    start_command: StartCommand,
) -> None:
    async with MixServer(pace=0) as server:
        session = server.create_session()
        server.script("Hi", Turn(Say("Hello", deltas=2)))
        async with start_command("watch", session, "--jsonl", "--server", server.url) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            note = b""
            while not note.endswith(b"\n"):
                note += await process.stderr.receive_some()
            assert note == f"watching session {session}\n".encode()
            server.run_message(session, "Hi")
            out = b""
            while b'"complete"' not in out:
                out += await process.stdout.receive_some()
            process.terminate()
            assert await process.wait() == 143
    events = [json.loads(line) for line in out.decode().splitlines()]
    assert "".join(e["content"] for e in events if e["event"] == "content") == "Hello"
    assert events[-1]["done"] is True


@pytest.mark.parametrize("api", API)
async def test_demo_shows_everything_in_plain_lines_the_same_on_every_run(
    run_command: RunCommand, api: Api
) -> None:
    done = await run_command("demo", "--api", api)
    assert done.code == 0, done.err
    assert done.err == ""
    assert "\x1b" not in done.out
    assert [line[:4] for line in done.lines if " send: " in line] == [
        f"[{number}] " for number in (1, 2, 3, 4)
    ]
    assert any(line.startswith("[1] tool: ") for line in done.lines)
    assert any(line.startswith("[2] permission: ") for line in done.lines)
    assert "[2] permission: granted" in done.lines
    assert any("dropped the connection" in line for line in done.lines)
    assert sum(line.endswith("] done: complete") for line in done.lines) == 3
    assert "[4] text: and not a word was missing." in done.lines
    if api == "async":
        assert any(line.startswith("[4] gap: ") for line in done.lines)
        again = await run_command("demo")
        assert again.out == done.out


async def test_the_real_program_prints_its_version_and_an_error(
    start_command: StartCommand,
) -> None:
    for args, code, out, err in (
        (["--version"], 0, f"{trio_mix.__version__}\n", ""),
        (["sessions", "list", "--server", "http://127.0.0.1:1"], 3, "", "connection was refused"),
    ):
        async with start_command(*args) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            assert b"".join([data async for data in process.stdout]).decode() == out
            errors = b"".join([data async for data in process.stderr]).decode()
            assert err in errors
            assert errors.count("\n") == bool(err)
            assert await process.wait() == code
