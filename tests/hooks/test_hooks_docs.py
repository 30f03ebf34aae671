"""The example that counts runs as it stands, against the bundled server."""

from __future__ import annotations

import sys
from pathlib import Path

import trio

from trio_mix.testing import Hang, MixServer, Say, Turn

EXAMPLE = Path(__file__).parents[2] / "examples" / "metrics.py"


async def test_the_metrics_example_prints_what_the_client_did() -> None:
    async with MixServer(pace=0.0) as server:
        server.script("And explain them at length", Turn(Say("First of all, "), Hang()))
        with trio.fail_after(60):
            done = await trio.run_process(
                [sys.executable, "-W", "error", EXAMPLE],
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env={"MIX_SERVER_URL": server.url},
            )
    assert (done.returncode, done.stderr.decode()) == (0, "")
    figures = dict(line.rsplit(" ", 1) for line in done.stdout.decode().splitlines())
    assert figures['mix_messages_total{outcome="complete"}'] == "1"
    assert figures['mix_messages_total{outcome="left"}'] == "1"
    assert figures['mix_requests_total{operation="sessions.create",status="201"}'] == "1"
    assert figures['mix_requests_total{operation="messages.send",status="202"}'] == "2"
    assert not [name for name in figures if "stream_losses" in name]
