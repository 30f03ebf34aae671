"""A session stream, as its user holds it.

Rule 1  The caller's exception leaves ``async with`` as it was raised: the same object, its context
        kept, never in a group. So does a cancellation, however many tasks were cancelled with it.
Rule 2  The stream's own tasks never raise. What ends the stream is raised by every wait on it.
Rule 3  ``KeyboardInterrupt`` or ``SystemExit`` raised in one of the tasks leaves bare.
Rule 4  Nothing is left behind: no task, no connection, no waiting sender.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, Self, final

import attrs
import trio

from trio_mix import errors
from trio_mix._lifetime import OwnedNursery
from trio_mix._public import public
from trio_mix._session._controller import StreamController
from trio_mix._session._message import Message
from trio_mix._session._request import MessageRequest
from trio_mix._session._subscription import Subscription
from trio_mix.sse import ConnectionStatistics, StreamState

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import TracebackType

    from trio_mix._reply import Reply
    from trio_mix._session._controller import Services, Settings
    from trio_mix._session._message import PermissionPolicy
    from trio_mix.models import ThinkingLevel

__all__ = ["SessionStream", "SessionStreamStatistics"]

DEFAULT_SUBSCRIBER_BUFFER = 1000


@attrs.frozen(kw_only=True)
class SessionStreamStatistics(ConnectionStatistics):
    """A snapshot of a session stream's state and counters, for logs and health checks."""

    reconnects: int
    """Connections opened after a loss or a rotation."""
    rotations: int
    """Connections replaced on purpose, before the server would have cut them."""
    events: int
    """Events decoded."""
    duplicates: int
    """Events dropped because the server replayed them."""
    bytes: int
    """Bytes read from the streams."""
    last_event_id: str | None
    """The id that a reconnect would resume from, or None."""
    messages: int
    """Messages sent."""
    senders_waiting: int
    """Tasks that wait for their turn to send."""
    turn_running: bool
    """Whether the server is at work on a message of this stream's."""
    subscribers: int
    """Open subscriptions."""


class Unregister(Protocol):
    """Called when a session stream is over."""

    def __call__(self, stream: SessionStream, *, end_outstanding: bool) -> None:
        """Forget the stream; ``end_outstanding``: a cancelled turn of it has not ended."""


@public("trio_mix")
@final
class SessionStream:
    """One session's stream: sends messages, hands out events, keeps itself connected.

    Made by `Mix.open_stream`; use it as an async context manager. Entering connects and returns
    when the server has said ``connected``. All its tasks live in a nursery of its own that the
    ``async with`` closes; the caller's exceptions pass through it unwrapped.
    """

    def __init__(
        self,
        session_id: str,
        services: Services,
        settings: Settings,
        on_permission: PermissionPolicy | None,
        register: Callable[[SessionStream], None],
        unregister: Unregister,
    ) -> None:
        self._session_id = session_id
        self._services = services
        self._settings = settings
        self._on_permission = on_permission
        self._register = register
        self._unregister = unregister
        self._tasks = OwnedNursery(
            f"The stream of session {session_id!r} can be entered once: call"
            " mix.open_stream() again."
        )
        self._controller: StreamController | None = None
        self._closed = False

    def __repr__(self) -> str:
        return f"<trio_mix.SessionStream of session {self._session_id!r} ({self.state.value})>"

    @property
    def session_id(self) -> str:
        """The session."""
        return self._session_id

    @property
    def state(self) -> StreamState:
        """What the stream is doing: connecting, connected, reconnecting, or closed."""
        if self._closed:
            return StreamState.CLOSED
        return StreamState.CONNECTING if self._controller is None else self._controller.reader.state

    async def __aenter__(self) -> Self:
        """Connect; return when the server has said ``connected``.

        Raises:
          SessionNotFound: the server does not know the session.
          StreamAlreadyOpen: this client has a stream of the session already.
          ConnectionFailed, RequestTimeout: nothing answered within ``connect_timeout``.
          ProtocolError: what answers at that address does not speak SSE.
          MixError: the server refused the stream.

        A checkpoint. Cancelled, it leaves nothing behind.
        """
        nursery = await self._tasks.open()
        try:
            self._register(self)
            self._controller = StreamController(
                self._session_id, self._services, self._settings, nursery
            )
            self._controller.start()
            await self._first_connected(self._controller)
        except BaseException as exc:
            await self._close(exc)
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the stream: end its tasks, its connection, and every wait that hangs on it."""
        await self._close(exc)

    async def wait_connected(self) -> None:
        """Wait until the stream is connected; returns at once if it is.

        Raises:
          StreamClosed: it was closed.
          ReconnectFailed, SessionNotFound, ProtocolError: what it was lost with for good.

        A checkpoint. Cancelling it does nothing to the stream.
        """
        await self._opened().wait_connected()

    def send(
        self,
        text: str,
        *,
        plan_mode: bool = False,
        thinking_level: ThinkingLevel | None = None,
        max_steps: int | None = None,
        media: Sequence[str] = (),
        apps: Sequence[str] = (),
        allow_shell: bool = False,
    ) -> Message:
        """Return a message to be sent; entering it (``async with``) sends it.

        One message at a time: entering waits, first come first served, until the earlier ones of
        this stream are over and the stream is connected. (OpenAPI: ``sendMessage``, and on
        pipeline servers ``sendStreamingMessage``.)

        Args:
          text: what to say. A text that starts with ``/`` is a command of the server's.
          plan_mode: whether the agent shall only plan.
          thinking_level: ``"off"``, ``"basic"``, ``"medium"`` or ``"maximum"`` (async servers).
          max_steps: how often the agent may use tools for it, at least 1 (async servers).
          media: names of the session's files to look at (pipeline servers).
          apps: names of apps to use (pipeline servers).
          allow_shell: whether a text that starts with ``!`` may be sent: pipeline servers run it
            as a shell command on their host.

        Raises:
          MessageRejected: the text is empty, or starts with ``!`` without ``allow_shell``.
          ConfigurationError: ``thinking_level`` or ``max_steps`` make no sense.
        """
        controller = self._opened()
        if not text.strip():
            raise errors.MessageRejected(
                f"The message to session {self._session_id} was not sent, for it is empty, and "
                "servers refuse that: give it a text.",
                session_id=self._session_id,
            )
        if text.lstrip().startswith("!") and not allow_shell:
            raise errors.MessageRejected(
                f"The message to session {self._session_id} was not sent: a text that starts with "
                "'!' is run as a shell command by pipeline servers. Pass allow_shell=True if that "
                "is meant, or put something before it.",
                session_id=self._session_id,
            )
        if thinking_level not in (None, "off", "basic", "medium", "maximum"):
            raise errors.ConfigurationError(
                f"send(thinking_level={thinking_level!r}): use 'off', 'basic', 'medium' or "
                "'maximum'."
            )
        if max_steps is not None and max_steps < 1:
            raise errors.ConfigurationError(f"send(max_steps={max_steps}): it must be at least 1.")
        request = MessageRequest(
            text=text,
            plan_mode=plan_mode,
            thinking_level=thinking_level,
            max_steps=max_steps,
            media=tuple(media),
            apps=tuple(apps),
        )
        return Message(controller, request, self._on_permission)

    async def ask(
        self,
        text: str,
        *,
        plan_mode: bool = False,
        thinking_level: ThinkingLevel | None = None,
        max_steps: int | None = None,
        media: Sequence[str] = (),
        apps: Sequence[str] = (),
        allow_shell: bool = False,
    ) -> Reply:
        """Send a message, read it to its end, and return the reply.

        Takes what `send` takes; raises what it, entering the message, and iterating it raise.
        Cancelled, the server is told to cancel.
        """
        message = self.send(
            text,
            plan_mode=plan_mode,
            thinking_level=thinking_level,
            max_steps=max_steps,
            media=media,
            apps=apps,
            allow_shell=allow_shell,
        )
        async with message:
            return await message.wait()

    def subscribe(self, *, buffer: int = DEFAULT_SUBSCRIBER_BUFFER) -> Subscription:
        """Return a subscription to every event of the session, whoever's message it belongs to.

        Args:
          buffer: events that may stand waiting; beyond it the oldest are dropped, visibly.

        Raises:
          ConfigurationError: ``buffer`` is less than 1.
        """
        if buffer < 1:
            raise errors.ConfigurationError(f"subscribe(buffer={buffer}): it must be at least 1.")
        return Subscription(self._opened().dispatcher, buffer)

    def statistics(self) -> SessionStreamStatistics:
        """Return a snapshot of the stream's inner life."""
        controller = self._opened()
        source = controller.reader.source.statistics()
        return SessionStreamStatistics(
            state=self.state,
            connects=source.connects,
            reconnects=max(0, source.connects - 1),
            rotations=controller.reader.rotations,
            losses=controller.losses,
            last_loss=controller.last_loss,
            last_loss_time=controller.last_loss_time,
            events=controller.reader.events,
            duplicates=controller.reader.replay_filter.duplicates,
            bytes=source.bytes,
            last_event_id=controller.reader.replay_filter.mark or None,
            messages=controller.messages_sent,
            senders_waiting=controller.send_queue.waiting,
            turn_running=controller.dispatcher.current is not None,
            subscribers=controller.dispatcher.subscribers,
        )

    def _opened(self) -> StreamController:
        if self._controller is None:
            raise errors.UsageError(
                f"The stream of session {self._session_id!r} is not open: use it as `async with"
                " mix.open_stream(...) as session`."
            )
        if self._closed:
            raise errors.StreamClosed(
                f"The stream of session {self._session_id} was closed: open it again.",
                url=self._services.url,
                session_id=self._session_id,
            )
        return self._controller

    async def _first_connected(self, controller: StreamController) -> None:
        """Wait for the first connect; its failures are tried again within its time limit."""
        limit = self._settings.connect_timeout
        with trio.move_on_after(limit) as scope:
            await controller.wait_connected()
        if not scope.cancelled_caught:
            return
        cause = controller.reader.source.last_failure
        if isinstance(cause, errors.TransportError | errors.MixError):
            raise cause
        raise errors.RequestTimeout(
            controller.last_loss or f"no connected event within {limit:g} s",
            request=errors.RequestInfo("GET", self._services.url, "streaming.stream_events"),
            remedy="Raise open_stream(connect_timeout=...) if the server is slow but healthy.",
        ) from cause

    async def _close(self, leaving: BaseException | None) -> None:
        """End the tasks; what leaves is decided by rules 1 to 4."""
        outstanding = False
        if self._controller is not None:
            outstanding = self._controller.end_outstanding
            self._controller.close()
        try:
            await self._tasks.close("the stream is being closed", leaving)
        finally:
            self._closed = True
            self._unregister(self, end_outstanding=outstanding)
