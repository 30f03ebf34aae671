"""What the Redis log does beyond the other engines: several relays, and a server that goes away."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from trio_mix.errors import ConfigurationError
from trio_mix.relay import LogError, RedisLog
from trio_mix.relay._errors import Fenced, OwnerUnreachable, RelayError, SessionOwned
from trio_mix.relay._ids import EPOCH, IdSequence
from trio_mix.relay._records import Audience, LoggedEvent, SendRequest, TurnRecord, encode_frame
from trio_mix.relay._redis_codec import (
    decode_published,
    decode_turn,
    encode_events,
    encode_turn,
    position_text,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support.redis_server import RedisServer
    from trio_mix.relay._log import Lease

TTL = 3.0
PATIENT = 2.9
"""Seconds for a response: a busy machine is no fault."""


def made(lease: Lease, *numbers: int) -> list[LoggedEvent]:
    first = lease.epoch * EPOCH
    return [
        LoggedEvent(first + number, Audience.ALL, encode_frame(first + number, "content", "x"))
        for number in numbers
    ]


def turn(name: str, session: str = "s", key: str | None = None) -> TurnRecord:
    return TurnRecord(
        turn_id=name,
        session_id=session,
        request=SendRequest(text=name),
        digest=name,
        created_at=1.0,
        key=key,
    )


class Followed:
    """What a follower was notified of."""

    def __init__(self, owner: str = "") -> None:
        self.owner = owner
        self.notes: list[object] = []
        self.changed = trio.Event()

    def _note(self, note: object) -> None:
        self.notes.append(note)
        self.changed.set()

    def received(self, previous: int, events: Sequence[LoggedEvent]) -> None:
        self._note((previous, list(events)))

    def released(self) -> None:
        self._note("released")

    def resumed(self) -> None:
        self._note("resumed")

    def turn_accepted(self, session_id: str, turn_id: str) -> None:
        self._note((session_id, turn_id))

    async def answer(self, session_id: str, request: Mapping[str, object]) -> Mapping[str, object]:
        await trio.lowlevel.checkpoint()
        return {"session": session_id, **request}

    def session_of(self, request_id: str) -> str | None:
        return f"session of {request_id}"

    def unowned(self, session_id: str | None) -> None:
        self._note(("unowned", session_id))

    async def until(self, note: object) -> None:
        with trio.fail_after(60):
            while note not in self.notes:
                self.changed = trio.Event()
                await self.changed.wait()


async def test_a_session_is_owned_by_one_relay_and_followed_by_the_others(
    redis: RedisServer,
) -> None:
    async with RedisLog(redis.url) as one, RedisLog(redis.url) as two:
        lease = await one.acquire("s")
        with pytest.raises(SessionOwned):
            await two.acquire("s")
        follower = Followed()
        end = two.peers.follow("s", follower)
        await follower.until("resumed")
        await lease.append(made(lease, 1, 2))
        await follower.until((lease.newest, made(lease, 1, 2)))
        await lease.append(made(lease, 3))
        await follower.until((made(lease, 2)[0].id, made(lease, 3)))
        await lease.release()
        await follower.until("released")
        end()
        taken = await two.acquire("s")
        assert (taken.epoch, taken.newest, taken.takeover) == (2, made(lease, 3)[0].id, False)


async def test_the_sessions_of_a_relay_that_ends_without_a_word_are_taken_over(
    redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with (
        RedisLog(redis.url, lease_ttl=TTL, timeout=PATIENT) as one,
        RedisLog(redis.url, lease_ttl=TTL, timeout=PATIENT) as two,
    ):
        lease = await one.acquire("s")
        with pytest.raises(SessionOwned) as owned:
            await two.acquire("s")
        follower = Followed(owned.value.owner)
        two.peers.serve(follower)
        await two.outbox.accept(turn("t"))
        two.peers.follow("s", follower)
        await follower.until("resumed")
        # as if its process had been stopped
        monkeypatch.setattr(one.peers, "_beat", trio.sleep_forever)
        await follower.until("released")
        await follower.until(("unowned", None))
        taken = await two.acquire("s")
        assert (taken.epoch, taken.takeover) == (2, True)
        assert lease.remaining() < 0
        with pytest.raises(Fenced):
            await lease.append(made(lease, 1))
        assert await two.read("s", 0) == []


async def test_an_append_that_is_repeated_stores_and_publishes_nothing_twice(
    redis: RedisServer,
) -> None:
    async with RedisLog(redis.url) as log:
        lease = await log.acquire("s")
        follower = Followed()
        log.peers.follow("s", follower)
        await follower.until("resumed")
        for _ in range(2):
            await lease.append(made(lease, 1, 2))
        await lease.append(made(lease, 3))
        await follower.until((made(lease, 2)[0].id, made(lease, 3)))
        assert len(follower.notes) == 3
        assert await log.read("s", 0) == made(lease, 1, 2, 3)


async def test_an_epoch_that_consumers_have_seen_is_not_used_again(redis: RedisServer) -> None:
    async with RedisLog(redis.url) as log:
        await log.acquire("s")
        lease = await log.acquire("s", seen=7 * EPOCH + 3)
        assert lease.epoch == 8


async def test_the_owner_is_notified_of_turns_and_asked(redis: RedisServer) -> None:
    async with RedisLog(redis.url) as one, RedisLog(redis.url) as two:
        requests = Followed()
        one.peers.serve(requests)
        with pytest.raises(OwnerUnreachable):
            await two.peers.ask("s", {})
        await one.acquire("s")
        await two.outbox.accept(turn("t"))
        await one.outbox.accept(turn("u"))  # its own: it knows
        await two.outbox.accept(turn("v"))
        await requests.until(("s", "v"))
        assert requests.notes == [("s", "t"), ("s", "v")]
        assert await two.peers.ask("s", {"n": 1}) == {"session": "s", "n": 1}

        async def refuse(_session: str, _request: object) -> Mapping[str, object]:
            await trio.lowlevel.checkpoint()
            raise RelayError("no")

        requests.answer = refuse  # type: ignore[method-assign,assignment]
        assert await two.peers.ask("s", {}) == {"error": "RelayError", "text": "no"}


async def test_a_released_session_with_turns_is_offered_to_all(redis: RedisServer) -> None:
    async with RedisLog(redis.url) as one, RedisLog(redis.url) as two:
        requests = Followed()
        two.peers.serve(requests)
        lease, idle = await one.acquire("s"), await one.acquire("idle")
        await one.outbox.accept(turn("t"))
        await idle.release()
        await lease.release()
        await requests.until(("unowned", "s"))
        assert ("unowned", "idle") not in requests.notes


async def test_a_server_that_is_away_is_an_error_at_once_and_is_used_again_when_it_is_back(
    redis: RedisServer,
) -> None:
    async with RedisLog(redis.url, lease_ttl=TTL, timeout=PATIENT) as log:
        lease = await log.acquire("s")
        follower = Followed()
        log.peers.follow("s", follower)
        await follower.until("resumed")
        redis.kill()
        with pytest.raises(LogError):
            await lease.append(made(lease, 1))
        with pytest.raises(LogError, match="unix://"):
            await log.outbox.accept(turn("t"))
        assert log.statistics().failures >= 2
        follower.notes.clear()
        redis.start()
        redis.command("FLUSHALL")
        redis.command("FUNCTION", "FLUSH")  # loaded again with the first call
        await follower.until("resumed")
        while not log.peers.connected:
            await trio.lowlevel.checkpoint()
        with pytest.raises(Fenced):
            await lease.append(made(lease, 1))
        again = await log.acquire("s", seen=lease.newest)
        assert again.epoch == 2
        await again.append(made(again, 1))


async def test_a_server_that_cannot_be_reached_or_used_is_a_log_error(redis: RedisServer) -> None:
    with pytest.raises(LogError, match="127.0.0.1:1") as refused:
        async with RedisLog("redis://user:secret@127.0.0.1:1"):
            pass
    assert "secret" not in repr(refused.value)
    chain: list[BaseException] = [refused.value]  # without circles: it can be printed
    while (cause := chain[-1].__cause__ or chain[-1].__context__) is not None:
        assert cause not in chain
        chain.append(cause)
    log = RedisLog(redis.url.replace("unix://", "unix://nobody:secret@"))
    with pytest.raises(LogError, match="refuses the password") as caught:
        async with log:
            pass
    assert "secret" not in repr(caught.value) + repr(log)


async def test_a_server_that_accepts_connections_and_never_answers_is_a_log_error() -> None:
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]

    async def never(_stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, never, [listener])
        with pytest.raises(LogError, match="does not answer in time"):
            async with RedisLog(f"redis://127.0.0.1:{port}", timeout=0.05):
                pass
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    "arguments",
    [
        {"url": "http://localhost"},
        {"url": "redis://"},
        {"url": "redis://h:port"},
        {"lease_ttl": 0.1},
        {"wait_replicas": -1},
        {"timeout": 9.0},
        {"prefix": "a b"},
    ],
)
def test_an_argument_that_cannot_work_is_refused(arguments: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        RedisLog(**({"url": "redis://localhost"} | arguments))  # type: ignore[arg-type]


@given(
    st.integers(1, 2**33),
    st.lists(st.tuples(st.sampled_from(Audience), st.binary(max_size=50)), max_size=20),
)
def test_published_events_are_received_as_they_were(
    epoch: int, values: list[tuple[Audience, bytes]]
) -> None:
    ids = IdSequence(min(epoch, 9_000_000_000))
    events = [LoggedEvent(ids.take(), audience, frame) for audience, frame in values]
    header, frames = encode_events(events)
    start = position_text(ids.newest) + b" %d %d\n" % (ids.newest // EPOCH, len(header))
    found = decode_published(start + header + frames)
    assert found is not None
    assert found.events == events


@given(st.binary(max_size=100))
def test_a_message_of_something_else_is_a_log_error(payload: bytes) -> None:
    for decode in (decode_published, decode_turn):
        with suppress(LogError):
            decode(payload)


@given(st.text(max_size=20), st.none() | st.text(max_size=20))
def test_a_turn_is_read_as_it_was_written(text: str, key: str | None) -> None:
    assert decode_turn(encode_turn(turn(text, text, key))) == turn(text, text, key)
