"""The task of a sent message, from its POST to the end of its turn.

There is one such task for each message. `trio_mix._turns._recovery` decides what it does.
"""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import attrs
import trio

from trio_mix import errors
from trio_mix._session._questions import ANSWERED_AT_ONCE
from trio_mix._session._send_api import TRAITS
from trio_mix._session._warnings import log_session_at_work
from trio_mix._turns._decisions import (
    Bind,
    Cancel,
    Complete,
    Disown,
    Follow,
    Interrupt,
    Post,
    ReadStored,
    Refuse,
    Restart,
    Wait,
    Withdraw,
)
from trio_mix._turns._facts import Concern
from trio_mix._turns._turn import Input, Phase
from trio_mix.errors._base import beginning

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Awaitable, Callable

    from trio_mix._session._dispatcher import EventDispatcher
    from trio_mix._session._message_state import MessageState
    from trio_mix._session._resume import Resumption
    from trio_mix._session._send_api import SendApi
    from trio_mix._session._stored_messages import SessionHistory
    from trio_mix._turns._decisions import Decision, Reading
    from trio_mix._turns._facts import CancelOutcome

_UNREPORTED = "the stream did not report what happened to a message"
_SENT_BEFORE = "another process sent the message and received the events up to this one"
_OF_ANOTHER_CLIENT = "the events up to this one were those of another client's message"
_RAN_ELSEWHERE = "another stream of the session received the events up to this one"


@attrs.frozen(kw_only=True)
class MessageTask:
    """Carries out the decisions of a message's `Recovery`.

    Args:
      state: the message.
      dispatcher: ends the message and applies the inputs of its turn.
      send_api: sends the message.
      stored: reads the session's stored messages.
      passed_on: waits until all events that were read have been passed on.
      wait_resumed: waits until the stream is connected; raises the failure of the stream.
      cancel: asks the server to cancel the turn, and returns whether it did.
      deny: denies a permission request.
      resumption: saves the ticket of the message; None if it has none.
    """

    state: MessageState
    dispatcher: EventDispatcher
    send_api: SendApi
    stored: SessionHistory
    passed_on: Callable[[], Awaitable[None]]
    wait_resumed: Callable[[], Awaitable[None]]
    cancel: Callable[[], Awaitable[CancelOutcome]]
    deny: Callable[[str], Awaitable[None]]
    resumption: Resumption | None

    async def run(self) -> None:
        """Run until the turn is over; raises only Cancelled."""
        state = self.state
        async with trio.open_nursery() as nursery:
            try:
                while not state.turn_over.is_set():
                    if state.cancelled.is_set():
                        await self._deny_open_requests()
                    if self.resumption is not None:
                        await self.resumption.update(state)
                    decision = state.recovery.next(trio.current_time())
                    if isinstance(decision, Post):
                        self.stored.history.posting(state.recovery, trio.current_time())
                        # Made here, so that leaving the message before the POST begins cancels it.
                        state.post_scope = trio.CancelScope()
                        nursery.start_soon(self._post)
                        decision = Wait()  # what is to be done while the POST is under way
                    await self._carry_out(decision)
            finally:
                state.denied.set()

    async def _carry_out(self, decision: Decision) -> None:  # noqa: ASYNC910 - `run` goes on to wait
        state = self.state
        match decision:
            case Wait(until):
                await state.wait_for_news(until)
            case ReadStored(until):
                await self._read_stored(until)
            case Cancel():
                await self._cancel()
            case Bind(user_message_id, lost):
                if state.turn.resumed:
                    self._attach()
                if lost:
                    state.insert_gap(_UNREPORTED)
                self.dispatcher.router.bind(state.turn, user_message_id)
            case Restart():
                state.builder.restart()
                self.dispatcher.step(state, Input.RESEND)
            case Follow():
                state.gap_unreported = True
                state.insert_gap(_RAN_ELSEWHERE)
                self.dispatcher.step(state, Input.SENDING)
                self.dispatcher.step(state, Input.ACCEPTED)
                self.dispatcher.router.runs_elsewhere(state.turn)
            case Disown():
                state.builder.disown()
                state.insert_gap(_OF_ANOTHER_CLIENT, of_text=False)
                self.dispatcher.router.disown(state.turn)
                self.dispatcher.step(state, Input.DISOWNED)
            case Withdraw():
                state.gap_unreported = False  # nothing of it was received, and nobody waits for it
                state.post_scope.cancel(reason="the message was left before it was sent")
                self.dispatcher.step(state, Input.REFUSED)
            case Refuse(failure):
                self.dispatcher.end_with(state, failure, Input.SETTLED)
            case Interrupt():
                self._interrupt(decision)
            case Complete():
                self._complete(decision)
            case Post():
                raise AssertionError("a POST has its own task")

    def _attach(self) -> None:
        """Receive the events of a message that another process has sent, after a gap event."""
        state = self.state
        if state.gap_unreported:
            state.gap_unreported = False
            state.insert_gap(_SENT_BEFORE)
        if state.turn.phase is Phase.REGISTERED:
            self.dispatcher.step(state, Input.SENDING)
            self.dispatcher.step(state, Input.ACCEPTED)

    async def _post(self) -> None:  # noqa: ASYNC910 - the request is one; nobody awaits it
        """Send once and report the outcome to the recovery."""
        state = self.state
        recovery = state.recovery
        with state.post_scope:
            try:
                if self.resumption is not None:
                    await self.resumption.before_post(self.stored.history)
                    await self.wait_resumed()  # the connection may have been lost meanwhile
                sending = partial(self._sending, self.send_api.api)
                posted = await self.send_api.post(state.session_id, state.request, sending)
            except errors.TransportError as exc:
                if exc.sent:
                    recovery.answer_lost(timed_out=isinstance(exc, errors.RequestTimeout))
                else:
                    self.dispatcher.step(state, Input.RESEND)
                    recovery.not_sent(exc, trio.current_time())
            except errors.MixError as exc:
                rejection = _rejected(exc, state.session_id, state.request.text)
                recovery.refused(exc.status_code, rejection)
            except Exception as exc:  # noqa: BLE001 - raised by a hook or a headers function
                recovery.post_raised(exc)
            else:
                recovery.accepted()
                self._learn_traits()
                if not recovery.cut:  # else the server may have been upgraded meanwhile
                    self.dispatcher.router.traits.used = True
                if state.turn.unnamed is not None:
                    self.dispatcher.name(state, posted.turn_id)
                what = Input.ACCEPTED if posted.answer is None else Input.ANSWER
                self.dispatcher.step(state, what, posted.answer)
        if self.send_api.api == "pipeline":  # it has the other path neither
            self.dispatcher.router.traits.stale = False
        if state.turn.unnamed is not None:  # no answer has named it
            self.dispatcher.name(state, None)
        state.wake()

    def _sending(self, before: str) -> None:
        """Note that the first byte may be sent, and apply what is known of the server.

        Args:
          before: the API before this message.
        """
        state, turn, recovery = self.state, self.state.turn, self.state.recovery
        upgraded = before == "pipeline" and self.send_api.api != before
        if upgraded:
            self.stored.upgraded()
        self._learn_traits()
        if upgraded:
            traits = self.dispatcher.router.traits
            traits.stale = traits.used  # else it may be connected to the new server already
        recovery.sending()
        state.gap_unreported = state.gap_unreported or bool(recovery.cut)
        if turn.phase in (Phase.REGISTERED, Phase.POSTED):  # the other path answers differently
            if trio.current_time() < self.stored.history.outlived_until:
                turn.overlap = turn.overlap or "guess"
            self.dispatcher.router.apply(turn, Input.SENDING)
        if recovery.concern is not Concern.POST:  # else nothing is due until the POST is answered
            state.wake()

    def _learn_traits(self) -> None:
        """Take over what is known of the server, also whose turn may run beside this one."""
        traits = self.dispatcher.router.traits
        traits.update(TRAITS[self.send_api.api])
        traits.turn_ids = self.send_api.relayed
        # The streams of a pipeline server run their own messages: no event is another stream's.
        pipeline = self.send_api.api in ("pipeline", "auto")
        unsettled = self.state.recovery.unsettled
        if unsettled == "silent" or (unsettled and not pipeline):
            self.state.builder.shared = True
        traits.readable = not self.stored.none_kept
        traits.proof = self.send_api.api == "pipeline" and traits.readable

    async def _read_stored(self, until: float) -> None:
        state = self.state
        over = state.turn.over
        with trio.CancelScope(deadline=until) as scope:
            state.read_scope = None if over else scope
            if state.recovery.concern is Concern.SESSION:
                await self._read_before()
            else:
                reading = await self.stored.read(state.turn, self.dispatcher.router)
                state.recovery.stored(reading, trio.current_time())
                if over or self._proves_the_end(reading):
                    state.compare(reading)
        state.read_scope = None

    def _proves_the_end(self, reading: Reading) -> bool:
        return self.state.recovery.concern is Concern.PROOF and reading.end == "ours"

    async def _read_before(self) -> None:
        """Read the stored messages before the POST."""
        state, recovery = self.state, self.state.recovery
        try:
            reading = await self.stored.before(self.dispatcher.router)
        except Exception as exc:  # noqa: BLE001 - raised by a hook or a headers function
            recovery.post_raised(exc)
            return  # noqa: ASYNC910 - the request was a checkpoint
        await self.passed_on()
        waited = recovery.waits_for_session
        recovery.stored(reading, trio.current_time())
        if recovery.waits_for_session and not waited:
            log_session_at_work(state.session_id)

    async def _cancel(self) -> None:
        state = self.state
        state.turn.cancelling = True
        outcome: CancelOutcome = "lost"
        with trio.move_on_after(state.recovery.limits.cleanup_timeout):
            outcome = await self.cancel()
        state.recovery.cancel_answered(trio.current_time(), outcome)
        state.cancelled.set()
        await self._deny_open_requests()
        state.denied.set()

    async def _deny_open_requests(self) -> None:  # noqa: ASYNC910 - nothing may be open
        """Deny the permission requests of a message that was left.

        The server does not end them when it cancels the turn: the next message would wait until
        they time out on the server.
        """
        state = self.state
        permission_ids = state.questions.close_open()
        if permission_ids:
            with trio.move_on_after(state.recovery.limits.cleanup_timeout):
                async with trio.open_nursery() as nursery:
                    for _ in range(min(len(permission_ids), ANSWERED_AT_ONCE)):
                        nursery.start_soon(self._deny, permission_ids)

    async def _deny(self, permission_ids: deque[str]) -> None:
        async with self.state.questions.slots:
            while permission_ids:
                with suppress(Exception):  # decided already, unreachable, vetoed by a hook
                    await self.deny(permission_ids.popleft())

    def _complete(self, how: Complete) -> None:
        state = self.state
        if how.ended_by is not None:
            state.turn.ended_by = how.ended_by
        state.builder.doubtful = state.builder.doubtful or how.doubtful
        state.builder.shared = state.builder.shared or how.unproven
        state.gap_unreported = state.gap_unreported or how.events_lost
        if state.turn.resumed:
            self._attach()
        elif how.lost:
            self.dispatcher.gap(f"{how.lost}; the rest was read from the stored messages")
        if state.turn.over:
            self.dispatcher.finish(state)
        else:
            self.dispatcher.step(state, Input.SETTLED, how.reply)

    def _interrupt(self, how: Interrupt) -> None:
        state = self.state
        if state.gap_unreported:
            state.builder.gap()
        if how.reply is not None and not state.over.is_set():
            heard, stored = state.builder.text.strip(), "".join(how.reply.texts).strip()
            known = stored.startswith(heard) or (state.turn.bound and not state.turn.overlap)
            state.builder.take_stored(how.reply)
            state.builder.shared = state.builder.shared or not known
        state.builder.shared = state.builder.shared or how.mixed
        remedy = "It is not running any more: send it again if it is still wanted."
        if how.outcome == "unknown":
            checked = "its effects" if state.turn.is_command else "the session's messages"
            remedy = (
                f"It may have run, or may still be running: check {checked} before sending it "
                "again."
            )
        failure = errors.MessageInterrupted(
            f"The message on session {state.session_id} {how.what}; {how.why}. {remedy} "
            "The partial reply is in `.partial`.",
            session_id=state.session_id,
            partial=state.partial(),
            outcome=how.outcome,
        )
        failure.__cause__ = state.recovery.post.refusal
        if how.cause is not None:
            failure.__cause__ = errors.AgentError(
                beginning(how.cause.error),
                event=how.cause,
                session_id=state.session_id,
                partial=state.partial(),
            )
        self.dispatcher.end_with(state, failure, Input.SETTLED)


def _rejected(refusal: errors.MixError, session_id: str, text: str) -> errors.MessageRejected:
    reason = str(refusal)
    if text.startswith("/") and isinstance(refusal, errors.ErrorResponse):
        # The remedy of an ErrorResponse is about ids and addresses, not about commands.
        reason = f"{refusal.error.message}. Use a command that mix.system.list_commands() names."
    rejected = errors.MessageRejected(
        f"The message to session {session_id} was refused and did not run: {reason}",
        session_id=session_id,
    )
    rejected.__cause__ = refusal
    return rejected


class MessageTasks:
    """The tasks of a stream's messages; its nursery cancels them only once they are ended.

    Args:
      nursery: the nursery of the stream.
    """

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._scopes: list[trio.CancelScope] = []
        self._ended = ""

    def start(self, task: MessageTask) -> None:
        """Start a task; after `end` it is cancelled at its first checkpoint."""
        name = f"trio_mix message on {task.state.session_id}"
        self._nursery.start_soon(self._run, task, name=name)

    def end(self, reason: str) -> None:
        """Cancel the tasks, also those that are started later."""
        self._ended = reason
        for scope in self._scopes:
            scope.cancel(reason=reason)

    async def _run(self, task: MessageTask) -> None:
        with trio.CancelScope(shield=True) as scope:
            self._scopes.append(scope)
            if self._ended:
                scope.cancel(reason=self._ended)
            try:
                await task.run()
            finally:
                self._scopes.remove(scope)
