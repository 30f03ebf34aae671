"""Wrong addresses and taken ports: one line, the right exit code, and never a web page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mix.cli._errors import error_line
from trio_mix.errors import MixDefaultError, RequestInfo
from trio_mix.testing import MixServer

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.command_line import OpenTerminal, RunCommand

PAGE = "<!DOCTYPE html>\n<html><title>It's nginx</title><p>Welcome</p></html>"
HTML = {"Content-Type": "text/html; charset=utf-8"}


async def test_another_server_is_one_line_and_exit_code_3(run_command: RunCommand) -> None:
    async with MixServer(pace=0) as server:
        for command in ("ask Hi", "chat", "watch s", "sessions list", "tools list", "files list s"):
            for status, said in (
                (200, "is no Mix server"),
                (404, "no Mix server"),
                (502, "a proxy"),
            ):
                server.answer_next("/health", status, body=PAGE.encode(), headers=HTML)
                done = await run_command(*command.split(), "--server", server.url)
                assert (done.code, done.out, done.err.count("\n")) == (3, "", 1), done.err
                assert said in done.err
                assert "web page" in done.err
                assert "<" not in done.err


def test_a_web_page_in_a_later_error_is_not_quoted() -> None:
    request = RequestInfo("GET", "http://localhost:8088/api/sessions", "sessions.list")
    for page in (PAGE, PAGE.replace("'", ""), "<html>" + "x" * 5000):
        error = MixDefaultError(status_code=503, headers=HTML, body=page, request=request)
        line = error_line(error)
        assert "a web page" in line
        assert "<" not in line
        assert "nginx" not in line


async def test_a_taken_port_is_one_line_without_a_number_of_the_system(
    run_command: RunCommand, tmp_path: Path
) -> None:
    recording = tmp_path / "r.jsonl"
    async with MixServer(pace=0) as server:
        port = server.url.rpartition(":")[2]
        for args in (
            ["serve", "--port", port],
            ["record", str(recording), "--port", port],
            ["relay", "--listen", f"127.0.0.1:{port}", "--log", f"sqlite:{tmp_path / 'log.db'}"],
            ["web", "--no-open", "--port", port, "--log", f"sqlite:{tmp_path / 'web.db'}"],
        ):
            done = await run_command(*args, MIX_SERVER_URL=server.url)
            assert (done.code, done.out, done.err.count("\n")) == (1, "", 1), done.err
            assert f"127.0.0.1:{port}: the port is in use" in done.err
            assert "Errno" not in done.err
    done = await run_command("replay", str(tmp_path / "none.jsonl"))
    assert (done.code, done.err) == (
        2,
        f"trio-mix: {tmp_path}/none.jsonl: No such file or directory\n",
    )


async def test_an_error_on_a_terminal_is_wrapped_at_words(open_terminal: OpenTerminal) -> None:
    async with MixServer(pace=0) as server:
        url = server.url
    for columns in (80, 40):
        async with open_terminal("ask", "Hi", "--server", url, columns=columns) as terminal:
            assert await terminal.end() == 3
        lines = terminal.shown.splitlines()
        assert len(lines) > 1
        words = " ".join(lines).split()
        assert "refused:" in words
        assert "`trio-mix" in words
        assert words[-1] == "it)"
