"""The relay's WebSocket: subscriptions, commands, limits and ends."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import trio
import trio.testing

from tests.support.relay_http import FIRST, ScriptedHub, open_http
from tests.support.relay_ws import PATH, PROTOCOL, open_socket
from tests.support.wire_client import call
from trio_mix.relay._records import Answer, Audience, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping


def position(number: int) -> str:
    return str(FIRST + number)


async def test_one_socket_follows_many_sessions_each_from_its_position() -> None:
    hub = ScriptedHub()
    for name in ("a", "b"):
        hub.add(name).append("content", {"of": name}, times=3)
    async with open_http(hub) as relay, open_socket(relay) as socket:
        assert socket.connection.subprotocol == PROTOCOL
        assert await socket.subscribe("a", after=position(1)) == {
            "type": "subscribed",
            "sessionId": "a",
            "position": position(1),
        }
        replayed = [await socket.event() for _ in range(2)]
        assert [event["id"] for event in replayed] == [position(2), position(3)]
        assert replayed[0]["event"] == "content"
        assert json.loads(replayed[0]["data"]) == {"of": "a"}
        assert (await socket.subscribe("b"))["position"] == position(3)
        hub.feeds["b"].append("content", "two\nlines")
        hub.feeds["a"].append("turn", {}, Audience.RELAY)
        live = [await socket.event() for _ in range(2)]
        assert sorted(event["data"] for event in live) == ["two\nlines", "{}"]
        # A second subscription moves the position.
        assert (await socket.subscribe("a", **{"from": "earliest"}))["position"] == position(0)
        assert [(await socket.event())["id"] for _ in range(4)] == [
            position(number) for number in range(1, 5)
        ]
        await socket.send("unsubscribe", sessionId="a")
        assert (await socket.next("closed"))["status"] == 200
        hub.feeds["a"].append("content", {})
        hub.feeds["b"].append("content", {"last": True})
        assert json.loads((await socket.event())["data"]) == {"last": True}
        assert hub.feeds["a"].consumers == 0
    assert hub.feeds["b"].consumers == 0


async def test_a_gap_and_open_permission_requests_follow_the_subscription() -> None:
    hub = ScriptedHub()
    feed = hub.add("s")
    feed.append("content", "{}", times=10)
    feed.deleted = 4
    feed.requests = [("permission", '{"id":"p"}')]
    async with open_http(hub) as relay, open_socket(relay) as socket:
        answer = await socket.subscribe("s", after=position(1))
        assert (answer["position"], answer["gap"]) == (position(4), {"missed": 3})
        assert await socket.event("permission") == {"event": "permission", "data": '{"id":"p"}'}
        assert (await socket.event())["id"] == position(5)
        answer = await socket.subscribe("unknown")
        assert (answer["type"], answer["status"]) == ("closed", 404)
        feed.close("session not found")
        assert (await socket.next("closed"))["status"] == 404


async def test_sends_cancels_and_decisions_are_answered_by_their_keys() -> None:
    hub = ScriptedHub()
    feed = hub.add("s")
    hub.requests_of["p"] = "s"
    async with open_http(hub) as relay, open_socket(relay) as socket:
        keys = [f"k{number}" for number in range(20)]
        for key in keys:
            await socket.send("send", sessionId="s", key=key, body={"text": key})
        answers = [await socket.next() for _ in keys]
        assert [answer["key"] for answer in answers] == keys
        assert [turn.request.text for turn in feed.sent] == keys, "in the order of the messages"
        await socket.send("send", sessionId="s", key="k0", body={"text": "k0"})
        again = await socket.next()
        assert (again["turnId"], again["repeated"]) == (answers[0]["turnId"], True)
        feed.finish(again["turnId"], Outcome(kind="complete", text="done"))
        await socket.send("send", sessionId="s", key="k0", body={"text": "k0"})
        assert (await socket.next())["turn"]["reply"]["text"] == "done"
        await socket.send("cancel", turnId=answers[1]["turnId"], key="c")
        assert await socket.next() == {"type": "accepted", "key": "c", "turnId": "t2"}
        await socket.send("decide", sessionId="s", permissionId="p", grant=True)
        assert (await socket.next())["granted"] is True
        assert hub.decisions == [("p", True, "")]
        feed.refusal = Answer(
            status=400, content_type="text/plain", body=b'{"error":{"message":"no agent"}}'
        )
        refused: tuple[tuple[str, Mapping[str, Any], int], ...] = (
            ("send", {"sessionId": "s", "key": "r", "body": {"text": "x"}}, 400),
            ("send", {"sessionId": "s", "key": "r", "body": {"unknown": 1}}, 400),
            ("send", {"sessionId": "other", "key": "r", "body": {"text": "x"}}, 404),
            ("cancel", {"turnId": "t99", "key": "r"}, 404),
            ("decide", {"sessionId": "other", "permissionId": "p", "grant": True, "key": "r"}, 404),
        )
        for type_, fields, status in refused:
            await socket.send(type_, **fields)
            answer = await socket.next()
            assert (answer["type"], answer["key"], answer["status"]) == ("refused", "r", status)


async def test_a_request_that_is_no_websocket_of_the_protocol_is_refused() -> None:
    upgrade = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version": "13",
    }
    offered = {"Sec-WebSocket-Protocol": f"other, {PROTOCOL}"}
    cases: tuple[tuple[Mapping[str, str], int], ...] = (
        ({}, 426),
        (upgrade, 400),
        ({**upgrade, **offered, "Sec-WebSocket-Version": "12"}, 426),
        ({**upgrade, **offered, "Origin": "https://evil.example"}, 403),
        ({**upgrade, **offered, "Host": "evil.example"}, 403),
    )
    async with open_http(ScriptedHub()) as relay:
        for headers, status in cases:
            assert (await call(relay, "GET", PATH, None, headers)).status == status, headers
        relay.state.draining = True
        assert (await call(relay, "GET", PATH, None, {**upgrade, **offered})).status == 503
        assert not len(relay.sockets)


async def test_an_idle_socket_receives_heartbeats(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_http(ScriptedHub()) as relay, open_socket(relay) as socket:
        start = trio.current_time()
        for _ in range(3):
            assert await socket.next() == {"type": "heartbeat"}
        assert round(trio.current_time() - start) == 45
