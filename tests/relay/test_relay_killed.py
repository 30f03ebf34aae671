"""A relay's process that is killed at random moments: nothing is lost, nothing runs twice."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.relay_world import ends_of, logged, text_of
from trio_mix.relay import SqliteLog
from trio_mix.testing import MessageRun, MixServer, Pause, Say, Turn, UseTool

if TYPE_CHECKING:
    from trio_mix.testing import Api

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("TRIO_MIX_KILLS", "3"))
"""The number of kills, for each generation; at most eight of one log."""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
@pytest.mark.parametrize("api", ["async", "blocking"])
async def test_a_killed_relay_loses_no_event_and_runs_no_turn_twice(
    api: Api, tmp_path: Path
) -> None:
    for seed in range(-(-KILLS // 8)):
        await killed_at_random(api, seed, str(tmp_path / f"relay-{seed}.db"), min(KILLS, 8))


async def killed_at_random(api: Api, seed: int, path: str, kills: int) -> None:
    draw = random.Random(f"{api} {seed}")
    texts = [f"message-{number}" for number in range(4)]
    words = {text: [f"{text}.{number} " for number in range(12)] for text in texts}
    async with MixServer(api, heartbeat_interval=None) as server:
        for text in texts:
            steps = [
                step
                for word in words[text]
                for step in (Say(word, deltas=[word]), Pause(draw.uniform(0.0, 0.02)))
            ]
            server.script(text, Turn(*steps[:10], UseTool("bash", input={"x": 1}), *steps[10:]))
        session = server.create_session()
        accepted: dict[str, str] = {}
        done = False
        for attempt in range(kills + 3):
            # The last ones may end by themselves.
            lines = draw.randrange(1, len(texts) + 1) if attempt < kills else 99
            pause = draw.uniform(0.0, 0.6)
            for line in await run_and_kill(server.url, path, session, texts, lines, pause):
                if line == "over":
                    done = True
                    continue
                _, turn_id, text = line.split()
                assert accepted.setdefault(text, turn_id) == turn_id
            if done:
                break
        assert done, "the relay never finished"
        runs = Counter(each.text for each in server.log if isinstance(each, MessageRun))
    assert runs == dict.fromkeys(texts, 1)
    async with SqliteLog(path) as log:
        events = await log.read(session, 0, max_bytes=2**30)
        ids = [event.id for event in events]
        assert ids == sorted(set(ids))
        frames = logged(events)
        ends = ends_of(frames)
        assert Counter(end.turn_id for end in ends) == dict.fromkeys(accepted.values(), 1)
        for text, turn_id in accepted.items():
            assert text_of(frames, turn_id) == "".join(words[text])
            record = await log.outbox.turn(turn_id)
            assert record is not None
            assert record.outcome is not None
            assert record.outcome.text == "".join(words[text])
        if api == "async":
            starts = [json.loads(f.data)["turnId"] for f in frames if f.event == "tool_use_start"]
            assert Counter(starts) == dict.fromkeys(accepted.values(), 1)


async def run_and_kill(
    url: str, path: str, session: str, texts: list[str], lines: int, pause: float
) -> list[str]:
    """Run the relay, kill it some time after it has printed some lines, and return all lines."""
    program = await trio.lowlevel.open_process(
        [sys.executable, "-m", "tests.support.relay_hub_process", url, path, session, *texts],
        stdout=subprocess.PIPE,
        cwd=ROOT,
    )
    assert program.stdout is not None
    printed = b""
    while printed.count(b"\n") < lines:
        piece = await program.stdout.receive_some()
        if not piece:
            break
        printed += piece
    if lines < 99:
        with trio.move_on_after(pause):
            await program.wait()
    if program.returncode is None:
        program.kill()
    await program.wait()
    while piece := await program.stdout.receive_some():
        printed += piece
    await program.stdout.aclose()
    return printed.decode().split("\n")[:-1]
