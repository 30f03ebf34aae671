"""What a WebSocket's client cannot do to a relay: hostile bytes, floods, slow reads, old tokens."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.support.relay_http import FIRST, ScriptedHub, open_http
from tests.support.relay_running import open_relay
from tests.support.relay_ws import client_frame, open_socket, raw_socket
from trio_mix.relay import Auth, _ws_socket
from trio_mix.relay._connection import SocketConnection
from trio_mix.relay._grants import new_token
from trio_mix.relay._ws_messages import MessageFormat, text_frame
from trio_mix.relay._ws_output import FrameOutput
from trio_mix.testing import MixServer, Say, Turn

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.relay_ws import RawSocket

SUBSCRIBE = json.dumps({"type": "subscribe", "sessionId": "s"}).encode()


async def test_what_is_sent_together_with_the_request_is_received() -> None:
    hub = ScriptedHub()
    hub.add("s")
    async with open_http(hub) as relay, raw_socket(relay, client_frame(SUBSCRIBE)) as socket:
        opcode, payload = await socket.frame()
        assert (opcode, json.loads(payload)["type"]) == (1, "subscribed")
        await socket.stream.send_all(client_frame(b"still there?", first=0x89))
        while opcode != 10:
            opcode, payload = await socket.frame()
        assert payload == b"still there?"


HOSTILE = {
    "no JSON": (client_frame(b"{"), 4400),
    "no object": (client_frame(b"[]"), 4400),
    "no type": (client_frame(b'{"sessionId":"s"}'), 4400),
    "an unknown type": (client_frame(b'{"type":"dance"}'), 4400),
    "a wrong type": (client_frame(b'{"type":"subscribe","sessionId":7}'), 4400),
    "an empty id": (client_frame(b'{"type":"subscribe","sessionId":""}'), 4400),
    "a long id": (client_frame(b'{"type":"subscribe","sessionId":"' + b"x" * 9999 + b'"}'), 4400),
    "a key with a line break": (
        client_frame(b'{"type":"send","sessionId":"s","key":"a\\nb","body":{}}'),
        4400,
    ),
    "a deep body": (client_frame(b"[" * 100_000), 4400),
    "a binary message": (client_frame(b"x", first=0x82), 1003),
    "no UTF-8": (client_frame(b"\xff\xfe"), 1007),
    "a frame without a mask": (b"\x81\x01x", 1002),
    "an unknown opcode": (client_frame(b"x", first=0x83), 1002),
    "a reserved bit": (client_frame(b"x", first=0xC1), 1002),
    "a continuation of nothing": (client_frame(b"x", first=0x80), 1002),
    "a fragment of a ping": (client_frame(b"x", first=0x09), 1002),
    "a long ping": (client_frame(b"x" * 126, first=0x89), 1002),
    "a closing frame with half a code": (client_frame(b"x", first=0x88), 1002),
}


@pytest.mark.parametrize("case", HOSTILE)
async def test_what_is_no_message_closes_the_socket_with_a_code(case: str) -> None:
    hub = ScriptedHub()
    hub.add("s")
    sent, code = HOSTILE[case]
    async with open_http(hub) as relay:
        async with raw_socket(relay) as socket:
            await socket.stream.send_all(sent)
            found, reason = await socket.close_code()
            assert found == code, reason
            assert reason or code in (1002, 1007)
        async with open_socket(relay) as other:  # the others are unharmed
            assert (await other.subscribe("s"))["type"] == "subscribed"


async def flood(socket: RawSocket, data: bytes, count: int) -> None:
    with trio.move_on_after(60):
        try:
            for _ in range(count):
                await socket.stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return


FLOODS = {
    "one message of 100 MB": (
        b"\x81\xff" + (100 * 2**20).to_bytes(8, "big") + b"\0\0\0\0",
        b"x" * 2**16,
        1009,
    ),
    "a message in fragments": (
        client_frame(b"x", first=0x01),
        client_frame(b"x" * 2**16, first=0x00),
        1009,
    ),
    "fragments without content": (
        client_frame(b"x", first=0x01),
        client_frame(b"", first=0x00) * 10_000,
        1009,
    ),
}


@pytest.mark.parametrize("case", FLOODS)
async def test_an_endless_message_closes_the_socket(
    case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_ws_socket, "MAX_MESSAGE", 2**20)
    monkeypatch.setattr(_ws_socket, "_MAX_PART", 2**21 if "without" not in case else 2**17)
    async with open_http(ScriptedHub()) as relay, raw_socket(relay) as socket:
        first, more, code = FLOODS[case]
        await socket.stream.send_all(first)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood, socket, more, 2000)
            found, reason = await socket.close_code()
            assert found == code
            assert reason
            nursery.cancel_scope.cancel()


async def test_a_million_subscriptions_close_the_socket() -> None:
    hub = ScriptedHub()
    for number in range(1100):
        hub.add(f"s{number}")

    async def subscribe(socket: RawSocket) -> None:
        for number in range(10**6):
            message = {"type": "subscribe", "sessionId": f"s{number}"}
            await socket.stream.send_all(client_frame(json.dumps(message).encode()))

    async with open_http(hub) as relay, raw_socket(relay) as socket:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(subscribe, socket)
            code, reason = await socket.close_code()
            nursery.cancel_scope.cancel()
        assert code == 4429
        assert "1000" in reason
        await socket.stream.aclose()
        with trio.fail_after(10):
            while any(feed.consumers for feed in hub.feeds.values()):
                await trio.lowlevel.checkpoint()


async def test_a_socket_that_takes_nothing_is_closed_and_holds_up_no_other(
    autojump_clock: trio.testing.MockClock,
) -> None:
    hub = ScriptedHub(ring=100)
    feed = hub.add("s")
    async with open_http(hub, stall_timeout=30) as relay:
        relay.capacity = 4096
        async with raw_socket(relay, client_frame(SUBSCRIBE)) as stalled, open_socket(relay) as own:
            await own.subscribe("s")
            for number in range(300):
                feed.append("content", {"n": number, "text": "x" * 100})
                assert json.loads((await own.event())["data"])["n"] == number
            with pytest.raises((EOFError, trio.BrokenResourceError)):
                await trio.sleep(31)
                while True:
                    await stalled.frame()
            assert relay.streams.rooms.stalled == 1
            assert len(relay.sockets) == 1


async def test_a_slow_socket_reads_the_log_and_gets_a_gap_if_that_is_too_short() -> None:
    hub = ScriptedHub(ring=10)
    feed = hub.add("s")
    async with open_http(hub) as relay:
        relay.capacity = 2048
        async with open_socket(relay) as socket:
            await socket.subscribe("s")
            for _ in range(50):
                feed.append("content", {"text": "x" * 1000})
            ids = [int((await socket.event())["id"]) - FIRST for _ in range(20)]
            for _ in range(50):
                feed.append("content", {"text": "x" * 1000})
            feed.deleted = 70
            while (event := await socket.event())["event"] != "gap":
                ids.append(int(event["id"]) - FIRST)
            missed = json.loads(event["data"])["missed"]
            rest = [int((await socket.event())["id"]) - FIRST for _ in range(100 - 70)]
            assert ids == list(range(1, ids[-1] + 1))
            assert rest == list(range(71, 101))
            assert missed == 70 - ids[-1]
    assert feed.reads


async def test_a_token_that_expires_or_is_revoked_closes_the_socket(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    tokens = tmp_path / "tokens.toml"
    token = new_token(tokens, sessions=["s"], verbs=["read", "send"])
    hub = ScriptedHub()
    for name in ("s", "t"):
        hub.add(name)
    bearer = {"Authorization": f"Bearer {token}"}
    async with open_http(hub, auth=Auth.tokens(tokens)) as relay:
        async with open_socket(relay, bearer) as socket:
            assert (await socket.subscribe("s"))["type"] == "subscribed"
            assert (await socket.subscribe("t"))["status"] == 404
            await socket.send("send", sessionId="t", key="k", body={"text": "x"})
            assert (await socket.next("refused"))["status"] == 404
            await socket.send("decide", sessionId="s", permissionId="p", grant=True)
            assert (await socket.next("refused"))["status"] == 403
            relay.sockets.announce("session_created", "{}", "t")
            relay.sockets.announce("session_created", "{}", "s")
            assert (await socket.next("session"))["sessionId"] == "s"
            tokens.write_text("")
            code, reason = await socket.closed()  # with the next heartbeat
            assert code == 4401
            assert "token" in reason


async def test_a_drain_closes_idle_sockets_and_the_busy_ones_at_the_end() -> None:
    async with MixServer("async", listen=False) as server:
        server.script("go", Turn(Say("done")))
        session_id = server.create_session()
        async with open_relay(server) as relay, open_socket(relay) as socket:
            await socket.subscribe(session_id)
            await socket.send("send", sessionId=session_id, key="k", body={"text": "go"})
            assert (await socket.next("accepted"))["key"] == "k"
            async with trio.open_nursery() as nursery:
                nursery.start_soon(relay.relay.drain, 5)
                code, reason = await socket.closed()
            assert (code, reason) == (1012, "the relay is shutting down")


async def test_events_and_a_drain_are_harmless_while_a_closed_socket_waits_for_its_client() -> None:
    hub = ScriptedHub()
    feeds = [hub.add(session_id) for session_id in ("s", "t")]
    async with open_http(hub) as relay, raw_socket(relay) as socket:
        for session_id in ("s", "t"):
            command = json.dumps({"type": "subscribe", "sessionId": session_id})
            await socket.stream.send_all(client_frame(command.encode()))
        await socket.stream.send_all(client_frame(b"", first=0x88))
        opcode = 0
        while opcode != 8:  # it is answered, and the connection stays open
            opcode, _ = await socket.frame()
        await trio.testing.wait_all_tasks_blocked()
        for feed in feeds:
            feed.append("content", {"text": "late"})
            feed.close("the relay is shutting down")
        async with open_socket(relay) as other:
            assert (await other.subscribe("s"))["type"]


async def test_a_frame_is_made_once_for_all_sockets_and_sent_whole_or_not_at_all() -> None:
    format_ = MessageFormat("s")
    data = b'id: 1000000001\nevent: content\ndata: {"a":1}\n\n'
    assert format_.frame(data) is format_.frame(data)
    assert text_frame(b"x" * 70_000)[:10] == b"\x81\x7f" + (70_000).to_bytes(8, "big")
    one, other = trio.socket.socketpair()
    for sock in (one, other):
        sock.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_SNDBUF, 4096)
    connection = SocketConnection(one._sock)  # type: ignore[attr-defined]
    rests: list[None] = []
    output = FrameOutput(connection, 30.0)
    output.on_rest = lambda: rests.append(None)
    frames = [b"%d" % number * 50_000 for number in range(3)]
    assert output.send_nowait(frames[0]) == 50_000
    assert output.rest, "a part of it is not sent yet"
    assert output.send_nowait(frames[1]) == 0
    received = bytearray()

    async def read() -> None:
        while len(received) < 150_000:
            received.extend(await other.recv(65536))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.send_all, frames[1])
        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        await output.send_all(frames[2])
    assert bytes(received) == b"".join(frames)
    assert rests == [None]
    await connection.aclose()
    other.close()
