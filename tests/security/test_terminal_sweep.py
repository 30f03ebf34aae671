"""A hostile server puts control characters into everything; none reaches a terminal or a pipe.

The bundled server's JSON is poisoned on its way out: every text of every response and every event.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import traceback
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.command_line import environment
from trio_mix._terminal_text import HIDDEN, clean, escape, escape_json
from trio_mix.errors import ConfigurationError, StreamClosed, UsageError
from trio_mix.testing import (
    AskPermission,
    Emit,
    Fail,
    MixServer,
    Notify,
    Say,
    SubAgent,
    Think,
    Turn,
    UseTool,
)
from trio_mix.testing.server import _frames, _routes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.command_line import OpenTerminal, RunCommand

TITLE, COLOUR = "\x1b]0;PWNED\x07", "\x1b[38;5;201m\x9b38;5;201m"
INVISIBLE = "\u202e\u2066\u200b\ufeff\u00ad\u2028\u3164\ufe0f\U000e0041\U000e0100"
POISON = f"!{TITLE}{COLOUR}\r\x08\x7f{INVISIBLE}!"
NAME = POISON.replace("\r", "")
MARKS = ("\x1b]", "\x07", "\x1b[38;5;201", "\x9b", "\x7f", *INVISIBLE)
_DATE = re.compile(r"\d{4}-\d\d-\d\dT")
_SENT = ("do", "fail", "/context", "/nope")  # another text would be another client's message
_MAPS = ("providers", "categories", "params", "properties")
TURN = Turn(
    Think("thinks"),
    Say("says"),
    UseTool("tool", {"x": "y"}),
    UseTool("other", {"x": "y"}, success=False),
    Notify("notice", wait=False),
    SubAgent(Say("sub"), UseTool("tool", {"x": "y"})),
    AskPermission(params={"command": "ls"}, path="/srv", otherwise=[Say("refused")]),
    Emit(f"unknown{NAME}", {"a": "b"}),
    Emit("summarize", {"type": "summarize", "progress": "half", "done": False}),
    Emit("session_created", {"type": "session_created", "sessionId": "s", "title": "t"}),
    Emit("session_deleted", {"type": "session_deleted", "sessionId": "s"}),
    Emit("content", {"type": "content", "content": 7}),
    Say("the end"),
)
COMMANDS = (
    "sessions list",
    "sessions show SESSION",
    "sessions create title",
    "files list SESSION",
    "files upload SESSION FILE",
    "files download SESSION a.txt --to FOLDER --force",
    "tools list",
    "tools status",
    "tools commands",
    "tools mcp",
    "auth status",
    "ask do --session SESSION",
    "ask fail --session SESSION",
)
WITHOUT_JSON = (
    "auth check",
    "auth set anthropic",
    "auth login anthropic",
    "sessions cancel SESSION",
    "files delete SESSION a.txt",
    "sessions delete SESSION",
    "doctor",
    "doctor --json",
)


def poisoned(value: object, *, ids: bool, key: str = "") -> object:
    if isinstance(value, dict):
        suffix = POISON if key in _MAPS else ""
        return {
            f"{name}{suffix}": poisoned(each, ids=ids, key=str(name))
            for name, each in value.items()
        }
    if isinstance(value, list | tuple):
        return [poisoned(each, ids=ids, key=key) for each in value]
    if not isinstance(value, str) or value in _SENT or _DATE.match(value):
        return value
    return value if not ids and key.lower().endswith(("id", "type")) else value + POISON


def poison(patch: pytest.MonkeyPatch, *, ids: bool = False) -> None:
    def to_json(value: object) -> str:
        return json.dumps(poisoned(value, ids=ids))

    for module in (_frames, _routes):
        patch.setattr(module, "to_json", to_json)


def prepared(server: MixServer, folder: Path) -> dict[str, str]:
    """Return what stands for the words in the commands."""
    server.script("do", TURN)
    server.script("fail", Turn(Say("x"), Fail("it broke")))
    file = folder / "a.txt"
    file.write_text("text", encoding="utf-8")
    session = server.create_session(f"title{POISON}")
    return {"SESSION": session, "FILE": str(file), "FOLDER": str(folder)}


def assert_clean(text: str, what: object) -> None:
    found = HIDDEN.search(text)
    assert found is None, (what, text[max(0, found.start() - 200) : found.start() + 20])


@pytest.mark.parametrize("ids", [False, True], ids=["texts", "ids too"])
async def test_nothing_hidden_comes_out_of_any_command(
    run_command: RunCommand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, ids: bool
) -> None:
    async with MixServer(pace=0, provider_key=False) as server:
        words = prepared(server, tmp_path)
        poison(monkeypatch, ids=ids)
        url = ("--server", server.url)
        shown = ""
        lines = [
            *(f"{line}{jsonl}" for line in COMMANDS for jsonl in ("", " --jsonl")),
            *WITHOUT_JSON,
        ]
        for line in lines:
            args = [words.get(word, word) for word in line.split()]
            done = await run_command(*args, *url, stdin="key-1234567890\n")
            assert done.code != 70, done.err
            for output in (done.out, done.err):
                assert_clean(output, line)
            shown += done.out + done.err
            if " --json" in line:
                for each in done.lines:
                    json.loads(each)
        assert shown.count("PWNED") > (20 if ids else 60)


async def test_nothing_hidden_comes_out_of_a_chat_in_a_pipe(
    run_command: RunCommand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with MixServer(pace=0) as server:
        prepared(server, tmp_path)
        poison(monkeypatch)
        text = "/help\n/status\ndo\n/tools\nfail\n/context\n/nope\n"
        for option in ((), ("--jsonl",)):
            done = await run_command("chat", *option, "--server", server.url, stdin=text)
            assert_clean(done.out + done.err, option)
            assert (done.out + done.err).count("PWNED") > 10


async def test_nothing_hidden_comes_out_of_errors(run_command: RunCommand, tmp_path: Path) -> None:
    async with MixServer(pace=0) as server:
        words = prepared(server, tmp_path)
        refusal = json.dumps({"error": {"code": 400, "type": NAME, "message": POISON}}).encode()
        headers = {"content-type": "text/html", "retry-after": "1"}
        for status, body in (
            (400, refusal),
            (401, refusal),
            (500, POISON.encode()),
            (302, POISON.encode()),
            (200, POISON.encode()),
            (200, json.dumps({"status": POISON, "version": POISON}).encode()),
            (200, json.dumps([{"id": POISON, "name": POISON}]).encode()),
        ):
            server.answer_next("/", status, headers=headers, body=body, times=10_000)
            for line in ("sessions list", "tools mcp", "ask do", "doctor", "auth check"):
                args = [words.get(word, word) for word in line.split()]
                done = await run_command(*args, "--server", server.url)
                assert_clean(done.out + done.err, (line, status))
            server._backend.canned.clear()


async def test_nothing_hidden_comes_out_of_a_header(run_command: RunCommand) -> None:
    head = "HTTP/1.1 {} X\x9b31m\r\nWWW-Authenticate: \x9b31m\x85{}\r\nContent-Length: 0\r\n\r\n"

    async def respond(stream: trio.SocketStream) -> None:
        async for data in stream:
            if b"\r\n\r\n" in data:
                status = 404 if b"sessions" in data else 401
                await stream.send_all(head.format(status, "PWNED").encode("latin-1"))

    async with trio.open_nursery() as nursery:
        serve = partial(trio.serve_tcp, respond, 0, host="127.0.0.1")
        listeners: list[trio.SocketListener] = await nursery.start(serve)
        url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        for line in ("doctor", "sessions list", "ask do", "auth check"):
            done = await run_command(*line.split(), "--server", url)
            assert_clean(done.out + done.err, line)
            assert "PWNED" in done.out or line != "doctor"
        nursery.cancel_scope.cancel()


def test_nothing_hidden_comes_out_of_a_traceback_and_the_log(tmp_path: Path) -> None:
    """In a process of its own: the log's handler stays."""
    program = f"""
import sys, trio, pytest
sys.path.insert(0, {str(tmp_path)!r})
from pathlib import Path
from tests.security import test_terminal_sweep as sweep
from trio_mix.cli import main
from trio_mix.testing import MixServer

async def run():
    async with MixServer(pace=0) as server:
        words = sweep.prepared(server, Path({str(tmp_path)!r}))
        with pytest.MonkeyPatch.context() as patch:
            sweep.poison(patch)
            for line in ("ask do", "ask fail", "sessions show nobody", "tools mcp"):
                args = [words.get(word, word) for word in line.split()]
                args += ["--debug", "--server", server.url]
                await trio.to_thread.run_sync(main, args)

trio.run(run)
"""
    done = subprocess.run(  # noqa: S603 - a fixed program
        [sys.executable, "-c", program],
        capture_output=True,
        check=False,
        env=environment(MIX_DEBUG="1"),
    )
    errors = done.stderr.decode()
    assert done.returncode == 0, errors
    assert errors.count("Traceback") >= 1
    assert errors.count("DEBUG") > 10
    assert errors.count("PWNED") > 5
    assert_clean(errors + done.stdout.decode(), "debug")


@pytest.mark.parametrize(
    "line",
    [
        "ask do --yes",
        "ask do --jsonl --yes",
        "sessions list",
        "tools status",
        "auth status",
        "doctor",
    ],
)
async def test_nothing_hidden_reaches_a_terminal(
    open_terminal: OpenTerminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, line: str
) -> None:
    async with MixServer(pace=0) as server:
        prepared(server, tmp_path)
        poison(monkeypatch)
        async with open_terminal(*line.split(), "--server", server.url) as terminal:
            await terminal.end()
        assert "PWNED" in terminal.raw
        for mark in (*MARKS, "\x08"):
            assert mark not in terminal.raw, ascii(mark)


async def test_nothing_hidden_reaches_the_terminal_of_a_chat_or_of_watch(
    open_terminal: OpenTerminal, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async with MixServer(pace=0) as server:
        words = prepared(server, tmp_path)
        server.script("do", Turn(*TURN.steps[:6]))
        poison(monkeypatch)
        async with open_terminal("watch", words["SESSION"], "--server", server.url) as watched:
            await watched.expect("watching session")
            async with open_terminal("chat", "--server", server.url, columns=70) as terminal:
                for typed in ("do", "/tools", "/help", "/status", "fail"):
                    await terminal.expect("you> ")
                    await terminal.type(f"{typed}\r")
                    if typed == "do":
                        await terminal.expect("Press Enter to acknowledge it.")
                        await terminal.type("\r")
                await terminal.expect("Check the server's log")
                await terminal.expect("you> ")
            server.run_message(words["SESSION"], "do")
            await watched.expect("complete")
        for raw in (terminal.raw, watched.raw):
            assert raw.count("PWNED") > 5
            for mark in MARKS:
                assert mark not in raw, ascii(mark)


def test_an_error_of_the_library_shows_hidden_characters_as_escapes() -> None:
    for error in (StreamClosed(POISON), UsageError(POISON), ConfigurationError(f"a\n{POISON}")):
        assert not HIDDEN.search(str(error))
        assert "PWNED" in str(error)
        assert not HIDDEN.search("".join(traceback.format_exception(error)))


def test_every_hidden_character_is_cleaned_and_escaped() -> None:
    text = "".join(map(chr, range(0x110000)))
    assert not HIDDEN.search(clean(text))
    assert not HIDDEN.search(escape(text))
    text = re.sub("[\ud800-\udfff]", "", text) + "\ud800x"  # two of them would be a pair
    assert json.loads(escape_json(json.dumps(text, ensure_ascii=False))) == text
    assert {"\n", "\t"} <= set(clean(text))
    for letter in "é日😀֎":
        assert clean(letter) == escape(letter) == letter
