"""`RedisLog`: the log of several relays in Redis or Valkey."""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Any, Final, Self, cast

import attrs
import trio

from trio_mix._lifetime import OwnedNursery
from trio_mix._terminal_text import get_logger
from trio_mix.errors import ConfigurationError, UsageError
from trio_mix.relay._errors import Fenced, LogError, SessionOwned
from trio_mix.relay._log import KEY_KEPT, LogStatistics, Retention
from trio_mix.relay._redis_calls import RedisCalls
from trio_mix.relay._redis_codec import (
    decode_events,
    decode_extent,
    encode_events,
    encode_turn,
    position_of,
    position_text,
)
from trio_mix.relay._redis_connection import RedisAddress, RedisConnection, only_failure
from trio_mix.relay._redis_outbox import RedisOutbox
from trio_mix.relay._redis_peers import RedisPeers

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from trio_mix.relay._log import Extent
    from trio_mix.relay._records import LoggedEvent, TurnRecord

_MOST_COUNTED: Final = 1000
"""Epochs of a session whose number of deleted events is kept."""
_AGE_INTERVAL: Final = 60.0
_CLOSE_TIMEOUT: Final = 2.0
_CHECKED: Final = 500
"""Leases that are checked with one call."""

_logger = get_logger("trio_mix.relay")


class RedisLog:
    """A log in Redis 7 or Valkey, for any number of relays. Use it as an async context manager.

    Args:
      url: the server's address: ``redis://USER:PASSWORD@HOST:PORT/DB``, ``rediss://`` with TLS, or
        ``unix://PATH``.
      lease_ttl: seconds after which the sessions of a relay that does not answer any more are
        taken over by others.
      wait_replicas: how many replicas must have an append before it counts as stored. With 0, a
        replica that is promoted may lack events that consumers have seen.
      timeout: seconds for connecting, and for each response; None: two fifths of ``lease_ttl``, 2
        seconds at most.
      prefix: the beginning of all keys and channels.
      retention: how much is kept.

    Raises:
      ConfigurationError: an argument is invalid, or coredis is not installed.
    """

    def __init__(
        self,
        url: str,
        *,
        lease_ttl: float = 5.0,
        wait_replicas: int = 0,
        timeout: float | None = None,
        prefix: str = "mix-relay",
        retention: Retention | None = None,
    ) -> None:
        if not 1 <= lease_ttl <= 300:
            raise ConfigurationError(
                f"RedisLog(lease_ttl={lease_ttl!r}): it is between 1 and 300 seconds"
            )
        if not (isinstance(wait_replicas, int) and wait_replicas >= 0):
            raise ConfigurationError(
                f"RedisLog(wait_replicas={wait_replicas!r}): it is a number of replicas"
            )
        if not prefix or any(character in prefix for character in " \r\n*"):
            raise ConfigurationError(f"RedisLog(prefix={prefix!r}): it has no spaces and no '*'")
        limit = min(2.0, 0.4 * lease_ttl) if timeout is None else timeout
        if not 0 < limit < lease_ttl:
            raise ConfigurationError(
                f"RedisLog(timeout={timeout!r}): it is positive, and less than lease_ttl"
            )
        self._address = RedisAddress(url, limit)
        self._ttl = lease_ttl
        self._retention = Retention() if retention is None else retention
        self._kept = max(self._retention.age, KEY_KEPT)
        self._relay = secrets.token_hex(8).encode()
        self._tasks = OwnedNursery("RedisLog")
        self._calls = RedisCalls(self._address, prefix.encode(), wait_replicas, self._tasks)
        self._scope: trio.CancelScope | None = None
        self._started = (time.time(), time.monotonic())
        self._leases: dict[str, RedisLease] = {}
        self._counts = {"appends": 0, "events": 0, "bytes": 0, "deleted": 0}
        self.outbox: RedisOutbox = RedisOutbox(self._calls, self._relay, self.now)
        """The turns."""
        self.peers: RedisPeers = RedisPeers(
            self._calls,
            RedisConnection(self._address, "mix-relay-messages"),
            check_leases=self._check_leases,
            relay=self._relay,
            ttl=lease_ttl,
        )
        """The other relays that use the log."""

    def __repr__(self) -> str:
        return f"<trio_mix.relay.RedisLog {self._address.shown!r}>"

    async def __aenter__(self) -> Self:
        """Connect to the server.

        Raises:
          LogError: the server cannot be reached or used.
          UsageError: the log was opened before.
        """
        nursery = await self._tasks.open()
        failure: Exception | None = None
        try:
            await nursery.start(self._run)
        except BaseException as exc:
            await self._tasks.close("the log could not be opened", exc)
            failure = only_failure(exc)
            if failure is None:
                raise
        if failure is not None:  # here, so that its context is not the group that contains it
            raise failure
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release all sessions, and end the connections. Shielded, for a bounded time."""
        with trio.move_on_after(_CLOSE_TIMEOUT, shield=True):
            for lease in list(self._leases.values()):
                await lease.release()
            await self.peers.leave()
        if self._scope is not None:
            self._scope.cancel(reason="the log is being closed")
        await self._tasks.close("the log is being closed", exc)

    async def _run(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Run all tasks of the log; a cancellation from outside reaches them with `__aexit__`."""
        with trio.CancelScope() as self._scope:
            async with trio.open_nursery() as nursery:
                await nursery.start(self._calls.connection.run)
                await self.peers.open(nursery)
                nursery.start_soon(self._delete_old)
                self._scope.shield = True
                task_status.started()

    def now(self) -> float:
        """Return the time in seconds since 1970; a clock that is set does not make it jump."""
        wall, steady = self._started
        return wall + time.monotonic() - steady

    async def acquire(self, session_id: str, *, seen: int = 0) -> RedisLease:
        """Return a new lease of a session; see `Log.acquire`."""
        token = secrets.token_hex(16).encode()
        reply = await self._calls.write(
            "acquire",
            session_id,
            self._relay,
            token,
            position_text(seen),
            _MOST_COUNTED,
        )
        first, *rest = cast("list[Any]", reply)
        if not first:
            raise SessionOwned(
                f"Another relay owns session {session_id!r}.",
                owner=rest[0].decode("ascii", "replace"),
            )
        lease = RedisLease(
            self,
            session_id,
            epoch=rest[0],
            newest=position_of(rest[1]),
            takeover=bool(rest[2]),
            token=token,
        )
        self._leases[session_id] = lease
        return lease

    async def read(
        self, session_id: str, after: int, *, max_bytes: int = 262_144
    ) -> list[LoggedEvent]:
        """Return the next stored events after a position; see `Log.read`."""
        reply = await self._calls.function("read", session_id, position_text(after), max_bytes)
        return decode_events(reply)

    async def extent(self, session_id: str) -> Extent | None:
        """Return which events of a session are stored; None if the session is unknown."""
        return decode_extent(await self._calls.function("extent", session_id))

    async def remember(self, name: str, value: str) -> None:
        """Store a value under a name."""
        await self._calls.connection.call(b"HSET", self._calls.key("values"), name, value)

    async def recall(self, name: str) -> str | None:
        """Return a stored value, or None."""
        found = await self._calls.connection.call(b"HGET", self._calls.key("values"), name)
        return None if found is None else cast("bytes", found).decode()

    def statistics(self) -> LogStatistics:
        """Return the log's counters."""
        calls = self._calls
        return LogStatistics(failures=calls.failures, commits=calls.commits, **self._counts)

    # -- inside -------------------------------------------------------------------------------

    async def append(
        self, lease: RedisLease, events: Sequence[LoggedEvent], turns: Sequence[TurnRecord]
    ) -> None:
        """Append with a lease; see `Lease.append`."""
        header, frames = encode_events(events)
        args: list[bytes | str | float] = []
        for turn in turns:
            ended = "" if turn.ended_at is None else str(turn.ended_at)
            args += (turn.turn_id, ended, encode_turn(turn))
        reply = await self._calls.write(
            "append",
            lease.session_id,
            lease.token,
            str(lease.epoch),
            header,
            frames,
            self._retention.events,
            self._retention.bytes,
            int(self._kept * 1000),
            *args,
        )
        stored, deleted = cast("list[int]", reply)
        if not stored:
            self._forget(lease)
            raise Fenced(f"Session {lease.session_id!r} was acquired by another relay.")
        self._counts["appends"] += 1
        self._counts["events"] += len(events)
        self._counts["bytes"] += len(frames)
        self._counts["deleted"] += deleted

    async def release(self, lease: RedisLease) -> None:
        """Release a lease; never raises."""
        self._forget(lease)
        try:
            await self._calls.write("release", lease.session_id, lease.token)
        except (LogError, UsageError):
            await trio.lowlevel.checkpoint()  # it ends with the lease of this relay

    async def _check_leases(self) -> None:
        """Find out which sessions were taken over while the lease of this relay had ended."""
        await trio.lowlevel.checkpoint()
        leases = list(self._leases.values())
        for start in range(0, len(leases), _CHECKED):
            some = leases[start : start + _CHECKED]
            args = [each for lease in some for each in (lease.session_id, lease.token)]
            found = cast("list[int]", await self._calls.function("held", *args))
            for lease, held in zip(some, found, strict=True):
                if not held:
                    self._forget(lease)
                    lease.lost.set()

    def _forget(self, lease: RedisLease) -> None:
        if self._leases.get(lease.session_id) is lease:
            del self._leases[lease.session_id]

    async def _delete_old(self) -> None:
        """Delete events that are too old, until cancelled."""
        while True:
            try:
                while gone := await self._calls.function("expire", int(self._retention.age * 1000)):
                    self._counts["deleted"] += cast("int", gone)
            except LogError as exc:
                _logger.debug("Old events are not deleted: %s", exc)
            await trio.sleep(_AGE_INTERVAL)


@attrs.frozen(eq=False)
class RedisLease:
    """A lease of a session: it lasts as long as this relay answers the server in time."""

    _log: RedisLog
    session_id: str
    epoch: int = attrs.field(kw_only=True)
    newest: int = attrs.field(kw_only=True)
    takeover: bool = attrs.field(kw_only=True)
    token: bytes = attrs.field(kw_only=True, repr=False)
    lost: trio.Event = attrs.field(factory=trio.Event, init=False, repr=False)

    async def wait_lost(self) -> None:
        """Wait until it is known that another relay has acquired the session."""
        await self.lost.wait()

    def remaining(self) -> float:
        """Return for how many seconds no other relay can take the session over."""
        return self._log.peers.remaining()

    async def append(self, events: Sequence[LoggedEvent], turns: Sequence[TurnRecord] = ()) -> None:
        """Store events and the new state of turns; see `Lease.append`."""
        await self._log.append(self, events, turns)

    async def release(self) -> None:
        """End the lease: others can acquire the session at once. Never raises."""
        with trio.move_on_after(_CLOSE_TIMEOUT, shield=True):  # noqa: ASYNC912 - the write is a checkpoint
            await self._log.release(self)
