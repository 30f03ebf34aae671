"""What can go wrong around a running relay: one clear error each, nothing lost, and it goes on."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any, cast

import pytest
import trio

from tests.support.relay_command import relay_of
from tests.support.relay_running import RelayInMemory, open_relay
from tests.support.wire_client import call, connect, open_frames
from trio_mix import Mix, ReconnectPolicy
from trio_mix.errors import ConfigurationError, MixError, UsageError
from trio_mix.relay import Relay, SqliteLog
from trio_mix.relay._errors import LogFull
from trio_mix.testing import MixServer, Say, Turn, WaitFor

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.command_line import StartCommand
    from tests.support.wire_client import Reply, Target

JSON = {"Content-Type": "application/json"}


async def post(relay: RelayInMemory, session_id: str, text: str = "go", **headers: str) -> Reply:
    target = f"/api/sessions/{session_id}/messages"
    return await call(relay, "POST", target, {"text": text}, {**JSON, **headers})


async def test_sigterm_in_mid_turn_lets_the_turn_finish(
    start_command: StartCommand, tmp_path: Path
) -> None:
    async with MixServer("async") as server:
        go_on = trio.Event()
        server.script("go", Turn(Say("first "), WaitFor(go_on), Say("last")))
        server.script("later", Turn(Say("later")))
        session_id = server.create_session()
        async with relay_of(server, tmp_path, start_command) as (process, url):
            async with Mix(url) as mix, mix.open_stream(session_id) as session:
                async with session.send("go") as message:
                    texts = message.text_deltas()
                    assert await anext(texts) == "first "
                    process.send_signal(signal.SIGTERM)
                    path = f"/api/sessions/{session_id}/messages"
                    with pytest.raises(MixError) as refused:
                        while True:  # until the signal has arrived
                            await mix.request("POST", path, json={"text": "later"})
                    assert refused.value.status_code == 503
                    go_on.set()
                    assert (await message.wait()).text == "first last"
                with trio.fail_after(30):
                    assert await process.wait() == 0
        assert server.runs("go") == 1


async def test_a_full_disk_is_503_and_the_relay_goes_on_by_itself() -> None:
    async with MixServer("async", listen=False) as server:
        server.script("go", Turn(Say("done")))
        session_id = server.create_session()
        async with open_relay(server) as relay:
            log = relay.log
            async with open_frames(relay, session_id) as stream:
                log.failure = LogFull("The log cannot be used: the disk is full.")
                refused = await post(relay, session_id)
                assert (refused.status, refused.headers["retry-after"]) == (503, "5")
                assert "disk is full" in refused.json["error"]["message"]
                assert server.runs("go") == 0
                log.failure = None
                assert (await post(relay, session_id)).status == 202
                frames = await stream.until("complete")
        assert "done" in "".join(frame.raw for frame in frames)
        assert server.runs("go") == 1


async def test_a_relay_that_starts_before_its_server_serves_as_soon_as_that_is_there(
    tmp_path: Path,
) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]
    for listener in listeners:
        await listener.aclose()
    async with (
        Relay(f"http://127.0.0.1:{port}", log=SqliteLog(tmp_path / "r.db")) as relay,
        trio.open_nursery() as nursery,
    ):
        await nursery.start(relay.serve, "127.0.0.1", 0)
        target = cast("Target", relay)
        early = await call(target, "GET", "/api/sessions")
        assert (early.status, early.headers["retry-after"]) == (503, "2")
        ready = await call(target, "GET", "/relay/health/ready")
        assert ready.status == 503
        async with MixServer("async", port=port):
            await relay.wait_ready()
            assert (await call(target, "GET", "/api/sessions")).status == 200
        nursery.cancel_scope.cancel()


async def test_a_relay_can_be_entered_once_and_serves_only_then(tmp_path: Path) -> None:
    relay = Relay("http://127.0.0.1:9", log=SqliteLog(tmp_path / "r.db"))
    with pytest.raises(UsageError, match="inside of"):
        await relay.serve(port=0)
    async with relay:
        with pytest.raises(ConfigurationError, match="without authentication"):
            await relay.serve("0.0.0.0", 0)  # noqa: S104 - it is refused
    with pytest.raises(UsageError):
        async with relay:
            pass
    wrong: dict[str, Any] = {"ring": 0, "heartbeat": 0, "drain_timeout": -1, "queue_max": 1.5}
    for name, value in wrong.items():
        with pytest.raises(ConfigurationError, match=name):
            Relay(log=SqliteLog(tmp_path / "r.db"), **{name: value})


async def test_leaving_the_relay_ends_serving(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        async with Relay("http://127.0.0.1:9", log=SqliteLog(tmp_path / "r.db")) as relay:
            url = await nursery.start(relay.serve, "127.0.0.1", 0)
            assert url == relay.url
            open_connection = await connect(cast("Target", relay))
        async with open_connection:
            assert not await open_connection.receive_some()
        with pytest.raises(OSError, match="refused|connect"):
            await connect(cast("Target", relay))


async def test_streams_survive_a_drain_and_go_on_at_the_next_relay() -> None:
    async with MixServer("async", listen=False) as server:
        server.script("go", Turn(Say("done")))
        session_id = server.create_session()
        async with trio.open_nursery() as nursery:
            async with open_relay(server) as relay, relay.client() as mix:
                soon = ReconnectPolicy(initial_interval=0.01)
                async with mix.open_stream(session_id, reconnect=soon) as session:
                    await relay.relay.drain(0)
                    refused = await post(relay, session_id)
                    assert refused.status == 503
                    await relay.kill()
                    await nursery.start(relay.run)
                    assert (await session.ask("go")).text == "done"
                    nursery.cancel_scope.cancel()
        assert server.runs("go") == 1
