"""`RedisConnection`: one connection to Redis over coredis, which is made again when it is lost.

The relay uses the connections of coredis, but neither its pool nor its client: with 6.9 a pool
loses a slot for each blocking read that is cancelled, and for each connection that is lost while
it is in use, and then waits forever (``tests/relay/test_relay_redis_upstream.py``). A relay needs
two connections: one on which the calls of all sessions are pipelined, and one for messages.

Rule 1  A call on a lost connection fails at once; a call that is not answered in time ends the
        connection, because its responses cannot be trusted to come.
Rule 2  A connection that is lost is made again until the log is closed.
Rule 3  What coredis raises leaves as a `LogError` that names the server, without its password.
"""

from __future__ import annotations

from contextlib import aclosing, suppress
from typing import TYPE_CHECKING, Any, Final, cast

import trio

from trio_mix._terminal_text import get_logger
from trio_mix.errors import ConfigurationError
from trio_mix.relay._errors import LogCorrupt, LogError, LogFull, LogReadOnly

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from coredis.connection import BaseConnection

_FIRST_PAUSE: Final = 0.02
_LONGEST_PAUSE: Final = 1.0
_MOST_CAUSES: Final = 10
_CAUSES: Final[Mapping[str, tuple[type[LogError], str]]] = {
    "OOM": (LogFull, "its memory is full. Raise maxmemory: the relay continues by itself"),
    "MISCONF": (LogFull, "it cannot save its data. Free space on its disk"),
    "ReadOnlyError": (LogReadOnly, "it is a replica. Pass the address of the primary"),
    "WrongTypeError": (LogCorrupt, "a key is of another program. Pass another prefix"),
    "AuthenticationFailureError": (
        LogError,
        "it refuses the password. Check user and password in the address",
    ),
    "AuthenticationRequiredError": (
        LogError,
        "it needs a password. Pass redis://USER:PASSWORD@HOST:PORT",
    ),
    "AuthorizationError": (
        LogError,
        "the user lacks a permission. Allow it FUNCTION, FCALL, pub/sub and the keys",
    ),
}
"""By the name of coredis's exception, or the beginning of its text."""

_logger = get_logger("trio_mix.relay")


class RedisAddress:
    """The address of a server.

    Args:
      url: ``redis://``, ``rediss://`` (TLS) or ``unix://``, with user, password and number of the
        database, as coredis reads it; ``valkey://`` and ``valkeys://`` are other names.
      timeout: seconds for connecting, and for each response.

    Raises:
      ConfigurationError: the address is invalid, or coredis is not installed.
    """

    def __init__(self, url: str, timeout: float) -> None:
        try:
            from coredis.pool import ConnectionPool
        except ImportError as exc:
            raise ConfigurationError(
                "RedisLog needs coredis: pip install 'trio-mix[relay-redis]'"
            ) from exc
        scheme, colon, rest = url.partition("://")
        scheme = {"valkey": "redis", "valkeys": "rediss"}.get(scheme, scheme)
        # The address is not shown: in one that cannot be read, a password can be anywhere.
        invalid = ConfigurationError(
            "The address of the log in Redis is invalid: use redis://USER:PASSWORD@HOST:PORT,"
            " rediss:// or unix://PATH, with special characters percent-encoded."
        )
        if not colon or scheme not in ("redis", "rediss", "unix"):
            raise invalid
        self.timeout = timeout
        try:  # the pool is not opened: it only reads the address
            self._pool: Any = ConnectionPool.from_url(
                f"{scheme}://{rest}",
                decode_components=True,
                connect_timeout=timeout,
                stream_timeout=timeout,  # of the handshake, too
            )
        except (ValueError, RuntimeError, OSError):
            raise invalid from None
        if self._pool.location is None:
            raise invalid
        self.shown: str = f"{scheme}://{self._pool.location!r}"  # neither user nor password

    def connection(self, name: str) -> BaseConnection:
        """Return a new connection, which is made when it is run."""
        options = dict(self._pool.connection_kwargs)
        options.pop("processing_budget", None)
        return cast(
            "BaseConnection",
            self._pool.connection_class(self._pool.location, **options, client_name=name),
        )


class RedisConnection:
    """One connection.

    Args:
      address: the server.
      name: the name of the connection, as ``CLIENT LIST`` shows it.

    Attributes:
      prepare: called with each new connection, before it counts as made.
      failures: how often the connection was lost, or could not be made.
    """

    def __init__(
        self,
        address: RedisAddress,
        name: str,
        prepare: Callable[[RedisConnection], Awaitable[None]] | None = None,
    ) -> None:
        self.prepare = prepare
        self.failures: int = 0
        self._address = address
        self._name = name
        self._connection: BaseConnection | None = None
        self._failure: BaseException | None = None
        self._failing = False

    @property
    def usable(self) -> bool:
        """Whether there is a connection."""
        return self._connection is not None and self._connection.usable

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the connection until cancelled (rule 2).

        Raises:
          LogError: the first connection could not be made.
        """
        pause, started = _FIRST_PAUSE, False
        while True:
            try:
                await self._run_one(None if started else task_status)
            except LogError as exc:
                if not started and self._failure is None:
                    raise
                self._note_failure(exc)
            else:
                self._note_failure(self._error(None))
                pause = _FIRST_PAUSE
            started = True
            await trio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _note_failure(self, error: LogError) -> None:
        self._failure = error
        self.failures += 1
        if not self._failing:
            _logger.warning("%s It is tried again.", error)
        self._failing = True

    async def _run_one(  # noqa: ASYNC910 - a lost connection has been awaited
        self, task_status: trio.TaskStatus[None] | None
    ) -> None:
        """Run one connection until it is lost."""
        connection = self._address.connection(self._name)
        failure: Exception | None = None
        try:
            async with trio.open_nursery() as nursery:
                await nursery.start(_run_quietly, connection)
                self._connection = connection
                if self.prepare is not None:
                    await self.prepare(self)
                if self._failing:
                    _logger.info("Redis at %s is reached again.", self._address.shown)
                self._failing, self._failure = False, None
                if task_status is not None:
                    task_status.started()
        except BaseException as exc:
            failure = only_failure(exc)
            if failure is None:
                raise
        finally:
            self._connection = None
            _close_streams(connection)
        if failure is not None:  # here, so that its context is not the group that contains it
            raise as_log_error(failure, self._address.shown)

    async def call(self, command: bytes, *args: bytes | str | float) -> object:
        """Send a command and return its response (rule 1).

        Raises:
          LogError: there is no connection, or the server refuses the command.

        A checkpoint. If it is cancelled, the command is carried out nevertheless.
        """
        from anyio import BrokenResourceError, ClosedResourceError
        from coredis.exceptions import RedisError

        connection = self._connection
        if connection is None:
            await trio.lowlevel.checkpoint()
            raise self._error(self._failure)
        try:
            request = connection.create_request(
                command, *args, decode=False, timeout=self._address.timeout
            )
            return await request
        except TimeoutError as exc:
            connection.invalidate("a response has not come in time")
            await trio.lowlevel.checkpoint()
            raise self._error(exc, "it does not answer in time") from exc
        except (ClosedResourceError, BrokenResourceError) as exc:  # it is just being lost
            await trio.lowlevel.checkpoint()
            raise self._error(exc) from exc
        except RedisError as exc:
            raise as_log_error(exc, self._address.shown) from exc

    def send(self, command: bytes, *args: bytes) -> None:
        """Send a command that has no response; nothing is sent without a connection."""
        from anyio import BrokenResourceError, ClosedResourceError

        if self.usable:
            with suppress(ClosedResourceError, BrokenResourceError):
                cast("BaseConnection", self._connection).send_command(command, *args)

    async def messages(  # noqa: ASYNC900 - its only caller closes it
        self,
    ) -> AsyncIterator[list[Any]]:
        """Return the messages of the connection until it is lost."""
        from coredis.exceptions import ConnectionError as Lost

        assert self._connection is not None  # noqa: S101 - called by `prepare`
        try:
            async with aclosing(cast("Any", self._connection.push_messages)) as messages:
                async for message in messages:
                    yield message
        except Lost:
            await trio.lowlevel.checkpoint()
            return

    def disconnect(self, reason: str) -> None:
        """End the connection; another one is made."""
        if self._connection is not None:
            self._connection.invalidate(reason)

    def _error(self, exc: BaseException | None, why: str = "the connection is lost") -> LogError:
        if isinstance(exc, LogError):
            return type(exc)(*exc.args)
        return LogError(f"Redis at {self._address.shown} cannot be used: {why}.")


async def _run_quietly(
    connection: BaseConnection, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
) -> None:
    await connection.run(task_status=task_status)


def _close_streams(connection: BaseConnection) -> None:
    """Close the buffers of a connection: coredis does not if it could not be made."""
    from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

    for each in vars(connection).values():
        if isinstance(each, MemoryObjectReceiveStream | MemoryObjectSendStream):
            each.close()


def only_failure(exc: BaseException) -> Exception | None:
    """Return the failure in groups of failures and cancellations; None if it must leave."""
    if isinstance(exc, BaseExceptionGroup):
        found = [only_failure(each) for each in exc.exceptions]
        if any(
            each is None and not isinstance(raw, trio.Cancelled)
            for each, raw in zip(found, exc.exceptions, strict=True)
        ):
            return None
        return next((each for each in found if each is not None), None)
    return exc if isinstance(exc, Exception) else None


def as_log_error(exc: Exception, shown: str) -> LogError:
    """Return the relay's exception for one of coredis or of the system (rule 3)."""
    if isinstance(exc, LogError):
        return exc
    error = _translate(exc, shown)
    error.__cause__ = exc
    return error


def _translate(exc: Exception, shown: str) -> LogError:
    causes: list[BaseException] = []
    cause: BaseException | None = exc
    while cause is not None and len(causes) < _MOST_CAUSES:
        causes.append(cause)
        cause = cause.__cause__ or cause.__context__
    for each in causes:
        word = str(each).partition(" ")[0]
        kind, remedy = _CAUSES.get(type(each).__name__) or _CAUSES.get(word) or (LogError, "")
        if remedy:
            return kind(f"Redis at {shown} cannot be used: {remedy}.")
    text = next((str(each) for each in causes if isinstance(each, OSError)), str(exc))
    if any(isinstance(each, TimeoutError) for each in causes):
        text = "it does not answer in time"
    return LogError(f"Redis at {shown} cannot be used: {text.rstrip('.')}.")
