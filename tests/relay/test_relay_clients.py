"""Clients of trio_mix in front of a relay: exact replies, resumed streams, any number of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.relay_running import open_relay
from tests.support.wire_client import Frames, Wire, call, connect, open_frames
from trio_mix import Mix
from trio_mix.events import ContentEvent, PermissionEvent
from trio_mix.relay import Auth
from trio_mix.relay._grants import new_token
from trio_mix.testing import AskPermission, MixServer, Notify, Say, Think, Turn, UseTool, WaitFor

if TYPE_CHECKING:
    from pathlib import Path

    from trio_mix.relay._grants import Verb
    from trio_mix.relay._records import TurnRecord
    from trio_mix.testing import Api


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}


APIS = ("async", "blocking", "pipeline")


@pytest.mark.parametrize("api", APIS)
async def test_a_reply_is_the_same_as_without_a_relay(api: Api) -> None:
    async with MixServer(api, listen=False) as server:
        server.script(
            "go",
            Turn(
                Think("Let me see."),
                UseTool("glob", {"pattern": "*"}, result="README.md"),
                AskPermission("bash", then=[Say("All done.")], params={"command": "ls"}),
            ),
        )
        session_id = server.create_session()
        async with open_relay(server) as relay, relay.client() as mix:
            async with mix.open_stream(session_id) as session:
                async with session.send("go") as message:
                    async for event in message:
                        if isinstance(event, PermissionEvent):
                            await message.grant(event)
                reply = message.reply
        assert reply.text == "All done."
        assert [call.name for call in reply.tool_calls][:1] == ["glob"]
        assert (reply.incomplete, reply.recovered) == (False, False)
        assert server.runs("go") == 1


@pytest.mark.parametrize("api", APIS)
async def test_clients_that_send_at_once_each_get_their_own_reply(api: Api) -> None:
    """Two clients on one session disturb each other without a relay."""
    async with MixServer(api, listen=False) as server:
        for number in range(6):
            server.script(f"q{number}", Turn(Say(f"the answer to {number}")))
        session_id = server.create_session()
        replies: dict[int, str] = {}
        async with open_relay(server) as relay:

            async def ask(number: int) -> None:
                async with relay.client() as mix, mix.open_stream(session_id) as session:
                    reply = await session.ask(f"q{number}")
                    assert not reply.incomplete
                    replies[number] = reply.text

            async with trio.open_nursery() as nursery:
                for number in range(6):
                    nursery.start_soon(ask, number)
        assert replies == {number: f"the answer to {number}" for number in range(6)}
        assert [server.runs(f"q{number}") for number in range(6)] == [1] * 6


async def test_a_reply_is_streamed_live_also_on_a_server_that_blocks() -> None:
    async with MixServer("blocking", listen=False) as server:
        go_on = trio.Event()
        server.script("go", Turn(Say("first "), WaitFor(go_on), Say("second")))
        session_id = server.create_session()
        async with open_relay(server) as relay, relay.client() as mix:
            async with mix.open_stream(session_id) as session, session.send("go") as message:
                async for event in message:
                    if isinstance(event, ContentEvent) and not go_on.is_set():
                        go_on.set()
        assert message.reply.text == "first second"


@pytest.mark.parametrize("api", APIS)
async def test_a_relay_that_is_killed_in_mid_answer_loses_nothing(api: Api) -> None:
    async with MixServer(api, listen=False) as server:
        go_on = trio.Event()
        server.script("go", Turn(Say("before "), WaitFor(go_on), Say("after")))
        session_id = server.create_session()
        async with trio.open_nursery() as nursery:
            async with open_relay(server) as relay, relay.client() as mix:
                async with mix.open_stream(session_id) as session:
                    async with session.send("go") as message:
                        async for event in message:
                            if isinstance(event, ContentEvent) and not go_on.is_set():
                                await relay.kill()
                                go_on.set()
                                await nursery.start(relay.run)
                    assert message.reply.text == "before after"
                    assert server.runs("go") == 1
                    again = await session.ask("hello")
                    assert again.text
                    nursery.cancel_scope.cancel()


@pytest.mark.parametrize("api", APIS)
async def test_a_relay_that_is_killed_before_it_answers_a_send_runs_it_once(api: Api) -> None:
    """The relay has stored the message, and no row shows it: it must not be taken for lost."""
    async with MixServer(api, listen=False) as server:
        server.script("go", Turn(Say("once")))
        session_id = server.create_session()
        async with trio.open_nursery() as nursery:
            async with open_relay(server) as relay, relay.client() as mix:
                accept, stored = relay.log.outbox.accept, trio.Event()

                async def accept_slowly(turn: TurnRecord) -> TurnRecord:
                    accepted = await accept(turn)
                    stored.set()
                    for _ in range(3):  # the relay is killed meanwhile
                        await trio.lowlevel.cancel_shielded_checkpoint()
                    return accepted

                relay.log.outbox.accept = accept_slowly  # type: ignore[method-assign]

                async def kill_and_restart() -> None:
                    await stored.wait()
                    await relay.kill()
                    await nursery.start(relay.run)

                nursery.start_soon(kill_and_restart)
                async with mix.open_stream(session_id) as session:
                    reply = await session.ask("go")
                nursery.cancel_scope.cancel()
        assert reply.text == "once"
        assert server.runs("go") == 1


async def test_a_plain_stream_resumes_at_every_frame_with_nothing_lost_or_doubled() -> None:
    async with MixServer("async", listen=False) as server:
        server.script("go", Turn(Think("a"), Say("one "), UseTool("t", {"x": 1}), Say("two")))
        session_id = server.create_session()
        async with open_relay(server) as relay:
            async with open_frames(relay, session_id) as stream:
                target = f"/api/sessions/{session_id}/messages"
                json = {"Content-Type": "application/json"}
                assert (await call(relay, "POST", target, {"text": "go"}, json)).status == 202
                whole = await stream.until("complete")
            ids = [frame.id for frame in whole]
            assert len(set(ids)) == len(ids)
            for at, frame in enumerate(whole[:-1]):
                async with open_frames(relay, session_id, frame.id) as again:
                    assert [each.raw for each in await again.until("complete")] == [
                        each.raw for each in whole[at + 1 :]
                    ]


async def test_a_relay_in_front_of_a_relay_is_one_clear_error() -> None:
    async with MixServer("async", listen=False) as server:
        async with open_relay(server) as relay:
            answer = await call(relay, "GET", "/health", None, {"Mix-Relay-Upstream": "1"})
            assert answer.status == 400


async def test_a_token_for_one_session_answers_its_requests_and_no_others(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    async with MixServer("async", listen=False) as server:
        asks = AskPermission("bash", then=[Say("done")], params={"command": "ls"})
        server.script("go", Turn(asks, Notify("How?", kind="question", response="text")))
        session_id, other = server.create_session(), server.create_session()
        verbs: list[Verb] = ["read", "send", "decide"]
        mine = bearer(new_token(tokens, sessions=[session_id], verbs=verbs))
        theirs = bearer(new_token(tokens, sessions=[other], verbs=verbs))
        async with open_relay(server, auth=Auth.tokens(tokens)) as relay:
            stream = await connect(relay)
            async with stream:
                wire = Wire(stream)
                await wire.send("GET", f"/stream?sessionId={session_id}", None, mine)
                await wire.head()
                frames = Frames(wire)
                target = f"/api/sessions/{session_id}/messages"
                assert (await call(relay, "POST", target, {"text": "go"}, mine)).status == 202
                [*_, request] = await frames.until("permission")
                grant = f"/api/permissions/{request.data['id']}/grant"
                deny = grant.replace("grant", "deny")
                assert (await call(relay, "POST", grant, None, theirs)).status == 404
                assert (await call(relay, "POST", grant, None, mine)).status == 200
                assert (await call(relay, "POST", grant, None, mine)).status == 200
                opposite = await call(relay, "POST", deny, None, mine)
                assert opposite.status == 404
                assert "granted" in opposite.json["error"]["message"]
                [*_, question] = await frames.until("notification")
                respond = f"/api/notifications/{question.data['id']}/respond"
                answer = {"type": "text", "value": "so"}
                assert (await call(relay, "POST", respond, answer, theirs)).status == 404
                assert (await call(relay, "POST", respond, answer, mine)).status == 204
                await frames.until("complete")


async def test_a_message_has_one_key_however_often_it_is_posted() -> None:
    async with MixServer("async", listen=False) as server:
        session_id = server.create_session()
        async with open_relay(server) as relay, relay.client() as mix:
            async with mix.open_stream(session_id) as session:
                await session.ask("one")
                await session.ask("two")
        keys = [turn.key for turn in relay.store.turns.values()]
        assert len(set(keys)) == 2
        assert None not in keys
    async with (
        MixServer("async", listen=False) as server,
        Mix(server.url, network=server.network) as mix,
    ):
        async with mix.open_stream(server.create_session()) as session:
            await session.ask("one")
        [sent] = [each for each in server.requests("POST") if each.path.endswith("/messages")]
        assert not {"idempotency-key", "prefer"} & set(sent.headers)
