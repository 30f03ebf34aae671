"""`SessionFeed`: what a consumer can do with one session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from trio_mix.relay._cursor import join_events, missed_after
from trio_mix.relay._ids import parse_position
from trio_mix.relay._log import Extent
from trio_mix.relay._records import Chunk, Gap, Start

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix.relay._log import Log
    from trio_mix.relay._records import Answer, SendRequest, Sent, StartFrom, TurnRecord
    from trio_mix.relay._session import RelaySession

_LIVE: Final = 65536
_REPLAY: Final = 262_144


class SessionFeed:
    """The events of one session, and what can be done with it. Returned by `Hub.session`.

    All consumers of a session have the same feed.
    """

    def __init__(self, session: RelaySession, log: Log) -> None:
        self._session = session
        self._log = log

    @property
    def session_id(self) -> str:
        """The session."""
        return self._session.session_id

    @property
    def newest(self) -> int:
        """The position of the newest event."""
        return self._session.ring.newest

    @property
    def closed(self) -> str | None:
        """Why no more events follow, or None."""
        return self._session.closed

    @property
    def consumers(self) -> int:
        """The number of consumers of the session."""
        return self._session.consumers

    @property
    def turn_running(self) -> str | None:
        """The id of the turn that is running, or None."""
        return self._session.role.turn_running

    # -- reading ------------------------------------------------------------------------------

    async def start(self, *, last_event_id: str | None = None, from_: StartFrom = "now") -> Start:
        """Return where a consumer begins, and what it has missed.

        Args:
          last_event_id: the position that the consumer named, as it was received.
          from_: where a consumer begins that named none.

        Raises:
          LogError: the log cannot be read.
        """
        await trio.lowlevel.checkpoint()
        ring = self._session.ring
        if last_event_id:
            position = parse_position(last_event_id, ring.newest)
            if position is None:  # another owner may have stored more
                position = parse_position(last_event_id, (await self._extent()).newest)
            if position is None:
                return Start(ring.newest, Gap(None))
            await self._session.role.reach(position)
        elif from_ == "earliest":
            position = (await self._extent()).oldest
        elif from_ == "turn":
            begin = self._session.role.turn_start
            position = ring.newest if begin is None else begin
        else:
            position = ring.newest
        if position >= ring.oldest:
            return Start(position)
        extent = await self._extent()
        gap = missed_after(position, extent.deleted, forgotten=extent.forgotten)
        # Without a gap the true start stays the consumer's own position.
        return Start(position if gap is None else max(position, extent.oldest), gap)

    def read_nowait(self, position: int, *, relay: bool, limit: int = _LIVE) -> Chunk | None:
        """Return the next events after a position, from memory; see `Ring.read`.

        Args:
          position: the position of the consumer.
          relay: whether the consumer knows the relay's own events.
          limit: the most bytes, if it is more than one event.
        """
        return self._session.ring.read(position, relay=relay, limit=limit)

    async def read(self, position: int, *, relay: bool, limit: int = _REPLAY) -> Chunk:
        """Return the next events after a position, from memory or from the log.

        The chunk's ``gap`` is set if the retention has deleted events that the consumer needs.

        Raises:
          LogError: the log cannot be read.
        """
        chunk = self.read_nowait(position, relay=relay, limit=limit)
        if chunk is not None:
            await trio.lowlevel.checkpoint()
            return chunk
        events = await self._log.read(self.session_id, position, max_bytes=limit)
        pipeline = self._session.ring.pipeline
        found = join_events(events, position, relay=relay, pipeline=pipeline)
        if events and events[0].id == position + 1:
            return found
        extent = await self._extent()
        gap = missed_after(position, extent.deleted, forgotten=extent.forgotten)
        if not events:
            return Chunk(b"", max(position, extent.oldest), gap)
        return Chunk(found.data, found.position, gap)

    async def _extent(self) -> Extent:
        extent = await self._log.extent(self.session_id)
        newest = self._session.ring.newest
        return Extent(newest=newest, oldest=newest) if extent is None else extent

    def on_append(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call a function after each append, and when the feed is closed.

        Args:
          callback: called synchronously; it must not block or raise.

        Returns:
          A function that ends this.
        """
        key = object()
        self._session.listeners[key] = callback
        return lambda: self._forget(key)

    def _forget(self, key: object) -> None:
        self._session.listeners.pop(key, None)

    async def wait(self, position: int) -> None:
        """Wait until there is an event after a position, or the feed is closed."""
        await trio.lowlevel.checkpoint()
        while self.newest <= position and self.closed is None:
            news = trio.Event()
            end = self.on_append(news.set)
            try:
                await news.wait()
            finally:
                end()

    def open_requests(self, position: int) -> list[tuple[str, str]]:
        """Return the permission requests that nobody has answered, up to a position.

        Each is the name and the data of its event. Those after the position follow as events.
        """
        return [
            ("permission", request.data)
            for request in self._session.role.requests.values()
            if request.position <= position
        ]

    # -- sending ------------------------------------------------------------------------------

    async def send(self, request: SendRequest, *, body: str, key: str | None, subject: str) -> Sent:
        """Accept a message: it is stored, and is sent when the earlier ones are over.

        If no other message is queued, the server's answer is awaited for up to ``answer_wait``
        seconds, so that its refusal can be passed on.

        Args:
          request: the message.
          body: the request's body in a canonical form, which a repeated key is compared with.
          key: the idempotency key, or None.
          subject: the subject of the sender's token.

        Raises:
          QueueFull: too many messages are queued.
          KeyReused: the key was used with another body.
          Draining: the relay is shutting down.
          LogError: the message could not be stored.

        A checkpoint. If it is cancelled once the message is stored, the message is still sent.
        """
        return await self._session.role.send(request, body=body, key=key, subject=subject)

    async def wait_turn(self, turn_id: str) -> TurnRecord:
        """Wait for the end of a turn, and return it.

        Raises:
          TurnUnknown: there is no such turn.
          Draining: the relay is shutting down; the turn is resumed by the next one.
        """
        return await self._session.role.wait_turn(turn_id)

    async def cancel_running(self) -> Answer:
        """Cancel the turn that is running, and return the server's answer.

        Raises:
          UpstreamUnavailable: the server cannot be reached.
          OwnerUnreachable: another relay owns the session, and does not answer.
        """
        return await self._session.role.cancel_running()

    async def cancel_waiting(self) -> int:
        """Cancel the messages that are queued, and return their number.

        Raises:
          OwnerUnreachable: another relay owns the session, and does not answer.
        """
        return await self._session.role.cancel_waiting()
