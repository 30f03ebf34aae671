"""The front door: one client for one Mix server.

What it knows: the resources, and how streams are opened. What it must never know: HTTP, the wire
format, how a stream works inside.

It imports as little as a client needs that does nothing yet: each of the resources is loaded when
it is first asked for, and all that streams are made of when the first one is opened. The events
and their decoder are imported at once: hardly a program goes without, and none should wait for them
when its first one comes.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal, TypedDict, Unpack, final

import trio

from trio_mix import errors
from trio_mix._callbacks import check_callback
from trio_mix._http import Http
from trio_mix._public import public
from trio_mix._rest._core import MixCore
from trio_mix._rest._options import RequestOptions, RetryConfig, check_api
from trio_mix._wire import _events  # noqa: F401 - the decoder: see above
from trio_mix.sse._decoder import DEFAULT_MAX_EVENT_SIZE
from trio_mix.sse._reconnect import ReconnectPolicy

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from types import TracebackType

    from trio_mix import resources
    from trio_mix._http import HttpClient, NetworkBackend
    from trio_mix._rest._options import Api, HeadersSource
    from trio_mix._session._message import PermissionPolicy
    from trio_mix._session._open import StreamRegistry
    from trio_mix._session._stream import SessionStream
    from trio_mix.hooks import Hooks
    from trio_mix.models import BrowserMode, Callback, PromptMode

__all__ = ["Mix", "SessionScope", "StreamOptions"]

_DEFAULT_POLICY: Final = ReconnectPolicy()
_CLEANUP_TIMEOUT: Final = 5.0


class StreamOptions(TypedDict, total=False):
    """What `Mix.open_stream` takes besides the session's id."""

    reconnect: ReconnectPolicy
    connect_timeout: float
    idle_timeout: float | Literal["auto"] | None
    max_connection_age: float | None
    cleanup_timeout: float
    settle_timeout: float
    message_buffer: int
    max_event_size: int
    on_permission: PermissionPolicy | None
    last_event_id: str | None


@public("trio_mix")
class Mix(MixCore):
    """A client for a Mix server, whatever its generation.

    Args:
      server_url: the server's address; else the environment's ``MIX_SERVER_URL``, else
        ``http://localhost:8088``.
      api: how messages are sent: ``"pipeline"``, ``"blocking"`` or ``"async"``; ``"auto"`` finds it
        out with the first message, without sending it twice.
      headers: headers for every request, or a sync or async function that is asked for them before
        each request and at every connect of a stream: tokens get old.
      timeout: seconds that one try of a request may take.
      retries: whether and how requests that may be repeated are tried again.
      http_client: an ``httpx.AsyncClient`` or ``httpx2.AsyncClient`` to use for everything, streams
        too; its limits are the caller's, and it is not closed. None: connections of our own.
      hooks: functions to be called around requests and messages, and as streams come and go:
        `Hooks`, or several of them, in order.
      network: how connections are made, for tests: ``MixServer.network`` is a server in memory.

    Raises:
      ConfigurationError: an argument, or the environment's address, cannot work.

    Use it as an async context manager, or call `aclose` when done.
    """

    def __init__(
        self,
        server_url: str | None = None,
        *,
        api: Api = "auto",
        headers: HeadersSource | None = None,
        timeout: float = 60.0,
        retries: RetryConfig | None = None,
        http_client: HttpClient | None = None,
        hooks: Hooks | Sequence[Hooks] | None = None,
        network: NetworkBackend | None = None,
    ) -> None:
        super().__init__(
            server_url,
            headers=headers,
            timeout=timeout,
            retries=RetryConfig() if retries is None else retries,
            http_client=http_client,
            hooks=hooks,
        )
        if network is not None:
            self._caller.http = Http(network_backend=network)
        check_api(api)
        self._api: Api = api

    @cached_property
    def authentication(self) -> resources.Authentication:
        """The server's credentials at the models' providers."""
        from trio_mix.resources._authentication import Authentication

        return Authentication(self)

    @cached_property
    def files(self) -> resources.Files:
        """The files of a session."""
        from trio_mix.resources._files import Files

        return Files(self)

    @cached_property
    def health(self) -> resources.Health:
        """The state of the server's logins."""
        from trio_mix.resources._authentication import Health

        return Health(self)

    @cached_property
    def internal(self) -> resources.Internal:
        """What the server's own keepers need."""
        from trio_mix.resources._authentication import Internal

        return Internal(self)

    @cached_property
    def messages(self) -> resources.Messages:
        """Messages: sent over REST, listed, cancelled."""
        from trio_mix.resources._messages import Messages

        return Messages(self)

    @cached_property
    def notifications(self) -> resources.Notifications:
        """Answers to notifications."""
        from trio_mix.resources._interaction import Notifications

        return Notifications(self)

    @cached_property
    def permissions(self) -> resources.Permissions:
        """Answers to permission requests."""
        from trio_mix.resources._interaction import Permissions

        return Permissions(self)

    @cached_property
    def preferences(self) -> resources.Preferences:
        """What the user prefers."""
        from trio_mix.resources._preferences import Preferences

        return Preferences(self)

    @cached_property
    def sessions(self) -> resources.Sessions:
        """Sessions: created, listed, exported, forked, deleted."""
        from trio_mix.resources._sessions import Sessions

        return Sessions(self)

    @cached_property
    def streaming(self) -> resources.Streaming:
        """The two streaming operations, as they are."""
        from trio_mix.resources._streaming import Streaming

        return Streaming(self)

    @cached_property
    def system(self) -> resources.System:
        """The server itself: its health, its commands."""
        from trio_mix.resources._system import System

        return System(self)

    @cached_property
    def tools(self) -> resources.Tools:
        """What the agents can use."""
        from trio_mix.resources._system import Tools

        return Tools(self)

    @cached_property
    def _streams(self) -> StreamRegistry:
        from trio_mix._session._open import StreamRegistry

        return StreamRegistry(self, self._api)

    @property
    def api(self) -> str:
        """The server's generation: as named, or as found out; ``"auto"`` until then."""
        return self._streams.send_api.api

    def open_stream(
        self,
        session_id: str,
        *,
        reconnect: ReconnectPolicy = _DEFAULT_POLICY,
        connect_timeout: float = 10.0,
        idle_timeout: float | Literal["auto"] | None = "auto",
        max_connection_age: float | None = 540.0,
        cleanup_timeout: float = _CLEANUP_TIMEOUT,
        settle_timeout: float = 60.0,
        message_buffer: int = 1024,
        max_event_size: int = DEFAULT_MAX_EVENT_SIZE,
        on_permission: PermissionPolicy | None = None,
        last_event_id: str | None = None,
    ) -> SessionStream:
        """Return a session's stream; entering it (``async with``) connects it.

        Args:
          session_id: the session.
          reconnect: how a lost connection is made again, and for how long it is tried.
          connect_timeout: seconds from a connect to the server's ``connected``; the first one has
            to succeed within it, further tries included.
          idle_timeout: seconds of silence after which a connection counts as lost; ``"auto"`` takes
            them from the heartbeats it has seen; None: never.
          max_connection_age: seconds after which an idle connection is replaced, between messages:
            real servers cut every connection at ten minutes. None: never.
          cleanup_timeout: seconds that ending a message early may take.
          settle_timeout: seconds without a sign of life after which a message that was cut is
            given up, and after which the stored messages are asked for one that was not.
          message_buffer: events of one message that may stand waiting before text deltas are
            merged; at sixteen times as many the message fails with `ConsumerTooSlow`.
          max_event_size: the longest line and the longest data of an event, in bytes: a larger one
            ends the stream with `ProtocolError`.
          on_permission: a sync or async function that decides about the permission requests of this
            stream's messages, called as ``on_permission(request, message)``. Only True grants a
            request. What it raises fails the message, and the request is denied.
          last_event_id: where to resume, on servers that replay.

        Raises:
          ConfigurationError: a value that cannot work.
        """
        for name, seconds in (
            ("connect_timeout", connect_timeout),
            ("max_connection_age", max_connection_age),
            ("cleanup_timeout", cleanup_timeout),
            ("settle_timeout", settle_timeout),
            ("idle_timeout", None if idle_timeout == "auto" else idle_timeout),
        ):
            if seconds is not None and not (isinstance(seconds, int | float) and seconds > 0):
                raise errors.ConfigurationError(
                    f"open_stream({name}={seconds!r}): it must be a positive number of seconds."
                )
        for name, size in (("message_buffer", message_buffer), ("max_event_size", max_event_size)):
            if size < 1:
                raise errors.ConfigurationError(
                    f"open_stream({name}={size}): it must be at least 1."
                )
        if last_event_id is not None and any(bad in last_event_id for bad in "\r\n\0"):
            raise errors.ConfigurationError(
                "open_stream(last_event_id=...): it holds a line end or NUL, which no server sends:"
                " take it from an event, or from statistics()."
            )
        if on_permission is not None:
            check_callback(on_permission, "open_stream(on_permission=...)", 2)
        from trio_mix._session._controller import Settings

        settings = Settings(
            reconnect=reconnect,
            connect_timeout=connect_timeout,
            idle_timeout=idle_timeout,
            max_connection_age=max_connection_age,
            cleanup_timeout=cleanup_timeout,
            settle_timeout=settle_timeout,
            message_buffer=message_buffer,
            max_event_size=max_event_size,
            last_event_id=last_event_id,
        )
        return self._streams.open(session_id, settings, on_permission)

    def open_session(
        self,
        *,
        title: str = "trio_mix",
        browser_mode: BrowserMode | None = None,
        callbacks: Sequence[Callback] | None = None,
        cdp_url: str | None = None,
        custom_system_prompt: str | None = None,
        model_id: str | None = None,
        prompt_mode: PromptMode | None = None,
        provider: str | None = None,
        **stream_options: Unpack[StreamOptions],
    ) -> SessionScope:
        """Return a scope that creates a session, opens its stream, and deletes it on the way out.

        Args:
          title: the session's title.
          browser_mode: how its browser is driven (newest servers).
          callbacks: what the server does after tools have run (newest servers).
          cdp_url: the browser's DevTools address, for ``remote-cdp-websocket``.
          custom_system_prompt: a system prompt for the agent.
          model_id: the model (newest servers).
          prompt_mode: what the custom prompt does to the server's own.
          provider: the model's provider (newest servers).
          stream_options: anything that `open_stream` takes; deleting the session, which is
            shielded from cancellation, may take ``cleanup_timeout`` seconds as well.

        Raises:
          ConfigurationError: a value that cannot work.
        """

        async def create() -> str:
            session = await self.sessions.create(
                title=title,
                browser_mode=browser_mode,
                callbacks=callbacks,
                cdp_url=cdp_url,
                custom_system_prompt=custom_system_prompt,
                model_id=model_id,
                prompt_mode=prompt_mode,
                provider=provider,
            )
            return session.id

        return SessionScope(self, create, stream_options)


@final
class SessionScope:
    """A session that lives as long as its ``async with``. Made by `Mix.open_session`."""

    def __init__(
        self, mix: Mix, create: Callable[[], Awaitable[str]], stream_options: StreamOptions
    ) -> None:
        self._mix = mix
        self._create = create
        self._options = stream_options
        self._stream: SessionStream | None = None

    async def __aenter__(self) -> SessionStream:
        """Create the session and connect its stream; raises what those raise.

        A checkpoint. Cancelled, or where the stream cannot be opened, the session is deleted.
        """
        if self._stream is not None:
            raise errors.UsageError("A session can be entered once: call mix.open_session() again.")
        session_id = await self._create()
        self._stream = self._mix.open_stream(session_id, **self._options)
        try:
            return await self._stream.__aenter__()
        except BaseException:
            await self._delete(session_id)
            raise

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the stream and delete the session; that it could not be deleted is no error."""
        assert self._stream is not None  # noqa: S101 - entered before it is left
        try:
            await self._stream.__aexit__(exc_type, exc, traceback)
        finally:
            await self._delete(self._stream.session_id)

    async def _delete(self, session_id: str) -> None:
        limit = self._options.get("cleanup_timeout", _CLEANUP_TIMEOUT)
        with trio.CancelScope(shield=True, deadline=trio.current_time() + limit):
            try:
                await self._mix.sessions.delete(
                    id=session_id, options=RequestOptions(retries=RetryConfig(strategy="none"))
                )
            except Exception:  # noqa: BLE001 - refused, unreachable, or a hook's veto
                await trio.lowlevel.checkpoint()
