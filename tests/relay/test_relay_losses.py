"""Sessions of the relay that lose connections, their server or their process."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.support.relay_memory_log import MemoryStore
from tests.support.relay_world import ends_of, open_hub, post, read_all, text_of, until_over
from trio_mix.relay._errors import (
    AlreadyDecided,
)
from trio_mix.relay._ids import EPOCH
from trio_mix.relay._records import TurnState
from trio_mix.testing import (
    AskPermission,
    Cut,
    FaultPlan,
    FaultProxy,
    MessageRun,
    MixServer,
    Pause,
    Rule,
    Say,
    Turn,
    UseTool,
    assert_ran_once,
    cancel_at_every_checkpoint,
)

if TYPE_CHECKING:
    from trio_mix.testing import Api


async def test_a_lost_connection_in_mid_turn_costs_time_and_nothing_else(
    api: Api, autojump_clock: trio.testing.MockClock
) -> None:
    words = [f"word{number} " for number in range(40)]
    async with MixServer(api, listen=False, pace=0.0) as server:
        server.script(
            "hi",
            Turn(
                Say("".join(words[:15]), deltas=words[:15]),
                UseTool("bash", input={"x": 1}),
                Pause(3),
            ),
        )
        server.script(
            "hi2",
            Turn(*[step for word in words for step in (Say(word, deltas=[word]), Pause(0.2))]),
        )
        session = server.create_session()
        plan = FaultPlan(Rule(Cut(2500), path="/stream", method="GET"))
        async with FaultProxy(server, plan) as proxy:
            async with (
                open_hub(server, network=proxy.network) as hub,
                hub.session(session) as feed,
            ):
                start = await feed.start()
                for name in ("hi2", "hi"):
                    sent = await post(feed, name)
                    turn = await feed.wait_turn(sent.turn.turn_id)
                    assert turn.outcome is not None
                    assert turn.outcome.kind == "complete", turn
                    frames = await read_all(feed, start.position)
                    if api != "pipeline-oldest":
                        assert text_of(frames, turn.turn_id) == turn.outcome.text
                    assert [end.turn_id for end in ends_of(frames)].count(turn.turn_id) == 1
                    assert_ran_once(server, name)


async def test_a_hub_that_is_closed_in_mid_turn_cancels_nothing_and_the_next_one_finishes(
    api: Api, autojump_clock: trio.testing.MockClock
) -> None:
    store = MemoryStore()
    words = [f"word{number} " for number in range(20)]
    async with MixServer(api, listen=False, pace=0.0) as server:
        steps = [step for word in words for step in (Say(word, deltas=[word]), Pause(1))]
        server.script("long", Turn(*steps))
        session = server.create_session()
        async with open_hub(server, store) as hub, hub.session(session) as feed:
            sent = await post(feed, "long")
            queued = await post(feed, "then")
            await trio.sleep(5)
        if api.startswith("pipeline"):
            pass  # its turns are cancelled with their stream
        async with open_hub(server, store) as hub, hub.session(session) as feed:
            turn = await feed.wait_turn(sent.turn.turn_id)
            then = await feed.wait_turn(queued.turn.turn_id)
            start = await feed.start(from_="earliest")
            frames = await read_all(feed, start.position)
        assert turn.outcome is not None
        assert then.outcome is not None
        assert then.outcome.kind == "complete"
        assert [end.turn_id for end in ends_of(frames)] == [turn.turn_id, then.turn_id]
        assert_ran_once(server, "long")
        assert_ran_once(server, "then")
        if api == "async":
            assert turn.outcome.text == "".join(words)
            assert text_of(frames, turn.turn_id) == "".join(words)


async def test_a_hub_that_is_cancelled_at_any_checkpoint_loses_nothing(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The next hub on the same log finishes what was accepted: once, and with one end."""
    async with MixServer(listen=False, pace=0.0) as server:
        server.script("hi", Turn(Say("Hello there", deltas=["Hello ", "there"]), UseTool("bash")))
        session = server.create_session()
        stores = [MemoryStore()]
        runs = 0

        async def use() -> None:
            async with open_hub(server, stores[-1]) as hub, hub.session(session) as feed:
                start = await feed.start(from_="earliest")
                sent = await post(feed, "hi", key="k")
                await feed.wait(start.position)
                await feed.read(start.position, relay=True)
                await until_over(feed, sent)

        async def check() -> None:
            nonlocal runs
            store = stores[-1]
            stores.append(MemoryStore())
            accepted = len(store.turns)
            assert accepted <= 1
            async with open_hub(server, store) as hub, hub.session(session) as feed:
                for turn_id in store.turns:
                    turn = await feed.wait_turn(turn_id)
                    assert turn.state is TurnState.DONE
                frames = await read_all(feed, 0)
            ran = sum(isinstance(each, MessageRun) for each in server.log)
            assert ran - runs == accepted == len(ends_of(frames))
            runs = ran

        sweep = await cancel_at_every_checkpoint(use, check=check)
        assert sweep.checkpoints > 20


async def test_after_a_lost_connection_text_arrives_before_the_turn_is_over(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """What is held back after the hole is passed on once the stored messages show its place."""
    words = [f"word number {number}. " for number in range(100)]
    async with MixServer(listen=False, pace=0.0) as server:
        steps = [step for word in words for step in (Say(word, deltas=[word]), Pause(1.0))]
        server.script("long", Turn(*steps))
        session = server.create_session()
        async with FaultProxy(server) as proxy:
            async with open_hub(server, network=proxy.network) as hub, hub.session(session) as feed:
                start = await feed.start()
                sent = await post(feed, "long")
                turn_id = sent.turn.turn_id
                await trio.sleep(20)
                await proxy.unplug()
                await trio.sleep(5)
                await proxy.plug_in()
                await trio.sleep(40)
                text = text_of(await read_all(feed, start.position), turn_id)
                assert "".join(words).startswith(text)
                assert len(text) > len("".join(words[:50]))
                await until_over(feed, sent)
                frames = await read_all(feed, start.position)
                assert text_of(frames, turn_id) == "".join(words)
                assert [end.turn_id for end in ends_of(frames)] == [turn_id]


@pytest.mark.parametrize("away", [2.0, 60.0])
async def test_a_turn_that_was_sent_past_the_relay_is_completed_after_a_lost_connection(
    away: float, autojump_clock: trio.testing.MockClock
) -> None:
    """While the connection is lost the turn goes on, or ends."""
    words = [f"word number {number}. " for number in range(30)]
    async with MixServer(listen=False, pace=0.0) as server:
        steps = [step for word in words for step in (Say(word, deltas=[word]), Pause(1.0))]
        server.script("foreign", Turn(*steps, UseTool("bash"), Say("end")))
        session = server.create_session()
        async with FaultProxy(server) as proxy:
            async with open_hub(server, network=proxy.network) as hub, hub.session(session) as feed:
                start = await feed.start()
                await trio.sleep(1)
                server.run_message(session, "foreign")
                await trio.sleep(10)
                turn_id = feed.turn_running
                assert turn_id is not None
                await proxy.unplug()
                await trio.sleep(away)
                await proxy.plug_in()
                sent = await post(feed, "ours")
                await until_over(feed, sent)
                await trio.sleep(30)
                frames = await read_all(feed, start.position)
                assert [end.turn_id for end in ends_of(frames)] == [turn_id, sent.turn.turn_id]
                assert ends_of(frames)[0].event == "complete"
                assert text_of(frames, turn_id) == "".join(words) + "end"
                assert feed.turn_running is None
        assert_ran_once(server, "ours")


async def test_a_permission_that_was_answered_before_a_restart_stays_answered(
    autojump_clock: trio.testing.MockClock,
) -> None:
    store = MemoryStore()
    async with MixServer(listen=False, pace=0.0) as server:
        server.script("ask", Turn(AskPermission("bash"), Pause(30), Say("done")))
        session = server.create_session()
        async with open_hub(server, store) as hub, hub.session(session) as feed:
            sent = await post(feed, "ask")
            await trio.sleep(1)
            [(_, data)] = feed.open_requests(feed.newest)
            request = json.loads(data)["id"]
            await hub.decide(request, grant=True, subject="bob")
            await trio.sleep(1)
        async with open_hub(server, store) as hub, hub.session(session) as feed:
            await trio.sleep(1)
            assert (await hub.decide(request, grant=True, subject="eve")).status == 200
            with pytest.raises(AlreadyDecided, match="granted by bob"):
                await hub.decide(request, grant=False, subject="eve")
            await until_over(feed, sent)


async def test_a_server_that_is_upgraded_is_noticed_and_accepted_messages_are_sent(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with MixServer("pipeline", listen=False, pace=0.0) as server:
        session = server.create_session()
        async with open_hub(server) as hub:
            async with hub.session(session) as feed:
                await until_over(feed, await post(feed, "before"))
                before = hub.generation
                await server.restart(api="async")
                await trio.sleep(60)
            assert (before, hub.generation) == ("pipeline", "async")
            assert feed.closed == "the server was replaced by another version"
            async with hub.session(session) as feed:
                sent = await post(feed, "after")
                await until_over(feed, sent)
                frames = await read_all(feed, EPOCH)
            assert len(ends_of(frames)) == 2
        assert_ran_once(server, "after")
