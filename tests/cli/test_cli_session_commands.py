"""``sessions export``, ``fork``, ``rewind`` and ``search``; ``api``; several sessions at once."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from tests.support.rest_kit import answer, canned_server
from trio_mix import Mix
from trio_mix.testing import MixServer, Say, StreamOpened, Turn, UseTool

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.command_line import RunCommand, StartCommand

JSON = {"Content-Type": "application/json"}


async def _session(mix: Mix, *texts: str, title: str = "Talk") -> str:
    session_id = (await mix.sessions.create(title=title)).id
    async with mix.open_stream(session_id) as session:
        for text in texts:
            await session.ask(text)
    return session_id


async def test_export_writes_markdown_or_the_servers_json(
    run_command: RunCommand, tmp_path: Path
) -> None:
    file = tmp_path / "talk.json"
    async with MixServer(pace=0) as server, Mix(server.url) as mix:
        server.script("one", Turn(UseTool("glob", {"p": "```"}), Say("**yes**")))
        session = await _session(mix, "one")
        url = ("--server", server.url)
        done = await run_command("sessions", "export", session, *url)
        assert done.code == 0
        assert done.out.startswith(f"# Talk\n\nSession {session}, created ")
        assert "````\n" in done.out
        assert done.out.endswith("**yes**\n")
        data = await run_command("sessions", "export", session, "--format", "json", *url)
        exported = json.loads(data.out)
        assert exported == (await mix.request("GET", f"/api/sessions/{session}/export")).json()
        for code in (0, 2):
            written = await run_command("sessions", "export", session, "--to", str(file), *url)
            assert written.code == code
        assert json.loads(file.read_text(encoding="utf-8")) == exported
        missing = await run_command("sessions", "export", "nobody", *url)
        assert (missing.code, missing.out) == (1, "")
    async with MixServer("pipeline-oldest", pace=0) as server, Mix(server.url) as mix:
        session = await _session(mix, "one")
        args = ("sessions", "export", session, "--format", "json", "--server", server.url)
        rows = json.loads((await run_command(*args)).out)["messages"]
        assert [row["role"] for row in rows] == ["user", "assistant"]


async def test_rewind_and_fork(run_command: RunCommand) -> None:
    async with MixServer(pace=0) as server, Mix(server.url) as mix:
        session = await _session(mix, "one", "two", "three")
        url = ("--server", server.url)
        done = await run_command("sessions", "rewind", session, "--turns", "2", *url)
        assert (done.code, done.out) == (0, "deleted from: two\n")
        rows = await mix.messages.get_session(id=session)
        assert [row.user_input for row in rows if row.role == "user"] == ["one"]
        for command, problem in (("rewind", "cannot be undone"), ("fork", "cannot fork")):
            refused = await run_command("sessions", command, session, *url)
            assert (refused.code, refused.out, refused.err.count("\n")) == (1, "", 1)
            assert problem in refused.err
    async with MixServer("pipeline", pace=0) as server, Mix(server.url) as mix:
        session = await _session(mix, "one", "two")
        args = ("sessions", "fork", session, "--messages", "2", "--title", "Copy")
        done = await run_command(*args, "--server", server.url)
        copy = done.out.strip()
        assert (await mix.sessions.get(id=copy)).title == "Copy"
        rows = await mix.messages.get_session(id=copy)
        assert [row.user_input for row in rows if row.role == "user"] == ["one"]


async def test_search_finds_titles_and_messages_of_all_sessions(run_command: RunCommand) -> None:
    for api in ("async", "pipeline-oldest"):
        async with MixServer(api, pace=0) as server, Mix(server.url) as mix:
            server.script(lambda _: True, Turn(Say("I see: a TREE\x1b[31m of files")))
            first = await _session(mix, "one", title="About trees")
            second = await _session(mix, "two", title="Other")
            url = ("--server", server.url)
            done = await run_command("sessions", "search", "tree", *url)
            assert done.code == 0, done.err
            found = [line.split("\t")[:3] for line in done.lines]
            place = ["assistant", "I see: a TREE[31m of files"]
            assert sorted(found) == sorted(
                [[first, "title", "About trees"], [first, *place], [second, *place]]
            )
            limited = await run_command("sessions", "search", "tree", "--limit", "1", *url)
            assert len(limited.lines) == 1
            assert "--limit shows more" in limited.err
            line = (await run_command("sessions", "search", "about", "--jsonl", *url)).lines[0]
            assert json.loads(line)["title"] == "About trees"
            assert (await run_command("sessions", "search", "nowhere", *url)).out == ""


async def test_api_makes_any_request(run_command: RunCommand) -> None:
    async with MixServer(pace=0) as server, Mix(server.url) as mix:
        url = ("--server", server.url)
        fields = ("--field", "title=5 things", "--field", "browserMode=local-browser-service")
        made = await run_command("api", "post", "/api/sessions", *fields, *url)
        assert made.code == 0, made.err
        session = json.loads(made.out)["id"]
        body = json.dumps({"title": "a\u202e", "browserMode": "local-browser-service"})
        args = ("api", "POST", "api/sessions", "--data", "-", "--include", *url)
        piped = await run_command(*args, stdin=body)
        assert json.loads(piped.out)["title"] == "a\u202e"
        assert "\u202e" not in piped.out
        assert piped.err.startswith("HTTP 201\n")
        gone = await run_command("api", "DELETE", f"/api/sessions/{session}", *url)
        assert (gone.code, gone.out) == (0, "")
        assert session not in {each.id for each in await mix.sessions.list()}
        refused = await run_command("api", "GET", f"/api/sessions/{session}", *url)
        assert (refused.code, refused.out, refused.err.count("\n")) == (1, "", 1)


async def test_api_paginates(run_command: RunCommand) -> None:
    async with MixServer(pace=0) as server, Mix(server.url) as mix:
        await _session(mix, "one", "two", "three")
        url = ("--server", server.url)
        args = ("api", "GET", "/api/messages/history", "--paginate")
        for limit in ((), ("--param", "limit=2"), ("--param", "limit=4", "--param", "offset=1")):
            done = await run_command(*args, *limit, *url)
            rows = [json.loads(line)["id"] for line in done.lines]
            assert len(set(rows)) == len(rows) == 6 - ("offset=1" in limit)
        looping = await run_command(
            *("api", "GET", "/api/sessions", "--paginate", "--param", "limit=1"), *url
        )
        assert looping.code == 2
        assert "the same rows" in looping.err


async def test_api_prints_a_body_that_is_nested_too_deep_as_it_is(run_command: RunCommand) -> None:
    body = "[" * 5000 + "]" * 5000
    async with MixServer(pace=0) as server:
        server.answer_next("/api/x", 200, body=body.encode(), headers=JSON)
        done = await run_command("api", "GET", "/api/x", "--server", server.url)
        assert (done.code, done.out, done.err) == (0, body + "\n", "")
        server.answer_next("/api/x", 200, body=body.encode(), headers=JSON)
        done = await run_command("api", "GET", "/api/x", "--paginate", "--server", server.url)
        assert (done.code, done.out, done.err.count("\n")) == (1, "", 1), done.err


async def test_api_refuses_mistakes_and_secrets_in_arguments(run_command: RunCommand) -> None:
    async with MixServer(pace=0) as server:
        for args, problem in (
            (["POST", "/x", "--field", "title"], "NAME=VALUE"),
            (["POST", "/x", "--data", "{"], "not valid JSON"),
            (["POST", "/x", "--data", "[" * 5000 + "]" * 5000], "nested deeper"),
            (["POST", "/x", "--data", "{}", "--field", "a=b"], "use one of them"),
            (["POST", "/x", "--paginate"], "GET only"),
            (["GET", "/health", "--paginate"], "does not return a list"),
            (["POST", "/x", "--field", "api_key=4711-secret"], "--data -"),
            (["POST", "/x", "--data", '{"apiKey": "4711-secret"}'], "--data -"),
            (["G T", "/x"], "method"),
            (["GET", "http://elsewhere.test/x"], "must begin with a slash"),
            (["GET", "/api/../x"], "segments '.' and '..'"),
        ):
            done = await run_command("api", *args, "--server", server.url)
            assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
            assert problem in done.err
            assert "4711" not in done.err


async def test_a_response_that_is_not_json_is_an_error_of_the_server(
    run_command: RunCommand,
) -> None:
    health = {"status": "ok", "version": "0.11.4"}
    async with canned_server(
        lambda asked: (
            answer(200, health) if asked.target == "/health" else answer(200, raw=b"<html>")
        )
    ) as server:
        for args in (
            ("api", "GET", "/api/sessions", "--paginate"),
            ("sessions", "export", "some", "--format", "json"),
        ):
            done = await run_command(*args, "--server", server.url)
            assert (done.code, done.out, done.err.count("\n")) == (1, "", 1), done.err
            assert "the body is not JSON" in done.err
            assert "bug" not in done.err


async def test_watch_shows_several_sessions_and_which_event_is_whose(
    start_command: StartCommand,
) -> None:
    async with MixServer(pace=0) as server, Mix(server.url) as mix:
        server.script("one", Turn(Say("first\n")))
        server.script("two", Turn(Say("second\n")))
        ids = [(await mix.sessions.create(title=name)).id for name in ("a", "b")]
        for jsonl in (False, True):
            flags = ["--jsonl"] if jsonl else []
            before = len([each for each in server.log if isinstance(each, StreamOpened)])
            async with start_command("watch", *ids, *flags, "--server", server.url) as process:
                await server.wait_for(StreamOpened, count=before + 2)
                for session_id, text in zip(ids, ("one", "two"), strict=True):
                    async with mix.open_stream(session_id) as session:
                        await session.ask(text)
                assert process.stdout is not None
                received = b""
                whole: list[str] = []
                ended: set[str] = set()
                while len(ended) < len(ids):  # two streams: either may be shown first
                    received += await process.stdout.receive_some()
                    whole = received[: received.rfind(b"\n") + 1].decode().splitlines()
                    ends = [line for line in whole if "complete" in line]
                    ended = {each for each in ids if any(each in line for line in ends)}
            for session_id, text in zip(ids, ("first", "second"), strict=True):
                if jsonl:
                    lines = [json.loads(line) for line in whole]
                    shown = [e for e in lines if e["event"] == "content" and text in e["content"]]
                    assert {each["session"] for each in shown} == {session_id}
                else:
                    assert f"{session_id} text: {text}\n".encode() in received
