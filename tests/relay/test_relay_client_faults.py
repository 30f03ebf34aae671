"""`RelayClient` under faults: positions in any schedule, cut bytes, cancels, kills of the relay."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.support.relay_command import relay_of
from tests.support.relay_running import open_relay
from trio_mix import ReconnectPolicy
from trio_mix.events import CompleteEvent, ContentEvent
from trio_mix.relay import Relay, RelayClient, SqliteLog
from trio_mix.relay._client_sessions import FollowedSession, Follower, Missed
from trio_mix.relay._client_turn import ClientTurn
from trio_mix.sse import ServerSentEvent
from trio_mix.testing import (
    Cut,
    FaultPlan,
    FaultProxy,
    MixServer,
    Rule,
    Say,
    Turn,
    WaitFor,
    cancel_at_every_checkpoint,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.command_line import StartCommand

SOON = ReconnectPolicy(initial_interval=0.01, max_interval=0.05, stable_after=0)


class World:
    """A relay with one session, which keeps its newest events, and one subscription at most."""

    def __init__(self, session: FollowedSession) -> None:
        self.session = session
        self.newest = 10
        self.oldest = 0
        self.position: int | None = None
        self.waiting: list[dict[str, Any]] = []
        """Messages to the client that are under way."""

    def exchange(self) -> None:
        """Carry out what the client asks for."""
        while (command := self.session.next_command()) is not None:
            if command["type"] == "unsubscribe":
                self.position = None
                continue
            gap = None
            if "after" in command:
                start = int(str(command["after"]))
                if start < self.oldest:
                    gap, start = {"missed": self.oldest - start}, self.oldest
            else:
                start = {"now": self.newest, "earliest": self.oldest}[str(command["from"])]
            self.position = start
            self.waiting.append({"position": start, "gap": gap})

    def send(self, count: int) -> None:
        """Send the next events."""
        if self.position is None:
            return
        if self.position < self.oldest:
            missed = self.oldest - self.position
            self.waiting.append({"events": [{"event": "gap", "data": f'{{"missed":{missed}}}'}]})
            self.position = self.oldest
        last = min(self.newest, self.position + count)
        ids = range(self.position + 1, last + 1)
        events = [{"id": str(each), "event": "e", "data": "x" * 50} for each in ids]
        self.position = last
        if events:
            self.waiting.append({"events": events})

    def deliver(self) -> None:
        """Let one message arrive."""
        if self.waiting:
            message = self.waiting.pop(0)
            if "events" in message:
                self.session.events(message["events"])
            else:
                self.session.subscribed(message["position"], message["gap"])

    def lose(self) -> None:
        self.waiting.clear()
        self.position = None
        self.session.lost()


class Reader:
    """A consumer, which checks what it takes."""

    def __init__(self, follower: Follower) -> None:
        self.follower = follower
        self.at: int | None = None

    def take(self) -> None:
        item = self.follower.take()
        if item is None:
            return
        if isinstance(item, Missed):
            assert item.count is not None
            self.at = (self.follower.began or 0 if self.at is None else self.at) + item.count
            return
        position = int(item.id)
        if self.at is None:
            assert self.follower.began is not None
            self.at = self.follower.began
        assert position == self.at + 1, "in order, each once"
        self.at = position


STEP = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 30)),
    st.tuples(st.just("send"), st.integers(1, 30)),
    st.tuples(st.just("deliver"), st.integers(1, 3)),
    st.tuples(st.just("take"), st.integers(1, 20)),
    st.tuples(st.just("follow"), st.sampled_from([-1, -2, 0, 3, 8])),
    st.tuples(st.just("leave"), st.integers(0, 3)),
    st.tuples(st.just("delete"), st.integers(1, 10)),
    st.tuples(st.just("lose"), st.just(0)),
)


@given(st.lists(STEP, max_size=40))
def test_every_consumer_has_every_event_once_in_any_schedule(steps: list[tuple[str, int]]) -> None:
    session = FollowedSession("s")
    world = World(session)
    readers: list[Reader] = []
    for step, number in steps:
        match step:
            case "append":
                world.newest += number
            case "send":
                world.send(number)
            case "deliver":
                for _ in range(number):
                    world.deliver()
            case "take":
                for reader in readers:
                    for _ in range(number):
                        reader.take()
            case "follow" if len(readers) < 4:
                start: Any = {-1: "now", -2: "earliest"}.get(number, "now")
                position = number if number >= 0 else None
                reader = Reader(Follower(position, start, max_size=1000))
                session.add(reader.follower)
                readers.append(reader)
            case "leave" if number < len(readers):
                session.discard(readers.pop(number).follower)
            case "delete":
                world.oldest = min(world.newest, world.oldest + number)
            case "lose":
                world.lose()
        world.exchange()
    world.newest += 1  # the next event shows the end of a gap
    for _ in range(2000):  # everything arrives in the end
        world.exchange()
        world.send(10_000)
        while world.waiting:
            world.deliver()
        for reader in readers:
            for _ in range(5):
                reader.take()
        if all(reader.follower.position == world.newest for reader in readers):
            break
    for reader in readers:
        while len(reader.follower):
            reader.take()
        assert reader.at in (world.newest, None)
        if reader.at is None:
            assert reader.follower.began == world.newest


@pytest.mark.parametrize("direction", ["down", "up"])
async def test_a_line_that_is_cut_at_many_bytes_loses_and_doubles_nothing(
    direction: Any, tmp_path: Path
) -> None:
    async with MixServer("async") as server:
        server.script("go", Turn(*(Say(f"{number} ") for number in range(30))))
        session_id = server.create_session()
        expected = "".join(f"{number} " for number in range(30))
        cuts = [300, 420, 560, 700, 1000, 1500, 2500, 4000]
        rules = [
            Rule(Cut(at, direction), path="/relay/ws", connections=[number])
            for number, at in enumerate(cuts, 1)
        ]
        async with (
            Relay(server.url, log=SqliteLog(tmp_path / "r.db")) as relay,
            trio.open_nursery() as nursery,
        ):
            await nursery.start(relay.serve, "127.0.0.1", 0)
            await relay.wait_ready()
            async with (
                FaultProxy(relay.url, FaultPlan(*rules)) as proxy,
                RelayClient(proxy.url, reconnect=SOON) as client,
                client.subscribe(session_id) as events,
            ):
                for _ in range(3):
                    async with client.send(session_id, "go") as message:
                        pieces = [piece async for piece in message.text_deltas()]
                        assert "".join(pieces) == message.reply.text == expected
                ids: list[int] = []
                ends = 0
                while ends < 3:
                    event = await anext(events)
                    if event.id:
                        ids.append(int(event.id))
                        ends += type(event).__name__ == "CompleteEvent"
                assert ids == list(range(ids[0], ids[0] + len(ids)))
            nursery.cancel_scope.cancel()
        assert server.runs("go") == 3


async def test_it_can_be_cancelled_at_every_checkpoint() -> None:
    async with MixServer("async", listen=False) as server:
        server.script("go", Turn(Say("one "), Say("two")))
        session_id = server.create_session()
        async with open_relay(server) as relay:

            async def connect(host: str, port: int) -> trio.abc.Stream:
                del host, port
                await trio.lowlevel.checkpoint()
                return relay.network.connect()

            async def use() -> None:
                async with (
                    RelayClient("http://localhost", connect=connect) as client,
                    client.subscribe(session_id) as events,
                    client.send(session_id, "go") as message,
                ):
                    await anext(events)
                    assert (await message.wait()).text == "one two"

            await use()  # the relay opens the session, and keeps it open
            sweep = await cancel_at_every_checkpoint(use)
            assert sweep.checkpoints >= 10


async def test_kill_9_of_the_relay_in_the_middle_of_an_answer(
    start_command: StartCommand, tmp_path: Path
) -> None:
    async with MixServer("async") as server, trio.open_nursery() as nursery:
        go_on, killed = trio.Event(), trio.Event()
        server.script("go", Turn(Say("one "), Say("two "), WaitFor(go_on), Say("three")))
        session_id = server.create_session()

        async def run_relays(*, task_status: trio.TaskStatus[str]) -> None:
            async with relay_of(server, tmp_path, start_command) as (process, url):
                task_status.started(url)
                await killed.wait()
                process.kill()
                await process.wait()
            async with relay_of(server, tmp_path, start_command, url.rpartition(":")[2]):
                go_on.set()
                await trio.sleep_forever()

        url = await nursery.start(run_relays)
        async with (
            RelayClient(url, reconnect=SOON) as client,
            client.subscribe(session_id) as events,
            client.send(session_id, "go") as message,
        ):
            pieces: list[str] = []
            async for piece in message.text_deltas():
                pieces.append(piece)
                killed.set()
            assert "".join(pieces) == message.reply.text == "one two three"
            ids: list[int] = []
            texts: list[str] = []
            async for event in events:
                if event.id:
                    ids.append(int(event.id))
                if isinstance(event, ContentEvent):
                    texts.append(event.content)
                if isinstance(event, CompleteEvent):
                    break
            assert "".join(texts) == "one two three"
            assert ids == sorted(set(ids)), "each once, in order"
            assert client.statistics().losses == 1
        assert server.runs("go") == 1
        nursery.cancel_scope.cancel()


def test_no_event_of_a_turn_raises_an_error_of_a_parser() -> None:
    for data, end in [
        ('{"turnId": "t", "state": "done", "took": NaN}', "done"),
        ('{"turnId": "t", "state": "done", "x": "\\ud800"}', "done"),
        ('{"turnId": "t", "state": ["done"]}', ""),
        ('{"turnId": "t", "state": "running"}', ""),
        ("[" * 100_000, ""),
        ("[]", ""),
        ("", ""),
    ]:
        turn = ClientTurn("session")
        assert turn.take(ServerSentEvent(event="turn", data=data)) is None
        assert turn.end == end, data[:50]
