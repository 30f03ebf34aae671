"""What a stream gets from its client: the operations that it uses, and its options."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import quote

import attrs
import trio

from trio_mix._http import sanitize_url
from trio_mix._rest._options import RequestOptions, RetryConfig
from trio_mix._rest._responses import error_of
from trio_mix._session._buffers import Budget
from trio_mix._session._refusals import SessionRefusals
from trio_mix._session._resume import PreparedTickets
from trio_mix._session._send_api import SendApi
from trio_mix._session._stored_messages import StoredMessages
from trio_mix._session._stream_hooks import StreamHooks
from trio_mix._turns._history import LastTurn
from trio_mix._turns._limits import Limits
from trio_mix.errors import ConfigurationError, ErrorResponse, StreamAlreadyOpen
from trio_mix.resources._base import operation_of
from trio_mix.resources._interaction import Notifications, Permissions
from trio_mix.resources._messages import Messages
from trio_mix.resources._sessions import Sessions
from trio_mix.resources._streaming import Streaming
from trio_mix.resources._system import System
from trio_mix.sse._connect import StreamRequest, connect
from trio_mix.sse._reconnect import ReconnectPolicy
from trio_mix.sse._supervisor import Supervisor

if TYPE_CHECKING:
    from trio_mix._rest._core import MixCore
    from trio_mix._rest._options import Api
    from trio_mix.errors import MixError

_TURNS_REMEMBERED: Final = 1000
_LOOK_UP: Final = RequestOptions(retries=RetryConfig(strategy="none"), timeout=10.0)
_error_of: Final = partial(error_of, operation=operation_of(Streaming.stream_events))


class Services:
    """The parts of a client that its streams use: one object for all of them.

    Args:
      core: the client.
      api: the API of the server, or ``"auto"``.
      max_buffered_size: how many bytes of events all buffers may hold together.
      shared: the services of another client for the same server, whose streams are shared; None:
        there is none.
    """

    def __init__(
        self,
        core: MixCore,
        api: Api,
        max_buffered_size: int | None,
        shared: Services | None = None,
    ) -> None:
        self.messages: Messages = Messages(core)
        self.permissions: Permissions = Permissions(core)
        self.notifications: Notifications = Notifications(core)
        self.send_api: SendApi = SendApi(core, Streaming(core), self.messages, System(core), api)
        self._core = core
        self._sessions = Sessions(core)
        self.stored: StoredMessages = StoredMessages(self._sessions, self.messages)
        self.budget: Budget = Budget(max_buffered_size)
        self.prepared: PreparedTickets = PreparedTickets()
        self._streams: dict[str, object] = {}
        self._left: dict[str, LastTurn] = {}
        """What the last streams that were closed knew of their last turns."""
        if shared is not None:
            self.budget, self.prepared = shared.budget, shared.prepared
            self._streams, self._left = shared._streams, shared._left

    # -- which streams are open -------------------------------------------------------------

    def register(self, session_id: str, stream: object) -> bool:
        """Note that a stream is opened.

        Args:
          session_id: its session.
          stream: the stream.

        Returns:
          Whether the client has created the session, and has not opened a stream of it before.

        Raises:
          StreamAlreadyOpen: the session has an open stream.
        """
        if session_id in self._streams:
            raise StreamAlreadyOpen(
                f"Session {session_id!r} already has an open stream on this client. Share "
                "that one: any number of tasks can use it, and subscribe() returns all its events.",
                session_id=session_id,
            )
        self._streams[session_id] = stream
        created = self._core._caller.created_sessions
        is_new = session_id in created
        created.pop(session_id, None)
        return is_new

    def unregister(self, session_id: str, stream: object, last: LastTurn) -> None:
        """Note that a stream is closed; without effect for one that was not registered.

        Args:
          session_id: its session.
          stream: the stream.
          last: what is known of its last turn.
        """
        if self._streams.get(session_id) is stream:
            del self._streams[session_id]
            self._left.pop(session_id, None)
            if last != LastTurn():
                self._left[session_id] = last
            if len(self._left) > _TURNS_REMEMBERED:
                del self._left[next(iter(self._left))]

    def last_turn(self, session_id: str) -> LastTurn:
        """Return what an earlier stream of the session knew of its last turn."""
        return self._left.get(session_id, LastTurn())

    # -- the parts of one stream ------------------------------------------------------------

    def hooks(self, session_id: str) -> StreamHooks | None:
        """Return what calls the hooks of a stream; None if there are none."""
        hooks = self._core._caller.hooks
        return StreamHooks(hooks, session_id, self.shown_url(session_id)) if hooks else None

    def refusals(self, session_id: str) -> SessionRefusals:
        """Return the rules for refused connections of a stream."""
        return SessionRefusals(session_id, self._look_up)

    def source(
        self,
        session_id: str,
        settings: Settings,
        hooks: StreamHooks | None,
        refusals: SessionRefusals,
    ) -> Supervisor:
        """Return the connections of a stream.

        Args:
          session_id: its session.
          settings: its options.
          hooks: calls its hooks; None: there are none.
          refusals: its rules for refused connections.
        """
        defaults = self._core._caller.defaults
        request = StreamRequest(
            self._core._caller.http,
            self._url(session_id),
            headers=defaults.headers_for,
            connect_timeout=settings.connect_timeout,
            session_id=session_id,
            error_of=_error_of,
            client_defaults=not defaults.withholds(),
        )
        return Supervisor(
            request,
            reconnect=settings.reconnect,
            max_event_size=settings.max_event_size,
            comments=True,
            on_wait=None if hooks is None else hooks.retrying,
            connect=connect if hooks is None else hooks.connector(),
            refusals=refusals,
        )

    def proxy_for(self, session_id: str) -> str:
        """Return the proxy of the environment for a stream, and what names it; ``""`` for none."""
        return self._core._caller.http.proxy_for(self._url(session_id))

    def shown_url(self, session_id: str) -> str:
        """Return the URL of a stream, without user name and password."""
        return sanitize_url(self._url(session_id))

    def _url(self, session_id: str) -> str:
        path = f"/stream?sessionId={quote(session_id, safe='')}"
        return self._core._caller.defaults.url_for(path)

    async def _look_up(self, session_id: str) -> MixError | None:
        """Return the server's own error if it has no such session; None if that is not known."""
        try:
            await self._sessions.get(id=session_id, options=_LOOK_UP)
        except ErrorResponse as exc:
            return exc if exc.status_code == 404 else None  # noqa: ASYNC910 - the request was a checkpoint
        except Exception:  # noqa: BLE001 - not reachable, not supported, or vetoed by a hook
            await trio.lowlevel.checkpoint()
        return None


@attrs.frozen(kw_only=True)
class Settings:
    """The options of a stream; durations are in seconds."""

    reconnect: ReconnectPolicy
    connect_timeout: float
    idle_timeout: float | Literal["auto"] | None
    max_connection_age: float | None
    cleanup_timeout: float
    settle_timeout: float
    message_buffer: int
    max_event_size: int
    max_reply_size: int | None
    last_event_id: str | None

    @property
    def limits(self) -> Limits:
        """Every time limit of a message."""
        return Limits(settle_timeout=self.settle_timeout, cleanup_timeout=self.cleanup_timeout)

    def check(self, max_buffered_size: int | None) -> None:
        """Raise `ConfigurationError` if an option of `Mix.open_stream` is invalid.

        Args:
          max_buffered_size: how many bytes of events the client may buffer; None: no limit.
        """
        idle_timeout = None if self.idle_timeout == "auto" else self.idle_timeout
        for name, seconds in (
            ("connect_timeout", self.connect_timeout),
            ("max_connection_age", self.max_connection_age),
            ("cleanup_timeout", self.cleanup_timeout),
            ("settle_timeout", self.settle_timeout),
            ("idle_timeout", idle_timeout),
        ):
            if seconds is not None and not (isinstance(seconds, int | float) and seconds > 0):
                raise ConfigurationError(
                    f"open_stream({name}={seconds!r}): it must be a positive number of seconds."
                )
        for name, size in (
            ("message_buffer", self.message_buffer),
            ("max_event_size", self.max_event_size),
            ("max_reply_size", self.max_reply_size),
        ):
            if size is not None and not (isinstance(size, int) and size >= 1):
                raise ConfigurationError(
                    f"open_stream({name}={size!r}): it must be a whole number, at least 1."
                )
        if max_buffered_size is not None and self.max_event_size > max_buffered_size:
            raise ConfigurationError(
                f"open_stream(max_event_size={self.max_event_size}): it must not exceed the "
                f"client's max_buffered_size={max_buffered_size}."
            )
        if not isinstance(self.reconnect, ReconnectPolicy):
            raise ConfigurationError(
                f"open_stream(reconnect={self.reconnect!r}): it must be a ReconnectPolicy."
            )
        last_event_id: object = self.last_event_id
        if not (last_event_id is None or isinstance(last_event_id, str)):
            raise ConfigurationError(
                f"open_stream(last_event_id={last_event_id!r}): it must be a string, or None."
            )
        if last_event_id is not None and any(bad in last_event_id for bad in "\r\n\0"):
            raise ConfigurationError(
                "open_stream(last_event_id=...): it contains a line break or NUL, which no event id"
                " has: use the id of an event, or the one in statistics()."
            )
