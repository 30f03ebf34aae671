"""One session of one WebSocket: its position, and what it is sent."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, final

import trio

from trio_mix.relay import _ws_messages as messages
from trio_mix.relay._errors import RelayError
from trio_mix.relay._owner import SESSION_GONE
from trio_mix.relay._pump import Sink

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from typing import TypeAlias

    from trio_mix.relay._consumer import Room, Rooms
    from trio_mix.relay._feed import SessionFeed
    from trio_mix.relay._grants import Grant
    from trio_mix.relay._hub import Hub
    from trio_mix.relay._records import Start, StartFrom
    from trio_mix.relay._ws_sender import SocketSender

    _Session: TypeAlias = AbstractAsyncContextManager[SessionFeed]

_LIVE: Final = 64 * 1024
_REPLAY: Final = 256 * 1024


@final
class Subscription:
    """One session of one socket; a member of that session's room.

    Args:
      session_id: the session.
      grant: what the client may do.
      subscriptions: those of the socket, by session; the subscription removes itself at its end.
      sender: sends to the socket.
      rooms: the consumers of all sessions.
      on_drain: called with a reason if the relay is shutting down.
    """

    __slots__ = (
        "_on_drain",
        "_opening",
        "_room",
        "_rooms",
        "_sender",
        "_session",
        "_sink",
        "_subscriptions",
        "feed",
        "grant",
        "session_id",
    )

    relay = True
    feed: SessionFeed

    def __init__(
        self,
        session_id: str,
        grant: Grant,
        subscriptions: dict[str, Subscription],
        sender: SocketSender,
        rooms: Rooms,
        on_drain: Callable[[Subscription, str], None],
    ) -> None:
        self.session_id = session_id
        self.grant = grant
        self._subscriptions = subscriptions
        self._sender = sender
        self._rooms = rooms
        self._on_drain = on_drain
        subscriptions[session_id] = self
        self._session: _Session | None = None
        self._room: Room | None = None
        self._sink: Sink | None = None
        self._opening: trio.CancelScope | None = None

    # -- life ---------------------------------------------------------------------------------

    def renew(self) -> trio.CancelScope:
        """Return the scope for `open`; what is opened now is cancelled."""
        self._cancel_opening("the client has subscribed again")
        self._opening = trio.CancelScope()
        return self._opening

    def _cancel_opening(self, reason: str) -> None:
        if self._opening is not None:
            self._opening.cancel(reason=reason)

    async def open(self, hub: Hub, command: messages.Subscribe) -> None:
        """Begin at the position of a command, and answer it.

        If the session cannot be opened, the subscription ends.

        Args:
          hub: the sessions.
          command: the command.
        """
        after = None if command.after is None else str(command.after)
        try:
            session, feed, start = await self._start(hub, after, command.start)
        except RelayError as error:
            await self.end(error.status, str(error))
            return
        self._opening = None
        self._session, self.feed = session, feed
        if self._room is None:
            self._room = self._rooms.enter(self)
        self._discard()
        sink = self._sink = Sink(self._room.messages, start.position, self.wake)
        sink.connection = self._sender.output
        self._rooms.gaps += start.gap is not None
        self._sender.send(messages.subscribed_message(self.session_id, start))
        requests = feed.open_requests(start.position)
        if requests:
            self._sender.send(messages.events_message(self.session_id, requests))
        self.wake()

    async def _start(
        self, hub: Hub, after: str | None, from_: StartFrom
    ) -> tuple[_Session, SessionFeed, Start]:
        """Open the session, unless it is open, and find the position."""
        session = self._session
        if session is None:
            session = hub.session(self.session_id)
            feed = await session.__aenter__()
        else:
            feed = self.feed
        try:
            start = await feed.start(last_event_id=after, from_=from_)
        except BaseException:
            if session is not self._session:
                await session.__aexit__(None, None, None)
            raise
        return session, feed, start

    async def end(self, status: int, reason: str) -> None:
        """End the subscription, and report why; see `closed_message`."""
        if await self.leave():
            self._sender.send(messages.closed_message(self.session_id, status, reason))

    async def leave(self) -> bool:
        """End the subscription; return whether it had not ended before."""
        self._cancel_opening("the subscription has ended")
        self._discard()
        room, self._room = self._room, None
        if room is not None:
            self._rooms.leave(self, room)
        session, self._session = self._session, None
        if session is not None:
            with trio.CancelScope(shield=True):
                await session.__aexit__(None, None, None)
        await trio.lowlevel.cancel_shielded_checkpoint()
        self._sender.forget(self._advance)
        known = self._subscriptions.get(self.session_id) is self
        if known:
            del self._subscriptions[self.session_id]
        return known

    def _discard(self) -> None:
        if self._room is not None and self._sink is not None:
            self._room.channel.discard(self._sink)

    # -- sending ------------------------------------------------------------------------------

    def wake(self) -> None:
        """Send events from the socket's own task, or notice that the feed has ended."""
        self._sender.mark(self._advance)

    def close(self, reason: str) -> None:
        """End the subscription because the relay is shutting down."""
        self._on_drain(self, reason)

    def send_unlogged(self, event: str, data: str) -> None:
        """Send an event that is not logged."""
        frame = messages.events_message(self.session_id, [(event, data)])
        self._sender.send(frame, optional=True)

    def announce(self, event: str, data: str, session_id: str) -> None:
        """Do nothing: a socket is sent an event about another session once, not per session."""

    async def _advance(self) -> bool:
        """Send the next events; return whether there are more to send.

        Raises:
          RelayError: the log cannot be read.
          trio.BrokenResourceError: the client has closed the connection.
        """
        sink, room = self._sink, self._room
        if sink is None or room is None:
            await trio.lowlevel.checkpoint()
            return False
        feed, output = room.feed, self._sender.output
        if sink.position >= feed.newest:
            await trio.lowlevel.checkpoint()
            if self._sink is not sink or sink.position < feed.newest:
                return True
            if feed.closed is not None:
                await self.end(404 if feed.closed == SESSION_GONE else 503, feed.closed)
            else:
                room.channel.add(sink)
            return False
        chunk = feed.read_nowait(sink.position, relay=True, limit=_LIVE)
        if chunk is None:
            chunk = await feed.read(sink.position, relay=True, limit=_REPLAY)
        if self._sink is not sink:
            await trio.lowlevel.checkpoint()
            return True
        if chunk.gap is not None:
            self._rooms.gaps += 1
            data = json.dumps(messages.gap_fields(chunk.gap))
            await output.send_all(messages.events_message(self.session_id, [("gap", data)]))
        if chunk.data:
            await output.send_all(sink.format.frame(chunk.data))
        sink.position = chunk.position
        await trio.lowlevel.checkpoint()
        return True
