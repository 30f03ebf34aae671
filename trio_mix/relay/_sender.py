"""`TurnSender`: sends the messages of one session one by one, and settles their turns.

Rule 1  Messages are sent in the order in which they were accepted.
Rule 2  A message's ticket is stored as *posting* before its first byte is sent. While there is no
        valid lease, nothing is sent.
Rule 3  Closing never cancels a turn on the server: the next owner of the session resumes it.
Rule 4  A turn is settled after all events that the stream brought before its end. Its end and its
        outcome are stored in one transaction.
Rule 5  An unexpected exception ends the turn as unknown, and is logged: the next turns are sent.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trio_mix import errors
from trio_mix._http import is_transient
from trio_mix._terminal_text import get_logger
from trio_mix._ticket import Ticket
from trio_mix.relay._errors import Draining, LogError
from trio_mix.relay._outbox import (
    Draft,
    error_draft,
    may_resend,
    outcome_of_failure,
    outcome_of_reply,
    with_turn_id,
)
from trio_mix.relay._records import (
    Answer,
    Outcome,
    TurnRecord,
    TurnState,
)
from trio_mix.relay._stored_rounds import stored_rounds
from trio_mix.relay._turn_queue import turn_draft
from trio_mix.relay._turn_repair import corrected
from trio_mix.relay._upstream import FIRST_PAUSE, LONGEST_PAUSE
from trio_mix.sse import SSEDecoder

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from trio_mix._mix import Mix
    from trio_mix._reply import Reply
    from trio_mix._session._stream import SessionStream
    from trio_mix.relay._appender import Appender, Stored
    from trio_mix.relay._bridge import Round
    from trio_mix.relay._holes import Holes
    from trio_mix.relay._log import Lease, Log
    from trio_mix.relay._turn_events import SessionEvents
    from trio_mix.relay._turn_queue import ActiveTurn, TurnQueue
    from trio_mix.relay._upstream import UpstreamStream
    from trio_mix.sse import ServerSentEvent

_LEASE_MARGIN: Final = 0.5
_LEASE_PAUSE: Final = 0.1
_CANCELLED: Final = "the message was cancelled before it was sent"
_FAILED: Final = "the relay has failed while it sent the message; its log shows why"
_GONE: Final = "the server does not know the session any more"

_logger = get_logger("trio_mix.relay")


class Closing(Exception):
    """The owner is being closed: nothing more is sent."""


class TurnSender:
    """Sends and settles the messages of one session.

    Args:
      session_id: the session.
      mix: the client of the server.
      log: the log.
      lease: the lease of the session.
      queue: its messages.
      events: the events of the session.
      appender: appends to the session.
      upstream: the session's stream.
      holes: completes what a hole has cut.
      wall_clock: returns the time in seconds since 1970.

    """

    def __init__(
        self,
        session_id: str,
        mix: Mix,
        log: Log,
        lease: Lease,
        queue: TurnQueue,
        events: SessionEvents,
        appender: Appender,
        upstream: UpstreamStream,
        holes: Holes,
        *,
        wall_clock: Callable[[], float],
    ) -> None:
        self.on_idle: Callable[[], None] = lambda: None
        """Called when a turn is over."""
        self._session_id = session_id
        self._mix = mix
        self._log = log
        self._lease = lease
        self._queue = queue
        self._events = events
        self._appender = appender
        self._upstream = upstream
        self._holes = holes
        self._now = wall_clock
        self._work = trio.Event()
        queue.on_queued = holes.on_foreign = self._work_found

    def _work_found(self) -> None:
        self._work.set()

    async def cancel(self, turn: ActiveTurn) -> None:
        """Cancel a turn, queued or running.

        Raises:
          Draining: the relay is shutting down.
        """
        if turn in self._queue.waiting and turn.record.ticket is None:
            self._queue.waiting.remove(turn)
            try:
                await self._finish_unsent(turn, TurnState.CANCELLED, _cancelled())
            except Closing:
                raise Draining("The relay is shutting down. Cancel the message again.") from None
            return
        turn.cancelling = True
        if turn.message is not None:
            await turn.message.cancel()
        else:
            await trio.lowlevel.checkpoint()

    # -- sending ------------------------------------------------------------------------------

    async def run(self) -> None:
        """Send the messages in their order (rule 1), until cancelled."""
        try:
            while True:
                while not (self._queue.sendable or self._holes.foreign_due):
                    self._work = trio.Event()
                    await self._work.wait()
                if self._holes.foreign_due:
                    await self._holes.settle_foreign()
                    self.on_idle()
                    continue
                self._queue.current = turn = self._queue.waiting.popleft()
                try:
                    await self._run_turn(turn)
                finally:
                    self._queue.current = None
        except Closing:
            await trio.sleep_forever()

    async def end_all(self) -> None:  # noqa: ASYNC910 - its own task; nothing may have to be done
        """End all turns, because the server does not know the session any more."""
        gone = Outcome(kind="error", error=_GONE)
        self._queue.waiting.clear()
        for turn in list(self._queue.turns.values()):
            if turn.settling:
                await turn.over.wait()
            elif turn is self._queue.current:
                await self._settle(turn, TurnState.DONE, gone)
            else:
                await self._finish_unsent(turn, TurnState.DONE, gone)

    async def _run_turn(self, turn: ActiveTurn) -> None:  # noqa: ASYNC910 - its own task; nothing may have to be done
        """Send one message, and settle it; raises Closing if it is left to the next owner."""
        pause = FIRST_PAUSE
        while not turn.record.state.over:
            session = await self._upstream.wait_session()
            if turn.settling:
                await turn.over.wait()
                continue
            if turn.cancelling and turn.record.ticket is None:
                await self._finish_unsent(turn, TurnState.CANCELLED, _cancelled())
                return
            try:
                await self._resume_events(turn)
                reply = await self._send(session, turn)
            except (errors.StreamError, errors.TransportError, errors.MixError, LogError) as exc:
                if not _may_pass(exc):
                    await self._settle_failure(turn, exc)
                    return
                # Its outcome is open: it is resumed on the next stream.
                _logger.debug("Turn %s is resumed: %s", turn.record.turn_id, exc)
                if self._events.own is not None:
                    self._events.hole()
                await trio.sleep(pause)
                pause = min(2 * pause, LONGEST_PAUSE)
            except (errors.MessageError, errors.ConfigurationError, errors.UsageError) as exc:
                await self._settle_failure(turn, exc)
            except Closing:
                raise
            except Exception:  # rule 5
                _logger.exception("Turn %s ends: the relay has failed.", turn.record.turn_id)
                failed = Outcome(kind="unknown", error=_FAILED)
                await self._settle(turn, TurnState.UNKNOWN, failed)
            else:
                outcome = outcome_of_reply(reply)
                await self._settle(turn, TurnState.DONE, outcome, recovered=reply.recovered)

    async def _resume_events(self, turn: ActiveTurn) -> None:
        """Read what was appended of a turn that an earlier owner has begun."""
        record = turn.record
        if record.state is TurnState.ACCEPTED or self._events.own is not None:
            return  # noqa: ASYNC910 - its own task; nothing may have to be done
        start = record.first_id or 0
        appended: list[ServerSentEvent] = []
        decoder, position = SSEDecoder(), start
        marker = f'"turnId":"{record.turn_id}"}}'
        while position and (events := await self._log.read(self._session_id, position)):
            for event in events:
                frames = decoder.feed(event.frame)
                appended += [frame for frame in frames if frame.data.endswith(marker)]
            position = events[-1].id
        extent = await self._log.extent(self._session_id)
        tail = extent is not None and extent.oldest > start
        self._events.begin(record.turn_id, appended, cut=True, start=start, tail=tail)
        self._holes.note()

    async def _send(self, session: SessionStream, turn: ActiveTurn) -> Reply:
        """Send or resume a message and return its reply."""
        ticket = await self._ticket(session, turn)
        takeover = self._lease.takeover and not turn.posted_here
        message = session.resume(
            ticket,
            save=partial(self._save, turn),
            resend=may_resend(turn.record.state, takeover=takeover),
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
            raise Closing
        return reply

    async def _ticket(self, session: SessionStream, turn: ActiveTurn) -> Ticket:
        if turn.record.ticket is not None:
            return Ticket.from_json(turn.record.ticket)  # noqa: ASYNC910 - its own task; nothing may have to be done
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

    async def _save(self, turn: ActiveTurn, ticket: Ticket) -> None:  # noqa: ASYNC910 - its own task; nothing may have to be done
        """Store a ticket; called before the POST, and when more is known (rule 2)."""
        record = attrs.evolve(turn.record, ticket=ticket.to_json())
        match ticket.state:
            case "posting":
                await self._save_posting(turn, record)
            case "running" if record.state in (TurnState.POSTING, TurnState.ACCEPTED):
                self._change(turn, attrs.evolve(record, state=TurnState.RUNNING))
            case "prepared":
                self._events.own = None  # nothing was sent
                self._change(turn, attrs.evolve(record, state=TurnState.ACCEPTED))
            case _:
                await trio.lowlevel.checkpoint()

    async def _save_posting(self, turn: ActiveTurn, record: TurnRecord) -> None:
        start = record.first_id or self._appender.newest
        record = attrs.evolve(record, state=TurnState.POSTING, first_id=start)
        while True:
            if not await self._change(turn, record).wait() or self._queue.draining:
                raise Closing
            if self._lease.remaining() >= _LEASE_MARGIN:
                break
            # Another relay may take the session over before the POST: wait until the lease is
            # renewed, and store the state once more, which shows whether that has happened.
            await trio.sleep(_LEASE_PAUSE)
        turn.posted_here = True
        own = self._events.own
        if own is None or own.turn_id != record.turn_id:
            self._events.begin(record.turn_id, cut=False, start=start)

    def _accepted(self, turn: ActiveTurn) -> None:
        if turn.record.state is TurnState.POSTING:
            self._change(turn, attrs.evolve(turn.record, state=TurnState.RUNNING))
        turn.decided.set()

    # -- settling -----------------------------------------------------------------------------

    async def _settle_failure(self, turn: ActiveTurn, failure: Exception) -> None:
        state, outcome, answer = outcome_of_failure(failure, cancelling=turn.cancelling)
        await self._settle(turn, state, outcome, answer=answer)

    async def _settle(
        self,
        turn: ActiveTurn,
        state: TurnState,
        outcome: Outcome,
        *,
        answer: Answer | None = None,
        recovered: bool = False,
    ) -> None:
        """Complete a turn in the log, and store its outcome with its end (rule 4)."""
        if turn.settling:
            await turn.over.wait()
            return
        turn.settling = True
        await self._upstream.wait_drained()
        turn.refusing = answer is not None and turn.senders > 0
        if self._events.own is None:  # refused before the POST, or nothing of it was received
            self._events.begin(turn.record.turn_id, cut=turn.record.ticket is not None)
        own = self._events.own
        assert own is not None  # noqa: S101 - begun above
        if recovered and not own.cut:
            own.hole()
        rounds: Sequence[Round] = ()
        if own.was_cut and outcome.kind != "refused":
            rounds = await stored_rounds(self._mix, self._session_id, turn.record.request, outcome)
        outcome = corrected(own, outcome, rounds)
        drafts = self._events.settle(outcome, rounds, end_needed=not turn.refusing)
        await self._finish(turn, state, outcome, drafts, answer=answer)

    async def _finish_unsent(self, turn: ActiveTurn, state: TurnState, outcome: Outcome) -> None:
        """End a turn that was not sent."""
        turn.settling = True
        end = error_draft(outcome)
        data = with_turn_id(end.data, turn.record.turn_id)
        await self._finish(turn, state, outcome, [attrs.evolve(end, data=data)])

    async def _finish(
        self,
        turn: ActiveTurn,
        state: TurnState,
        outcome: Outcome,
        drafts: Sequence[Draft],
        *,
        answer: Answer | None = None,
    ) -> None:
        """Store the last events of a turn and its outcome, in one transaction."""
        record = attrs.evolve(
            turn.record, state=state, outcome=outcome, answer=answer, ended_at=self._now()
        )
        stored = self._appender.put([*drafts, turn_draft(record)], [record])
        with trio.CancelScope(shield=True):  # it ends with the appender
            if not await stored.wait():
                raise Closing
        turn.record = record
        self._queue.remove(turn)
        self.on_idle()

    def _change(self, turn: ActiveTurn, record: TurnRecord) -> Stored:
        """Store a new state of a turn that is not over."""
        drafts = [turn_draft(record)] if record.state is not turn.record.state else []
        turn.record = record
        return self._appender.put(drafts, [record])


def _cancelled() -> Outcome:
    return Outcome(kind="cancelled", error=_CANCELLED)


def _may_pass(failure: Exception) -> bool:
    """Return whether a turn can be resumed after a failure, on this stream or the next one."""
    if isinstance(failure, errors.SessionNotFound):
        return False
    if isinstance(failure, errors.MixError):
        return is_transient(failure.status_code, not_implemented=False)
    return True
