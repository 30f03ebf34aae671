"""The outbox of the Redis log: the turns of all sessions."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, cast

from trio_mix.relay._errors import KeyReused
from trio_mix.relay._log import KEY_KEPT
from trio_mix.relay._redis_codec import decode_turn, encode_turn, key_digest

if TYPE_CHECKING:
    from trio_mix.relay._records import TurnRecord

__all__ = ["RedisOutbox"]


class Access(Protocol):
    """Calls the functions of the log."""

    def now(self) -> float:
        """Return the time in seconds since 1970."""
        ...

    async def function(self, name: str, *args: bytes | str | float) -> object:
        """Call a function and return its response."""
        ...

    async def write(self, name: str, *args: bytes | str | float) -> object:
        """Call a function that writes, and return its response once it is stored."""
        ...

    async def turn_text(self, turn_id: str) -> bytes | None:
        """Return a turn as it is stored."""
        ...

    async def pending_sessions(self) -> list[str]:
        """Return the sessions that have turns which are not over."""
        ...


class RedisOutbox:
    """The turns on the server.

    Args:
      log: calls the functions.
      relay: the name of this relay, whose own turns are not announced to it.
    """

    def __init__(self, log: Access, relay: bytes) -> None:
        self._log = log
        self._relay = relay

    async def accept(self, turn: TurnRecord) -> TurnRecord:
        """Store a new turn; see `Outbox.accept`.

        The owner of the session is notified, unless it is this relay.
        """
        key = "" if turn.key is None else key_digest(turn.session_id, turn.subject, turn.key)
        reply = await self._log.write(
            "accept",
            turn.session_id,
            turn.turn_id,
            str(turn.created_at),
            key,
            str(self._log.now() - KEY_KEPT),
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
        text = await self._log.turn_text(turn_id)
        return None if text is None else decode_turn(text)

    async def pending(self, session_id: str) -> list[TurnRecord]:
        """Return the turns of a session that are not over, in the order of their acceptance."""
        found = await self._log.function("pending", session_id)
        return [decode_turn(text) for text in cast("list[bytes]", found)]

    async def sessions(self) -> list[str]:
        """Return the sessions that have turns which are not over."""
        return await self._log.pending_sessions()
