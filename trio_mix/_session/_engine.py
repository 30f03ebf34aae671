"""The live state of one open session, and who is told what when something happens to it.

What it knows: how reader, switchboard, gate, sending and settling work together. What it must
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
from trio_mix._events_decode import made
from trio_mix._rest._options import RequestOptions, RetryConfig
from trio_mix._session._asking import ask_and_tell
from trio_mix._session._busy import send_when_free
from trio_mix._session._gate import SendGate
from trio_mix._session._hook_stream import TimedInbox
from trio_mix._session._reader import Reader, ReaderHost
from trio_mix._session._recovery import Baseline, StoredMessages, fill_in, settle
from trio_mix._session._sending import Sendings, transmit
from trio_mix._session._switchboard import Inbox, Switchboard, copies_of
from trio_mix._session._telling import LossTeller, session_gone, tell_of_unanswered
from trio_mix._session._watching import watch
from trio_mix._turns._router import Input, Phase, TurnRouter
from trio_mix.sse import StreamState

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from trio_mix._events_decode import Waiting
    from trio_mix._message import Message
    from trio_mix._session._hook_stream import MessageWatch, StreamWatch
    from trio_mix._session._request import MessageRequest
    from trio_mix._session._road import Road
    from trio_mix.models import NotificationAnswer
    from trio_mix.resources import Messages, Notifications, Permissions
    from trio_mix.sse import ReconnectPolicy
    from trio_mix.sse._source import Supervisor

__all__ = ["Engine", "Services", "Settings"]

_PASSING: Final = (408, 425, 429, 500, 502, 503, 504)
_PATIENCE: Final = 5.0
"""Seconds that a cancelled turn's end may take before the stored messages are asked for it."""


@attrs.frozen(kw_only=True)
class Services:
    """What the client lends to its streams."""

    road: Road
    stored: StoredMessages
    messages: Messages
    permissions: Permissions
    notifications: Notifications
    source: Callable[[StreamWatch | None], Supervisor]
    watch: Callable[[], StreamWatch | None]
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


class Engine(ReaderHost):
    """Runs one session's stream inside the nursery that `SessionStream` lends it."""

    def __init__(
        self, session_id: str, services: Services, settings: Settings, nursery: trio.Nursery
    ) -> None:
        self.session_id = session_id
        self.settings = settings
        self.settle_timeout = settings.settle_timeout
        self.reconnect = settings.reconnect
        self.road = services.road
        self.stored = services.stored
        self.gate = SendGate()
        self.sendings = Sendings()
        self.router = TurnRouter(services.road.traits())
        self.board = Switchboard(self.router, self._turn_over)
        self.board.on_busy = lambda inbox, event: self._start(
            inbox, partial(send_when_free, self, inbox, event)
        )
        self.board.on_patchy = lambda inbox: self._start(inbox, partial(fill_in, self, inbox))
        self.baseline = Baseline(services.stored, session_id)
        self.failure: BaseException | None = None
        self.messages_sent = 0
        self.losses = 0
        self.last_loss: str | None = None
        self.last_loss_time: float | None = None
        self._services = services
        self._watch = services.watch()
        self._nursery = nursery
        self._teller = LossTeller(self, nursery.start_soon)
        self._connected: trio.Event | None = None  # made by whoever waits for it first
        self._gap_due = ""
        self._renewing = False
        self.reader = Reader(
            self,
            services.source(self._watch),
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
        if self._watch is not None:
            self._nursery.start_soon(self._watch.run, name=f"trio_mix hooks of {self.session_id}")
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
        if self._watch is not None:
            self._watch.close(self.settings.cleanup_timeout)

    @property
    def continued(self) -> bool | None:
        """Whether the present connection goes on with the last one's ids."""
        return self.reader.epochs.continued

    @property
    def missed(self) -> bool:
        """Whether the connection is lost, and a message waits for it."""
        lost = self.reader.state is StreamState.RECONNECTING
        return lost and (self.gate.held or self.gate.waiting > 0)

    @property
    def up_time(self) -> float:
        """For how many seconds there has been a connection, all in all."""
        return self.reader.up_time

    # -- told by the reader -----------------------------------------------------------------

    def stream_connected(self, *, first: bool) -> None:
        """Let sends through; what may be missing is said once it is known (see stream_event)."""
        if not first and not self.reader.epochs.mark:
            self._say_gap()
        self._wake()
        if not self._renewing:
            self.gate.open()
        if self._watch is not None:
            self._watch.opened()

    def stream_lost(self, reason: str, *, planned: bool) -> None:
        """Hold sends back, and have a turn that is under way settled."""
        self.gate.shut()
        self._renewing = False
        self.router.lost()
        self._gap_due = reason
        self.last_loss, self.last_loss_time = reason, trio.current_time()
        if not planned:
            self.losses += 1
        if self._watch is not None:
            self._watch.lost(reason, planned=planned)
        inbox = self.board.inbox
        if inbox is not None and inbox.turn.phase not in (Phase.REGISTERED, Phase.OVER):
            inbox.cut = inbox.severed = True
            self.settle(inbox)
        if self.missed:
            self._teller.watch()

    def stream_failed(self, failure: Exception) -> None:
        """Deliver what killed the stream to everybody who waits."""
        self._end(failure, cleanly=False)

    def stream_event(self, event: ev.Event) -> None:
        """Hand on one event, after saying that some may be missing, where they may."""
        if self._gap_due and not isinstance(event, ev.ConnectedEvent):
            if self.continued:
                self._gap_due = ""
                if self.board.inbox is not None:
                    self.board.inbox.cut = False
                self.router.reconnected(replayed=True)
            elif self.continued is False:
                self._say_gap()
                self.router.reconnected(replayed=False)
        board = self.board
        board.deliver(event)
        inbox = board.inbox
        if inbox is not None and inbox.turn.phase is _ENDED and not inbox.settling:
            inbox.settling = True
            self._nursery.start_soon(self._await_answer, inbox)

    def stream_events(self, events: Sequence[ev.Event | Waiting]) -> None:
        """Hand on the events of one read, runs of text at once."""
        at = 0
        while at < len(events):
            taken = 0 if self._gap_due else self.board.deliver_run(events, at)
            if not taken:
                self.stream_event(made(events[at]))
            at += taken or 1

    def may_rotate(self) -> bool:
        """Say whether nobody is sending, and no turn is under way."""
        return not self.gate.held

    def may_drop(self) -> bool:
        """Say whether nothing of a message is under way, though its sender may have passed."""
        inbox = self.board.inbox
        return not self.gate.held or inbox is None or inbox.sending is None

    def heartbeats_pause(self) -> bool:
        """Say whether this is a pipeline server, which sends none while it runs a message."""
        return self.gate.held and self.road.api in ("pipeline", "auto")

    # -- told by messages -------------------------------------------------------------------

    def watch_message(self, request: MessageRequest) -> MessageWatch | None:
        """Return what tells the hooks of a message, if there are any."""
        return None if self._watch is None else self._watch.message(request)

    async def begin(self, message: Message) -> Inbox:
        """Wait for a message's turn, send it, and return when it is under way."""
        if self.reader.state is StreamState.RECONNECTING:
            self._teller.watch()
        await self.gate.acquire()
        try:
            await self.baseline.ensure()
            await self.gate.wait_open()
        except BaseException:
            self.gate.release()
            raise
        request = message.request
        self._learn_traits()
        turn = self.router.register(request.text, plan_mode=request.plan_mode)
        kind = Inbox if self._watch is None else TimedInbox
        inbox = kind(turn, self.session_id, self.settings.message_buffer)
        inbox.request = request
        if self.settings.on_permission is not None:
            inbox.on_permission = lambda event: self._start(
                inbox, partial(self._ask_policy, event, message, inbox)
            )
        self.board.attach(inbox)
        self.messages_sent += 1
        self.reader.nudge()
        self._nursery.start_soon(transmit, self, inbox, request)
        try:
            await inbox.started.wait()
        except BaseException:
            await self.leave(inbox)
            raise
        if inbox.failure is not None and not inbox.turn.events:
            raise inbox.failure
        return inbox

    async def leave(self, inbox: Inbox) -> None:
        """End the server's work on a message whose sender goes; bounded and shielded."""
        if inbox.turn.over or inbox.turn_over.is_set():
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        inbox.abandoned = True
        timeout = self.settings.cleanup_timeout
        with trio.CancelScope(shield=True, deadline=trio.current_time() + timeout):
            if inbox.turn.phase is Phase.REGISTERED:
                if inbox.sending is not None:
                    inbox.sending.cancel(reason="the message was left before it was sent")
                self.board.step(inbox, Input.REFUSED)
                await trio.lowlevel.checkpoint()
                return
            # A blocking server answers the POST when the turn is over: that is not waited for.
            with trio.move_on_after(min(0.5 if inbox.turn.answer_due else timeout, timeout / 2)):
                await inbox.started.wait()
            if not inbox.turn_over.is_set():
                inbox.turn.cancelling = True
                inbox.cancel_heard = await self.cancel()
        if not inbox.turn_over.is_set():
            self.settle(inbox, patience=_PATIENCE)

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
        unseen = self.settings.on_permission is None and not self.board.subscribers
        if unseen:
            tell_of_unanswered(request, self.session_id)
        return unseen

    # -- asked for by sending and settling --------------------------------------------------

    def settle(self, inbox: Inbox, *, patience: float = 0.05) -> None:
        """Have a task find out what became of a turn, ``patience`` seconds from now."""
        if not inbox.settling:
            inbox.settling = True
            self._start(inbox, partial(settle, self, inbox, patience=patience))

    async def watch(self, inbox: Inbox) -> None:
        """See a turn that the server has accepted to its end, whatever gets lost of it."""
        await watch(self, inbox)

    def send_again(self, inbox: Inbox) -> None:
        """Send a message a second time: the first provably did not run."""
        assert inbox.request is not None  # noqa: S101 - every inbox of `begin` has one
        self._start(inbox, partial(transmit, self, inbox, inbox.request))

    # -- inside -----------------------------------------------------------------------------

    def _start(self, inbox: Inbox, work: Callable[[], Awaitable[None]]) -> None:
        """Start a task for a message, in its sender's context, whoever's the present one is."""
        inbox.context.run(self._nursery.start_soon, work)

    def _learn_traits(self) -> None:
        """Take over what the client has learnt of the server; what the events told, stays."""
        seen, known = self.router.traits.ids, self.road.traits()
        known.ids = known.ids if seen is None else seen
        self.router.traits = known

    def _say_gap(self) -> None:
        reason, self._gap_due = self._gap_due, ""
        if reason:
            self.board.gap(f"the connection was lost: {reason}")

    def _turn_over(self, inbox: Inbox) -> None:
        self.baseline.count(inbox)
        if self._may_still_speak(inbox):
            self.gate.shut()
            self._renewing = True
            self._nursery.start_soon(self._renew, "a turn may still send events on it")
        self.gate.release()
        self.reader.nudge()

    async def _renew(self, reason: str) -> None:
        await self.reader.renew(reason)
        self._renewing = False

    def _may_still_speak(self, inbox: Inbox) -> bool:
        """Whether events of a turn may still come, that no id would tell from the next one's.

        Errors bear none anywhere; but what is known to have finished has none to come, and its
        other events, where there are ids and it was cut, are told by those.
        """
        if inbox.turn.ended_by is not None or not inbox.posted:
            return False
        finished = inbox.failure is None and not (inbox.abandoned or inbox.builder.doubtful)
        if self.router.traits.ids and inbox.severed and finished:
            return False
        refused = isinstance(inbox.failure, errors.MessageRejected)
        return not refused and not inbox.turn.text.startswith("/")

    def _wake(self) -> None:
        connected, self._connected = self._connected, None
        if connected is not None:
            connected.set()

    def _end(self, failure: BaseException, *, cleanly: bool) -> None:
        if self.failure is None:
            self.failure = failure
            self._wake()
            self.gate.close(copies_of(failure))
            if self.board.inbox is not None and isinstance(failure, errors.SessionNotFound):
                self.board.inbox.fail(session_gone(failure, sent=self.board.inbox.posted))
            self.board.close(copies_of(failure), cleanly=cleanly)
            self.sendings.end()
            if self._watch is not None:
                self._watch.ended(None if cleanly else failure)

    async def _await_answer(self, inbox: Inbox) -> None:
        with trio.move_on_after(self.settings.cleanup_timeout):
            await inbox.turn_over.wait()
        inbox.settling = False
        self.board.step(inbox, Input.SETTLED)

    async def _ask_policy(
        self, request: ev.PermissionEvent, message: Message, inbox: Inbox
    ) -> None:
        policy = self.settings.on_permission
        assert policy is not None  # noqa: S101 - only started where there is one

        async def tell(granted: bool) -> None:
            await self.decide(request.permission_id, grant=granted)

        ask = partial(policy, request, message)
        await ask_and_tell(inbox, ask, tell, self.reconnect.schedule())
