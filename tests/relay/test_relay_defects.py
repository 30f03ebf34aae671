"""Unexpected exceptions in the tasks of a relay: logged, and only what they concern ends."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.support.relay_clients import in_front_of
from trio_mix.cli.ui._warnings import warnings_on_stderr
from trio_mix.errors import MessageInterrupted
from trio_mix.relay._sender import TurnSender
from trio_mix.relay._server_watch import ServerWatch
from trio_mix.relay._upstream import UpstreamStream
from trio_mix.testing import MixServer, Say, Turn

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.command_line import RunCommand
    from trio_mix._reply import Reply
    from trio_mix._session._stream import SessionStream
    from trio_mix.relay._turn_queue import ActiveTurn


async def test_a_defect_in_sending_ends_one_turn_and_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    send = TurnSender._send

    async def failing(self: TurnSender, session: SessionStream, turn: ActiveTurn) -> Reply:
        if turn.record.request.text == "go":
            raise NameError("a defect")
        return await send(self, session, turn)

    monkeypatch.setattr(TurnSender, "_send", failing)
    async with MixServer("async", listen=False) as server:
        server.script("next", Turn(Say("done")))
        other = server.create_session()
        async with in_front_of(server) as (client, _, _, session_id):
            with pytest.raises(MessageInterrupted) as failed:
                async with client.send(session_id, "go") as message:
                    await message.wait()
            assert failed.value.outcome == "unknown"
            assert "NameError" not in str(failed.value)
            for each in (session_id, other):
                async with client.send(each, "next") as message:
                    assert (await message.wait()).text == "done"
    [record] = [each for each in caplog.records if each.exc_info]
    assert record.exc_info is not None
    assert isinstance(record.exc_info[1], NameError)


async def test_a_defect_in_a_session_closes_it_and_the_others_go_on(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    defects, run = 1, UpstreamStream.run

    async def failing(self: UpstreamStream) -> None:
        nonlocal defects
        if defects:
            defects -= 1
            raise NameError("a defect")
        await run(self)

    monkeypatch.setattr(UpstreamStream, "run", failing)
    async with MixServer("async", listen=False) as server:
        server.script("go", Turn(Say("done")))
        other = server.create_session()
        async with in_front_of(server) as (client, _, _, session_id):
            for each in (session_id, other):
                async with client.send(each, "go") as message:
                    assert (await message.wait()).text == "done"
        assert server.runs("go") == 2
    assert [each.exc_info is not None for each in caplog.records if "has failed" in each.message]


async def test_a_defect_that_ends_the_relay_is_one_line(
    run_command: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def failing(watch: ServerWatch) -> None:
        await trio.testing.wait_all_tasks_blocked()  # several tasks are cancelled with the body
        raise NameError("a defect")

    monkeypatch.setattr(ServerWatch, "run", failing)
    ended = await run_command("relay", "--listen", ":0", "--log", f"sqlite:{tmp_path}/relay.db")
    assert ended.code == 70
    [line] = ended.err.splitlines()
    assert "NameError: a defect" in line


def test_a_command_prints_the_traceback_of_a_defect_that_it_survives(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with warnings_on_stderr():
        try:
            raise NameError("a defect")
        except NameError:
            logging.getLogger("trio_mix.relay").exception("the session %s is closed", "s")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "trio-mix: the session s is closed"
    assert lines[-1] == "NameError: a defect"
