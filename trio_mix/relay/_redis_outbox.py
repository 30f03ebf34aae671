"""The outbox of the Redis log: the turns of all sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from trio_mix.relay._errors import KeyReused
from trio_mix.relay._log import KEY_KEPT
from trio_mix.relay._redis_codec import decode_turn, encode_turn, key_digest

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix.relay._records import TurnRecord
    from trio_mix.relay._redis_calls import RedisCalls


class RedisOutbox:
    """The turns on the server.

    Args:
      calls: calls the functions.
      relay: the name of this relay, whose own turns are not announced to it.
      now: returns the time in seconds since 1970.
    """

    def __init__(self, calls: RedisCalls, relay: bytes, now: Callable[[], float]) -> None:
        self._calls = calls
        self._relay = relay
        self._now = now

    async def accept(self, turn: TurnRecord) -> TurnRecord:
        """Store a new turn; see `Outbox.accept`.

        The owner of the session is notified, unless it is this relay.
        """
        key = "" if turn.key is None else key_digest(turn.session_id, turn.subject, turn.key)
        reply = await self._calls.write(
            "accept",
            turn.session_id,
            turn.turn_id,
            str(turn.created_at),
            key,
            str(self._now() - KEY_KEPT),
            encode_turn(turn),
            self._relay,
        )
        new, text = cast("tuple[int, bytes]", reply)
        if new:
            return turn
        found = decode_turn(text)
        if found.digest != turn.digest:
            raise KeyReused(
                "The idempotency key was used with another body: use a new key for each message."
            )
        return found

    async def turn(self, turn_id: str) -> TurnRecord | None:
        """Return a turn; None if it is unknown."""
        key = self._calls.key("turn", turn_id)
        text = cast("bytes | None", await self._calls.connection.call(b"HGET", key, b"text"))
        return None if text is None else decode_turn(text)

    async def pending(self, session_id: str) -> list[TurnRecord]:
        """Return the turns of a session that are not over, in the order of their acceptance."""
        found = await self._calls.function("pending", session_id)
        return [decode_turn(text) for text in cast("list[bytes]", found)]

    async def sessions(self) -> list[str]:
        """Return the sessions that have turns which are not over."""
        found = await self._calls.connection.call(b"ZRANGE", self._calls.key("pending"), 0, -1)
        return [name.decode() for name in cast("list[bytes]", found)]
