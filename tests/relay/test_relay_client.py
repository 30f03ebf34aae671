"""`RelayClient`: subscriptions, messages and commands over one WebSocket, also after losses."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from tests.support.relay_http import FIRST, RelayHttp, ScriptedHub, open_http
from tests.support.relay_running import open_relay
from trio_mix import ReconnectPolicy
from trio_mix import events as ev
from trio_mix.errors import (
    AgentError,
    ConfigurationError,
    ConnectionFailed,
    MessageInterrupted,
    MessageRejected,
    ReconnectFailed,
    SessionNotFound,
    StreamClosed,
    UsageError,
)
from trio_mix.relay import (
    Auth,
    CommandRefused,
    RelayClient,
    RelaySubscription,
    Unauthorized,
)
from trio_mix.relay._grants import new_token
from trio_mix.relay._records import Outcome
from trio_mix.testing import (
    AskPermission,
    Fail,
    MixServer,
    Say,
    Turn,
    WaitFor,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


from tests.support.relay_clients import Line, connected, in_front_of


async def numbers(events: RelaySubscription, count: int) -> list[int]:
    """Return the numbers of the next stored events."""
    found: list[int] = []
    while len(found) < count:
        event = await anext(events)
        if event.id:
            found.append(int(event.id) - FIRST)
    return found


@asynccontextmanager
async def scripted(count: int = 0, **options: Any) -> AsyncIterator[tuple[ScriptedHub, RelayHttp]]:
    hub = ScriptedHub()
    hub.add("s").append("content", {"content": "x"}, times=count) if count else hub.add("s")
    async with open_http(hub, **options) as relay:
        yield hub, relay


async def test_subscriptions_of_one_session_have_their_own_positions() -> None:
    async with scripted(10) as (hub, relay), connected(relay) as (client, _):
        async with (
            client.subscribe("s", after=FIRST + 4) as later,
            client.subscribe("s") as now,
            client.subscribe("s", start="earliest") as all_of_it,
        ):
            assert later.last_event_id == str(FIRST + 4)
            hub.feeds["s"].append("content", {"content": "x"}, times=2)
            assert await numbers(later, 8) == list(range(5, 13))
            assert await numbers(now, 2) == [11, 12]
            assert await numbers(all_of_it, 12) == list(range(1, 13))
            assert now.last_event_id == str(FIRST + 12)
            assert client.statistics().sessions == 1
        with trio.fail_after(5):
            while client.statistics().sessions:
                await trio.lowlevel.checkpoint()
        assert hub.feeds["s"].consumers <= 1


async def test_a_lost_connection_loses_and_doubles_no_event() -> None:
    async with scripted(5) as (hub, relay), connected(relay) as (client, line):
        feeds = [hub.feeds["s"], hub.add("t")]
        async with (
            client.subscribe("s", start="earliest") as one,
            client.subscribe("t") as two,
        ):
            for _ in range(3):
                for feed in feeds:
                    feed.append("content", {"content": "x"}, times=3)
                await line.cut()
                for feed in feeds:
                    feed.append("content", {"content": "x"}, times=2)
            assert await numbers(one, 20) == list(range(1, 21))
            assert await numbers(two, 15) == list(range(1, 16))
        assert len(line.streams) == client.statistics().connects
        assert client.statistics().losses >= 1


async def test_a_slow_subscriber_loses_nothing_and_holds_up_no_other() -> None:
    async with scripted() as (hub, relay), connected(relay, buffer_size=5000) as (client, line):
        async with client.subscribe("s") as slow, client.subscribe("s") as fast:
            for _ in range(20):
                hub.feeds["s"].append("content", {"content": "x" * 300}, times=10)
                assert len(await numbers(fast, 10)) == 10
            assert len(slow._reader.follower) < 15, "its buffer is bounded"
            await line.cut()
            assert await numbers(slow, 200) == list(range(1, 201))


async def test_deleted_events_are_a_gap_and_a_deleted_session_an_error() -> None:
    async with scripted(10) as (hub, relay), connected(relay) as (client, _):
        feed = hub.feeds["s"]
        feed.deleted = 4
        async with client.subscribe("s", after=FIRST + 1) as events:
            gap = await anext(events)
            assert isinstance(gap, ev.StreamGapEvent)
            assert gap.missed == 3
            assert await numbers(events, 6) == list(range(5, 11))
            feed.close("session not found")
            with pytest.raises(SessionNotFound):
                await numbers(events, 1)
        with pytest.raises(SessionNotFound, match="no session"):
            async with client.subscribe("other"):
                raise AssertionError
        for after in ("x", 7):
            with pytest.raises(ConfigurationError):
                client.subscribe("s", after=after)
        with pytest.raises(ConfigurationError):
            client.subscribe("s", start="later")  # type: ignore[arg-type]


@pytest.mark.parametrize("api", ["pipeline", "blocking", "async"])
async def test_a_message_has_its_events_and_its_reply(api: Any) -> None:
    async with MixServer(api, listen=False) as server:
        server.script("hi", Turn(Say("Hello there")))
        async with in_front_of(server) as (client, _, _, session_id):
            async with client.send(session_id, "hi") as message:
                assert message.turn_id
                seen = [event async for event in message]
                assert isinstance(seen[-1], ev.CompleteEvent)
                assert message.finished
                assert message.reply.text == "Hello there"
                assert not message.reply.recovered
            async with client.send(session_id, "hi") as message:
                assert "".join([piece async for piece in message.text_deltas()]) == "Hello there"
            # The key of an earlier message: its reply, not another turn.
            async with client.send(session_id, "hi", key=message.key) as again:
                reply = await again.wait()
            assert (reply.text, reply.recovered, again.turn_id) == (
                "Hello there",
                True,
                message.turn_id,
            )
        assert server.runs("hi") == 2


async def test_messages_of_many_sessions_share_one_socket() -> None:
    async with MixServer("async", listen=False) as server:
        server.script("hi", Turn(Say("Hello")))
        async with open_relay(server) as relay, connected(relay) as (client, line):
            replies: list[str] = []

            async def ask() -> None:
                async with client.send(server.create_session(), "hi") as message:
                    replies.append((await message.wait()).text)

            async with trio.open_nursery() as nursery:
                for _ in range(50):
                    nursery.start_soon(ask)
        assert replies == ["Hello"] * 50
        assert len(line.streams) == 1


async def test_errors_of_the_agent_and_refusals_are_raised() -> None:
    async with MixServer("async", listen=False) as server:
        server.script("bad", Turn(Say("so far"), Fail("out of tokens")))
        async with in_front_of(server) as (client, _, _, session_id):
            async with client.send(session_id, "bad") as message:
                with pytest.raises(AgentError, match="out of tokens") as failed:
                    await message.wait()
                assert failed.value.partial is not None
                assert failed.value.partial.text == "so far"
            with pytest.raises(SessionNotFound):
                async with client.send("unknown", "hi"):
                    raise AssertionError
            with pytest.raises(MessageRejected, match="HTTP 4"):
                async with client.send(session_id, "hi", media=["x"]):
                    raise AssertionError
            for text, why in (("!rm", "shell"), ("x" * 11 * 2**20, "takes"), ("\ud800", "UTF-8")):
                with pytest.raises(MessageRejected, match=why):
                    client.send(session_id, text)
            with pytest.raises(CommandRefused) as refused:
                await client.cancel("turn_0")
            assert refused.value.status_code == 404
            with pytest.raises(CommandRefused):
                await client.decide(session_id, "p", grant=True)


async def test_a_permission_is_granted_and_an_early_exit_cancels() -> None:
    async with MixServer("async", listen=False) as server:
        server.script("ask", Turn(AskPermission("bash"), Say("done")))
        server.script("long", Turn(Say("first"), WaitFor(trio.Event())))
        async with in_front_of(server) as (client, _, _, session_id):
            async with client.send(session_id, "ask") as message:
                async for event in message:
                    if isinstance(event, ev.PermissionEvent):
                        await message.grant(event)
                        await message.grant(event)
                        with pytest.raises(CommandRefused):
                            await message.deny(event)
                assert message.reply.text == "done"
            async with client.send(session_id, "long") as message:
                assert await anext(message.text_deltas()) == "first"
            with pytest.raises(MessageInterrupted) as left:
                message.reply  # noqa: B018
            assert left.value.outcome == "cancelled"
            async with client.send(session_id, "ask") as message:
                async for event in message:
                    if isinstance(event, ev.PermissionEvent):
                        await client.decide(session_id, event.permission_id, grant=True)
                assert message.reply.text == "done"


async def test_a_caller_that_is_cancelled_with_its_client_leaves_no_turn_running() -> None:
    async with MixServer("async", listen=False) as server:
        server.script("long", Turn(Say("first"), WaitFor(trio.Event())))
        session_id = server.create_session()
        async with open_relay(server) as relay:
            with trio.fail_after(30), trio.CancelScope() as caller:
                async with (
                    connected(relay, cleanup_timeout=60) as (client, _),
                    client.send(session_id, "long") as message,
                ):
                    assert await anext(message.text_deltas()) == "first"
                    caller.cancel()
                    await trio.sleep_forever()
            assert len(server.requests("POST", f"/api/sessions/{session_id}/cancel")) == 1


async def test_a_message_survives_cuts_of_the_line_and_kills_of_the_relay() -> None:
    async with MixServer("async", listen=False) as server:
        for case in ("before the end", "after each event"):
            go_on = trio.Event()
            server.script(case, Turn(Say("one "), Say("two "), WaitFor(go_on), Say("three")))
            async with in_front_of(server) as (client, line, relay, session_id):
                async with trio.open_nursery() as nursery:
                    async with client.send(session_id, case) as message:
                        texts = message.text_deltas()
                        pieces = [await anext(texts)]
                        await line.cut()
                        if case == "after each event":
                            await relay.kill()
                            await nursery.start(relay.run)
                        go_on.set()
                        async for piece in texts:
                            pieces.append(piece)
                            await line.cut()
                        assert "".join(pieces) == message.reply.text == "one two three"
                    nursery.cancel_scope.cancel()
            assert server.runs(case) == 1


async def test_a_message_whose_answer_was_lost_is_not_run_twice() -> None:
    async with MixServer("async", listen=False) as server:
        server.script("hi", Turn(Say("Hello")))
        async with in_front_of(server) as (client, line, _, session_id):
            async with client.subscribe(session_id) as events:
                async with trio.open_nursery() as nursery:

                    async def cut() -> None:
                        while not isinstance(await anext(events), ev.UnknownEvent):
                            pass
                        await line.cut()  # the turn is stored, and its answer is under way

                    nursery.start_soon(cut)
                    async with client.send(session_id, "hi") as message:
                        assert (await message.wait()).text == "Hello"
        assert server.runs("hi") == 1


async def test_a_relay_that_is_gone_ends_everything_as_the_policy_says(
    autojump_clock: trio.testing.MockClock,
) -> None:
    policy = ReconnectPolicy(max_elapsed_time=5, initial_interval=0.1, max_interval=1)
    async with scripted() as (_, relay), connected(relay, reconnect=policy) as (client, line):
        async with client.subscribe("s") as events:
            line.broken = True
            await line.cut()
            with pytest.raises(ReconnectFailed, match="no route"):
                await numbers(events, 1)
        with pytest.raises(ReconnectFailed):
            async with client.send("s", "hi"):
                raise AssertionError
        assert str(client.statistics().state) == "closed"


async def test_entering_fails_with_the_cause(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    token = new_token(tokens, sessions=None, verbs=["read"])
    async with scripted(auth=Auth.tokens(tokens)) as (_, relay):
        for wrong in (None, "not-a-token"):
            with pytest.raises(Unauthorized, match="HTTP 401") as refused:
                async with connected(relay, token=wrong):
                    raise AssertionError
            assert "not-a-token" not in str(refused.value)
        calls: list[None] = []

        async def fresh() -> str:
            await trio.lowlevel.checkpoint()
            calls.append(None)
            return token

        async with connected(relay, token=fresh) as (client, line):
            async with client.subscribe("s"):
                with pytest.raises(MessageRejected, match="HTTP 403"):
                    async with client.send("s", "hi"):
                        raise AssertionError
                await line.cut()
                with trio.fail_after(5):
                    while client.statistics().connects < 2:
                        await trio.lowlevel.checkpoint()
            assert len(calls) == 2
            assert token not in repr(client)

        line = Line(relay)
        line.broken = True
        client = RelayClient("http://localhost", connect=line.connect, connect_timeout=0.1)
        with pytest.raises(ConnectionFailed, match="no route"):
            async with client:
                raise AssertionError
    with pytest.raises(StreamClosed):
        client.send("s", "hi")


async def test_messages_and_subscriptions_are_iterated_inside_their_blocks() -> None:
    async with MixServer("async", listen=False) as server:
        async with in_front_of(server) as (client, _, _, session_id):
            first = client.send(session_id, "hello")
            for scope in (first, client.subscribe(session_id, start="earliest")):
                with pytest.raises(UsageError, match="is not open"):
                    await anext(scope)
                async with scope:
                    await anext(scope)
                with pytest.raises(StreamClosed, match="its block was left"):
                    await anext(scope)


async def test_closing_the_client_ends_its_subscriptions() -> None:
    async with scripted() as (_, relay), trio.open_nursery() as nursery:
        ended = trio.Event()
        ready = trio.Event()

        async def follow(client: RelayClient) -> None:
            async with client.subscribe("s") as events:
                ready.set()
                with pytest.raises(StreamClosed):
                    async for _ in events:
                        pass
            ended.set()

        async with connected(relay) as (client, _):
            nursery.start_soon(follow, client)
            await ready.wait()
        await ended.wait()


async def test_two_messages_with_one_key_at_once_are_a_mistake() -> None:
    async with scripted() as (hub, relay), connected(relay) as (client, _):
        failed: list[Exception] = []

        async def send() -> None:
            try:
                async with client.send("s", "hi", key="k") as message:
                    hub.feeds["s"].finish(message.turn_id or "", Outcome(kind="complete"))
            except UsageError as error:
                failed.append(error)

        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(send)
        assert ["'k'" in str(error) for error in failed] == [True]
        assert [turn.key for turn in hub.feeds["s"].sent] == ["k"]
