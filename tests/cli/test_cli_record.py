"""``record`` and ``replay``, and what only a terminal shows."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from trio_mix.testing import MixServer, RequestReceived, Say, Turn

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.command_line import OpenTerminal, RunCommand, Terminal

KEY = "sk-ant-0123456789abcdefghij"


async def test_a_recording_is_replayed_without_the_server_and_without_secrets(
    run_command: RunCommand, open_terminal: OpenTerminal, tmp_path: Path
) -> None:
    file = tmp_path / "talk.jsonl"
    async with MixServer(pace=0) as server:
        server.script("Hi", Turn(Say(f"Hello you, here is {KEY}")))
        session = server.create_session()
        args = ("record", str(file), "--port", "0", "--server", server.url)
        async with open_terminal(*args, columns=200) as terminal:
            url = await _address(terminal)
            first = await run_command("ask", "Hi", "--session", session, "--server", url)
            assert (first.code, first.out) == (0, f"Hello you, here is {KEY}\n")
            await terminal.type("\x03")
            assert await terminal.end() == 130
            await terminal.expect("requests recorded")
    assert stat.S_IMODE(os.stat(file).st_mode) == 0o600
    async with open_terminal("replay", str(file), "--port", "0", columns=200) as terminal:
        url = await _address(terminal)
        again = await run_command("ask", "Hi", "--session", session, "--server", url)
        assert (again.code, again.out) == (0, "Hello you, here is ***\n"), again.err
        other = await run_command("sessions", "list", "--server", url)
        assert other.code == 1
        await terminal.type("\x03")
        assert await terminal.end() == 130
        await terminal.expect("not recorded: GET /api/sessions")


async def _address(terminal: Terminal) -> str:
    await terminal.expect("Ctrl-C")
    return terminal.shown.partition(" at ")[2].split()[0].rstrip(";")


async def test_an_existing_file_is_not_replaced_without_force(
    run_command: RunCommand, tmp_path: Path
) -> None:
    file = tmp_path / "talk.jsonl"
    file.write_text("mine", encoding="utf-8")
    done = await run_command("record", str(file))
    assert done.code == 2
    assert "--force" in done.err
    assert file.read_text(encoding="utf-8") == "mine"


async def test_a_file_that_is_no_recording_is_a_usage_error(
    run_command: RunCommand, tmp_path: Path
) -> None:
    file = tmp_path / "talk.jsonl"
    for content in ("", "no json\n", '{"x": 1}\n'):
        file.write_text(content, encoding="utf-8")
        done = await run_command("replay", str(file))
        assert (done.code, done.err.count("\n")) == (2, 1)
        assert "talk.jsonl" in done.err
    missing = await run_command("replay", str(tmp_path / "nothing"))
    assert (missing.code, missing.err.count("\n")) == (2, 1)


async def test_a_key_typed_at_the_prompt_is_stored_and_not_shown(
    open_terminal: OpenTerminal,
) -> None:
    async with MixServer(provider_key=False) as server:
        async with open_terminal("auth", "set", "anthropic", "--server", server.url) as terminal:
            await terminal.expect("API key for anthropic (not shown): ")
            await terminal.type(f"{KEY}\n")
            await terminal.expect("stored a key")
            assert await terminal.end() == 0
        assert KEY not in terminal.raw
        sent = [each for each in server.log if isinstance(each, RequestReceived)]
        assert any(KEY.encode() in each.body for each in sent)


async def test_ctrl_c_at_the_prompt_for_a_key_restores_the_echo(
    open_terminal: OpenTerminal,
) -> None:
    async with MixServer() as server:
        async with open_terminal("auth", "set", "anthropic", "--server", server.url) as terminal:
            await terminal.expect("(not shown): ")
            assert not terminal.echoes()
            await terminal.type("\x03")
            assert await terminal.end() == 130
            assert terminal.echoes()
        assert "Traceback" not in terminal.shown


async def test_a_transfer_has_a_bar_in_a_terminal(
    open_terminal: OpenTerminal, tmp_path: Path
) -> None:
    path = tmp_path / "data.bin"
    path.write_bytes(b"x" * 3_000_000)
    async with MixServer() as server:
        session = server.create_session()
        args = ("files", "upload", session, str(path), "--server", server.url)
        for columns in (50, 100):
            async with open_terminal(*args, columns=columns) as terminal:
                await terminal.expect("uploaded data.bin (3,000,000 bytes)")
                assert await terminal.end() == 0
            assert "↑ data.bin" in terminal.raw
            assert "━" in terminal.raw
            assert "↑" not in terminal.shown


async def test_lists_are_tables_or_blocks_where_a_table_does_not_fit(
    open_terminal: OpenTerminal,
) -> None:
    async with MixServer() as server:
        session = server.create_session("A title that is longer than a narrow terminal is wide")
        args = ("sessions", "list", "--server", server.url)
        async with open_terminal(*args, columns=120) as terminal:
            await terminal.expect("messages")
            await terminal.expect(session)
            assert await terminal.end() == 0
        async with open_terminal(*args, columns=50) as terminal:
            await terminal.expect(f"id       {session}")
            await terminal.expect("title    A title")
            assert await terminal.end() == 0


async def test_an_empty_list_is_named_on_a_terminal(open_terminal: OpenTerminal) -> None:
    async with MixServer() as server:
        args = ("sessions", "list", "--server", server.url)
        async with open_terminal(*args) as terminal:
            await terminal.expect("no sessions")
            assert await terminal.end() == 0


async def test_who_may_connect_is_checked_before_the_server_starts(
    run_command: RunCommand, tmp_path: Path
) -> None:
    file = tmp_path / "talk.jsonl"
    file.write_text('{"trio_mix_recording": 1}\n', encoding="utf-8")
    for command in (("serve",), ("record", str(file), "--force"), ("replay", str(file))):
        for option, value in (("--allow-host", "mix.lan:80"), ("--allow-origin", "mix.lan")):
            done = await run_command(*command, "--port", "0", option, value)
            assert done.code == 2, (command, option)
            assert option in done.err
            assert "allowed_" not in done.err
