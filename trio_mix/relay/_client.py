"""`RelayClient`: many sessions of a relay over one WebSocket."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, Self, cast, final, get_args

import attrs
import trio

from trio_mix._lifetime import OwnedNursery
from trio_mix._public import public
from trio_mix._session._questions import Policies
from trio_mix._session._send_api import MessageRequest, check_request
from trio_mix._usage import AsyncScope, check_callback
from trio_mix.browser._websocket import open_tcp
from trio_mix.errors import (
    ConfigurationError,
    ConnectionFailed,
    MessageRejected,
    RequestInfo,
    StreamClosed,
    UsageError,
    clone_error,
)
from trio_mix.relay._client_link import LinkSettings, RelayLink
from trio_mix.relay._client_messages import RelayMessage
from trio_mix.relay._client_sessions import Follower
from trio_mix.relay._client_subscription import RelaySubscription
from trio_mix.relay._ids import parse_position
from trio_mix.relay._records import StartFrom
from trio_mix.sse import ConnectionStatistics, ReconnectPolicy

if TYPE_CHECKING:
    import ssl
    from collections.abc import Sequence
    from types import TracebackType

    from trio_mix.browser._endpoint import TokenSource
    from trio_mix.browser._websocket import Connect
    from trio_mix.models import ThinkingLevel
    from trio_mix.relay._client_messages import (
        RelayNotificationPolicy,
        RelayPermissionPolicy,
    )

_MAX_SESSIONS: Final = 1000
_MAX_BODY: Final = 10 * 2**20 - 4096
_KEY_SIZE: Final = 255
_ANY_POSITION: Final = 10**19


@public("trio_mix.relay")
@attrs.frozen(kw_only=True)
class RelayClientStatistics(ConnectionStatistics):
    """The statistics of one client, as of one moment."""

    sessions: int
    """Sessions that are followed."""
    consumers: int
    """Subscriptions and messages that are open."""
    events: int
    """Events that were received."""


@public("trio_mix.relay")
@final
class RelayClient(AsyncScope):
    """Follows any number of a relay's sessions over one WebSocket, and sends messages to them.

    Use it as an async context manager::

        async with RelayClient("http://localhost:8090") as client:
            async with client.send("s1", "List the files here") as message:
                async for event in message:
                    ...
            async with client.subscribe("s2", after=position) as events:
                async for event in events:
                    ...

    The connection is supervised: after a loss it is made again, each subscription continues at its
    position, and what was sent but not answered is sent again. The relay runs no message twice.

    Args:
      url: the relay's address, as ``http://localhost:8090``.
      token: the token, or a function (sync or async) that returns it at each connect.
      reconnect: how a lost connection is made again.
      connect_timeout: seconds for one connect, and for the first one on entering.
      idle_timeout: seconds without a message after which the connection is lost. Relays send a
        heartbeat every 15 seconds.
      cleanup_timeout: seconds for cancelling a message whose scope is left early.
      buffer_size: the size of the events that one consumer may have buffered, in bytes. What does
        not fit is asked for again once it has taken these; other consumers of the same session wait
        meanwhile, those of other sessions do not.
      ssl_context: for ``https``; None: a default context.
      connect: opens the TCP connection, for unusual networks.

    Raises:
      ConfigurationError: an argument cannot work.
    """

    _entered_as = "async with RelayClient(...) as client"

    def __init__(
        self,
        url: str,
        *,
        token: TokenSource | None = None,
        reconnect: ReconnectPolicy | None = None,
        connect_timeout: float = 10.0,
        idle_timeout: float = 45.0,
        cleanup_timeout: float = 5.0,
        buffer_size: int = 4 * 2**20,
        ssl_context: ssl.SSLContext | None = None,
        connect: Connect | None = None,
    ) -> None:
        seconds = {"connect_timeout": connect_timeout, "cleanup_timeout": cleanup_timeout}
        for name, value in {**seconds, "idle_timeout": idle_timeout}.items():
            if not value > 0 or (name in seconds and not math.isfinite(value)):
                raise ConfigurationError(f"RelayClient({name}={value!r}): it must be seconds > 0")
        if buffer_size < 1:
            raise ConfigurationError(f"RelayClient(buffer_size={buffer_size!r}): at least 1 byte")
        self._connect_timeout = connect_timeout
        self._cleanup_timeout = cleanup_timeout
        self._buffer_size = buffer_size
        settings = LinkSettings(
            reconnect=reconnect or ReconnectPolicy(),
            connect_timeout=connect_timeout,
            idle_timeout=idle_timeout,
            connect=connect or open_tcp,
            ssl_context=ssl_context,
        )
        self._link = RelayLink(url, token, settings)
        self._tasks = OwnedNursery("RelayClient")

    def __repr__(self) -> str:
        return f"<trio_mix.relay.RelayClient at {self._link.shown} ({self._link.state})>"

    async def __aenter__(self) -> Self:
        """Connect.

        Raises:
          ConnectionFailed: the relay could not be reached within ``connect_timeout``.
          Unauthorized, Forbidden: the token is missing, invalid or expired.
          ProtocolError: there is no relay with WebSockets at the address.
          UsageError: the client was entered before.
        """
        self._enter()
        nursery = await self._tasks.open()
        nursery.start_soon(self._link.run)
        try:
            with trio.move_on_after(self._connect_timeout) as scope:
                await self._link.wait_settled()
            if scope.cancelled_caught:
                raise ConnectionFailed(
                    self._link.last_loss or f"no answer within {self._connect_timeout:g} s",
                    request=RequestInfo("GET", self._link.shown, "RelayClient"),
                )
            if self._link.failure is not None:
                raise clone_error(self._link.failure) from self._link.failure.__cause__
        except BaseException as exc:
            await self.__aexit__(type(exc), exc, exc.__traceback__)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the connection; subscriptions and messages that are open raise `StreamClosed`."""
        self._left = True
        self._link.close(StreamClosed("The RelayClient was closed.", url=self._link.shown))
        await self._tasks.close("the RelayClient is closed", exc)

    def subscribe(
        self, session_id: str, *, after: str | int | None = None, start: StartFrom = "now"
    ) -> RelaySubscription:
        """Return a subscription to all events of a session; entering it subscribes.

        Args:
          session_id: the session.
          after: the position after which to begin, as `RelaySubscription.last_event_id` returns it.
          start: where to begin without a position: ``"now"``, ``"turn"`` (the beginning of the
            running or the last turn) or ``"earliest"``.

        Raises:
          ConfigurationError: ``after`` or ``start`` is invalid.
          StreamClosed: the client was closed.
          UsageError: the client was not entered, or follows too many sessions.
        """
        self._check_open(session_id)
        if start not in get_args(StartFrom):
            raise ConfigurationError(f"subscribe(start={start!r}): 'now', 'turn' or 'earliest'")
        position = None
        if after is not None:
            position = parse_position(str(after), _ANY_POSITION)
            if position is None:
                raise ConfigurationError(f"subscribe(after={after!r}): this is no position")
        follower = Follower(position, start, max_size=self._buffer_size)
        return RelaySubscription(self._link, session_id, follower)

    def send(
        self,
        session_id: str,
        text: str,
        *,
        plan_mode: bool = False,
        thinking_level: ThinkingLevel | None = None,
        max_steps: int | None = None,
        media: Sequence[str] = (),
        apps: Sequence[str] = (),
        allow_shell: bool = False,
        key: str | None = None,
        on_permission: RelayPermissionPolicy | None = None,
        on_notification: RelayNotificationPolicy | None = None,
    ) -> RelayMessage:
        """Return a message; entering it (``async with``) sends it.

        The relay sends the messages of one session one after the other, in the order in which they
        were entered. See `SessionStream.send` for the options.

        Args:
          session_id: the session.
          text: the text. A text that starts with ``/`` is a command of the server.
          plan_mode: whether the agent must only make a plan.
          thinking_level: ``"off"``, ``"basic"``, ``"medium"`` or ``"maximum"`` (async servers).
          max_steps: how often the agent may use tools, at least 1 (async servers).
          media: names of files of the session for the agent to read (pipeline servers).
          apps: names of apps for the agent to use (pipeline servers).
          allow_shell: whether a text that starts with ``!`` may be sent.
          key: an idempotency key, 1 to 255 printable ASCII characters; None: a new one. With the
            key and the text of an earlier message, in this or another process, the message is not
            sent again: its reply is returned.
          on_permission: a sync or async function that returns whether a permission request of the
            message is granted; only True grants it. It is called by the task that iterates the
            message, or waits for it.
          on_notification: a sync or async function that returns the response to a notification of
            the message, called in the same way.

        Raises:
          MessageRejected: the text is empty or too large, has a lone surrogate, or starts with
            ``!`` without ``allow_shell``.
          ConfigurationError: ``thinking_level``, ``max_steps`` or ``key`` is invalid, or a function
            cannot be called with an event and the message.
          StreamClosed: the client was closed.
          UsageError: the client was not entered, or follows too many sessions.
        """
        self._check_open(session_id)
        if key is not None and not (
            0 < len(key) <= _KEY_SIZE and key.isascii() and key.isprintable()
        ):
            raise ConfigurationError(f"send(key={key!r}): 1 to 255 printable ASCII characters")
        if on_permission is not None:
            check_callback(on_permission, "send(on_permission=...)", 2)
        if on_notification is not None:
            check_callback(on_notification, "send(on_notification=...)", 2)
        request = MessageRequest(
            text=text,
            plan_mode=plan_mode,
            thinking_level=thinking_level,
            max_steps=max_steps,
            media=tuple(media),
            apps=tuple(apps),
        )
        check_request(request, "send", session_id, allow_shell=allow_shell)
        _check_text(text, session_id)
        return RelayMessage(
            self._link,
            session_id,
            text,
            _body_of(request),
            key,
            max_size=self._buffer_size,
            cleanup_timeout=self._cleanup_timeout,
            policies=Policies(on_permission, on_notification),
        )

    async def cancel(self, turn_id: str) -> None:
        """Cancel a turn that is queued or running; one that is over stays as it is.

        Args:
          turn_id: the turn: `RelayMessage.turn_id`, or the ``turnId`` in an event's data.

        Raises:
          CommandRefused: there is no such turn, or the token lacks the verb.
          StreamError, RelayError: the client has failed, or was closed.

        A checkpoint.
        """
        self._check_open()
        await self._link.calls.carry_out({"type": "cancel", "turnId": turn_id})

    async def decide(self, session_id: str, permission_id: str, *, grant: bool) -> None:
        """Answer a permission request: the first answer counts.

        Args:
          session_id: the session.
          permission_id: the request.
          grant: whether it is granted; only True grants it.

        Raises:
          CommandRefused: the opposite was answered before, or there is no such request.
          StreamError, RelayError: the client has failed, or was closed.

        A checkpoint.
        """
        self._check_open()
        fields = {"sessionId": session_id, "permissionId": permission_id}
        await self._link.calls.carry_out({"type": "decide", **fields, "grant": grant is True})

    def statistics(self) -> RelayClientStatistics:
        """Return the state and the counters."""
        link = self._link
        return RelayClientStatistics(
            state=link.state,
            connects=link.connects,
            losses=link.losses,
            last_loss=link.last_loss,
            last_loss_time=link.last_loss_time,
            sessions=link.sessions,
            consumers=link.consumers,
            events=link.events,
        )

    def _check_open(self, session_id: str | None = None) -> None:
        self._check_inside()
        if session_id is not None and self._link.sessions >= _MAX_SESSIONS:
            raise UsageError(
                f"A RelayClient follows at most {_MAX_SESSIONS} sessions: use another one."
            )


def _check_text(text: str, session_id: str) -> None:
    """Check that a text fits into a message of the protocol.

    Raises:
      MessageRejected: it does not.
    """
    problem = ""
    if len(text) > _MAX_BODY:
        problem = f"its text has {len(text)} characters, and a relay takes {_MAX_BODY}: shorten it"
    elif any("\ud800" <= letter <= "\udfff" for letter in text):
        problem = "its text has a lone surrogate, which UTF-8 cannot encode: remove it"
    if problem:
        raise MessageRejected(
            f"The message to session {session_id} was not sent: {problem}.", session_id=session_id
        )


def _body_of(request: MessageRequest) -> dict[str, object]:
    """Return the body of a message: what is not the default."""
    fields = attrs.asdict(request, filter=lambda field, value: field.eq and bool(value))
    return cast("dict[str, object]", fields)
