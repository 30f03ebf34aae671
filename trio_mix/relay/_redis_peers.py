"""`RedisPeers`: the other relays that use the log, by pub/sub.

Rule 1  A relay has one lease for all its sessions, which it renews three times in its duration. By
        this relay's clock it ends when it would end if the renewal had been carried out as it was
        sent: never later than by the server's.
Rule 2  A message may be lost. What matters is stored, and read again after a lost connection: the
        events and the turns. A request that is lost is reported to its sender.
Rule 3  What other relays send is decoded by the types below; what does not fit is dropped.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import trio

from trio_mix._terminal_text import get_logger
from trio_mix.relay._errors import LogError, OwnerUnreachable, RelayError
from trio_mix.relay._redis_codec import decode_published

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from trio_mix.relay._log import Follower, PeerRequests
    from trio_mix.relay._redis_calls import RedisCalls
    from trio_mix.relay._redis_connection import RedisConnection

_ANSWER_TIMEOUT: Final = 5.0
_FIND_TIMEOUT: Final = 1.0
_RETRY: Final = 0.2
_JUST_AFTER: Final = 0.002
"""Seconds after the end of another relay's lease at which it is looked at again."""

_logger = get_logger("trio_mix.relay")


class _Message(msgspec.Struct, omit_defaults=True):
    """A message to one relay."""

    kind: str
    session: str = ""
    turn: str = ""
    id: str = ""
    sender: str = ""
    body: dict[str, Any] = {}


_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(_Message).decode


class _Answered:
    """A request that waits for its response.

    Args:
      expected: how many relays respond.
    """

    def __init__(self, expected: int = 1) -> None:
        self.event: trio.Event = trio.Event()
        self.body: Mapping[str, object] = {}
        self._expected = expected

    def take(self, body: Mapping[str, object]) -> None:
        """Take a response; an empty ``session`` says that the relay does not know it."""
        self._expected -= 1
        if body.get("session") != "" or self._expected <= 0:
            self.body = body
            self.event.set()


class RedisPeers:
    """The other relays that use the log.

    Args:
      calls: calls the functions of the log.
      connection: for the messages only.
      check_leases: called when the lease of this relay had ended, before it is valid again.
      relay: the name of this relay.
      ttl: the duration of the lease, in seconds.
    """

    def __init__(
        self,
        calls: RedisCalls,
        connection: RedisConnection,
        *,
        check_leases: Callable[[], Awaitable[None]],
        relay: bytes,
        ttl: float,
    ) -> None:
        self._calls = calls
        self._connection = connection
        self._check_leases = check_leases
        self._relay = relay
        self._events = calls.prefix + b":events:"
        self._own = calls.prefix + b":relay:" + relay
        self._all = calls.prefix + b":relays"
        self._ttl = ttl
        self._ends = -1.0
        self._others: dict[bytes, float] = {}
        self._followers: dict[bytes, Follower] = {}
        self._asked: dict[str, _Answered] = {}
        self._requests: PeerRequests | None = None
        self._nursery: trio.Nursery | None = None
        connection.prepare = self._subscribe

    async def open(self, nursery: trio.Nursery) -> None:
        """Acquire the lease of this relay, and begin to receive messages.

        Raises:
          LogError: the server cannot be reached.
        """
        self._nursery = nursery
        await self._beat()
        await nursery.start(self._connection.run)
        nursery.start_soon(self._keep_lease)
        nursery.start_soon(self._check_connection)

    async def leave(self) -> None:
        """End the lease; never raises."""
        self._ends = -1.0
        await trio.lowlevel.checkpoint()
        with suppress(LogError):
            await self._calls.function("beat", self._relay, 0)

    def remaining(self) -> float:
        """Return for how many seconds the lease is valid, by the monotonic clock (rule 1)."""
        return self._ends - trio.current_time()

    @property
    def connected(self) -> bool:
        """Whether the lease is valid."""
        return self.remaining() > 0 and self._calls.connection.usable and self._connection.usable

    @property
    def others(self) -> list[str]:
        """The names of the other relays."""
        return [name.decode("ascii", "replace") for name in self._others]

    # -- what the relay uses ------------------------------------------------------------------

    def serve(self, requests: PeerRequests | None) -> None:
        """Carry out the requests of other relays from now on; None: ignore them."""
        self._requests = requests

    def follow(self, session_id: str, follower: Follower) -> Callable[[], None]:
        """Pass the events of a session to a follower; see `Peers.follow`."""
        channel = self._events + session_id.encode()
        self._followers[channel] = follower
        self._connection.send(b"SUBSCRIBE", channel)

        def end() -> None:
            if self._followers.get(channel) is follower:
                del self._followers[channel]
                self._connection.send(b"UNSUBSCRIBE", channel)

        return end

    async def ask(self, session_id: str, request: Mapping[str, object]) -> Mapping[str, object]:
        """Pass a request to the owner of a session; see `Peers.ask`."""
        name = secrets.token_hex(8)
        message = _Message(
            "ask", session_id, id=name, sender=self._relay.decode(), body=dict(request)
        )
        answered = self._asked[name] = _Answered()
        try:
            if not await self._calls.function("ask", session_id, _encode(message)):
                raise OwnerUnreachable(f"No relay owns session {session_id!r} at the moment.")
            with trio.move_on_after(_ANSWER_TIMEOUT) as scope:
                await answered.event.wait()
        finally:
            del self._asked[name]
        if scope.cancelled_caught:
            raise OwnerUnreachable(
                f"The relay that owns session {session_id!r} does not answer. Try again."
            )
        return answered.body

    async def find(self, request_id: str) -> str | None:
        """Return the session of a request that another relay knows; see `Peers.find`."""
        if not self._others:
            await trio.lowlevel.checkpoint()
            return None
        name = secrets.token_hex(8)
        message = _Message("find", turn=request_id, id=name, sender=self._relay.decode())
        answered = self._asked[name] = _Answered(len(self._others))
        try:
            await self._calls.function("publish", "", _encode(message))
            with trio.move_on_after(_FIND_TIMEOUT):
                await answered.event.wait()
        finally:
            del self._asked[name]
        return str(answered.body.get("session", "")) or None

    # -- the lease ----------------------------------------------------------------------------

    async def _beat(self) -> None:
        """Renew the lease, and learn which other relays have one."""
        sent = trio.current_time()
        found = await self._calls.function("beat", self._relay, int(self._ttl * 1000))
        valid, reply = cast("tuple[int, list[Any]]", found)
        if not valid:  # others may have taken sessions over
            await self._check_leases()
        self._ends = sent + self._ttl
        others = {
            reply[at]: trio.current_time() + reply[at + 1] / 1000
            for at in range(0, len(reply), 2)
            if reply[at] != self._relay
        }
        gone = self._others.keys() - others.keys()
        self._others = others
        if gone and self._requests is not None:
            _logger.info("%d other relays have ended or do not answer.", len(gone))
            for follower in list(self._followers.values()):
                if follower.owner.encode() in gone:
                    follower.released()
            self._requests.unowned(None)

    async def _keep_lease(self) -> None:
        """Renew the lease until cancelled; look at the others when theirs end."""
        while True:
            due = self._ends - self._ttl * 2 / 3
            soonest = min(self._others.values(), default=due) + _JUST_AFTER
            await trio.sleep_until(min(due, soonest))
            try:
                await self._beat()
            except LogError as exc:
                _logger.debug("The lease of this relay is not renewed: %s", exc)
                await trio.sleep(min(_RETRY, self._ttl / 10))

    async def _check_connection(self) -> None:
        """Find out whether messages still come, until cancelled: a call that fails ends it."""
        while True:
            await trio.sleep(self._ttl / 3)
            with suppress(LogError):
                await self._connection.call(b"PING")

    # -- messages -----------------------------------------------------------------------------

    async def _subscribe(self, connection: RedisConnection) -> None:
        """Subscribe on a new connection, and receive its messages."""
        connection.send(b"SUBSCRIBE", self._all, *self._followers, self._own)
        assert self._nursery is not None  # noqa: S101 - set by `open`
        await self._nursery.start(self._receive)

    async def _receive(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Receive messages until the connection is lost."""
        started = False
        async for message in self._connection.messages():
            kind, channel = message[0], message[1]
            if kind == b"subscribe":
                if channel == self._own:
                    started = True
                    task_status.started()
                    if self._requests is not None:
                        self._requests.resumed()
                elif (follower := self._followers.get(channel)) is not None:
                    follower.resumed()
            elif kind == b"message":
                self._dispatch(channel, message[2])
        if not started:
            raise LogError("The connection of the messages was lost.")

    def _dispatch(self, channel: bytes, payload: bytes) -> None:
        if channel.startswith(self._events):
            follower = self._followers.get(channel)
            if follower is None:
                return
            try:
                published = decode_published(payload)
            except LogError as exc:
                _logger.warning("%s", exc)
                follower.resumed()
                return
            if published is None:
                follower.released()
            else:
                follower.received(published.previous, published.events)
        else:
            self._dispatch_request(payload)

    def _dispatch_request(self, payload: bytes) -> None:
        try:
            message = _decode(payload)
        except msgspec.MsgspecError as exc:
            _logger.warning("A message of another relay cannot be read: %s", exc)
            return
        requests = self._requests
        match message.kind:
            case "answer" if (answered := self._asked.get(message.id)) is not None:
                answered.take(message.body)
            case "unowned" if requests is not None:
                requests.unowned(message.session)
            case "find" if requests is not None and message.sender != self._relay.decode():
                assert self._nursery is not None  # noqa: S101 - set by `open`
                found = requests.session_of(message.turn) or ""
                self._nursery.start_soon(self._respond, message, {"session": found})
            case "turn" if requests is not None:
                requests.turn_accepted(message.session, message.turn)
            case "ask" if requests is not None:
                assert self._nursery is not None  # noqa: S101 - set by `open`
                self._nursery.start_soon(self._answer, requests, message)
            case _:
                pass  # its sender has given up, or is newer

    async def _answer(self, requests: PeerRequests, message: _Message) -> None:
        try:
            body = await requests.answer(message.session, message.body)
        except RelayError as exc:
            body = {"error": type(exc).__name__, "text": str(exc)}
        await self._respond(message, body)

    async def _respond(self, message: _Message, body: Mapping[str, object]) -> None:
        await trio.lowlevel.checkpoint()
        answer = _Message("answer", id=message.id, body=dict(body))
        with suppress(LogError):  # its sender gives up
            await self._calls.function("publish", message.sender, _encode(answer))
