"""The process around the command line: signals, standard streams, the locale, arguments."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.command_line import environment
from trio_mix.testing import (
    AskPermission,
    CancelRequested,
    Hang,
    MixServer,
    RequestReceived,
    Say,
    Turn,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.command_line import OpenTerminal, RunCommand

PROGRAM = f"{sys.executable} -W error -m trio_mix.cli"
UNICODE = "déjà \u65e5\u672c \U0001f600"


async def shell(line: str, **env: str) -> tuple[int, bytes, bytes]:
    """Run a line of the shell, in which ``trio-mix`` is the program."""
    with trio.fail_after(60):
        done = await trio.run_process(
            ["sh", "-c", line.replace("trio-mix", PROGRAM)],
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env=environment(**env),
        )
    return done.returncode, done.stdout, done.stderr


# -- signals -----------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["ask", "chat"])
async def test_a_closed_terminal_cancels_the_turn_on_the_server(
    open_terminal: OpenTerminal, command: str
) -> None:
    async with MixServer(pace=0) as server:
        server.script("hang", Turn(Say("working on it"), Hang()))
        args = ("hang",) if command == "ask" else ()
        async with open_terminal(command, *args, "--server", server.url) as terminal:
            if command == "chat":
                await terminal.expect("you> ")
                await terminal.type("hang\r")
            await terminal.expect("working on it")
            await terminal.aclose()
            with trio.fail_after(30):
                await server.wait_for(CancelRequested)
                assert await terminal.process.wait() == 129


async def test_a_hang_up_signal_restores_the_terminal(open_terminal: OpenTerminal) -> None:
    async with MixServer(pace=0) as server:
        server.script("hang", Turn(Say("working on it"), Hang()))
        async with open_terminal("ask", "hang", "--server", server.url) as terminal:
            await terminal.expect("working on it")
            assert not terminal.echoes()
            terminal.process.send_signal(signal.SIGHUP)
            assert await terminal.end() == 129
            assert terminal.echoes()
        await server.wait_for(CancelRequested)


async def test_nohup_is_respected() -> None:
    async with MixServer(pace=0) as server:
        hang_up = "(sleep 0.3; kill -HUP $$) & "  # after the start, or before: both are ignored
        code, out, _ = await shell(
            f"trap '' HUP; {hang_up} exec trio-mix ask hello --server {server.url}"
        )
    assert code == 0
    assert out


@pytest.mark.parametrize("module", ["trio", "cyclopts", "trio_mix.cli._app", "httpx"])
def test_ctrl_c_during_the_start_is_one_line(module: str) -> None:
    program = f"""
import os, signal, sys

class Interrupt:
    def find_spec(self, name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupt())
from trio_mix.cli import main
sys.exit(main(["sessions", "list", "--server", "http://127.0.0.1:1"]))
"""
    done = subprocess.run(  # noqa: S603 - a fixed program
        [sys.executable, "-c", program], capture_output=True, check=False, env=environment()
    )
    assert done.returncode == 130
    assert done.stderr == b"trio-mix: interrupted\n"


# -- standard streams --------------------------------------------------------------------------


ALL = "<&- >&- 2>&-"


async def test_closed_standard_streams_are_no_crash() -> None:
    async with MixServer(pace=0) as server:
        for command, code, closed in (
            ("--help", 1, ALL),
            ("completion bash", 1, ALL),
            (f"ask hello --server {server.url}", 1, ALL),
            (f"sessions list --server {server.url}", 0, ">&-"),  # there is none to print
            (f"chat --server {server.url}", 0, "<&-"),
            ("sessions list --server http://127.0.0.1:1", 3, "2>&-"),
            ("nonsense", 2, ALL),
        ):
            ended, out, err = await shell(f"trio-mix {command} {closed}")
            assert ended == code, (command, closed, err)
            for output in (out, err):
                assert b"Traceback" not in output
                assert b"Exception ignored" not in output


async def test_a_result_that_cannot_be_written_is_one_line() -> None:
    targets = {">&-": b"(stdout is closed: "}
    if os.path.exists("/dev/full"):  # noqa: ASYNC240 - a device
        targets["> /dev/full"] = b"the output cannot be written: No space left"
    async with MixServer(pace=0) as server:
        server.create_session("title")
        for command in (
            "--help",
            "completion bash",
            f"sessions list --server {server.url}",
            f"sessions list --jsonl --server {server.url}",
            f"ask hello --quiet --server {server.url}",
            f"ask hello --jsonl --server {server.url}",
            f"doctor --server {server.url}",
        ):
            for target, reason in targets.items():
                code, _, err = await shell(f"trio-mix {command} {target}")
                assert (code, len(err.splitlines())) == (1, 1), (command, target, err)
                assert reason in err, (command, target, err)


async def test_a_pipe_whose_reader_exits_is_silent() -> None:
    for command in ("--help", "--version", "completion bash"):
        _, _, err = await shell(f'(trio-mix {command}; echo "code $?" >&2) | true')
        assert err == b"code 0\n", command


async def test_json_is_utf_8_in_every_locale() -> None:
    async with MixServer(pace=0) as server:
        server.script("do", Turn(Say(UNICODE)))
        for locale in (
            {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
            {"PYTHONIOENCODING": "ascii:strict"},
            {"PYTHONIOENCODING": "latin-1"},
        ):
            code, out, err = await shell(f"trio-mix ask do --jsonl --server {server.url}", **locale)
            assert (code, err) == (0, b"")
            assert json.loads(out.decode().splitlines()[-1])["text"] == UNICODE
            code, out, err = await shell(f"trio-mix ask do --server {server.url}", **locale)
            assert code == 0  # what cannot be written is replaced
            assert b"Traceback" not in err


# -- secrets -----------------------------------------------------------------------------------


async def test_credentials_in_an_argument_are_refused_and_not_shown(
    run_command: RunCommand,
) -> None:
    for url in (
        "http://me:s3cr3t@127.0.0.1:1",
        "http://s3cr3t@127.0.0.1:1",
        "http://127.0.0.1:1/?token=s3cr3t",
        "http://127.0.0.1:1/?x=1&api_key=s3cr3t",
    ):
        for args in (["--server", url], [f"--server={url}"], ["--server-url", url]):
            done = await run_command("sessions", "list", *args)
            assert done.code == 2
            assert "MIX_SERVER_URL" in done.err
            assert "s3cr3t" not in done.out + done.err
        done = await run_command("sessions", "list", MIX_SERVER_URL=url)
        assert done.code in (2, 3)
        assert "s3cr3t" not in done.out + done.err


async def test_a_recording_that_replaces_a_file_is_the_users_alone(
    open_terminal: OpenTerminal, tmp_path: Path
) -> None:
    file = tmp_path / "talk.jsonl"
    file.touch(0o644)
    async with MixServer(pace=0) as server:
        args = ("record", str(file), "--force", "--port", "0", "--server", server.url)
        async with open_terminal(*args) as terminal:
            await terminal.expect("Ctrl-C ends it")
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            await terminal.type("\x03")
            await terminal.end()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


async def test_a_terminal_that_is_closed_at_a_prompt_ends_the_command(
    open_terminal: OpenTerminal,
) -> None:
    async with MixServer(pace=0) as server:
        server.script("do", Turn(AskPermission(then=[Say("IT RAN")])))
        for args, prompt in (
            (["chat"], "you> "),
            (["auth", "set", "anthropic"], "(not shown)"),
            (["ask", "do"], "Grant it?"),
        ):
            async with open_terminal(*args, "--server", server.url) as terminal:
                await terminal.expect(prompt)
                await terminal.aclose()
                with trio.fail_after(30):
                    assert await terminal.process.wait() == 129, args
        assert not any(
            isinstance(each, RequestReceived) and each.path.endswith("/grant")
            for each in server.log
        )
