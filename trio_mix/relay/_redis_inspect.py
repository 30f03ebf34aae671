"""Reads what a log in Redis has of one session, without taking part in it as a relay."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, cast

import trio

from trio_mix._lifetime import OwnedNursery
from trio_mix.relay._errors import SessionUnknown
from trio_mix.relay._inspect import InspectedSession, InspectedTurn
from trio_mix.relay._redis_codec import decode_extent, decode_turn
from trio_mix.relay._redis_connection import RedisAddress, RedisConnection, only_failure
from trio_mix.relay._redis_functions import function

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_TIMEOUT: Final = 5.0
_PREFIX: Final = b"mix-relay"
_TURNS: Final = 20
_PAGE: Final = 1000


async def inspect_redis_session(url: str, session_id: str) -> InspectedSession:
    """Return what a log has of a session; of its turns, only those that are not over.

    Raises:
      ConfigurationError: the address is invalid, or coredis is not installed.
      LogError: the server cannot be used, or no relay has used it.
      SessionUnknown: the log does not have the session.
    """
    name = session_id.encode()
    async with _connected(url) as connection:
        reply = await connection.call(b"FCALL", function("extent"), 1, _PREFIX, name)
        extent = decode_extent(reply)
        if extent is None:
            raise SessionUnknown(f"The log has no session {session_id!r}. Check the id.")
        key = _PREFIX + b":session:" + name
        found = await connection.call(b"HMGET", key, b"epoch", b"appended", b"deleted")
        epoch, appended, deleted = (int(each or 0) for each in cast("list[bytes | None]", found))
        events = await connection.call(b"XLEN", _PREFIX + b":events:" + name)
        pending = await connection.call(b"ZREVRANGE", _PREFIX + b":pending:" + name, 0, _TURNS - 1)
        turns: list[InspectedTurn] = []
        for turn_id in cast("list[bytes]", pending):
            text = await connection.call(b"HGET", _PREFIX + b":turn:" + turn_id, b"text")
            if text is not None:
                turn = decode_turn(cast("bytes", text))
                turns.append(
                    InspectedTurn(
                        turn.turn_id,
                        turn.state.value,
                        turn.created_at,
                        turn.ended_at,
                        turn.subject,
                    )
                )
    return InspectedSession(
        session_id=session_id,
        epoch=epoch,
        newest=extent.newest,
        oldest=extent.oldest,
        events=cast("int", events),
        bytes=appended - deleted,
        deleted=sum(extent.deleted.values()),
        turns=tuple(turns),
    )


async def list_redis_sessions(url: str) -> list[str]:
    """Return the ids of the sessions in a log.

    Raises:
      ConfigurationError: the address is invalid, or coredis is not installed.
      LogError: the server cannot be used.
    """
    start = _PREFIX + b":session:"
    sessions: set[str] = set()
    async with _connected(url) as connection:
        cursor = b"0"
        while True:  # noqa: ASYNC913 - the call is a checkpoint
            reply = await connection.call(b"SCAN", cursor, b"MATCH", start + b"*", b"COUNT", _PAGE)
            cursor, keys = cast("tuple[bytes, list[bytes]]", reply)
            sessions.update(key.removeprefix(start).decode("utf-8", "replace") for key in keys)
            if cursor == b"0":
                return sorted(sessions)


@asynccontextmanager
async def _connected(url: str) -> AsyncIterator[RedisConnection]:
    """Return a context manager for a connection.

    Raises:
      LogError: it cannot be made.
    """
    tasks = OwnedNursery("connection")
    connection = RedisConnection(RedisAddress(url, _TIMEOUT), "mix-relay-inspect")
    nursery = await tasks.open()
    failure: BaseException | None = None
    try:
        await nursery.start(connection.run)
    except BaseException as exc:
        await tasks.close("the server cannot be reached", exc)
        failure = only_failure(exc)
        if failure is None:
            raise
    if failure is not None:  # here, so that its context is not the group that contains it
        raise failure
    leaving: BaseException | None = None
    try:
        yield connection
    except BaseException as exc:
        leaving = exc
        raise
    finally:
        await tasks.close("the log was read", leaving)
        await trio.lowlevel.cancel_shielded_checkpoint()
