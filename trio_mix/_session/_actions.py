"""Requests about a turn that runs: cancel it, answer its permission requests and notifications."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, cast

import trio

from trio_mix import errors
from trio_mix._http import is_transient
from trio_mix._rest._options import RequestOptions, RetryConfig
from trio_mix._session._permission_policy import answer_permission
from trio_mix._session._warnings import log_foreign_permission, warn_unanswered
from trio_mix.sse import ReconnectSchedule

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix import events as ev
    from trio_mix._session._dispatcher import EventDispatcher
    from trio_mix._session._message_state import MessageState
    from trio_mix._session._message_task import CancelOutcome
    from trio_mix._session._services import Services
    from trio_mix._session._stored_messages import SessionHistory
    from trio_mix.models import NotificationAnswer
    from trio_mix.sse import ReconnectPolicy

__all__ = ["TurnActions"]

_SUB_AGENT_TOOLS: Final = frozenset({"agent", "task"})


class TurnActions:
    """Requests about the turns of one session.

    Args:
      session_id: the session.
      services: the operations.
      dispatcher: has the current message and the subscribers.
      stored: reads the session's stored messages.
      reconnect: how an answer to a permission request is repeated.
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

    async def cancel_message(self, state: MessageState) -> None:
        """Ask the server to cancel a message that its sender continues to iterate."""
        if state.turn_over.is_set():  # the request would end another message of the session
            await trio.lowlevel.checkpoint()
            return
        state.turn.cancelling = True
        await self.cancel()

    async def cancel(self) -> CancelOutcome:
        """Ask the server to cancel the turn, and return the outcome; never raises an error."""
        options = RequestOptions(retries=RetryConfig(strategy="none"))
        try:
            await self._services.messages.cancel_processing(id=self._session_id, options=options)
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
        if state is not None and permission_id in state.permissions:
            state.permissions[permission_id] = False

    async def respond(self, notification_id: str, response_type: str, value: str | None) -> None:
        """Answer a notification."""
        await self._services.notifications.respond(
            id=notification_id,
            type=cast("NotificationAnswer", response_type),  # the server's own word
            value=value,
        )

    def warn_unanswered(self, request: ev.PermissionEvent) -> bool:
        """Warn about a request that its message drops, unless there is a subscriber."""
        unseen = not self._dispatcher.subscribers
        if unseen:
            warn_unanswered(request, self._session_id)
        return unseen

    async def _is_own(self, request: ev.PermissionEvent, state: MessageState) -> bool:
        """Return whether a request is that of a message where events do not show it.

        Pipeline servers send it on every stream of the session, blocking ones do not show whose
        events are whose, and no event names a turn that began on an earlier stream. The stored
        messages show whether another turn runs; where they cannot be read, the message must have
        called the tool, or one that starts a sub-agent. Servers that name messages store them:
        there, nothing else shows it.
        """
        reading = await self._stored.read(state.turn, self._dispatcher.router)
        if reading.verdict is not None or state.turn.bound:
            return reading.verdict is not None and reading.alone and not state.turn.overlap
        names = {request.tool_name.lower(), *_SUB_AGENT_TOOLS}
        return any(name.lower() in names for name in state.builder.tools)

    async def ask_policy(
        self,
        policy: Callable[[ev.PermissionEvent], object],
        request: ev.PermissionEvent,
        state: MessageState,
    ) -> None:
        """Ask a policy about a permission request, and answer the request.

        It is not asked where the request may be that of another client's message.
        """

        async def answer(granted: bool) -> None:
            await self.decide(request.permission_id, grant=granted)

        unended = trio.current_time() < self._stored.history.unended_until
        seen_alone = state.recovery.seen_alone and not unended
        if not (seen_alone or await self._is_own(request, state)):
            log_foreign_permission(self._session_id)
            state.permissions[request.permission_id] = False
            return  # noqa: ASYNC910 - the rows were read
        await answer_permission(
            state, partial(policy, request), answer, ReconnectSchedule(self._reconnect)
        )
