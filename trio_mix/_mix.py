"""`Mix`: the client for a Mix server.

To keep the import fast, each resource is imported when it is first used, and the modules of
session streams when the first one is opened. The events and their decoder are imported at once:
almost every program needs them, and the first event must not wait for an import.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final, Literal, TypedDict, Unpack

from trio_mix import errors, resources
from trio_mix._http import Http
from trio_mix._public import public
from trio_mix._rest._core import MixCore
from trio_mix._rest._options import RetryConfig, check_api, check_session_id
from trio_mix._usage import check_callback
from trio_mix._wire import _events  # noqa: F401 - see above
from trio_mix.sse._decoder import DEFAULT_MAX_EVENT_SIZE
from trio_mix.sse._reconnect import ReconnectPolicy

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix._http import HttpClient, NetworkBackend
    from trio_mix._rest._options import Api, HeadersSource
    from trio_mix._session._message import NotificationPolicy, PermissionPolicy
    from trio_mix._session._scope import SessionScope
    from trio_mix._session._services import Services
    from trio_mix._session._stream import SessionStream
    from trio_mix.hooks import Hooks
    from trio_mix.models import BrowserMode, Callback, PromptMode

_DEFAULT_POLICY: Final = ReconnectPolicy()
_CLEANUP_TIMEOUT: Final = 5.0
_MAX_REPLY_SIZE: Final = 64 * 2**20
_MAX_BUFFERED_SIZE: Final = 256 * 2**20


class StreamOptions(TypedDict, total=False):
    """The keyword arguments of `Mix.open_stream`."""

    reconnect: ReconnectPolicy
    connect_timeout: float
    idle_timeout: float | Literal["auto"] | None
    max_connection_age: float | None
    cleanup_timeout: float
    settle_timeout: float
    message_buffer: int
    max_event_size: int
    max_reply_size: int | None
    on_permission: PermissionPolicy | None
    on_notification: NotificationPolicy | None
    last_event_id: str | None


@public("trio_mix")
class Mix(MixCore):
    """A client for a Mix server of any API version.

    Args:
      server_url: the address of the server; by default the environment variable
        ``MIX_SERVER_URL``, else ``http://localhost:8088``.
      api: how messages are sent: ``"pipeline"``, ``"blocking"`` or ``"async"``. ``"auto"`` detects
        it with the first message, without sending the message twice.
      headers: headers for every request, or a sync or async function that returns them. The
        function is called before each request and each connect of a stream, so that tokens can be
        renewed.
      timeout: seconds that one attempt of a request may take.
      retries: how requests that are safe to repeat are retried.
      http_client: an ``httpx.AsyncClient`` or ``httpx2.AsyncClient`` for all requests and streams.
        Its limits apply, and it is not closed. By default the client has its own connections.
      hooks: functions that are called for requests, messages and streams: a `Hooks`, or several
        of them, which are called in order.
      network: makes the connections, for tests: ``MixServer.network`` is a server in memory.
      max_buffered_size: how many bytes of events the messages and subscriptions of all streams may
        buffer together. Beyond it, the largest buffer is reduced: a subscription's drops its older
        half, and a `StreamGapEvent` takes its place; a message fails with `ConsumerTooSlow`. It
        must be at least the ``max_event_size`` of every stream. None means no limit.

    Raises:
      ConfigurationError: an argument, or the address in the environment, is invalid.

    Use it as an async context manager, or call `aclose` at the end.
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
        max_buffered_size: int | None = _MAX_BUFFERED_SIZE,
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
        size: object = max_buffered_size
        if size is not None and not (isinstance(size, int) and size >= 1):
            raise errors.ConfigurationError(
                f"Mix(max_buffered_size={size!r}): it must be a whole number, at least 1, or None."
            )
        self._api: Api = api
        self._max_buffered_size = max_buffered_size

    @cached_property
    def authentication(self) -> resources.Authentication:
        """The server's credentials for the providers of models."""
        return resources.Authentication(self)

    @cached_property
    def files(self) -> resources.Files:
        """The files of a session."""
        return resources.Files(self)

    @cached_property
    def health(self) -> resources.Health:
        """The state of the server's logins at providers."""
        return resources.Health(self)

    @cached_property
    def internal(self) -> resources.Internal:
        """Operations for the administration of the server."""
        return resources.Internal(self)

    @cached_property
    def messages(self) -> resources.Messages:
        """Send messages over REST, list and cancel them."""
        return resources.Messages(self)

    @cached_property
    def notifications(self) -> resources.Notifications:
        """Respond to notifications."""
        return resources.Notifications(self)

    @cached_property
    def permissions(self) -> resources.Permissions:
        """Grant or deny permission requests."""
        return resources.Permissions(self)

    @cached_property
    def preferences(self) -> resources.Preferences:
        """The preferences of the user."""
        return resources.Preferences(self)

    @cached_property
    def sessions(self) -> resources.Sessions:
        """Create, list, export, fork and delete sessions."""
        return resources.Sessions(self)

    @cached_property
    def streaming(self) -> resources.Streaming:
        """The two streaming operations, without reconnects or recovery."""
        return resources.Streaming(self)

    @cached_property
    def system(self) -> resources.System:
        """The health and the commands of the server."""
        return resources.System(self)

    @cached_property
    def tools(self) -> resources.Tools:
        """The tools that agents can use."""
        return resources.Tools(self)

    @cached_property
    def _services(self) -> Services:
        from trio_mix._session._services import Services

        original = self._original
        if original is not None and original.server_url == self.server_url:
            return Services(self, self._api, self._max_buffered_size, original._services)
        return Services(self, self._api, self._max_buffered_size)

    @property
    def api(self) -> str:
        """The server's API: as passed or as detected; ``"auto"`` until it is known."""
        return self._services.send_api.api

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
        max_reply_size: int | None = _MAX_REPLY_SIZE,
        on_permission: PermissionPolicy | None = None,
        on_notification: NotificationPolicy | None = None,
        last_event_id: str | None = None,
    ) -> SessionStream:
        """Return the stream of a session; entering it (``async with``) connects it.

        Args:
          session_id: the session.
          reconnect: how often and for how long a lost connection is reopened.
          connect_timeout: seconds from the start of a connection attempt to the server's
            ``connected``. The first connection, including retries, must succeed within it.
          idle_timeout: seconds of silence after which a connection counts as lost; ``"auto"``
            derives them from the heartbeats of the connection; None means no limit.
          max_connection_age: seconds after which an idle connection is replaced between messages:
            real servers close every connection after ten minutes. None means no limit.
          cleanup_timeout: seconds that leaving a message early may take.
          settle_timeout: seconds without a sign of life after which an interrupted message fails,
            and after which the stored messages are read for a message that is still running.
          message_buffer: buffered events of a message above which text deltas are merged; at
            sixteen times as many the message fails with `ConsumerTooSlow`.
          max_event_size: the maximum size of a line and of the data of an event, in bytes: a larger
            one ends the stream with `ProtocolError`.
          max_reply_size: the maximum size of a message's reply, in bytes: text, reasoning, and the
            input and results of tools. Beyond it the server is asked to cancel the message, which
            fails with `ReplyTooLarge`. None means no limit.
          on_permission: a sync or async function that decides about the permission requests of this
            stream's messages, called as ``on_permission(request, message)``. Only True grants a
            request. If it raises, the request is denied and the message fails with that exception.
          on_notification: a sync or async function that answers the notifications of this stream's
            messages (newest servers), called as ``on_notification(notification, message)``. It
            returns the text or the choice that the notification's ``response_type`` asks for, or
            None to acknowledge it. If it raises, the notification is not answered and the message
            fails with that exception.
          last_event_id: the id of the event after which to resume, on servers that replay events.

        Raises:
          ConfigurationError: a value is invalid.
        """
        if on_permission is not None:
            check_callback(on_permission, "open_stream(on_permission=...)", 2)
        if on_notification is not None:
            check_callback(on_notification, "open_stream(on_notification=...)", 2)
        from trio_mix._session._questions import Policies
        from trio_mix._session._services import Settings
        from trio_mix._session._stream import SessionStream

        settings = Settings(
            reconnect=reconnect,
            connect_timeout=connect_timeout,
            idle_timeout=idle_timeout,
            max_connection_age=max_connection_age,
            cleanup_timeout=cleanup_timeout,
            settle_timeout=settle_timeout,
            message_buffer=message_buffer,
            max_event_size=max_event_size,
            max_reply_size=max_reply_size,
            last_event_id=last_event_id,
        )
        settings.check(self._max_buffered_size)
        check_session_id(session_id, "open_stream")
        policies = Policies(on_permission, on_notification)
        return SessionStream(session_id, self._services, settings, policies)

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
        """Return a scope that creates a session and opens its stream, and finally deletes it.

        Args:
          title: the title of the session.
          browser_mode: how the session's browser is controlled (newest servers).
          callbacks: what the server does after tools have run (newest servers).
          cdp_url: the DevTools address of the browser, for ``remote-cdp-websocket``.
          custom_system_prompt: a system prompt for the agent.
          model_id: the model (newest servers).
          prompt_mode: how the custom prompt is combined with the server's own.
          provider: the provider of the model (newest servers).
          stream_options: the keyword arguments of `open_stream`. Deleting the session is shielded
            from cancellation and may also take ``cleanup_timeout`` seconds.

        Raises:
          ConfigurationError: a value is invalid.
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

        from trio_mix._session._scope import SessionScope

        return SessionScope(
            create,
            lambda session_id: self.open_stream(session_id, **stream_options),
            self.sessions,
            stream_options.get("cleanup_timeout", _CLEANUP_TIMEOUT),
        )
