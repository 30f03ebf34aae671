"""`StreamController`: connects the reader, dispatcher, send queue and message tasks of a stream.

The reader reports synchronously (connected, lost, events, failed). Messages call it from
the task that sends them (begin, leave). Everything that takes time is a task in the stream's
nursery.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trio_mix import errors
from trio_mix import events as ev
from trio_mix._session._actions import TurnActions
from trio_mix._session._dispatcher import EventDispatcher, copies_of
from trio_mix._session._healing import Healing, HealingBuffer
from trio_mix._session._message_state import MessageState
from trio_mix._session._message_task import MessageTasks
from trio_mix._session._reader import Reader, ReaderHost
from trio_mix._session._send_api import TRAITS
from trio_mix._session._send_queue import SendQueue
from trio_mix._session._stored_messages import SessionHistory
from trio_mix._session._warnings import LossLogger, session_gone
from trio_mix._turns._facts import Concern
from trio_mix._turns._history import LastTurn
from trio_mix._turns._router import TurnRouter
from trio_mix.sse import StreamState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trio_mix._session._resume import PreparedTickets
    from trio_mix._session._send_api import MessageRequest, SendApi
    from trio_mix._session._services import Services, Settings
    from trio_mix._session._stream_hooks import StreamHooks
    from trio_mix.sse import ServerSentEvent

_NOT_RESUMED: Final = "the server refused to resume after last_event_id"


class StreamController(ReaderHost):
    """Runs the stream of a session in the nursery of its `SessionStream`."""

    def __init__(
        self,
        session_id: str,
        services: Services,
        settings: Settings,
        nursery: trio.Nursery,
        *,
        created: bool,
    ) -> None:
        self.session_id = session_id
        self.settings = settings
        self.send_api: SendApi = services.send_api
        self.send_queue: SendQueue = SendQueue()
        self.router: TurnRouter = TurnRouter(
            attrs.evolve(TRAITS[self.send_api.api], turn_ids=self.send_api.relayed),
            trio.current_time,
        )
        last = services.last_turn(session_id)
        if last.end_outstanding:
            self.router.expect_end()
        self.dispatcher: EventDispatcher = EventDispatcher(
            self.router, self._turn_over, services.budget
        )
        self.stored: SessionHistory = SessionHistory(services.stored, session_id)
        self.stored.history.last_over = last.over
        self.stored.history.own_over = last.own
        self.stored.history.ran_elsewhere = last.ran_elsewhere
        self.dispatcher.on_busy = self._server_busy
        self.dispatcher.on_others = self._others_heard
        self.dispatcher.on_asked = self._asked
        self.dispatcher.on_unsettled = MessageState.wake  # its task reads what is stored
        if created:
            self.stored.history.created()
        self.failure: BaseException | None = None
        self.prepared: PreparedTickets = services.prepared
        self.requests: list[MessageRequest] = []
        """The messages that wait to be sent, or whose turn is not over."""
        self.messages_sent: int = 0
        self.losses: int = 0
        self.last_loss: str | None = None
        self.last_loss_time: float | None = None
        self._services = services
        self.hooks: StreamHooks | None = services.hooks(session_id)
        refusals = services.refusals(session_id)
        self._nursery = nursery
        # A message that is left must still be cancelled on the server, and its last events, which
        # may be permission requests, be received, although the caller was cancelled.
        self.tasks: MessageTasks = MessageTasks(nursery)
        self._healings: list[Healing] = []
        self._connected: trio.Event | None = None  # made by the first task that waits for it
        self.gap_due: str = ""  # why events may be missing that no gap event has reported yet
        self.others_known: int = 0  # events of other clients' turns before the last message
        self._renewing = False
        self.reader: Reader = Reader(
            self,
            services.source(session_id, settings, self.hooks, refusals),
            self.dispatcher,
            self.send_queue,
            refusals=refusals,
            connect_timeout=settings.connect_timeout,
            idle_timeout=settings.idle_timeout,
            max_connection_age=settings.max_connection_age,
            last_event_id=settings.last_event_id,
        )

    # -- the stream -------------------------------------------------------------------------

    def start(self) -> None:
        """Start the reader and, if there are hooks, the task that calls them."""
        if self.hooks is not None:
            self._nursery.start_soon(self.hooks.run, name=f"trio_mix hooks of {self.session_id}")
        self._nursery.start_soon(self.reader.run, name=f"trio_mix reader of {self.session_id}")

    async def wait_connected(self) -> None:
        """Wait until the server has sent ``connected``; raises the failure of the stream."""
        await trio.lowlevel.checkpoint()
        while self.reader.state is not StreamState.CONNECTED:
            if self.failure is not None:
                raise errors.clone_error(self.failure) from self.failure.__cause__
            if self._connected is None:
                self._connected = trio.Event()
            await self._connected.wait()

    async def wait_first_connected(self) -> None:
        """Wait for the first connection, including retries, within ``connect_timeout``."""
        limit = self.settings.connect_timeout
        with trio.move_on_after(limit) as scope:
            await self.wait_connected()
        if not scope.cancelled_caught:
            return
        cause = self.reader.source.last_failure
        proxy = self._services.proxy_for(self.session_id)
        if isinstance(cause, errors.TransportError | errors.MixError):
            raise cause
        raise errors.RequestTimeout(
            self.last_loss or f"no connected event within {limit:g} s",
            request=errors.RequestInfo("GET", self.reader.source.url, "streaming.stream_events"),
            remedy=""
            if proxy
            else "Raise open_stream(connect_timeout=...) if the server is slow but healthy.",
            proxy=proxy,
        ) from cause

    def reconnect_now(self) -> None:
        """Connect again at once, in a task of the stream."""
        self._nursery.start_soon(self.reader.reconnect, "reconnect_now() was called")

    def close(self) -> None:
        """End everything that depends on the stream, because its scope is left."""
        closed = errors.StreamClosed(
            f"The stream of session {self.session_id} was closed. Use it inside "
            "`async with mix.open_stream(...)`, or open it again.",
            url=self.reader.source.url,
            session_id=self.session_id,
        )
        self._end(closed, cleanly=True)
        if self.hooks is not None:
            self.hooks.close(self.settings.cleanup_timeout)

    @property
    def continued(self) -> bool | None:
        """Whether the event ids continue those of the last connection; None: unknown."""
        return self.reader.replay_filter.continued

    @property
    def last_turn(self) -> LastTurn:
        """What is known of the last turn, for a later stream of the session."""
        state, outstanding = self.dispatcher.current, self.router.end_outstanding
        history = self.stored.history
        if state is not None and state.recovery.post.sent:
            history.over(state.turn, known=state.recovery.leaving.acknowledged)
            outstanding = outstanding or state.turn.cancelling
        over, own = history.last_over, history.own_over
        return LastTurn(outstanding, over, own, history.ran_elsewhere)

    @property
    def session_at_work(self) -> bool:
        """Whether a message waits because the session is at another turn."""
        state = self.dispatcher.current
        return state is not None and state.recovery.waits_for_session

    @cached_property
    def actions(self) -> TurnActions:
        """Requests about the turns of the session; made for the first message."""
        return TurnActions(
            self.session_id, self._services, self.dispatcher, self.stored, self.settings.reconnect
        )

    @cached_property
    def loss_logger(self) -> LossLogger:
        """Logs connections that stay lost; made for the first loss."""
        return LossLogger(
            self.session_id,
            self.settings.reconnect.max_elapsed_time,
            start=self._nursery.start_soon,
            message_waits=lambda: self.missed,
            wait_connected=self.wait_connected,
        )

    @property
    def missed(self) -> bool:
        """Whether the connection is lost while a message waits for it."""
        lost = self.reader.state is StreamState.RECONNECTING
        return lost and (self.send_queue.held or self.send_queue.waiting > 0)

    # -- reported by the reader -------------------------------------------------------------

    def stream_opened(self, headers: Mapping[str, str]) -> None:
        """Note whether a relay stands in front of the server."""
        self.send_api.relayed = self.router.traits.turn_ids = headers.get("mix-relay") == "1"

    def stream_connected(self) -> None:
        """Let messages be sent, after a gap event if it is known already that some are missing."""
        self._settle_gap()
        self.stored.connected()
        for healing in self._healings:
            healing.connected()
        self._wake()
        if not self._renewing:
            self.send_queue.resume()
        if self.hooks is not None:
            self.hooks.opened()
        state = self.dispatcher.current
        if state is not None:
            state.recovery.continued = self.continued
            state.recovery.connection_restored(trio.current_time())
            if self.send_api.relayed:
                state.recovery.session_unknown = False
            state.wake()

    def cursor_refused(self) -> None:
        """Report a gap before the next event: the server does not resume where it was asked to."""
        self.gap_due = self.gap_due or _NOT_RESUMED

    def stream_lost(self, reason: str, *, planned: bool) -> None:
        """Pause sending, and start the recovery of the running turn."""
        self.send_queue.pause()
        self._renewing = False
        self.router.lost()
        self.stored.lost()
        self.gap_due = reason
        self.last_loss, self.last_loss_time = reason, trio.current_time()
        if not planned:
            self.losses += 1
        if self.hooks is not None:
            self.hooks.lost(reason, planned=planned)
        state = self.dispatcher.current
        if state is not None:
            state.recovery.connection_lost(trio.current_time())
            state.gap_unreported = state.gap_unreported or bool(state.recovery.cut)
            state.wake()
        for healing in self._healings:
            healing.lost()
        self.loss_logger.lost(reason)

    def stream_failed(self, failure: Exception) -> None:
        """Raise the failure of the stream in everything that waits on it."""
        self._end(failure, cleanly=False)

    def stream_events(self, events: Sequence[ev.Event], frames: Sequence[ServerSentEvent]) -> None:
        """Dispatch a batch of events, after a gap event if some may be missing."""
        if self.gap_due:
            self._settle_gap()
        self.dispatcher.deliver(events, frames)
        if self.dispatcher.current is not None:
            self.dispatcher.current.recovery.continued = self.continued

    def may_drop(self) -> bool:
        """Return whether no message is being sent, even if a sender holds the queue."""
        state = self.dispatcher.current
        unsent = state is None or state.recovery.concern is Concern.SESSION
        return not self.send_queue.held or unsent

    def heartbeats_pause(self) -> bool:
        """Return whether this is a pipeline server, which sends none while it runs a message."""
        return self.send_api.api in ("pipeline", "auto")

    # -- called by subscriptions ------------------------------------------------------------

    def heal(self, size: int) -> Healing:
        """Return a subscriber's buffer that is healed; it receives every event from now on."""
        buffer = HealingBuffer(size)
        healing = Healing(buffer, self.stored, self.settings.limits, lambda: self.continued)
        self.dispatcher.subscribe_healed(buffer)
        self._healings.append(healing)
        if not buffer.closed:  # by the end of the stream
            self._nursery.start_soon(healing.run, name=f"trio_mix healing of {self.session_id}")
        return healing

    def end_healing(self, healing: Healing) -> None:
        """Heal a subscription no longer."""
        self._healings.remove(healing)
        healing.scope.cancel(reason="the subscription was left")

    # -- inside -----------------------------------------------------------------------------

    def answer_questions(self, state: MessageState) -> None:
        """Start to answer the questions of a message that wait, in the context of its sender."""
        state.context.run(self._nursery.start_soon, self.actions.answer_questions, state)

    def _server_busy(self, state: MessageState, error: ev.Event) -> None:
        state.recovery.busy(error)
        state.wake()

    def _asked(self, state: MessageState, request: ev.Event) -> None:
        """Start the check of a permission request that may be that of a message."""
        if isinstance(request, ev.PermissionEvent) and state.questions.check(request):
            state.context.run(self._nursery.start_soon, self.actions.claim, request, state)

    def _others_heard(self, state: MessageState) -> None:
        at_work = self.router.others_at_work
        if state.recovery.others_at_work and not at_work and self.router.older_ended:
            self.stored.history.silent_turn_until = 0.0
        state.recovery.others(trio.current_time(), at_work=at_work)
        if not at_work or state.turn.doubt is not None:
            state.wake()

    def _settle_gap(self) -> None:
        """Report a gap, or that there is none, once it is known whether the ids go on."""
        if not self.gap_due or self.continued is None:
            return
        reason, self.gap_due = self.gap_due, ""
        if not self.continued:
            self.stored.history.interrupted()
            lost = reason is not _NOT_RESUMED
            self.dispatcher.gap(f"the connection was lost: {reason}" if lost else reason)
        elif self.dispatcher.current is not None:
            self.dispatcher.current.gap_unreported = False
        self.router.reconnected(replayed=self.continued)

    def _turn_over(self, state: MessageState) -> None:
        self.requests.remove(state.request)
        recovery = state.recovery
        refused = isinstance(state.failure, errors.MessageRejected)
        ended = state.turn.ended_by is not None or state.failure is None
        if recovery.post.sent and not refused:
            self.stored.history.over(
                state.turn,
                known=ended or recovery.leaving.acknowledged,
                doubtful=state.turn.failed and state.builder.shared,
            )
        if state.turn.outlived:
            self.stored.history.may_go_on(recovery.limits, trio.current_time())
        self.stored.history.count(
            state.turn,
            answered=state.builder.message_id is not None,
            outcome_open=not (refused or ended),
        )
        # A turn whose end was not received may still send events without ids, which cannot be
        # distinguished from those of the next turn. A finished turn with ids has sent everything.
        finished = state.failure is None and not (recovery.leaving.left or state.builder.doubtful)
        known = self.router.traits.ids and recovery.was_cut and finished
        command = state.turn.text.startswith("/")
        # Another stream ran it. This one has refused it, and closing it cancels the other's turn.
        elsewhere = state.turn.elsewhere == "other"
        quiet = known or refused or command or elsewhere
        if state.turn.ended_by is None and recovery.post.sent and not quiet:
            self.send_queue.pause()
            self._renewing = True
            reason = "replaced: an earlier turn may still send events on this connection"
            self._nursery.start_soon(self._renew, reason)
        self.send_queue.release()
        self.reader.nudge()

    async def _renew(self, reason: str) -> None:
        await self.reader.renew(reason)
        self._renewing = False

    def _wake(self) -> None:
        connected, self._connected = self._connected, None
        if connected is not None:
            connected.set()

    def _end(self, failure: BaseException, *, cleanly: bool) -> None:
        if self.failure is None:
            self.failure = failure
            self._wake()
            self.send_queue.close(copies_of(failure))
            state = self.dispatcher.current
            if state is not None and isinstance(failure, errors.SessionNotFound):
                state.fail(session_gone(failure, sent=state.recovery.post.sent))
            self.dispatcher.close(copies_of(failure), cleanly=cleanly)
            self.tasks.end("the stream has ended")
            self.reader.end("the stream has ended")
            if self.hooks is not None:
                self.hooks.ended(None if cleanly else failure)
