"""`SessionStream`: the stream of one session, which sends messages and returns events.

Rule 1  The caller's exception leaves ``async with`` unchanged: it is the same object with the same
        context, never in a group. So is a cancellation, however many tasks are cancelled with it.
Rule 2  The stream's tasks never raise. An error that ends the stream is raised by every wait on it.
Rule 3  ``KeyboardInterrupt`` or ``SystemExit`` raised in a task is not wrapped in a group.
Rule 4  After the ``async with``, no task, connection or waiting sender remains.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, Self, final, overload

from trio_mix import errors
from trio_mix._lifetime import OwnedNursery
from trio_mix._public import public
from trio_mix._session._controller import StreamController
from trio_mix._session._message import Message
from trio_mix._session._questions import Policies
from trio_mix._session._resume import Resumption
from trio_mix._session._send_api import MessageRequest, check_request
from trio_mix._session._statistics import statistics_of
from trio_mix._session._subscription import RawSubscription, Subscription
from trio_mix._session._tickets import check_session, look_up, prepare
from trio_mix._turns._history import LastTurn
from trio_mix._usage import AsyncScope, check_callback
from trio_mix.sse import StreamState

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import TracebackType

    from trio_mix._reply import Reply
    from trio_mix._session._resume import SaveTicket
    from trio_mix._session._services import Services, Settings
    from trio_mix._session._statistics import SessionStreamStatistics
    from trio_mix._session._tickets import TicketOutcome
    from trio_mix._ticket import Ticket
    from trio_mix.models import ThinkingLevel

DEFAULT_SUBSCRIBER_BUFFER = 1000


@public("trio_mix")
@final
class SessionStream(AsyncScope):
    """The stream of a session: sends messages, returns events, and reconnects.

    Returned by `Mix.open_stream`; use it as an async context manager. Entering connects, and
    returns when the server has sent ``connected``. Its tasks run in its own nursery, which the
    ``async with`` closes; exceptions of the body are not wrapped in a group.
    """

    _entered_as = "async with mix.open_stream(...) as session"

    def __init__(
        self,
        session_id: str,
        services: Services,
        settings: Settings,
        policies: Policies,
    ) -> None:
        self._session_id = session_id
        self._services = services
        self._settings = settings
        self._policies = policies
        self._tasks = OwnedNursery("SessionStream")
        self._controller: StreamController | None = None

    def __repr__(self) -> str:
        return f"<trio_mix.SessionStream of session {self._session_id!r} ({self.state.value})>"

    @property
    def session_id(self) -> str:
        """The id of the session."""
        return self._session_id

    @property
    def state(self) -> StreamState:
        """The state of the stream: connecting, connected, reconnecting, or closed."""
        if self._left:
            return StreamState.CLOSED
        return StreamState.CONNECTING if self._controller is None else self._controller.reader.state

    async def __aenter__(self) -> Self:
        """Connect, and return when the server has sent ``connected``.

        Raises:
          SessionNotFound: the server does not know the session.
          StreamAlreadyOpen: the client already has an open stream of the session.
          ConnectionFailed, RequestTimeout: no connection succeeded within ``connect_timeout``.
          ProtocolError: the response is not an event stream.
          MixError: the server refused the stream.

        A checkpoint. If it is cancelled, the connection is closed.
        """
        self._enter(self._session_id)
        nursery = await self._tasks.open()
        try:
            created = self._services.register(self._session_id, self)
            self._controller = StreamController(
                self._session_id, self._services, self._settings, nursery, created=created
            )
            self._controller.start()
            await self._controller.wait_first_connected()
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
        """Close the stream: end its tasks, its connection, and every wait on it."""
        await self._close(exc)

    async def wait_connected(self) -> None:
        """Wait until the stream is connected.

        Raises:
          StreamClosed: the stream was closed.
          ReconnectFailed, SessionNotFound, ProtocolError: the stream has failed.

        A checkpoint. Cancelling the wait has no effect on the stream.
        """
        await self._opened().wait_connected()

    def reconnect_now(self) -> None:
        """Connect again at once, for instance when the machine wakes up or has changed its network.

        If the stream is connected, its connection is replaced; a message that is running continues.
        If it waits before the next attempt, the wait ends. An attempt in progress is not repeated.

        Raises:
          StreamClosed: the stream was closed.
        """
        self._opened().reconnect_now()

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
        """Return a message; entering it (``async with``) sends it.

        A stream sends one message at a time: entering waits, first come first served, until the
        earlier messages of the stream are over and the stream is connected. (OpenAPI:
        ``sendMessage``, and on pipeline servers ``sendStreamingMessage``.)

        Args:
          text: the text. A text that starts with ``/`` is a command of the server.
          plan_mode: whether the agent must only make a plan.
          thinking_level: ``"off"``, ``"basic"``, ``"medium"`` or ``"maximum"`` (async servers).
          max_steps: how often the agent may use tools, at least 1 (async servers).
          media: names of files of the session for the agent to read (pipeline servers).
          apps: names of apps for the agent to use (pipeline servers).
          allow_shell: whether a text that starts with ``!`` may be sent: pipeline servers run it
            as a shell command on their host.

        Raises:
          MessageRejected: the text is empty, or starts with ``!`` without ``allow_shell``.
          ConfigurationError: ``thinking_level`` or ``max_steps`` is invalid.
        """
        controller = self._opened()
        request = MessageRequest(
            text=text,
            plan_mode=plan_mode,
            thinking_level=thinking_level,
            max_steps=max_steps,
            media=tuple(media),
            apps=tuple(apps),
        )
        check_request(request, "send", self._session_id, allow_shell=allow_shell)
        return Message(controller, request, self._policies)

    async def prepare(
        self,
        text: str,
        *,
        plan_mode: bool = False,
        thinking_level: ThinkingLevel | None = None,
        max_steps: int | None = None,
        media: Sequence[str] = (),
        apps: Sequence[str] = (),
        allow_shell: bool = False,
    ) -> Ticket:
        """Return a ticket for a message, of which nothing is sent yet.

        The arguments are those of `send`. The stored messages of the session are read, so that the
        message can be distinguished from older ones with the same text. Store the ticket, and pass
        it to `resume`.

        Raises:
          MixError, TransportError: the stored messages cannot be read at the moment.
          MessageRejected: the text is empty, or starts with ``!`` without ``allow_shell``.
          ConfigurationError: an option is invalid, or the options take more than 8 KiB.

        A checkpoint. If it is cancelled, nothing has changed.
        """
        controller = self._opened()
        request = MessageRequest(
            text=text,
            plan_mode=plan_mode,
            thinking_level=thinking_level,
            max_steps=max_steps,
            media=tuple(media),
            apps=tuple(apps),
        )
        check_request(request, "prepare", self._session_id, allow_shell=allow_shell)
        return await prepare(controller, request, shell=allow_shell)

    def resume(
        self, ticket: Ticket, *, save: SaveTicket | None = None, resend: bool = True
    ) -> Message:
        """Return the message of a ticket; entering it (``async with``) finds out how far it came.

        A message that was never sent is sent. A finished one has its reply, which is read from the
        stored messages; one that runs continues, after a `StreamGapEvent`; one that was posted and
        never arrived is sent again, once that is certain. Otherwise entering or iterating it raises
        `MessageInterrupted`. Leaving it early cancels it, as for `send`.

        Args:
          ticket: the ticket, in any state.
          save: a sync or async function that stores a ticket durably, called with the ticket marked
            ``"posting"`` before the first byte is sent, and again when more is known. With it, a
            ticket that is not marked is sent at once; so every process must pass it. If it raises
            before the message is sent, the message is not sent and fails with that exception. Later
            it has ``cleanup_timeout`` seconds; that it raises or takes longer is logged.
          resend: whether a message that may have been sent, and is not stored, is sent again; if
            not, its outcome is unknown.

        Raises:
          UsageError: the ticket is that of another session, or (on entering) is being resumed in
            this process already.
          MessageRejected: the text is empty, or starts with ``!`` without ``allow_shell``.
          ConfigurationError: an option is invalid, or ``save`` cannot be called with a ticket.
        """
        controller = self._opened()
        check_session(ticket, self._session_id, "resume")
        if save is not None:
            check_callback(save, "resume(save=...)", 1)
        resumption = Resumption(ticket, save, controller.prepared, resend=resend)
        request = resumption.request
        check_request(request, "resume", self._session_id, allow_shell=ticket.allow_shell)
        return Message(controller, request, self._policies, resumption)

    def attach(self) -> Message:
        """Return the message of the turn that runs now, of any client or process.

        Entering it reads the stored messages. Events of the turn follow from then on, after a
        `StreamGapEvent`; the reply has all of its text, which is read from the stored messages at
        the end, or is marked incomplete. Leaving it does not cancel the turn. Messages of this
        stream are sent when the turn is over. ``on_permission`` and ``on_notification``
        are not called for it, and neither are hooks.

        Raises, on entering:
          UsageError: nothing runs, the server stores no messages, or this stream sends one.
          MixError, TransportError: the stored messages cannot be read at the moment.
        """
        return Message(self._opened(), MessageRequest(text=""), Policies(), attached=True)

    async def look_up(self, ticket: Ticket) -> TicketOutcome:
        """Return what the stored messages show about a ticket. Nothing is sent.

        It takes one request, or up to six seconds where a message is not stored, for it may still
        arrive.

        Raises:
          UsageError: the ticket is that of another session.
          MixError, TransportError: the stored messages cannot be read at the moment.

        A checkpoint. If it is cancelled, nothing has changed.
        """
        controller = self._opened()
        check_session(ticket, self._session_id, "look_up")
        return await look_up(controller, ticket)

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
        """Send a message, wait for its end, and return the reply.

        The arguments are those of `send`. Raises what `send`, entering the message and iterating it
        raise. If it is cancelled, the server is asked to cancel the message.
        """
        async with self.send(
            text,
            plan_mode=plan_mode,
            thinking_level=thinking_level,
            max_steps=max_steps,
            media=media,
            apps=apps,
            allow_shell=allow_shell,
        ) as message:
            return await message.wait()

    @overload
    def subscribe(
        self,
        *,
        buffer: int = DEFAULT_SUBSCRIBER_BUFFER,
        heal: bool = False,
        raw: Literal[False] = False,
    ) -> Subscription: ...

    @overload
    def subscribe(
        self,
        *,
        buffer: int = DEFAULT_SUBSCRIBER_BUFFER,
        heal: Literal[False] = False,
        raw: Literal[True],
    ) -> RawSubscription: ...

    def subscribe(
        self, *, buffer: int = DEFAULT_SUBSCRIBER_BUFFER, heal: bool = False, raw: bool = False
    ) -> Subscription | RawSubscription:
        """Return a subscription to every event of the session, also of other clients' messages.

        Args:
          buffer: the number of buffered events above which the oldest ones are dropped; a
            `StreamGapEvent` takes their place.
          heal: whether to complete a turn that was running when the connection was lost from the
            stored messages: a `StreamGapEvent` with ``healed=True``, the text that is missing, and
            its end. While such a turn is still running, its text is held back until its end. What
            this subscriber itself drops is not healed.
          raw: whether to return the frames as the server sent them, each with the message of this
            stream that it belongs to: see `RawSubscription`.

        Raises:
          ConfigurationError: ``buffer`` is less than 1, or ``heal`` is combined with ``raw``.
        """
        if heal and raw:
            raise errors.ConfigurationError(
                "subscribe(heal=True, raw=True): frames that were never received cannot be "
                "returned as the server sent them. Use one of both."
            )
        if buffer < 1:
            raise errors.ConfigurationError(f"subscribe(buffer={buffer}): it must be at least 1.")
        controller = self._opened()
        dispatcher, replay_filter = controller.dispatcher, controller.reader.replay_filter
        if raw:
            return RawSubscription(dispatcher, buffer, replay_filter)
        return Subscription(dispatcher, buffer, replay_filter, controller if heal else None)

    def statistics(self) -> SessionStreamStatistics:
        """Return a snapshot of the stream's state and counters."""
        return statistics_of(self._opened(), self.state)

    def _opened(self) -> StreamController:
        if self._controller is None or self._left:
            raise self._outside(self._session_id, self._services.shown_url(self._session_id))
        return self._controller

    async def _close(self, leaving: BaseException | None) -> None:
        """End the tasks; the resulting exception follows rules 1 to 4."""
        last = LastTurn()
        if self._controller is not None:
            last = self._controller.last_turn
            self._controller.close()
        try:
            await self._tasks.close("the stream is being closed", leaving)
        finally:
            self._left = True
            self._services.unregister(self._session_id, self, last)
