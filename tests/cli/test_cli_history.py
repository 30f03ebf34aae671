"""The history of the chat: what is kept, for whom, and without secrets."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from tests.support.command_line import PROMPT
from trio_mix.cli.ui._history import PrivateHistory, looks_secret
from trio_mix.testing import (
    MixServer,
    Say,
    Turn,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.command_line import OpenTerminal
CTRL_D, UP = "\x04", "\x1b[A"

KEY = "sk-ant-0123456789abcdefghij"


async def test_history_is_kept_for_the_next_chat_without_secrets_and_for_the_user_alone(
    open_terminal: OpenTerminal, tmp_path: Path
) -> None:
    env = {"XDG_STATE_HOME": str(tmp_path)}
    async with MixServer(pace=0) as server:
        server.script(lambda _: True, Turn(Say("noted")))
        async with open_terminal("chat", "--server", server.url, env=env) as terminal:
            for text in ("remember me", f"my key is {KEY}", " off the record"):
                await terminal.expect(PROMPT)
                await terminal.type(f"{text}\r")
                await terminal.expect("noted")
            await terminal.expect(PROMPT)
            await terminal.type(CTRL_D)
            assert await terminal.end() == 0
        path = tmp_path / "trio-mix" / "chat_history"
        written = path.read_text(encoding="utf-8")
        assert "remember me" in written
        assert KEY not in written
        assert "off the record" not in written
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert stat.S_IMODE(os.stat(path.parent).st_mode) == 0o700
        async with open_terminal("chat", "--server", server.url, env=env) as terminal:
            await terminal.expect(PROMPT)
            await terminal.type(UP)
            await terminal.expect("remember me")
            await terminal.type("\r")
            await terminal.expect("noted")
            await terminal.expect(PROMPT)
            await terminal.type(CTRL_D)
            assert await terminal.end() == 0
        assert server.runs("remember me") == 2


async def test_no_history_writes_nothing(open_terminal: OpenTerminal, tmp_path: Path) -> None:
    env = {"XDG_STATE_HOME": str(tmp_path)}
    async with MixServer(pace=0) as server:
        async with open_terminal("chat", "--no-history", "--server", server.url, env=env) as it:
            await it.expect(PROMPT)
            await it.type("hello\r")
            await it.expect("done: ")
            await it.expect(PROMPT)
            await it.type(CTRL_D)
            assert await it.end() == 0
    assert os.listdir(tmp_path / "trio-mix") == ["sessions.json"]


def test_a_text_with_a_secret_differs_from_a_text_about_secrets() -> None:
    for text, secret in (
        (f"use {KEY}", True),
        ("the password is hunter2", True),
        ("API key: abcdef", True),
        ("Authorization: Bearer abcdefghijkl", True),
        ("https://x.example/?token=abcdefghijklmn", True),
        ("aB3" * 12, True),
        ("explain how tokens are counted", False),
        ("write a login page with a password field", False),
        ("look at trio_mix/testing/_masking.py please", False),
    ):
        assert looks_secret(text) is secret, text


def test_the_mode_of_an_existing_history_becomes_0600(tmp_path: Path) -> None:
    path = tmp_path / "history"
    path.touch(0o644)
    PrivateHistory(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
