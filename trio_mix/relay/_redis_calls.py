"""`RedisCalls`: calls of the library's functions, which are stored on enough replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import attrs
import trio

from trio_mix.errors import UsageError
from trio_mix.relay._errors import LogError
from trio_mix.relay._redis_connection import RedisConnection
from trio_mix.relay._redis_functions import LIBRARY, function

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix._lifetime import OwnedNursery
    from trio_mix.relay._redis_connection import RedisAddress


class RedisCalls:
    """Calls functions over the connection of one log.

    Args:
      address: the server's address.
      prefix: the beginning of all keys and channels.
      replicas: how many replicas must have a write before it counts as stored.
      tasks: the nursery in which the log runs the connection.

    Attributes:
      connection: the connection, which the log runs.
      prefix: the beginning of all keys and channels.
      commits: the number of writes.
      failures: the number of calls that failed.
    """

    def __init__(
        self, address: RedisAddress, prefix: bytes, replicas: int, tasks: OwnedNursery
    ) -> None:
        self.connection: RedisConnection = RedisConnection(address, "mix-relay", self._load)
        self.prefix: bytes = prefix
        self.commits: int = 0
        self.failures: int = 0
        self._address = address
        self._replicas = replicas
        self._tasks = tasks
        self._wait: _Wait | None = None
        self._next_wait: _Wait | None = None

    def key(self, *names: str) -> bytes:
        """Return a key of the log."""
        return b":".join([self.prefix, *(name.encode() for name in names)])

    async def function(self, name: str, *args: bytes | str | float) -> object:
        """Call a function of the library, and return its response.

        Raises:
          LogError: the server cannot be reached, or refuses the call.
          UsageError: the log is not open.
        """
        if self._tasks.nursery is None:
            raise UsageError(
                f"The log {self._address.shown!r} is not open: use it as `async with log`."
            )
        try:
            return await self._call(name, args)
        except LogError as exc:
            if "Function not found" not in str(exc):
                self.failures += 1
                raise
        await self._load(self.connection)  # the server's functions were deleted
        return await self._call(name, args)

    async def write(self, name: str, *args: bytes | str | float) -> object:
        """Call a function that writes; return its response once enough replicas have the write.

        Raises:
          LogError: as `function`; or the write is stored, but not on enough replicas.
          UsageError: the log is not open.
        """
        reply = await self.function(name, *args)
        self.commits += 1
        if self._replicas:
            await self._wait_replicas()
        return reply

    async def _call(self, name: str, args: Sequence[bytes | str | float]) -> object:
        return await self.connection.call(b"FCALL", function(name), 1, self.prefix, *args)

    async def _load(self, connection: RedisConnection) -> None:
        """Load the library, if the server does not have it."""
        try:
            await connection.call(b"FUNCTION", b"LOAD", LIBRARY)
        except LogError as exc:
            if "already exists" in str(exc):
                await trio.lowlevel.checkpoint()
                return
            if "unknown command" in str(exc).lower():
                raise LogError(
                    f"Redis at {self._address.shown} cannot be used: it has no functions. Use Redis"
                    " 7 or later, or Valkey."
                ) from exc
            raise

    async def _wait_replicas(self) -> None:  # noqa: ASYNC910 - a WAIT is a checkpoint
        """Wait until the replicas have all that was written before; calls share one WAIT."""
        mine = self._next_wait = self._next_wait or _Wait()
        while not mine.ended.is_set():
            if self._wait is not None:  # it may have begun before our write
                await self._wait.ended.wait()
                continue
            self._wait, self._next_wait = mine, None
            try:
                with trio.CancelScope(shield=True):  # others wait for it; it takes a bounded time
                    await mine.run(self.connection, self._replicas, self._address.timeout / 2)
            finally:
                self._wait = None
        if mine.failure is not None:
            raise LogError(*mine.failure.args) from mine.failure
        if mine.replicas < self._replicas:
            self.failures += 1
            raise LogError(
                f"Redis at {self._address.shown} cannot be used: {mine.replicas} of"
                f" {self._replicas} replicas have stored a write in time. Check the replicas."
            )


@attrs.define(eq=False)
class _Wait:
    """A WAIT for the replicas."""

    ended: trio.Event = attrs.field(factory=trio.Event)
    replicas: int = 0
    """How many have everything that was written before it."""
    failure: LogError | None = None

    async def run(self, connection: RedisConnection, replicas: int, timeout: float) -> None:
        """Wait for a number of replicas, for some seconds."""
        try:
            found = await connection.call(b"WAIT", replicas, int(timeout * 1000))
            self.replicas = cast("int", found)
        except LogError as exc:
            await trio.lowlevel.checkpoint()
            self.failure = exc
        finally:
            self.ended.set()
