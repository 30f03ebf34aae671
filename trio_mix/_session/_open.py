"""Where a client's streams are opened: what it lends them, and which sessions have one.

What it knows: the parts that a stream is put together from.
What it must never know: what they do; the caller's arguments, which `Mix` has checked.

`Mix` loads it with its first stream: a client that only calls operations needs nothing of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from trio_mix import errors
from trio_mix._http import sanitize_url
from trio_mix._session._controller import Services, Settings
from trio_mix._session._recovery import StoredMessages
from trio_mix._session._send_api import SendApi
from trio_mix._session._stream import SessionStream
from trio_mix._session._stream_hooks import StreamHooks
from trio_mix.sse._supervisor import Supervisor

if TYPE_CHECKING:
    from trio_mix._mix import Mix
    from trio_mix._rest._options import Api

__all__ = ["StreamRegistry"]


def _untimed() -> None:
    """Say that no read is timed here: the reader does that for all that it waits for."""


class StreamRegistry:
    """Opens the streams of one client.

    Args:
      mix: the client.
      api: how its messages are sent.
    """

    def __init__(self, mix: Mix, api: Api) -> None:
        self.send_api = SendApi(mix, mix.streaming, mix.messages, mix.system, api)
        self._mix = mix
        self._stored = StoredMessages(mix.sessions, mix.messages)
        self._streams: dict[str, SessionStream] = {}

    def open(self, session_id: str, settings: Settings) -> SessionStream:
        """Return a session's stream; it has its place here from its entry to its end."""
        return SessionStream(
            session_id,
            self._services(session_id, settings),
            settings,
            self._claim,
            self._disclaim,
        )

    def _services(self, session_id: str, settings: Settings) -> Services:
        mix = self._mix
        url = mix.url_for(f"/stream?sessionId={quote(session_id, safe='')}")
        shown = sanitize_url(url)

        def watch() -> StreamHooks | None:
            return StreamHooks(mix.hooks, session_id, shown) if mix.hooks else None

        def source(watch: StreamHooks | None) -> Supervisor:
            connects = None if watch is None else watch.connects(mix.http, mix.headers_for)
            return Supervisor(
                mix.http if connects is None else connects,
                url,
                headers=mix.headers_for if connects is None else connects.headers,
                reconnect=settings.reconnect,
                connect_timeout=settings.connect_timeout,
                read_timeout=_untimed,
                session_id=session_id,
                max_event_size=settings.max_event_size,
                on_wait=None if watch is None else watch.retrying,
            )

        return Services(
            send_api=self.send_api,
            stored=self._stored,
            messages=mix.messages,
            permissions=mix.permissions,
            notifications=mix.notifications,
            source=source,
            watch=watch,
            url=shown,
        )

    def _claim(self, stream: SessionStream) -> None:
        if stream.session_id in self._streams:
            raise errors.StreamAlreadyOpen(
                f"Session {stream.session_id!r} has a stream on this client already. Share that "
                "one: it can be used from any number of tasks, and subscribe() shows everything.",
                session_id=stream.session_id,
            )
        self._streams[stream.session_id] = stream

    def _disclaim(self, stream: SessionStream) -> None:
        if self._streams.get(stream.session_id) is stream:
            del self._streams[stream.session_id]
