"""One WebSocket to a relay, kept open: calls that are answered, and sessions that are followed.

Rules (tests cite the numbers):

1. After a loss the link connects again as the `ReconnectPolicy` says, subscribes again to every
   session at its position, and repeats the calls that are not answered, in their order. The relay
   knows them by their keys, so that none is carried out twice.
2. An error that another attempt cannot change ends the link, its calls and its consumers.
3. The task that reads waits for no consumer and for no call.
4. The connection is closed by `RelayLink.close` only, also when the client's caller is cancelled: a
   message that is left then is cancelled over it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import attrs
import msgspec
import trio

from trio_mix._terminal_text import get_logger
from trio_mix.browser._transport import TransportLost
from trio_mix.browser._websocket import WebSocket, WebSocketRefused
from trio_mix.errors import (
    ConfigurationError,
    SessionNotFound,
    StreamError,
    clone_error,
)
from trio_mix.relay._client_calls import PendingCalls
from trio_mix.relay._client_endpoint import Lost, RelayEndpoint
from trio_mix.relay._client_sessions import FollowedSession
from trio_mix.relay._ws_messages import PROTOCOL
from trio_mix.sse import StreamState
from trio_mix.sse._reconnect import ReconnectSchedule, reconnect_failed

if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterator, Mapping

    from trio_mix.browser._endpoint import TokenSource
    from trio_mix.browser._websocket import Connect
    from trio_mix.relay._client_sessions import Follower
    from trio_mix.sse import ReconnectPolicy

_MAX_MESSAGE: Final = 64 * 2**20
_CLEANUP: Final = 1.0
_log = get_logger("trio_mix.relay")


@attrs.frozen(kw_only=True)
class LinkSettings:
    """The settings of a link; durations are in seconds."""

    reconnect: ReconnectPolicy
    connect_timeout: float
    idle_timeout: float
    connect: Connect
    ssl_context: ssl.SSLContext | None = None


class RelayLink:
    """The connection of one client.

    Args:
      url: the relay's address.
      token: the token, or what returns it at each connect; None: the relay needs none.
      settings: the settings.

    Raises:
      ConfigurationError: the address cannot work.

    Attributes:
      calls: the calls that are not answered.
      state: the state of the connection.
      failure: the error that has ended the link.
      shown: the address without credentials.
    """

    def __init__(self, url: str, token: TokenSource | None, settings: LinkSettings) -> None:
        self._endpoint = RelayEndpoint(url, token, settings.ssl_context)
        self.shown: str = self._endpoint.shown
        self.state: StreamState = StreamState.CONNECTING
        self.failure: Exception | None = None
        self.connects: int = 0
        self.losses: int = 0
        self.events: int = 0
        self.last_loss: str | None = None
        self.last_loss_time: float | None = None
        self.calls: PendingCalls = PendingCalls(self._new_schedule, self._later, self._note_work)
        self._settings = settings
        self._sessions: dict[str, FollowedSession] = {}
        self._dirty: dict[FollowedSession, None] = {}
        self._paused: set[FollowedSession] = set()
        self._schedules: dict[FollowedSession, ReconnectSchedule] = {}
        self._work = trio.Event()
        self._settled = trio.Event()
        self._running = trio.CancelScope(shield=True)
        self._nursery: trio.Nursery | None = None

    @property
    def sessions(self) -> int:
        """How many sessions are followed."""
        return len(self._sessions)

    @property
    def consumers(self) -> int:
        """How many consumers the sessions have."""
        return sum(map(len, self._sessions.values()))

    def followed(self, session_id: str) -> int:
        """Return how many consumers a session has."""
        session = self._sessions.get(session_id)
        return 0 if session is None else len(session)

    # -- what the client does -------------------------------------------------------------------

    async def wait_settled(self) -> None:
        """Wait until the first connection is open, or the link has failed."""
        await self._settled.wait()

    def follow(self, session_id: str, follower: Follower) -> None:
        """Send the events of a session to a consumer.

        Raises:
          StreamError, RelayError: the error that has ended the link.
        """
        if self.failure is not None:
            raise clone_error(self.failure) from self.failure.__cause__
        session = self._sessions.get(session_id)
        if session is None:
            session = self._sessions[session_id] = FollowedSession(session_id)
        session.add(follower)
        follower.on_room = lambda: self._ask(session)
        self._ask(session)

    def unfollow(self, session_id: str, follower: Follower) -> None:
        """Send no more events to a consumer."""
        session = self._sessions.get(session_id)
        if session is not None:
            session.discard(follower)
            self._ask(session)
            self._forget(session)

    def close(self, failure: Exception) -> None:
        """End all calls and consumers, and the connection."""
        self.state = StreamState.CLOSED
        self._running.cancel(reason="the link is closed")
        self.failure = self.failure or failure
        sessions, self._sessions = self._sessions, {}
        for session in sessions.values():
            session.fail(self.failure)
        self.calls.fail(self.failure)
        self._settled.set()

    def _ask(self, session: FollowedSession) -> None:
        self._dirty[session] = None
        self._note_work()

    def _note_work(self) -> None:
        self._work.set()

    def _forget(self, session: FollowedSession) -> None:
        if session.idle and self._sessions.get(session.session_id) is session:
            del self._sessions[session.session_id]
            self._schedules.pop(session, None)

    # -- the connection -------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the connection open until it is closed, or until an error ends the link (rule 4)."""
        with self._running:
            await self._run()

    async def _run(self) -> None:
        schedule = ReconnectSchedule(self._settings.reconnect)
        while True:
            schedule.begin(trio.current_time())
            lost = await self._connect_once(schedule)
            now = trio.current_time()
            if lost.error is None:
                delay = schedule.lost(now, retry_after=lost.retry_after)
                if delay is not None:
                    self._note_loss(lost.reason)
                    await trio.sleep(delay)
                    continue
            failure = lost.error or reconnect_failed(
                schedule, now, self.shown, "", lost.reason, lost=bool(self.connects)
            )
            self.close(failure)
            return

    def _note_loss(self, reason: str) -> None:
        if self.state is StreamState.CONNECTED:
            self.losses += 1
            self.state = StreamState.RECONNECTING
            _log.info("the connection to %s was lost: %s", self.shown, reason)
        self.last_loss, self.last_loss_time = reason, trio.current_time()

    async def _connect_once(self, schedule: ReconnectSchedule) -> Lost:
        settings = self._settings
        lost = Lost("the connection broke")
        socket: WebSocket | None = None
        async with trio.open_nursery() as nursery:
            try:
                with trio.move_on_after(settings.connect_timeout) as opening:
                    socket = WebSocket(
                        await self._endpoint.address(),
                        connect=settings.connect,
                        max_message=_MAX_MESSAGE,
                    )
                    await socket.open(nursery)
                if opening.cancelled_caught or socket is None:
                    raise TransportLost(f"no answer within {settings.connect_timeout:g} s")
                if socket.subprotocol != PROTOCOL:
                    raise _BadMessage(f"the server does not speak {PROTOCOL}")
                schedule.opened(trio.current_time())
                self._opened(nursery, socket)
                await self._read(socket)
            except TransportLost as error:
                lost = self._endpoint.lost(error)
            except WebSocketRefused as refused:
                lost = self._endpoint.refusal(refused, connected=self.connects > 0)
            except ConfigurationError as error:
                lost = Lost(str(error), error)
            except _BadMessage as error:
                lost = self._endpoint.bad(error)
            finally:
                self._nursery = None
                for session in self._sessions.values():
                    session.lost()
                if socket is not None:
                    await socket.aclose(_CLEANUP)
                nursery.cancel_scope.cancel(reason="the connection has ended")
        return lost

    def _opened(self, nursery: trio.Nursery, socket: WebSocket) -> None:
        self.connects += 1
        self.state = StreamState.CONNECTED
        self._endpoint.opened()
        self._paused.clear()
        self._dirty = dict.fromkeys(self._sessions.values())
        self.calls.connected()
        self._nursery = nursery
        nursery.start_soon(self._write, socket)
        self._settled.set()

    # -- what is sent and received --------------------------------------------------------------

    async def _write(self, socket: WebSocket) -> None:
        try:
            while True:
                for text in self._unsent():
                    await socket.send(text)
                await self._work.wait()
                self._work = trio.Event()
        except TransportLost:
            return  # the task that reads reports it  # noqa: ASYNC910 - sending waits

    def _unsent(self) -> Iterator[str]:
        while self._dirty:
            session = next(iter(self._dirty))
            del self._dirty[session]
            if session not in self._paused:
                command = session.next_command()
                if command is not None:
                    yield msgspec.json.encode(command).decode()
            self._forget(session)
        yield from self.calls.unsent()

    async def _read(self, socket: WebSocket) -> None:
        while True:
            message: str | bytes = ""
            with trio.move_on_after(self._settings.idle_timeout) as scope:
                message = await socket.receive()
            if scope.cancelled_caught:
                raise TransportLost(f"nothing came for {self._settings.idle_timeout:g} s")
            try:
                fields = msgspec.json.decode(message)
                self._take(fields["type"], fields)
            except (ValueError, LookupError, TypeError, RecursionError) as error:
                raise _BadMessage(f"a message is no {PROTOCOL}: {type(error).__name__}") from None

    def _take(self, type_: str, fields: Mapping[str, Any]) -> None:
        if type_ in ("accepted", "refused"):
            self.calls.answered(fields)
            return
        session = self._sessions.get(fields.get("sessionId", ""))
        if session is None:
            return
        if type_ == "events":
            self.events += len(fields["events"])
            session.events(fields["events"])
        elif type_ == "subscribed":
            self._schedules.pop(session, None)
            session.subscribed(int(fields["position"]), fields.get("gap"))
            self._ask(session)
        elif type_ == "closed":
            self._closed(session, fields["status"], str(fields["reason"]))

    def _closed(self, session: FollowedSession, status: int, reason: str) -> None:
        if status == 200:
            return
        session_id = session.session_id
        if status == 503:
            session.lost()
            schedule = self._schedules.get(session) or self._new_schedule()
            self._schedules[session] = schedule
            delay = schedule.lost(trio.current_time())
            if delay is not None:
                self._paused.add(session)
                self._later(delay, lambda: self._resume(session))
                return
            failure: Exception = reconnect_failed(
                schedule, trio.current_time(), self.shown, session_id, reason, lost=True
            )
        elif status == 404:
            failure = SessionNotFound(
                f"Session {session_id!r} is not known at {self.shown}: {reason}",
                url=self.shown,
                session_id=session_id,
            )
        else:
            failure = StreamError(
                f"Session {session_id!r} cannot be read at {self.shown}: HTTP {status}: {reason}",
                url=self.shown,
                session_id=session_id,
            )
        self._sessions.pop(session_id, None)
        self._schedules.pop(session, None)
        session.fail(failure)

    def _resume(self, session: FollowedSession) -> None:
        self._paused.discard(session)
        schedule = self._schedules.get(session)
        if schedule is not None:
            schedule.begin(trio.current_time())
        self._ask(session)

    def _new_schedule(self) -> ReconnectSchedule:
        schedule = ReconnectSchedule(self._settings.reconnect)
        schedule.begin(trio.current_time())
        return schedule

    def _later(self, delay: float, function: Callable[[], None]) -> None:
        """Call a function later, unless the connection is lost first."""
        if self._nursery is not None:
            self._nursery.start_soon(_call_later, delay, function)


async def _call_later(delay: float, function: Callable[[], None]) -> None:
    await trio.sleep(delay)
    function()


class _BadMessage(Exception):
    """The server does not speak the protocol."""
