"""Requests about a turn that runs: cancel it, answer its permission requests and notifications."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast, get_args

import trio

from trio_mix import errors
from trio_mix import events as ev
from trio_mix._http import is_transient
from trio_mix._rest._options import ONE_TRY
from trio_mix._session._policies import (
    Response,
    answer_question,
    checked_grant,
    checked_response,
)
from trio_mix._session._warnings import (
    log_foreign_question,
    warn_unanswered,
    warn_unknown_response_type,
)
from trio_mix._turns._stored_turn import TurnOutcome
from trio_mix._turns._turn import size_of
from trio_mix._usage import call
from trio_mix.models import NotificationAnswer
from trio_mix.sse import ReconnectSchedule

if TYPE_CHECKING:
    from trio_mix._session._dispatcher import EventDispatcher
    from trio_mix._session._message_state import MessageState
    from trio_mix._session._questions import Question
    from trio_mix._session._services import Services
    from trio_mix._session._stored_messages import SessionHistory
    from trio_mix._turns._facts import CancelOutcome
    from trio_mix.sse import ReconnectPolicy

_SUB_AGENT_TOOLS: Final = frozenset({"agent", "task"})
_TOOL_FOLLOWS: Final = 1.0
"""Seconds within which a tool's event may follow the permission request for it: another thread
writes requests. A later call of that tool does not show that the request is the message's."""


class TurnActions:
    """Requests about the turns of one session.

    Args:
      session_id: the session.
      services: the operations.
      dispatcher: has the current message and the subscribers.
      stored: reads the session's stored messages.
      reconnect: how an answer of a policy is repeated.
    """

    def __init__(
        self,
        session_id: str,
        services: Services,
        dispatcher: EventDispatcher,
        stored: SessionHistory,
        reconnect: ReconnectPolicy,
    ) -> None:
        self._session_id = session_id
        self._services = services
        self._dispatcher = dispatcher
        self._stored = stored
        self._reconnect = reconnect
        self._cancels = 0
        """How many requests to cancel a turn are under way."""
        self._cancels_over = trio.lowlevel.ParkingLot()

    async def cancel_message(self, state: MessageState) -> None:
        """Ask the server to cancel a message that its sender continues to iterate."""
        if state.turn_over.is_set():  # the request would end another message of the session
            await trio.lowlevel.checkpoint()
            return
        state.turn.cancelling = True
        await self.cancel()

    async def cancel(self) -> CancelOutcome:
        """Ask the server to cancel the turn, and return the outcome; never raises an error."""
        self._cancels += 1
        try:
            return await self._ask_to_cancel()
        finally:
            self._cancels -= 1
            if not self._cancels:
                self._cancels_over.unpark_all()

    async def wait_cancelled(self) -> None:
        """Wait until no request to cancel a turn is under way: it would cancel the next turn.

        A checkpoint.
        """
        await trio.lowlevel.checkpoint()
        while self._cancels:
            await self._cancels_over.park()

    async def _ask_to_cancel(self) -> CancelOutcome:
        try:
            await self._services.messages.cancel_processing(id=self._session_id, options=ONE_TRY)
        except errors.MixError as exc:
            await trio.lowlevel.checkpoint()
            transient = is_transient(exc.status_code, not_implemented=False)
            return "lost" if transient else "impossible"
        except errors.TransportError:
            await trio.lowlevel.checkpoint()
            return "lost"
        except Exception:  # noqa: BLE001 - a hook's veto: nothing is sent then
            await trio.lowlevel.checkpoint()
            return "impossible"
        return "acknowledged"

    async def decide(self, permission_id: str, *, grant: bool) -> None:
        """Answer a permission request."""
        permissions = self._services.permissions
        answer = permissions.grant if grant else permissions.deny
        await answer(id=permission_id)
        state = self._dispatcher.current
        if state is not None:
            state.questions.decided(permission_id)

    async def respond(self, notification_id: str, response_type: str, value: str | None) -> None:
        """Answer a notification."""
        await self._services.notifications.respond(
            id=notification_id,
            type=cast("NotificationAnswer", response_type),  # the server's own word
            value=value,
        )

    def warn_unanswered(self, question: Question) -> bool:
        """Warn about a question that its message drops, unless there is a subscriber."""
        unseen = not self._dispatcher.subscribers
        if unseen:
            warn_unanswered(question, self._session_id)
        return unseen

    async def claim(self, request: ev.PermissionEvent, state: MessageState) -> None:
        """Pass a permission request to a message that another connection runs, if it is its own.

        A message that was left receives it too: its task denies the request.
        """
        own = await self._is_own(request, state, state.turn_over)
        state.questions.checked.discard(request.permission_id)
        if own:
            state.take((request,), size_of(request))
        elif state.questions.has_policy(request) and not state.questions.ended.is_set():
            log_foreign_question(request, self._session_id)

    async def _is_own(self, question: Question, state: MessageState, over: trio.Event) -> bool:
        """Return whether a question is that of a message where events do not show it.

        Pipeline servers send it on every stream of the session, blocking ones do not show whose
        events are whose, and no event names a turn that began on an earlier stream. The stored
        messages show whether another turn runs; a reading that fails, or does not show the message
        yet, is repeated. Where the server has none, or another client may have asked for a
        permission, the message must have called the tool, or one that starts a sub-agent; also
        where another connection runs the message, whose end may have been lost. Servers that name
        messages store them: nothing else shows it there.

        Args:
          question: the question.
          state: the message.
          over: ends the repetition.
        """
        names, turn = set(_SUB_AGENT_TOOLS), state.turn
        shared = bool(turn.elsewhere) or turn.refused
        if isinstance(question, ev.PermissionEvent):
            names.add(question.tool_name.lower())
            shared = shared or self._dispatcher.router.others_seen
        schedule, began = ReconnectSchedule(self._reconnect), trio.current_time()
        while True:
            schedule.begin(trio.current_time())
            reading = await self._stored.read(turn, self._dispatcher.router)
            stored = None if reading.verdict is None else reading.verdict.reply
            calls = () if stored is None else stored.tool_calls
            called = {*state.builder.tools, *(each.name for each in calls)}
            announced = not names.isdisjoint(map(str.lower, called))
            absent = reading.outcome is TurnOutcome.ABSENT  # it can be stored later
            if absent and reading.at_work:
                return False  # another turn runs
            unread = absent or (reading.verdict is None and not reading.none_kept)
            delay = schedule.lost(trio.current_time())
            early = shared and not announced and trio.current_time() - began < _TOOL_FOLLOWS
            if delay is None or not (unread or early):
                break
            with trio.move_on_after(delay):
                await over.wait()
                return False
        if reading.verdict is None:
            known = turn.bound or bool(turn.elsewhere)
            return reading.none_kept and announced and not known
        return reading.alone and not turn.overlap and (announced or not shared)

    async def answer_questions(self, state: MessageState) -> None:  # noqa: ASYNC910 - its own task
        """Answer the questions of a message that wait, one after another, and release the slot."""
        questions = state.questions
        try:
            while (question := questions.next()) is not None:
                await self._ask_policy(question, state)
                if not questions.ended.is_set():  # else it may have been interrupted
                    questions.answered(question)
        finally:
            questions.slots.release()

    async def _ask_policy(self, question: Question, state: MessageState) -> None:
        """Ask a policy about a permission request or a notification, and send its answer.

        It is not asked where the question may be that of another client's message, or where the
        server has no operation for the answer.
        """
        unended = trio.current_time() < self._stored.history.unended_until
        seen_alone = state.recovery.seen_alone and not unended
        if not (seen_alone or await self._is_own(question, state, state.questions.ended)):
            if not state.questions.ended.is_set():  # else it may not be known
                log_foreign_question(question, self._session_id)
            return  # noqa: ASYNC910 - the rows were read
        policy = state.questions.policies[type(question)]
        schedule = ReconnectSchedule(self._reconnect)
        if isinstance(question, ev.PermissionEvent):
            permission = question

            async def decision() -> bool:
                return checked_grant(await call(policy, permission))

            async def decide(granted: bool) -> None:
                await self.decide(permission.permission_id, grant=granted)

            await answer_question(state, decision, decide, schedule, after_failure=False)
            return
        notification, kind = question, question.response_type
        if kind not in get_args(NotificationAnswer):
            warn_unknown_response_type(notification, self._session_id)
            await trio.lowlevel.checkpoint()
            return

        async def response() -> Response:
            return checked_response(await call(policy, notification), notification)

        async def respond(found: Response) -> None:
            await self.respond(notification.notification_id, kind, found.value)

        await answer_question(state, response, respond, schedule, after_failure=None)
