"""Open the session streams of a client, at most one per session.

`Mix` imports this module with its first stream, so that clients which only call operations start
faster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from urllib.parse import quote

import trio

from trio_mix import errors
from trio_mix._http import sanitize_url
from trio_mix._rest._options import RequestOptions, RetryConfig
from trio_mix._rest._responses import error_of
from trio_mix._session._buffers import Budget
from trio_mix._session._refusals import SessionRefusals
from trio_mix._session._resume import PreparedTickets
from trio_mix._session._send_api import SendApi
from trio_mix._session._services import Services, Settings
from trio_mix._session._stored_messages import StoredMessages
from trio_mix._session._stream import SessionStream
from trio_mix._session._stream_hooks import StreamHooks
from trio_mix.resources._base import operation_of
from trio_mix.resources._interaction import Notifications, Permissions
from trio_mix.resources._messages import Messages
from trio_mix.resources._sessions import Sessions
from trio_mix.resources._streaming import Streaming
from trio_mix.resources._system import System
from trio_mix.sse._connect import StreamRequest, connect
from trio_mix.sse._supervisor import Supervisor

if TYPE_CHECKING:
    from trio_mix._rest._core import MixCore
    from trio_mix._rest._options import Api
    from trio_mix._session._message_state import Policies

_ENDS_REMEMBERED: Final = 1000
_LOOK_UP: Final = RequestOptions(retries=RetryConfig(strategy="none"), timeout=10.0)
_STREAM_EVENTS: Final = operation_of(Streaming.stream_events)


class StreamRegistry:
    """Opens the session streams of one client, and refuses a second one of a session.

    Args:
      core: the client.
      api: the API of the server, or ``"auto"``.
      max_buffered_size: how many bytes of events all buffers may hold together.
      shared: the streams of another client for the same server; None: there are none.
    """

    def __init__(
        self,
        core: MixCore,
        api: Api,
        max_buffered_size: int | None,
        shared: StreamRegistry | None = None,
    ) -> None:
        messages = Messages(core)
        self.send_api = SendApi(core, Streaming(core), messages, System(core), api)
        self._budget = Budget(max_buffered_size)
        self._core = core
        self._messages = messages
        self._sessions = Sessions(core)
        self._stored = StoredMessages(self._sessions, messages)
        self._prepared = PreparedTickets()
        self._streams: dict[str, SessionStream] = {}
        self._ends_outstanding: dict[str, None] = {}
        """The last sessions whose stream was closed before the end of a cancelled turn."""
        if shared is not None:
            self._budget, self._prepared = shared._budget, shared._prepared
            self._streams, self._ends_outstanding = shared._streams, shared._ends_outstanding

    def open(self, session_id: str, settings: Settings, policies: Policies) -> SessionStream:
        """Return a session stream, which is registered while it is open."""
        return SessionStream(
            session_id,
            self._services(session_id, settings),
            settings,
            policies,
            self._register,
            self._unregister,
        )

    def _services(self, session_id: str, settings: Settings) -> Services:
        core, caller = self._core, self._core._caller
        url = caller.defaults.url_for(f"/stream?sessionId={quote(session_id, safe='')}")
        shown = sanitize_url(url)

        def hooks() -> StreamHooks | None:
            return StreamHooks(caller.hooks, session_id, shown) if caller.hooks else None

        refusals = SessionRefusals(lambda: self._look_up(session_id))

        def source(hooks: StreamHooks | None) -> Supervisor:
            request = StreamRequest(
                caller.http,
                url,
                headers=caller.defaults.headers_for,
                connect_timeout=settings.connect_timeout,
                session_id=session_id,
                error_of=lambda received: error_of(received, _STREAM_EVENTS),
                client_defaults=not caller.defaults.withholds(),
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

        return Services(
            send_api=self.send_api,
            stored=self._stored,
            messages=self._messages,
            permissions=Permissions(core),
            notifications=Notifications(core),
            source=source,
            budget=self._budget,
            hooks=hooks,
            refusals=refusals,
            prepared=self._prepared,
            url=shown,
            end_outstanding=session_id in self._ends_outstanding,
            created=session_id in caller.created_sessions,
        )

    async def _look_up(self, session_id: str) -> errors.MixError | None:
        """Return the server's own error if it has no such session; None if that is not known."""
        try:
            await self._sessions.get(id=session_id, options=_LOOK_UP)
        except errors.ErrorResponse as exc:
            return exc if exc.status_code == 404 else None  # noqa: ASYNC910 - the request was a checkpoint
        except Exception:  # noqa: BLE001 - not reachable, not supported, or vetoed by a hook
            await trio.lowlevel.checkpoint()
        return None

    def _register(self, stream: SessionStream) -> None:
        if stream.session_id in self._streams:
            raise errors.StreamAlreadyOpen(
                f"Session {stream.session_id!r} already has an open stream on this client. Share "
                "that one: any number of tasks can use it, and subscribe() returns all its events.",
                session_id=stream.session_id,
            )
        self._streams[stream.session_id] = stream
        self._core._caller.created_sessions.pop(stream.session_id, None)

    def _unregister(self, stream: SessionStream, end_outstanding: bool) -> None:
        if self._streams.get(stream.session_id) is stream:
            del self._streams[stream.session_id]
            self._ends_outstanding.pop(stream.session_id, None)
            if end_outstanding:
                self._ends_outstanding[stream.session_id] = None
            if len(self._ends_outstanding) > _ENDS_REMEMBERED:
                del self._ends_outstanding[next(iter(self._ends_outstanding))]
