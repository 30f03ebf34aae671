"""Tests of reviewer.py with trio_mix.testing. Run them with `pytest` in this folder."""

import io
import re
from pathlib import Path

import pytest
import trio
from reviewer import main, review
from trio.testing import MockClock

from trio_mix import Mix
from trio_mix.testing import (
    AskPermission,
    Cut,
    FaultProxy,
    Hang,
    MixServer,
    PermissionAnswered,
    Rule,
    Say,
    Think,
    Turn,
    assert_nothing_left,
    assert_ran_once,
    assert_requested,
    cancel_at_every_checkpoint,
    replay,
)

REVIEW = re.compile("^Review this")
RECORDING = Path(__file__).with_name("review.jsonl")


async def test_it_returns_what_the_agent_says(mix: Mix, mix_server: MixServer) -> None:
    mix_server.script(REVIEW, Turn(Think("Looks fine."), Say("OK, ship it.")))
    assert await review(mix, "- a\n+ b") == "OK, ship it."
    assert_requested(mix_server, "DELETE", "/api/sessions/", times=1)


@pytest.mark.parametrize(("action", "answer"), [("read", "granted"), ("execute", "denied")])
async def test_the_agent_may_read_but_not_run(
    mix: Mix, mix_server: MixServer, action: str, answer: str
) -> None:
    mix_server.script(REVIEW, Turn(AskPermission("bash", action=action, then=[Say("OK")])))
    await review(mix, "- a\n+ b")
    assert (await mix_server.wait_for(PermissionAnswered)).answer == answer


@pytest.mark.fault_proxy(Rule(Cut(700), path="/stream", connections=[1]))
async def test_a_connection_lost_during_the_answer_costs_nothing(
    mix: Mix, mix_server: MixServer, fault_proxy: FaultProxy, autojump_clock: MockClock
) -> None:
    mix_server.script(REVIEW, Turn(Say("OK, and here is why: it is short.")))
    assert await review(mix, "- a\n+ b") == "OK, and here is why: it is short."
    assert fault_proxy.statistics().faults == 1
    assert_ran_once(mix_server, REVIEW)


async def test_it_gives_up_after_two_minutes_and_leaves_nothing_behind(
    mix: Mix, mix_server: MixServer, autojump_clock: MockClock
) -> None:
    mix_server.script(REVIEW, Turn(Say("Hm"), Hang()))
    with pytest.raises(trio.TooSlowError):
        await review(mix, "- a\n+ b")
    assert trio.current_time() >= 120
    await assert_nothing_left(mix_server)


async def test_it_can_be_cancelled_at_any_point(
    mix_server: MixServer, autojump_clock: MockClock
) -> None:
    mix_server.script(REVIEW, Turn(Think("Hm."), Say("OK")))

    async def run() -> None:
        async with Mix(mix_server.url, network=mix_server.network) as mix:
            await review(mix, "- a\n+ b")

    async def check() -> None:
        await assert_nothing_left(mix_server)

    sweep = await cancel_at_every_checkpoint(run, check=check)
    assert sweep.checkpoints > 10


@pytest.mark.mix_server(listen=True)
async def test_the_program_finds_the_server_by_the_environment(
    mix_server: MixServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    mix_server.script(REVIEW, Turn(Say("No: it is wrong.")))
    monkeypatch.setenv("MIX_SERVER_URL", mix_server.url)
    monkeypatch.setattr("sys.stdin", io.StringIO("- a\n+ b"))
    with pytest.raises(SystemExit) as ended:
        await main()
    assert ended.value.code == 1
    assert capsys.readouterr().out == "No: it is wrong.\n"


async def test_it_understands_what_a_recorded_server_said(autojump_clock: MockClock) -> None:
    async with (
        replay(RECORDING, listen=False) as server,
        Mix(server.url, network=server.network) as mix,
    ):
        verdict = await review(mix, "- a\n+ b")
    assert verdict == "OK. I read the file; the change is right."
    assert not server.unexpected
