"""Every command on a server of the oldest generation: it works, or one line says why not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.support.cases import case
from trio_mix.testing import AskPermission, MessageFinished, MixServer, Pause, Say, Turn

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.command_line import RunCommand


@pytest.fixture
async def server() -> AsyncIterator[MixServer]:
    async with MixServer("pipeline-oldest", pace=0.0) as server:
        server.script("run it", Turn(AskPermission("bash", then=[Say("It ran.")])))
        server.script("long", Turn(Say("It begins."), Pause(60)))
        yield server


async def test_the_commands_for_sessions_and_messages_work(
    run_command: RunCommand, server: MixServer
) -> None:
    url = {"MIX_SERVER_URL": server.url}
    session = (await run_command("sessions", "create", "Demo", **url)).out.strip()
    spare = (await run_command("sessions", "create", "Spare", **url)).out.strip()
    for args, out in (
        (["sessions", "list"], rf"^{session}\t.*\tDemo\n{spare}\t"),
        (["ask", "--session", session, "hello"], "Hello!"),
        (["ask", "hello"], "Hello!"),
        (["ask", "--session", session, "--grant", "bash", "run it"], r"It ran\."),
        (["ask", "--session", session, "/help"], "Show the available commands"),
        (["chat", "--session", session], "Hello!"),
        (["sessions", "show", session], r"user: hello\nassistant: Hello!"),
        (["sessions", "delete", spare], rf"^deleted {spare}\n"),
        (["tools", "commands"], "/help\t"),
        (["tools", "mcp"], "docs\tconnected"),
        (["doctor"], "one of the oldest Mix servers"),
        (["doctor", "--session", session], "no problems"),
    ):
        with case(*args):
            done = await run_command(*args, stdin="hello\n" if args[0] == "chat" else "", **url)
            assert (done.code, re.findall(out, done.out, re.MULTILINE) != []) == (0, True), done
    key = await run_command("auth", "set", "anthropic", stdin="sk-ant-0123456789", **url)
    assert (key.code, "sk-ant" in key.out) == (0, False)


async def test_a_running_message_is_cancelled(run_command: RunCommand, server: MixServer) -> None:
    session = server.create_session()
    server.run_message(session, "long")
    done = await run_command("sessions", "cancel", session, MIX_SERVER_URL=server.url)
    assert (done.code, done.out) == (0, f"cancelled session {session}\n")
    await server.wait_for(MessageFinished, text="long", how="cancelled")


async def test_what_the_server_cannot_do_is_one_line_with_the_reason(
    run_command: RunCommand, server: MixServer
) -> None:
    session = server.create_session()
    await run_command("ask", "--session", session, "hello", MIX_SERVER_URL=server.url)
    lacking = "JSON-RPC instead of REST"
    for args, code, reason in (
        (["files", "list", session], 1, lacking),
        (["files", "upload", session, __file__], 1, lacking),
        (["files", "download", session, "a", "--to", "-"], 1, lacking),
        (["files", "delete", session, "a"], 1, lacking),
        (["tools", "list"], 1, lacking),
        (["tools", "status"], 1, lacking),
        (["auth", "status"], 1, lacking),
        (["auth", "check"], 1, lacking),
        (["auth", "delete", "anthropic"], 1, lacking),
        (["auth", "login", "anthropic"], 1, lacking),
        (["auth", "set", "openai"], 1, "must be 'anthropic'"),
        (["sessions", "show", "nobody"], 1, "no rows in result set"),
        (["sessions", "delete", "nobody"], 1, "no rows in result set"),
        (["sessions", "delete", session], 1, "Cannot delete the currently active session"),
        (["ask", "--session", "nobody", "hello"], 1, "Create the session first"),
        (["ask", "--session", session, "--thinking", "basic", "hi"], 2, "pipeline API"),
    ):
        with case(*args):
            done = await run_command(*args, stdin="sk-0123456789", MIX_SERVER_URL=server.url)
            assert (done.code, done.out) == (code, "")
            assert (done.err.count("\n"), reason in done.err) == (1, True), done.err
            assert "sk-0123456789" not in done.err
