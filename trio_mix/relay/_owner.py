"""`SessionOwner`: owns the upstream stream of one session, and sends its messages one by one.

Rule 1  Everything that happens in the session is appended by one `Appender`, in order.
Rule 2  A message's ticket is stored as *posting* before its first byte is sent. While the owner
        holds no valid lease, nothing is sent.
Rule 3  Closing the owner never cancels a turn on the server: the next owner resumes it.
Rule 4  A message is settled only after all events that the stream brought before its end.
Rule 5  Messages are sent in the order in which they were accepted.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import deque
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trio_mix import errors
from trio_mix._terminal_text import get_logger
from trio_mix.relay._appender import Appender, Stored
from trio_mix.relay._cursor import Ring
from trio_mix.relay._errors import (
    Draining,
    Fenced,
    LogError,
    QueueFull,
    TurnUnknown,
)
from trio_mix.relay._outbox import (
    Draft,
    Round,
    WireStyle,
    error_draft,
    may_resend,
    outcome_of_failure,
    outcome_of_reply,
    with_turn_id,
)
from trio_mix.relay._records import (
    Answer,
    Audience,
    Outcome,
    SendRequest,
    Sent,
    TurnRecord,
    TurnState,
)
from trio_mix.relay._stored_rounds import stored_rounds
from trio_mix.relay._turn_events import SessionEvents
from trio_mix.sse import ReconnectPolicy, SSEDecoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trio_mix._mix import Mix
    from trio_mix._reply import Reply
    from trio_mix._session._message import Message
    from trio_mix._session._stream import SessionStream
    from trio_mix._session._subscription import RawSubscription
    from trio_mix._ticket import Ticket
    from trio_mix.relay._log import Lease, Log
    from trio_mix.sse import ServerSentEvent

__all__ = ["ActiveTurn", "HubSettings", "SessionOwner"]

_FOREVER: Final = ReconnectPolicy(max_elapsed_time=None, max_interval=15.0)
_FRAMES: Final = 20_000
_FIRST_PAUSE: Final = 0.25
_LONGEST_PAUSE: Final = 15.0
_LEASE_MARGIN: Final = 0.5
_CANCELLED: Final = "the message was cancelled before it was sent"
_GONE: Final = "the server does not know the session any more"

_logger = get_logger("trio_mix.relay")


@attrs.frozen(kw_only=True)
class HubSettings:
    """The settings of the relay's sessions; durations are in seconds."""

    queue_max: int = 100
    """The number of messages that can be queued for a session."""
    ring: int = 2000
    """The number of events of a session that are kept in memory."""
    ring_bytes: int = 8 * 2**20
    """Their size in bytes."""
    idle_close: float = 300.0
    """How long a session stays open without consumers and turns."""
    answer_wait: float = 2.0
    """How long the server's answer to a message is awaited, if no other is queued."""
    settle_timeout: float = 60.0
    """`open_stream(settle_timeout=...)` of the upstream streams."""


@attrs.define(eq=False)
class ActiveTurn:
    """A turn that is not over."""

    record: TurnRecord
    decided: trio.Event = attrs.field(factory=trio.Event)
    """The server has accepted or refused it, or it is over."""
    over: trio.Event = attrs.field(factory=trio.Event)
    message: Message | None = None
    cancelling: bool = False
    senders: int = 0
    """Senders that wait for the server's answer."""
    refusing: bool = False
    """The server's refusal is being stored, for a sender that waits for it."""
    posted_here: bool = False
    """Whether this process has begun to send it."""
    settling: bool = False
    """Whether its end is being stored."""


class _Closing(Exception):
    """The owner is being closed: nothing more is sent."""


class SessionOwner:
    """Owns one session. Made and run by the hub.

    Args:
      session_id: the session.
      mix: the client of the server.
      log: the log.
      settings: the settings.
      generation: returns the server's generation, or None.
      announce: is passed what the stream reports about other sessions.
      wall_clock: returns the time in seconds since 1970.
    """

    def __init__(
        self,
        session_id: str,
        mix: Mix,
        log: Log,
        settings: HubSettings,
        *,
        generation: Callable[[], str | None],
        announce: Callable[[str, str, str], None],
        wall_clock: Callable[[], float],
    ) -> None:
        self.session_id = session_id
        self.closed: str | None = None
        self.consumers: int = 0
        self.idle_since: float = trio.current_time()
        self.connected: bool = False
        self.losses: int = 0
        self.draining: bool = False
        self.current: ActiveTurn | None = None
        self.queue: deque[ActiveTurn] = deque()
        self.turns: dict[str, ActiveTurn] = {}
        self.takeover: bool = False
        self.listeners: dict[object, Callable[[], None]] = {}
        """Called when the ring has new events, and when the owner is closed."""
        self.ended: trio.Event = trio.Event()
        """The lease is released."""
        self.lease: Lease
        self.ring: Ring
        self.appender: Appender
        self.events: SessionEvents
        self._mix = mix
        self._log = log
        self._settings = settings
        self._generation = generation
        self._announce = announce
        self._now = wall_clock
        self._stop = trio.Event()
        self._reason = "closed"
        self._work = trio.Event()
        self._session: SessionStream | None = None
        self._session_changed = trio.Event()
        self._frames: RawSubscription | None = None
        self._drained: trio.Event | None = None
        self._accepting = trio.Lock()

    # -- life ---------------------------------------------------------------------------------

    async def run(self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Own the session until `stop` is called, or another owner has taken it over.

        Raises:
          LogError: the session could not be acquired.
        """
        self.lease = await self._log.acquire(self.session_id)
        reason = "closed"
        try:
            await self._begin()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._append)
                nursery.start_soon(self._follow)
                nursery.start_soon(self._send_queued)
                task_status.started()
                await self._stop.wait()
                reason = self._reason
                nursery.cancel_scope.cancel(reason=reason)
        finally:
            self.closed = reason
            for turn in self.turns.values():
                turn.decided.set()
                turn.over.set()
            for listener in list(self.listeners.values()):
                listener()
            await self.lease.release()
            self.ended.set()

    async def _begin(self) -> None:
        """Prepare to append, and queue the turns that are not over."""
        lease, settings = self.lease, self._settings
        generation = self._generation() or "async"
        pipeline = generation.startswith("pipeline")
        self.takeover = lease.takeover
        self.ring = Ring(
            lease.newest, size=settings.ring, max_bytes=settings.ring_bytes, pipeline=pipeline
        )
        self.appender = Appender(lease, self.ring, self.listeners)
        self.events = SessionEvents(
            new_turn_id,
            rate_limit_ends=pipeline,
            style=WireStyle(
                ids=generation == "async",
                tool_use=generation == "async",
                deltas=generation != "pipeline-oldest",
            ),
        )
        for record in await self._log.outbox.pending(self.session_id):
            self._enqueue(record)

    def stop(self, reason: str) -> None:
        """Close the owner; its turns are resumed by the next one (rule 3)."""
        if not self._stop.is_set():
            self._reason = reason
            self._stop.set()

    @property
    def stopping(self) -> bool:
        """Whether the owner is being closed."""
        return self._stop.is_set()

    @property
    def turn_start(self) -> int:
        """The position before the turn that is running; the newest one if none is."""
        turn = self.events.own or self.events.foreign
        return self.ring.newest if turn is None else min(turn.start, self.ring.newest)

    @property
    def busy(self) -> bool:
        """Whether the session must stay open."""
        return bool(self.consumers or self.turns or self.events.own or self.events.foreign)

    @property
    def turn_running(self) -> str | None:
        """The id of the turn that is running, or None."""
        turn = self.events.own or self.events.foreign
        return None if turn is None else turn.turn_id

    def touch(self) -> None:
        """Note that the session was used."""
        self.idle_since = trio.current_time()

    async def _append(self) -> None:
        try:
            await self.appender.run()
        except Fenced as exc:
            _logger.warning("%s This relay does not write the session any more.", exc)
            self.stop("lease lost")

    # -- the upstream stream ------------------------------------------------------------------

    async def _follow(self) -> None:
        """Keep the upstream stream open."""
        pause = _FIRST_PAUSE
        while True:
            try:
                async with (
                    self._mix.open_stream(
                        self.session_id,
                        reconnect=_FOREVER,
                        settle_timeout=self._settings.settle_timeout,
                    ) as session,
                    session.subscribe(raw=True, buffer=_FRAMES) as frames,
                ):
                    pause = _FIRST_PAUSE
                    self._set_session(session, frames)
                    await self._pull(frames)
            except errors.SessionNotFound:
                with suppress(_Closing):
                    await self._session_gone()
                return
            except (errors.TransportError, errors.MixError, errors.StreamError) as exc:
                _logger.debug("The stream of session %r: %s", self.session_id, exc)
            finally:
                self._set_session(None, None)
            self.losses += 1
            self.events.hole()
            await trio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _set_session(self, session: SessionStream | None, frames: RawSubscription | None) -> None:
        self._session, self._frames = session, frames
        self.connected = session is not None
        self._session_changed.set()
        self._session_changed = trio.Event()
        self._note_drained()

    async def _pull(self, frames: RawSubscription) -> None:
        """Append what the stream brings."""
        async for frame, message in frames:
            if frame.event == "stream_gap":
                self.losses += 1
                self.events.hole()
            else:
                position = self.appender.newest
                drafts = self.events.take(frame, mine=message is not None, position=position)
                if drafts:
                    self.appender.add(drafts)
                    self.touch()
                if self.events.announced:
                    announced, self.events.announced = self.events.announced, []
                    for event, data, session_id in announced:
                        self._announce(event, data, session_id)
            await self.appender.wait_room()
            self._note_drained()

    def _note_drained(self) -> None:
        if self._drained is not None and not self._buffered():
            self._drained.set()

    def _buffered(self) -> int:
        """Return how many frames were received and not taken yet."""
        return 0 if self._frames is None else len(self._frames._entered())

    async def _wait_drained(self) -> None:
        """Wait until all frames that were received are taken (rule 4)."""
        while self._buffered():
            self._drained = trio.Event()
            await self._drained.wait()
        self._drained = None

    async def _wait_session(self) -> SessionStream:
        while self._session is None:
            await self._session_changed.wait()
        return self._session

    async def _session_gone(self) -> None:
        """End all turns, because the server does not know the session any more."""
        gone = Outcome(kind="error", error=_GONE)
        self.queue.clear()
        for turn in list(self.turns.values()):
            if turn.settling:
                await turn.over.wait()
            elif turn is self.current:
                await self._settle(turn, None, TurnState.DONE, gone)
            else:
                await self._finish(turn, TurnState.DONE, gone, [error_draft(gone)])
        self.stop("session not found")

    # -- accepting ----------------------------------------------------------------------------

    async def send(self, request: SendRequest, *, body: str, key: str | None, subject: str) -> Sent:
        """Accept a message; see `SessionFeed.send`."""
        if self.draining or self.closed is not None:
            raise Draining("The relay is shutting down. Send the message again.")
        if len(self.turns) >= self._settings.queue_max:
            raise QueueFull(
                f"{len(self.turns)} messages are queued for session {self.session_id!r}: send it "
                "again later."
            )
        record = TurnRecord(
            turn_id=new_turn_id(),
            session_id=self.session_id,
            request=request,
            digest=hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest(),
            created_at=self._now(),
            key=key,
            subject=subject,
        )
        # Shielded: what is stored must be queued. The log ends within a bound.
        with trio.CancelScope(shield=True):
            async with self._accepting:
                idle = not self.turns
                stored = await self._log.outbox.accept(record)
                repeated = stored.turn_id != record.turn_id
                if not repeated:
                    self._enqueue(stored)
                    self.appender.add([self._turn_draft(stored)])
        await trio.lowlevel.checkpoint()
        turn = self.turns.get(stored.turn_id)
        if turn is None:
            known = await self._log.outbox.turn(stored.turn_id) or stored
            return Sent(known, _refusal(known), repeated=repeated)
        if idle or turn is self.current:
            await self._wait_answer(turn)
        return Sent(turn.record, _refusal(turn.record), repeated=repeated)

    async def _wait_answer(self, turn: ActiveTurn) -> None:
        """Wait for the server's answer to a message, for a bounded time."""
        turn.senders += 1
        try:
            with trio.move_on_after(self._settings.answer_wait):
                await turn.decided.wait()
            if turn.refusing:
                await turn.decided.wait()
        finally:
            turn.senders -= 1

    def _enqueue(self, record: TurnRecord) -> None:
        turn = ActiveTurn(record)
        self.turns[record.turn_id] = turn
        self.queue.append(turn)
        self._work.set()

    async def wait_turn(self, turn_id: str) -> TurnRecord:
        """Wait for the end of a turn and return it; see `SessionFeed.wait_turn`."""
        turn = self.turns.get(turn_id)
        if turn is not None:
            await turn.over.wait()
            if turn.record.state.over:
                return turn.record
            raise Draining("The relay is shutting down. The turn goes on: ask again for it.")
        record = await self._log.outbox.turn(turn_id)
        if record is None:
            raise TurnUnknown(f"There is no turn {turn_id!r}. Check the id.")
        return record

    # -- sending ------------------------------------------------------------------------------

    async def _send_queued(self) -> None:
        """Send the messages in their order (rule 5)."""
        while True:
            while not self.queue or self.draining:
                self._work = trio.Event()
                await self._work.wait()
            self.current = turn = self.queue.popleft()
            try:
                await self._run_turn(turn)
            except _Closing:
                await trio.sleep_forever()
            finally:
                self.current = None
                self.touch()

    async def _run_turn(self, turn: ActiveTurn) -> None:
        """Send one message, and settle it; raises _Closing if it must be left to the next owner."""
        pause = _FIRST_PAUSE
        while not turn.record.state.over:
            session = await self._wait_session()
            if turn.settling:
                await turn.over.wait()
                continue
            if turn.cancelling and not turn.posted_here and turn.record.ticket is None:
                outcome = Outcome(kind="cancelled", error=_CANCELLED)
                await self._finish(turn, TurnState.CANCELLED, outcome, [error_draft(outcome)])
                return
            try:
                await self._resume_events(turn)
                reply = await self._send(session, turn)
            except errors.SessionNotFound as exc:
                await self._settle_failure(turn, exc)
            except (
                errors.StreamError,
                errors.TransportError,
                errors.MixError,
                LogError,
            ) as exc:
                # Its outcome is open: it is resumed on the next stream.
                _logger.debug("Turn %s of session %r: %s", turn.record.turn_id, session, exc)
                if self.events.own is not None:
                    self.events.hole()
                await trio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
            except (errors.MessageError, errors.ConfigurationError, errors.UsageError) as exc:
                await self._settle_failure(turn, exc)
            else:
                await self._settle(turn, reply)

    async def _resume_events(self, turn: ActiveTurn) -> None:
        """Read what was appended of a turn that an earlier owner has begun."""
        record = turn.record
        if record.state is TurnState.ACCEPTED or self.events.own is not None:
            return
        appended: list[ServerSentEvent] = []
        decoder, position = SSEDecoder(), record.first_id
        marker = f'"turnId":"{record.turn_id}"}}'
        while position and (events := await self._log.read(self.session_id, position)):
            for event in events:
                frames = decoder.feed(event.frame)
                appended += [frame for frame in frames if frame.data.endswith(marker)]
            position = events[-1].id
        extent = await self._log.extent(self.session_id)
        tail = extent is not None and extent.oldest > (record.first_id or 0)
        self.events.begin(record.turn_id, appended, cut=True, start=record.first_id or 0, tail=tail)

    async def _send(self, session: SessionStream, turn: ActiveTurn) -> Reply:
        """Send or resume a message and return its reply."""
        ticket = await self._ticket(session, turn)
        message = session.resume(
            ticket,
            save=partial(self._save, turn),
            resend=may_resend(turn.record.state, takeover=self.takeover and not turn.posted_here),
        )
        # Shielded: leaving early would cancel the turn on the server (rule 3). When the owner is
        # closed, the stream ends, and the message with it.
        reply: Reply | None = None
        with trio.CancelScope(shield=True):
            async with message:
                turn.message = message
                try:
                    self._accepted(turn)
                    if turn.cancelling:
                        await message.cancel()
                    reply = await message.wait()
                finally:
                    turn.message = None
        if reply is None:
            raise _Closing
        return reply

    async def _ticket(self, session: SessionStream, turn: ActiveTurn) -> Ticket:
        from trio_mix._ticket import Ticket

        if turn.record.ticket is not None:
            return Ticket.from_json(turn.record.ticket)
        request = turn.record.request
        return await session.prepare(
            request.text,
            plan_mode=request.plan_mode,
            thinking_level=request.thinking_level,
            max_steps=request.max_steps,
            media=request.media,
            apps=request.apps,
            allow_shell=True,
        )

    async def _save(self, turn: ActiveTurn, ticket: Ticket) -> None:
        """Store a ticket; called before the POST, and when more is known (rule 2)."""
        record = attrs.evolve(turn.record, ticket=ticket.to_json())
        match ticket.state:
            case "posting":
                await self._save_posting(turn, record)
            case "running" if record.state in (TurnState.POSTING, TurnState.ACCEPTED):
                self._change(turn, attrs.evolve(record, state=TurnState.RUNNING))
            case "prepared":
                if self.events.own is not None:
                    self.events.own = None  # nothing was sent
                self._change(turn, attrs.evolve(record, state=TurnState.ACCEPTED))
            case _:
                await trio.lowlevel.checkpoint()

    async def _save_posting(self, turn: ActiveTurn, record: TurnRecord) -> None:
        if record.first_id is None:
            record = attrs.evolve(record, first_id=self.appender.newest)
        record = attrs.evolve(record, state=TurnState.POSTING)
        if not await self._change(turn, record).wait():
            raise _Closing
        if self.draining or self.lease.remaining() < _LEASE_MARGIN:
            raise _Closing
        turn.posted_here = True
        own = self.events.own
        if own is None or own.turn_id != record.turn_id:
            self.events.begin(record.turn_id, cut=False, start=record.first_id or 0)

    def _accepted(self, turn: ActiveTurn) -> None:
        if turn.record.state is TurnState.POSTING:
            self._change(turn, attrs.evolve(turn.record, state=TurnState.RUNNING))
        turn.decided.set()

    # -- settling -----------------------------------------------------------------------------

    async def _settle_failure(self, turn: ActiveTurn, failure: Exception) -> None:
        state, outcome, answer = outcome_of_failure(failure, cancelling=turn.cancelling)
        await self._settle(turn, None, state, outcome, answer)

    async def _settle(
        self,
        turn: ActiveTurn,
        reply: Reply | None,
        state: TurnState = TurnState.DONE,
        outcome: Outcome | None = None,
        answer: Answer | None = None,
    ) -> None:
        """Complete a turn in the log, and store its outcome with its end."""
        if turn.settling:
            await turn.over.wait()
            return
        turn.settling = True
        await self._wait_drained()
        if outcome is None:
            assert reply is not None  # noqa: S101 - one of the two is passed
            outcome = outcome_of_reply(reply)
        turn.refusing = answer is not None and turn.senders > 0
        own = self.events.own
        if own is None:  # refused before the POST, or nothing of it was ever received
            cut = turn.record.ticket is not None
            self.events.begin(turn.record.turn_id, cut=cut)
            own = self.events.own
        assert own is not None  # noqa: S101 - begun above
        if reply is not None and reply.recovered and not own.cut:
            own.hole()
        rounds: Sequence[Round] = ()
        if own.was_cut and outcome.kind != "refused":
            rounds = await stored_rounds(self._mix, self.session_id, turn.record.request, outcome)
        drafts = self.events.settle(outcome, rounds, end_needed=not turn.refusing)
        await self._finish(turn, state, outcome, drafts, answer=answer, marked=True)

    async def _finish(
        self,
        turn: ActiveTurn,
        state: TurnState,
        outcome: Outcome,
        drafts: Sequence[Draft],
        *,
        answer: Answer | None = None,
        marked: bool = False,
    ) -> None:
        """Store the last events of a turn and its outcome, in one transaction."""
        if not marked:
            turn_id = turn.record.turn_id
            drafts = [attrs.evolve(each, data=with_turn_id(each.data, turn_id)) for each in drafts]
        record = attrs.evolve(
            turn.record, state=state, outcome=outcome, answer=answer, ended_at=self._now()
        )
        stored = self.appender.put([*drafts, self._turn_draft(record)], [record])
        if not await stored.wait():
            raise _Closing
        turn.record = record
        self.turns.pop(record.turn_id, None)
        if turn in self.queue:
            self.queue.remove(turn)
        turn.decided.set()
        turn.over.set()
        self.touch()

    def _change(self, turn: ActiveTurn, record: TurnRecord) -> Stored:
        """Store a new state of a turn that is not over."""
        drafts = [self._turn_draft(record)] if record.state is not turn.record.state else []
        turn.record = record
        return self.appender.put(drafts, [record])

    def _turn_draft(self, record: TurnRecord) -> Draft:
        """Return the event that reports the state of a turn."""
        data = f'{{"turnId":"{record.turn_id}","state":"{record.state.value}"}}'
        return Draft("turn", data, Audience.RELAY)

    # -- cancelling and permissions -----------------------------------------------------------

    async def cancel(self, turn: ActiveTurn) -> None:
        """Cancel a turn, queued or running."""
        if turn in self.queue and turn.record.ticket is None:
            self.queue.remove(turn)
            outcome = Outcome(kind="cancelled", error=_CANCELLED)
            try:
                await self._finish(turn, TurnState.CANCELLED, outcome, [error_draft(outcome)])
            except _Closing:
                raise Draining("The relay is shutting down. Cancel the message again.") from None
            return
        turn.cancelling = True
        if turn.message is not None:
            await turn.message.cancel()
        else:
            await trio.lowlevel.checkpoint()

    def settled_permission(self, permission_id: str, *, granted: bool, subject: str) -> None:
        """Report that a permission request of the session was answered."""
        request = self.events.requests.pop(permission_id, None)
        fields: dict[str, object] = {
            "permissionId": permission_id,
            "granted": granted,
            "by": subject,
        }
        data = json.dumps(fields, separators=(",", ":"))
        if request is not None:
            data = with_turn_id(data, request.turn_id)
        self.appender.add([Draft("permission_settled", data, Audience.RELAY)])


def new_turn_id() -> str:
    """Return an id for a turn."""
    return f"turn_{uuid.uuid4().hex}"


def _refusal(record: TurnRecord) -> Answer | None:
    refused = record.outcome is not None and record.outcome.kind == "refused"
    return record.answer if refused else None
