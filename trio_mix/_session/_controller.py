"""The live state of one open session, and who is told what when something happens to it.

What it knows: how reader, switchboard, send_queue, sending and settling work together. What it must
never know: the wire format, what users hold (`SessionStream`, `Message`) beyond handing them on.

The reader calls in synchronously (connected, lost, an event, failed); messages call in from their
own tasks (begin, leave). Whatever takes time is a task in the stream's nursery.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Literal, cast

import attrs
import trio

from trio_mix import errors
from trio_mix import events as ev
from trio_mix._rest._options import RequestOptions, RetryConfig
from trio_mix._session._busy import send_when_free
from trio_mix._session._dispatcher import EventDispatcher, copies_of
from trio_mix._session._message_state import MessageState
from trio_mix._session._permission_policy import answer_permission
from trio_mix._session._posting import Sendings, transmit
from trio_mix._session._reader import Reader, ReaderHost
from trio_mix._session._recovery import History, StoredMessages, fill_in, settle
from trio_mix._session._send_queue import SendQueue
from trio_mix._session._silence import watch
from trio_mix._session._stream_hooks import TimedMessageState
from trio_mix._session._warnings import LossLogger, session_gone, warn_unanswered
from trio_mix._turns._router import Input, Phase, TurnRouter
from trio_mix._wire._events import made
from trio_mix.sse import ReconnectSchedule, StreamState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from trio_mix._session._message import Message
    from trio_mix._session._request import MessageRequest
    from trio_mix._session._send_api import SendApi
    from trio_mix._session._stream_hooks import MessageHooks, StreamHooks
    from trio_mix._wire._events import PendingDelta
    from trio_mix.models import NotificationAnswer
    from trio_mix.resources import Messages, Notifications, Permissions
    from trio_mix.sse import ReconnectPolicy
    from trio_mix.sse._supervisor import Supervisor

__all__ = ["Services", "Settings", "StreamController"]

_PASSING: Final = (408, 425, 429, 500, 502, 503, 504)
_PATIENCE: Final = 5.0
"""Seconds that a cancelled turn's end may take before the stored messages are asked for it."""


@attrs.frozen(kw_only=True)
class Services:
    """The parts of the client that its streams use."""

    send_api: SendApi
    stored: StoredMessages
    messages: Messages
    permissions: Permissions
    notifications: Notifications
    source: Callable[[StreamHooks | None], Supervisor]
    hooks: Callable[[], StreamHooks | None]
    url: str


@attrs.frozen(kw_only=True)
class Settings:
    """How one stream behaves; durations in seconds."""

    reconnect: ReconnectPolicy
    connect_timeout: float
    idle_timeout: float | Literal["auto"] | None
    max_connection_age: float | None
    cleanup_timeout: float
    settle_timeout: float
    message_buffer: int
    max_event_size: int
    on_permission: Callable[[ev.PermissionEvent, Message], Awaitable[bool]] | None
    last_event_id: str | None


_ENDED: Final = Phase.ENDED  # asked for at every event, and a member of an enum is slow to reach


class StreamController(ReaderHost):
    """Runs one session's stream inside the nursery that `SessionStream` lends it."""

    def __init__(
        self, session_id: str, services: Services, settings: Settings, nursery: trio.Nursery
    ) -> None:
        self.session_id = session_id
        self.settings = settings
        self.settle_timeout = settings.settle_timeout
        self.reconnect = settings.reconnect
        self.send_api = services.send_api
        self.stored = services.stored
        self.send_queue = SendQueue()
        self.sendings = Sendings()
        self.router = TurnRouter(services.send_api.traits())
        self.dispatcher = EventDispatcher(self.router, self._turn_over)
        self.dispatcher.on_busy = lambda state, event: self._start(
            state, partial(send_when_free, self, state, event)
        )
        self.dispatcher.on_patchy = lambda state: self._start(state, partial(fill_in, self, state))
        self.history = History(services.stored, session_id)
        self.failure: BaseException | None = None
        self.messages_sent = 0
        self.losses = 0
        self.last_loss: str | None = None
        self.last_loss_time: float | None = None
        self._services = services
        self._hooks = services.hooks()
        self._nursery = nursery
        self._loss_logger = LossLogger(self, nursery.start_soon)
        self._connected: trio.Event | None = None  # made by whoever waits for it first
        self._gap_due = ""
        self._renewing = False
        self.reader = Reader(
            self,
            services.source(self._hooks),
            session_id=session_id,
            url=services.url,
            connect_timeout=settings.connect_timeout,
            idle_timeout=settings.idle_timeout,
            max_connection_age=settings.max_connection_age,
            last_event_id=settings.last_event_id,
        )

    # -- the stream -------------------------------------------------------------------------

    def start(self) -> None:
        """Start the reader, and what tells the hooks, if there are any."""
        if self._hooks is not None:
            self._nursery.start_soon(self._hooks.run, name=f"trio_mix hooks of {self.session_id}")
        self._nursery.start_soon(self.reader.run, name=f"trio_mix reader of {self.session_id}")

    async def wait_connected(self) -> None:
        """Wait until the server has said ``connected``; raises what the stream failed with."""
        await trio.lowlevel.checkpoint()
        while self.reader.state is not StreamState.CONNECTED:
            if self.failure is not None:
                raise errors.clone_error(self.failure) from self.failure.__cause__
            if self._connected is None:
                self._connected = trio.Event()
            await self._connected.wait()

    def close(self) -> None:
        """End everything that hangs on the stream: it is being closed on purpose."""
        closed = errors.StreamClosed(
            f"The stream of session {self.session_id} was closed. Keep using it inside "
            "`async with mix.open_stream(...)`, or open it again.",
            url=self._services.url,
            session_id=self.session_id,
        )
        self._end(closed, cleanly=True)
        if self._hooks is not None:
            self._hooks.close(self.settings.cleanup_timeout)

    @property
    def continued(self) -> bool | None:
        """Whether the present connection goes on with the last one's ids."""
        return self.reader.replay_filter.continued

    @property
    def missed(self) -> bool:
        """Whether the connection is lost, and a message waits for it."""
        lost = self.reader.state is StreamState.RECONNECTING
        return lost and (self.send_queue.held or self.send_queue.waiting > 0)

    @property
    def up_time(self) -> float:
        """For how many seconds there has been a connection, all in all."""
        return self.reader.up_time

    # -- told by the reader -----------------------------------------------------------------

    def stream_connected(self, *, first: bool) -> None:
        """Let sends through; what may be missing is said once it is known (see stream_event)."""
        if not first and not self.reader.replay_filter.mark:
            self._say_gap()
        self._wake()
        if not self._renewing:
            self.send_queue.resume()
        if self._hooks is not None:
            self._hooks.opened()

    def stream_lost(self, reason: str, *, planned: bool) -> None:
        """Hold sends back, and have a turn that is under way settled."""
        self.send_queue.pause()
        self._renewing = False
        self.router.lost()
        self._gap_due = reason
        self.last_loss, self.last_loss_time = reason, trio.current_time()
        if not planned:
            self.losses += 1
        if self._hooks is not None:
            self._hooks.lost(reason, planned=planned)
        state = self.dispatcher.current
        if state is not None and state.turn.phase not in (Phase.REGISTERED, Phase.OVER):
            state.cut = state.severed = True
            self.settle(state)
        if self.missed:
            self._loss_logger.watch()

    def stream_failed(self, failure: Exception) -> None:
        """Deliver what killed the stream to everybody who waits."""
        self._end(failure, cleanly=False)

    def stream_event(self, event: ev.Event) -> None:
        """Hand on one event, after saying that some may be missing, where they may."""
        if self._gap_due and not isinstance(event, ev.ConnectedEvent):
            if self.continued:
                self._gap_due = ""
                if self.dispatcher.current is not None:
                    self.dispatcher.current.cut = False
                self.router.reconnected(replayed=True)
            elif self.continued is False:
                self._say_gap()
                self.router.reconnected(replayed=False)
        dispatcher = self.dispatcher
        dispatcher.deliver(event)
        state = dispatcher.current
        if state is not None and state.turn.phase is _ENDED and not state.settling:
            state.settling = True
            self._nursery.start_soon(self._await_answer, state)

    def stream_events(self, events: Sequence[ev.Event | PendingDelta]) -> None:
        """Hand on the events of one read, runs of text at once."""
        at = 0
        while at < len(events):
            taken = 0 if self._gap_due else self.dispatcher.deliver_run(events, at)
            if not taken:
                self.stream_event(made(events[at]))
            at += taken or 1

    def may_rotate(self) -> bool:
        """Say whether nobody is sending, and no turn is under way."""
        return not self.send_queue.held

    def may_drop(self) -> bool:
        """Say whether nothing of a message is under way, though its sender may have passed."""
        state = self.dispatcher.current
        return not self.send_queue.held or state is None or state.sending is None

    def heartbeats_pause(self) -> bool:
        """Say whether this is a pipeline server, which sends none while it runs a message."""
        return self.send_queue.held and self.send_api.api in ("pipeline", "auto")

    # -- told by messages -------------------------------------------------------------------

    def watch_message(self, request: MessageRequest) -> MessageHooks | None:
        """Return what tells the hooks of a message, if there are any."""
        return None if self._hooks is None else self._hooks.message(request)

    async def begin(self, message: Message) -> MessageState:
        """Wait for a message's turn, send it, and return when it is under way."""
        if self.reader.state is StreamState.RECONNECTING:
            self._loss_logger.watch()
        await self.send_queue.acquire()
        try:
            await self.history.ensure()
            await self.send_queue.wait_resumed()
        except BaseException:
            self.send_queue.release()
            raise
        request = message.request
        self._learn_traits()
        turn = self.router.register(request.text, plan_mode=request.plan_mode)
        kind = MessageState if self._hooks is None else TimedMessageState
        state = kind(turn, self.session_id, self.settings.message_buffer)
        state.request = request
        if self.settings.on_permission is not None:
            state.on_permission = lambda event: self._start(
                state, partial(self._ask_policy, event, message, state)
            )
        self.dispatcher.attach(state)
        self.messages_sent += 1
        self.reader.nudge()
        self._nursery.start_soon(transmit, self, state, request)
        try:
            await state.started.wait()
        except BaseException:
            await self.leave(state)
            raise
        if state.failure is not None and not state.turn.events:
            raise state.failure
        return state

    async def leave(self, state: MessageState) -> None:
        """End the server's work on a message whose sender goes; bounded and shielded."""
        if state.turn.over or state.turn_over.is_set():
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        state.abandoned = True
        timeout = self.settings.cleanup_timeout
        with trio.CancelScope(shield=True, deadline=trio.current_time() + timeout):
            if state.turn.phase is Phase.REGISTERED:
                if state.sending is not None:
                    state.sending.cancel(reason="the message was left before it was sent")
                self.dispatcher.step(state, Input.REFUSED)
                await trio.lowlevel.checkpoint()
                return
            # A blocking server answers the POST when the turn is over: that is not waited for.
            with trio.move_on_after(min(0.5 if state.turn.answer_due else timeout, timeout / 2)):
                await state.started.wait()
            if not state.turn_over.is_set():
                state.turn.cancelling = True
                state.cancel_heard = await self.cancel()
        if not state.turn_over.is_set():
            self.settle(state, patience=_PATIENCE)

    async def cancel(self) -> bool:
        """Tell the server to cancel; return whether it has heard it.

        A server that cannot, or does not answer, is no error.
        """
        options = RequestOptions(retries=RetryConfig(strategy="none"))
        try:
            await self._services.messages.cancel_processing(id=self.session_id, options=options)
        except errors.MixError as exc:
            await trio.lowlevel.checkpoint()
            return exc.status_code not in _PASSING
        except errors.TransportError:
            await trio.lowlevel.checkpoint()
            return False
        except Exception:  # noqa: BLE001 - a hook's veto: the server is not told then
            await trio.lowlevel.checkpoint()
        return True

    async def decide(self, permission_id: str, *, grant: bool) -> None:
        """Answer a permission request."""
        permissions = self._services.permissions
        answer = permissions.grant if grant else permissions.deny
        await answer(id=permission_id)

    async def respond(self, notification_id: str, response_type: str, value: str | None) -> None:
        """Answer a notification."""
        await self._services.notifications.respond(
            id=notification_id,
            type=cast("NotificationAnswer", response_type),  # the server's own word
            value=value,
        )

    def nobody_asked(self, request: ev.PermissionEvent) -> bool:
        """Warn of a request that its message drops, unless somebody else sees it."""
        unseen = self.settings.on_permission is None and not self.dispatcher.subscribers
        if unseen:
            warn_unanswered(request, self.session_id)
        return unseen

    # -- asked for by sending and settling --------------------------------------------------

    def settle(self, state: MessageState, *, patience: float = 0.05) -> None:
        """Have a task find out what became of a turn, ``patience`` seconds from now."""
        if not state.settling:
            state.settling = True
            self._start(state, partial(settle, self, state, patience=patience))

    async def watch(self, state: MessageState) -> None:
        """See a turn that the server has accepted to its end, whatever gets lost of it."""
        await watch(self, state)

    def send_again(self, state: MessageState) -> None:
        """Send a message a second time: the first provably did not run."""
        assert state.request is not None  # noqa: S101 - every state of `begin` has one
        self._start(state, partial(transmit, self, state, state.request))

    # -- inside -----------------------------------------------------------------------------

    def _start(self, state: MessageState, work: Callable[[], Awaitable[None]]) -> None:
        """Start a task for a message, in its sender's context, whoever's the present one is."""
        state.context.run(self._nursery.start_soon, work)

    def _learn_traits(self) -> None:
        """Take over what the client has learnt of the server; what the events told, stays."""
        seen, known = self.router.traits.ids, self.send_api.traits()
        known.ids = known.ids if seen is None else seen
        self.router.traits = known

    def _say_gap(self) -> None:
        reason, self._gap_due = self._gap_due, ""
        if reason:
            self.dispatcher.gap(f"the connection was lost: {reason}")

    def _turn_over(self, state: MessageState) -> None:
        self.history.count(state)
        if self._may_still_speak(state):
            self.send_queue.pause()
            self._renewing = True
            self._nursery.start_soon(self._renew, "a turn may still send events on it")
        self.send_queue.release()
        self.reader.nudge()

    async def _renew(self, reason: str) -> None:
        await self.reader.renew(reason)
        self._renewing = False

    def _may_still_speak(self, state: MessageState) -> bool:
        """Whether events of a turn may still come, that no id would tell from the next one's.

        Errors bear none anywhere; but what is known to have finished has none to come, and its
        other events, where there are ids and it was cut, are told by those.
        """
        if state.turn.ended_by is not None or not state.posted:
            return False
        finished = state.failure is None and not (state.abandoned or state.builder.doubtful)
        if self.router.traits.ids and state.severed and finished:
            return False
        refused = isinstance(state.failure, errors.MessageRejected)
        return not refused and not state.turn.text.startswith("/")

    def _wake(self) -> None:
        connected, self._connected = self._connected, None
        if connected is not None:
            connected.set()

    def _end(self, failure: BaseException, *, cleanly: bool) -> None:
        if self.failure is None:
            self.failure = failure
            self._wake()
            self.send_queue.close(copies_of(failure))
            if self.dispatcher.current is not None and isinstance(failure, errors.SessionNotFound):
                self.dispatcher.current.fail(
                    session_gone(failure, sent=self.dispatcher.current.posted)
                )
            self.dispatcher.close(copies_of(failure), cleanly=cleanly)
            self.sendings.end()
            if self._hooks is not None:
                self._hooks.ended(None if cleanly else failure)

    async def _await_answer(self, state: MessageState) -> None:
        with trio.move_on_after(self.settings.cleanup_timeout):
            await state.turn_over.wait()
        state.settling = False
        self.dispatcher.step(state, Input.SETTLED)

    async def _ask_policy(
        self, request: ev.PermissionEvent, message: Message, state: MessageState
    ) -> None:
        policy = self.settings.on_permission
        assert policy is not None  # noqa: S101 - only started where there is one

        async def tell(granted: bool) -> None:
            await self.decide(request.permission_id, grant=granted)

        ask = partial(policy, request, message)
        await answer_permission(state, ask, tell, ReconnectSchedule(self.reconnect))
