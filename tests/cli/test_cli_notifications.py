"""An agent's notifications on the command line: a prompt on a terminal, a warning without one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from trio_mix.testing import MixServer, NotificationAnswered, Notify, RequestReceived, Say, Turn

if TYPE_CHECKING:
    from tests.support.command_line import OpenTerminal, RunCommand

ACKNOWLEDGE = Notify("The disk is nearly full.", title="Disk")
TEXT = Notify("Which name?\nreally", title="Name", kind="question", response="text")
CHOICE = Notify("Which one?", title="Pick", response="choice", choices=("dark red", "blue"))


def answers(server: MixServer) -> list[tuple[str, str | None]]:
    return [(r.type, r.value) for r in server.log if isinstance(r, NotificationAnswered)]


@pytest.mark.parametrize("command", ["ask", "chat"])
async def test_a_notification_is_answered_at_the_terminal(
    open_terminal: OpenTerminal, command: str
) -> None:
    async with MixServer(pace=0) as server:
        server.script("do", Turn(ACKNOWLEDGE, TEXT, CHOICE, Say("THANKS")))
        words = ["do"] if command == "ask" else []
        async with open_terminal(command, *words, "--server", server.url) as terminal:
            if command == "chat":
                await terminal.expect("you> ")
                await terminal.type("do\r")
            await terminal.expect("The disk is nearly full.")
            await terminal.expect("Press Enter to acknowledge it.")
            await terminal.type("\r")
            await terminal.expect("message: Which name?")
            await terminal.expect("      | really")
            await terminal.expect("Your answer:")
            await terminal.type("Émile\r")
            await terminal.expect("1: dark red")
            await terminal.expect("Your choice [1-2]:")
            await terminal.type("3\r")
            await terminal.expect("Type a number from 1 to 2.")
            await terminal.expect("Your choice [1-2]:")
            await terminal.type("1\r")
            await terminal.expect("THANKS")
        assert answers(server) == [
            ("acknowledge", None),
            ("text", "Émile"),
            ("choice", "dark red"),
        ]


async def test_keys_typed_before_a_notification_is_shown_do_not_answer_it(
    open_terminal: OpenTerminal,
) -> None:
    async with MixServer(pace=0) as server:
        server.script("do", Turn(TEXT, Say("THANKS")))
        async with open_terminal("chat", "--server", server.url) as terminal:
            await terminal.expect("you> ")
            await terminal.type("do\rearlier\r")
            await terminal.expect("Your answer:")
            await terminal.type("later\r")
            await terminal.expect("THANKS")
        assert answers(server) == [("text", "later")]


async def test_the_end_of_the_input_does_not_answer_a_notification(
    open_terminal: OpenTerminal,
) -> None:
    async with MixServer(pace=0) as server:
        server.script(
            "do", Turn(Notify("Which name?", response="text", wait=False), Say("GONE ON"))
        )
        async with open_terminal("ask", "do", "--server", server.url) as terminal:
            await terminal.expect("Your answer:")
            await terminal.type("\x04")
            await terminal.expect("GONE ON")
        assert answers(server) == []


async def test_without_a_terminal_a_warning_names_the_notification(run_command: RunCommand) -> None:
    hurried = Notify("Well\x1b[31m?", title="", timeout=7, wait=False)
    async with MixServer(pace=0) as server:
        server.script("do", Turn(hurried, Say("Done.")))
        done = await run_command("ask", "do", "--server", server.url)
        assert (done.code, done.out) == (0, "Done.\n")
        assert "nobody can respond to the notification" in done.err
        assert "waits for up to 7 s" in done.err
        assert "\x1b" not in done.err
        assert answers(server) == []


async def test_yes_acknowledges_and_answers_no_question(run_command: RunCommand) -> None:
    async with MixServer(pace=0) as server:
        asks = Notify("Which name?", response="text", wait=False)
        server.script("do", Turn(ACKNOWLEDGE, asks, Say("Done.")))
        done = await run_command("ask", "do", "--yes", "--server", server.url)
        assert (done.code, done.out) == (0, "Done.\n")
        assert "Disk: The disk is nearly full." in done.err
        assert answers(server) == [("acknowledge", None)]
        responses = [r for r in server.log if isinstance(r, RequestReceived)]
        assert sum(r.path.endswith("/respond") for r in responses) == 1
