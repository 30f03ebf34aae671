"""Sends, turns, cancels and decisions over HTTP; what is passed on; health and metrics."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import attrs
import pytest
import trio
import trio.testing

from tests.support.raw_server import LAST_CHUNK, chunk, memory_server
from tests.support.relay_http import RelayHttp, ScriptedHub, open_http
from tests.support.wire_client import CutError, Wire, call, connect
from trio_mix import Mix
from trio_mix.relay._passthrough import Upstream
from trio_mix.relay._records import Answer, Outcome
from trio_mix.testing import MixServer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from tests.support.raw_server import Peer
    from tests.support.wire_client import Reply

JSON = {"Content-Type": "application/json"}
PIPELINE = "/stream/s/message"
REST = "/api/sessions/s/messages"


async def post(
    relay: RelayHttp, target: str, body: object, headers: Mapping[str, str] | None = None
) -> Reply:
    return await call(relay, "POST", target, body, {**JSON, **(headers or {})})


async def test_an_accepted_send_has_the_answer_of_its_generation_and_a_turn() -> None:
    for generation, target, body, status, word in (
        ("async", REST, {"text": "hi", "thinking_level": "basic"}, 202, "processing"),
        ("pipeline", PIPELINE, {"content": '{"text": "hi"}'}, 200, "broadcasted"),
        ("pipeline-oldest", PIPELINE, {"content": '{"text": "hi"}'}, 200, "broadcasted"),
    ):
        hub = ScriptedHub(generation)
        feed = hub.add("s")
        async with open_http(hub) as relay:
            answer = await post(relay, target, body)
            assert answer.status == status
            assert answer.json == {"status": word, "sessionId": "s", "turnId": "t1"}
            assert answer.headers["location"] == "/relay/turns/t1"
            assert feed.sent[0].request.text == "hi"
            turn = await call(relay, "GET", "/relay/turns/t1")
            assert (turn.status, turn.json["state"]) == (200, "accepted")


async def test_a_blocking_send_is_answered_at_the_end_of_its_turn_or_at_once_if_preferred() -> None:
    hub = ScriptedHub("blocking")
    feed = hub.add("s")
    answers: list[Reply] = []
    async with open_http(hub) as relay:

        async def send(number: int) -> None:
            answers.append(await post(relay, REST, {"text": f"q{number}"}))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, 1)
            await trio.testing.wait_all_tasks_blocked()
            assert not answers
            feed.finish("t1", Outcome(kind="complete", text="42", final_text="42", message_id="m"))
        [answer] = answers
        assert (answer.status, answer.json) == (
            200,
            {
                "id": "m",
                "sessionId": "s",
                "role": "user",
                "userInput": "q1",
                "assistantResponse": "42",
                "turnId": "t1",
            },
        )
        at_once = await post(relay, REST, {"text": "q2"}, {"Prefer": "respond-async, wait=5"})
        assert (at_once.status, at_once.json["turnId"]) == (202, "t2")
        assert at_once.headers["preference-applied"] == "respond-async"
        feed.finish("t2", Outcome(kind="error", error="no key"))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, 3)
            await trio.testing.wait_all_tasks_blocked()
            cancelled = await post(relay, "/relay/turns/t3/cancel", {})
            assert cancelled.json["state"] == "cancelled"
        assert answers[-1].status == 500


async def test_a_pipeline_server_may_have_the_path_of_rest_too() -> None:
    for has_it, expected in ((True, 202), (False, 404)):
        async with MixServer("pipeline", listen=False, rest_send=has_it) as server:
            session_id = server.create_session()
            hub = ScriptedHub("pipeline")
            feed = hub.add(session_id)
            async with open_http(hub, server) as relay:
                target = f"/api/sessions/{session_id}/messages"
                answer = await post(relay, target, {"text": "q"}, {"Prefer": "respond-async"})
            assert answer.status == expected
            assert len(feed.sent) == has_it
            assert server.runs() == 0


async def test_a_client_that_leaves_cancels_no_turn() -> None:
    hub = ScriptedHub("blocking")
    feed = hub.add("s")
    async with open_http(hub) as relay:
        stream = await connect(relay)
        await Wire(stream).send("POST", REST, {"text": "q"}, JSON)
        await trio.testing.wait_all_tasks_blocked()
        await stream.aclose()
        await trio.testing.wait_all_tasks_blocked()
        assert (feed.consumers, feed.cancels, len(feed.sent)) == (0, [], 1)
        assert not feed.sent[0].state.over


async def test_a_refusal_of_the_server_is_passed_on_as_it_is() -> None:
    hub = ScriptedHub()
    feed = hub.add("s")
    feed.refusal = Answer(status=401, content_type="text/plain", body=b"no key")
    async with open_http(hub) as relay:
        answer = await post(relay, REST, {"text": "x"})
        assert (answer.status, answer.body) == (401, b"no key")
        assert answer.headers["content-type"] == "text/plain"


async def test_idempotency_keys_reach_the_session_and_odd_ones_are_refused() -> None:
    hub = ScriptedHub()
    feed = hub.add("s")
    async with open_http(hub) as relay:
        for _ in range(2):
            answer = await post(relay, REST, {"text": "x"}, {"Idempotency-Key": "k 1"})
            assert answer.json["turnId"] == "t1"
        assert [turn.key for turn in feed.sent] == ["k 1"]
        for key in ("", "k" * 256, "a\tb"):
            headers = {"Idempotency-Key": key}
            assert (await post(relay, REST, {"text": "x"}, headers)).status == 400
        hub.queue_max = 1
        full = await post(relay, REST, {"text": "x"})
        assert (full.status, full.headers["retry-after"]) == (429, "5")


PASSED_ON: tuple[tuple[str, Any], ...] = (
    (REST, b"{torn"),
    (REST, b"[" * 100_000),
    (REST, b'"text"'),
    (REST, {"text": ""}),
    (REST, {"text": 5}),
    (REST, {"text": "x", "new_field": 1}),
    (REST, {"text": "x", "max_steps": 0}),
    (PIPELINE, {"content": '{"text": "x"}'}),
)


async def test_what_the_relay_cannot_represent_is_answered_by_the_server() -> None:
    async with MixServer("async", listen=False) as server:
        session_id = server.create_session()
        hub = ScriptedHub()
        feed = hub.add(session_id)
        async with open_http(hub, server) as relay:
            for path, body in PASSED_ON:
                target = path.replace("/s/", f"/{session_id}/")
                answer = await post(relay, target, body)
                direct = await call(server, "POST", target, body, JSON)
                assert (answer.status, answer.body) == (direct.status, direct.body), body
                assert answer.status in (400, 404)
            assert not feed.sent
            assert len(server.requests("POST", path="/")) == 2 * len(PASSED_ON)


async def test_a_body_that_is_too_large_is_refused_and_the_relay_goes_on(
    autojump_clock: object,
) -> None:
    hub = ScriptedHub()
    hub.add("s")
    async with open_http(hub) as relay:
        answer = await post(relay, REST, b"x" * (10 * 2**20 + 1))
        assert answer.status == 413
        assert (await post(relay, REST, {"text": "x"})).status == 202


async def test_cancels_and_decisions_go_the_way_of_the_relay() -> None:
    hub = ScriptedHub()
    feed = hub.add("s")
    async with open_http(hub) as relay:
        answer = await post(relay, "/api/sessions/s/cancel", None)
        assert (answer.status, answer.json) == (200, {"cancelled": True})
        assert feed.cancels == ["running"]
        await post(relay, "/api/sessions/s/cancel?queued=1", None)
        assert feed.cancels[1:] == ["waiting", "running"]
        await post(relay, "/api/permissions/p/grant", None)
        await post(relay, "/api/permissions/p/deny", None)
        assert hub.decisions == [("p", True, ""), ("p", False, "")]


async def test_everything_else_passes_through_with_its_status_body_and_headers() -> None:
    async with MixServer("async", listen=False) as server:
        hub = ScriptedHub()
        async with open_http(hub, server) as relay:
            created = await post(
                relay, "/api/sessions", {"title": "T", "browserMode": "local-browser-service"}
            )
            assert created.status == 201, created.body
            session_id = created.json["id"]
            for method, target in (
                ("GET", f"/api/sessions/{session_id}"),
                ("GET", "/api/sessions/unknown"),
                ("GET", "/api/tools"),
                ("GET", "/no/such/path?x=%20y"),
                ("HEAD", "/health"),
            ):
                answer = await call(relay, method, target)
                direct = await call(server, method, target)
                assert (answer.status, answer.body) == (direct.status, direct.body)
                assert answer.headers["content-type"] == direct.headers["content-type"]
            deleted = await call(relay, "DELETE", f"/api/sessions/{session_id}")
            assert (deleted.status, deleted.body) == (204, b"")
        assert relay.routes.upstream.requests == 7


@asynccontextmanager
async def in_front_of(handler: Callable[[Peer], Awaitable[None]]) -> AsyncIterator[RelayHttp]:
    """Serve a relay in front of a server that sends given bytes."""
    async with open_http(ScriptedHub()) as relay:
        _, relay.mix._caller.http = memory_server(relay.nursery, handler)
        yield relay


async def test_bodies_are_streamed_both_ways() -> None:
    seen: list[bytes] = []
    steps = [trio.Event() for _ in range(3)]

    async def upstream(peer: Peer) -> None:
        head = await peer._until(b"\r\n\r\n")
        assert head is not None
        assert b"x-filename" in head.lower()
        while b"last" not in b"".join(seen):
            seen.append(bytes(await peer.stream.receive_some()))
            steps[len(seen) > 1].set()
        await peer.stream.send_all(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a=b\r\n"
            b"Access-Control-Allow-Origin: *\r\n\r\n" + chunk(b"one")
        )
        await steps[2].wait()
        await peer.stream.send_all(chunk(b"two") + LAST_CHUNK)

    async with in_front_of(upstream) as relay:
        stream = await connect(relay)
        async with stream:
            await stream.send_all(
                b"POST /api/sessions/s/files/upload HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/octet-stream\r\nX-Filename: f\r\n"
                b"Transfer-Encoding: chunked\r\n\r\n" + chunk(b"first")
            )
            await steps[0].wait()  # the first piece arrives before the last one is sent
            await stream.send_all(chunk(b"last") + LAST_CHUNK)
            data = b""
            while b"one" not in data:
                data += bytes(await stream.receive_some())
            assert b"set-cookie" not in data.lower()
            assert b"access-control" not in data.lower()
            steps[2].set()
            while not data.endswith(LAST_CHUNK):
                data += bytes(await stream.receive_some())
            assert chunk(b"two") in data


async def test_a_malformed_chunk_of_an_upload_is_400() -> None:
    async def upstream(peer: Peer) -> None:
        with suppress(trio.BrokenResourceError):
            while await peer.stream.receive_some():
                pass

    async with in_front_of(upstream) as relay:
        stream = await connect(relay)
        async with stream:
            await stream.send_all(
                b"POST /api/sessions/s/files/upload HTTP/1.1\r\nHost: localhost\r\n"
                b"Content-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
                + chunk(b"first")
                + b"no length\r\n"
            )
            data = b""
            while received := await stream.receive_some():
                data += bytes(received)
        assert data.startswith(b"HTTP/1.1 400 ")
        assert b"malformed request" in data


async def test_a_response_that_breaks_off_breaks_off_for_the_client_too() -> None:
    async def upstream(peer: Peer) -> None:
        await peer.request()
        await peer.stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf")
        await peer.stream.aclose()

    async with in_front_of(upstream) as relay:
        with pytest.raises(CutError):
            await call(relay, "GET", "/api/tools")


async def test_a_server_that_cannot_be_reached_is_503_and_one_that_breaks_502() -> None:
    async def breaks(peer: Peer) -> None:
        await peer.request()
        await peer.stream.aclose()

    async with in_front_of(breaks) as relay:
        broken = await call(relay, "GET", "/api/tools")
        assert (broken.status, broken.json["error"]["code"]) == (502, 502)
    async with Mix("http://127.0.0.1:9") as mix, open_http(ScriptedHub()) as relay:
        relay.routes.upstream = Upstream(mix)
        away = await call(relay, "GET", "/api/tools")
        assert (away.status, away.headers["retry-after"]) == (503, "2")


async def test_until_the_server_was_reached_everything_but_health_is_503() -> None:
    hub = ScriptedHub(None)
    hub.upstream_reachable = False
    async with open_http(hub) as relay:
        for method, target in (("GET", "/stream?sessionId=s"), ("GET", "/api/sessions")):
            answer = await call(relay, method, target)
            assert (answer.status, answer.headers["retry-after"]) == (503, "2")
        assert (await call(relay, "GET", "/relay/health/live")).status == 200
        ready = await call(relay, "GET", "/relay/health/ready")
        assert (ready.status, ready.json["upstream"]) == (503, "unreachable")
        hub.generation = "async"
        assert (await call(relay, "GET", "/relay/health/ready")).status == 200
        relay.state.draining = True
        assert (await call(relay, "GET", "/relay/health/ready")).json["status"] == "draining"


async def test_metrics_are_prometheus_text() -> None:
    hub = ScriptedHub()
    hub.add("s")
    async with open_http(hub) as relay:
        await post(relay, REST, {"text": "x"})
        answer = await call(relay, "GET", "/relay/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = answer.body.decode().splitlines()
    assert "trio_mix_relay_requests_total 2" in lines
    assert "trio_mix_relay_ready 1" in lines
    assert "trio_mix_relay_turns_total 7" in lines  # the hub's own figures
    assert len([line for line in lines if line.startswith("# TYPE ")]) * 2 == len(lines)


async def test_the_rpc_of_the_oldest_servers_goes_the_way_of_the_relay() -> None:
    hub = ScriptedHub("pipeline-oldest")
    feed = hub.add("s")
    async with open_http(hub) as relay:

        async def rpc(method: str, **params: object) -> dict[str, Any]:
            body = {"method": method, "params": params, "id": 7}
            answer = await post(relay, "/rpc", body)
            assert answer.status == 200
            result: dict[str, Any] = json.loads(answer.body)
            assert result.pop("id") == 7
            return result

        assert await rpc("agent.cancel", sessionId="s") == {"result": {"cancelled": True}}
        assert await rpc("permission.deny", id="p") == {"result": {"ok": True}}
        assert (await rpc("agent.cancel", sessionId="nobody"))["error"]["code"] == -32000
        assert (await rpc("messages.send", sessionId="s"))["error"]["code"] == -32602
        results: list[dict[str, Any]] = []

        async def send() -> None:
            results.append(await rpc("messages.send", sessionId="s", content="hi"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked()
            feed.finish("t1", Outcome(kind="complete", text="yes", final_text="yes"))
        assert results[0]["result"]["content"] == "yes"
    assert feed.cancels == ["running"]


async def test_a_slash_command_that_is_over_is_answered_with_its_output() -> None:
    hub = ScriptedHub()
    feed = hub.add("s")
    send = feed.send

    async def run(*args: Any, **kwargs: Any) -> Any:
        sent = await send(*args, **kwargs)
        feed.finish(sent.turn.turn_id, Outcome(kind="complete", text="help!"))
        return attrs.evolve(sent, turn=feed.sent[-1])

    feed.send = run  # type: ignore[method-assign]
    async with open_http(hub) as relay:
        answer = await post(relay, REST, {"text": "/help"})
        assert (answer.status, answer.json["assistantResponse"]) == (200, "help!")
