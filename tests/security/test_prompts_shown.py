"""What the permission prompt shows, and which keys answer it, on a clock of the test."""

from __future__ import annotations

import os
import pty
import select
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import trio
import trio.testing

from trio_mix.cli.ui._permission_prompt import PermissionPrompt
from trio_mix.cli.ui._question import question_lines
from trio_mix.events import PermissionEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import pytest


BLANKS = (" ", "\n", "\t", "\u00a0", "\u3000", "\u2800", "\r\n", "\n \n")


def test_blanks_push_nothing_out_of_view() -> None:
    for blank in BLANKS:
        lines = question_lines(event({"command": f"rm -rf /{blank * 3000}ls"}), 80)
        assert "rm -rf /" in "\n".join(lines[:6])
        assert not any(line.isspace() for line in lines), ascii(blank)
        if blank.strip("\t\u00a0\u3000\u2800"):
            assert len(lines) < 12, ascii(blank)


def test_further_combining_characters_do_not_cover_a_letter() -> None:
    lines = question_lines(event({"command": "r" + "\u0338" * 40 + "m"}), 80)
    assert joined(lines).count("\\u0338") == 37


def test_any_text_at_any_width_is_shown_in_full() -> None:
    text = "".join(chr(code) for code in range(0x21, 0x2000) if chr(code).isprintable())
    for width in (20, 33, 80):
        lines = question_lines(event({"command": text, text: 1, "nested": [text]}), width)
        # No terminal wraps a line, however wide it draws letters: a rest would lack its margin.
        assert all(sum(1 + (not each.isascii()) for each in line) <= width for line in lines)
        shown = joined(lines)
        for letter in text:
            assert letter in shown or letter.encode("unicode_escape").decode() in shown


def joined(lines: list[str]) -> str:
    return "".join(line.removeprefix("      | ") for line in lines)


def event(params: dict[str, object]) -> PermissionEvent:
    return PermissionEvent(
        permission_id="p",
        session_id="s",
        tool_name="bash",
        description="",
        action="execute",
        params=params,
    )


class Asked:
    """A question of the prompt in this process, on a pseudo-terminal and a clock of the test."""

    def __init__(self, stream: trio.lowlevel.FdStream) -> None:
        self.answer: str | None = None
        self.ended = trio.Event()
        self._stream = stream
        self._shown = ""

    async def until(self, text: str) -> None:
        with trio.fail_after(1000):
            while text not in self._shown:
                self._shown += (await self._stream.receive_some()).decode()

    async def type(self, text: str) -> None:
        await self._stream.send_all(text.encode())
        await trio.testing.wait_all_tasks_blocked()

    async def hold(self, text: str) -> None:
        """Type, and wait until the terminal's driver has it."""
        await self.type(text)
        await trio.to_thread.run_sync(select.select, [sys.stdin.fileno()], [], [], 1)

    async def run(self, prompt: PermissionPrompt) -> None:
        self.answer = await prompt.ask(event({"command": "ls"}), offer_always=False)
        self.ended.set()


async def _is_shown(_: PermissionPrompt) -> None:
    await trio.lowlevel.checkpoint()


@asynccontextmanager
async def asking(patch: pytest.MonkeyPatch) -> AsyncIterator[Asked]:
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w", encoding="utf-8") as stream:
        patch.setattr(sys, "stdin", stream)
        patch.setattr(PermissionPrompt, "_until_shown", _is_shown)
        async with trio.open_nursery() as nursery, trio.lowlevel.FdStream(ours) as master:
            asked = Asked(master)
            nursery.start_soon(asked.run, PermissionPrompt(stream))
            yield asked
            nursery.cancel_scope.cancel()


async def test_a_question_without_an_answer_is_denied_after_its_time(
    monkeypatch: pytest.MonkeyPatch, mock_clock: trio.testing.MockClock
) -> None:
    async with asking(monkeypatch) as asked:
        await asked.until("command: ls")
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(0.5)
        await asked.until("Grant it?")
        for _ in range(59):
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(0.5)
        assert asked.answer is None
        await trio.testing.wait_all_tasks_blocked()
        mock_clock.jump(0.5)
        await asked.ended.wait()
        assert asked.answer == "no"


async def test_keys_count_once_nothing_was_typed_for_half_a_second(
    monkeypatch: pytest.MonkeyPatch, mock_clock: trio.testing.MockClock
) -> None:
    async with asking(monkeypatch) as asked:
        await asked.until("command: ls")
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(4):  # a key that is held down
            await asked.hold("y\n")
            mock_clock.jump(0.5)
            await trio.testing.wait_all_tasks_blocked()
            assert asked.answer is None
        for _ in range(2):
            mock_clock.jump(0.5)
            await trio.testing.wait_all_tasks_blocked()
        await asked.until("Grant it?")
        mock_clock.jump(0.5)
        await trio.testing.wait_all_tasks_blocked()
        assert asked.answer is None
        await asked.type("y\n")
        await asked.ended.wait()
        assert asked.answer == "yes"


async def test_keys_that_never_stop_deny(
    monkeypatch: pytest.MonkeyPatch, mock_clock: trio.testing.MockClock
) -> None:
    async with asking(monkeypatch) as asked:
        await asked.until("command: ls")
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(100):
            if not asked.ended.is_set():
                await asked.hold("y\n")
                mock_clock.jump(0.5)
                await trio.testing.wait_all_tasks_blocked()
        await asked.ended.wait()
        assert asked.answer == "no"
