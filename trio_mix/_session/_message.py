"""`Message`: a sent message, with its events and its reply.

Rule 1  Entering the scope sends the message; leaving it early cancels the server's work.
Rule 2  Iteration ends with the turn, and raises the error with which the turn failed.
Rule 3  The joined ``text_deltas`` are equal to ``reply.text``, whatever the server sends.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Self, TypeAlias, final

from trio_mix import events as ev
from trio_mix._public import public
from trio_mix._session._begin import begin_message, leave_message, save_ticket
from trio_mix._session._message_errors import left_early, not_finished
from trio_mix._session._resume import Resumption
from trio_mix._session._text_deltas import TextDeltas
from trio_mix._session._tickets import ticket_of_running
from trio_mix._session._tool_updates import ToolCallUpdates
from trio_mix._usage import AsyncScope
from trio_mix.errors import (
    clone_error,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from trio_mix._reply import Reply
    from trio_mix._session._controller import StreamController
    from trio_mix._session._message_state import MessageState
    from trio_mix._session._questions import Policies, Question
    from trio_mix._session._send_api import MessageRequest
    from trio_mix._session._stream_hooks import MessageHooks
    from trio_mix._ticket import Ticket
    from trio_mix.events import Event

PermissionPolicy: TypeAlias = "Callable[[ev.PermissionEvent, Message], bool | Awaitable[bool]]"
"""Returns whether a permission request of a message is granted: only True grants it."""

NotificationPolicy: TypeAlias = (
    "Callable[[ev.NotificationEvent, Message], str | Awaitable[str | None] | None]"
)
"""Returns the response to a notification of a message: a text, a choice, or None to acknowledge."""


@public("trio_mix")
@final
class Message(AsyncScope):
    """A message, its events and its reply.

    Returned by `SessionStream.send`, `resume` and `attach`; use it as an async context manager, and
    iterate it::

        async with session.send("List the files here") as message:
            async for event in message:
                ...
            reply = message.reply

    Entering waits for the earlier messages of the stream, sends the message, and returns when the
    server has accepted it or its first event has arrived. Leaving the scope before the turn is over
    asks the server to cancel it, shielded from cancellation, for at most ``cleanup_timeout``
    seconds; a message of `SessionStream.attach` is not cancelled.
    """

    _entered_as = "async with session.send(...) as message"

    def __init__(
        self,
        controller: StreamController,
        request: MessageRequest,
        policies: Policies,
        resumption: Resumption | None = None,
        *,
        attached: bool = False,
    ) -> None:
        self._controller = controller
        self._attached = attached
        self._request = request
        self._resumption = resumption
        self._policies = policies.of(self)
        self._state: MessageState | None = None
        self._hooks: MessageHooks | None = None
        self._warned: set[type[Question]] = set()

    def __repr__(self) -> str:
        if self._state is None:
            state = "not sent"
        elif self._state.failure is not None:
            state = f"failed: {type(self._state.failure).__name__}"
        else:
            state = "finished" if self._state.over.is_set() else "running"
        return f"<trio_mix.Message on session {self.session_id!r} ({state})>"

    @property
    def text(self) -> str:
        """The text of the message."""
        return self._request.text

    @property
    def session_id(self) -> str:
        """The id of the session."""
        return self._controller.session_id

    @property
    def ticket(self) -> Ticket | None:
        """The newest state of the message's ticket; None for a message of `SessionStream.send`."""
        return None if self._resumption is None else self._resumption.ticket

    @property
    def finished(self) -> bool:
        """Whether the turn is over, with a reply or an error."""
        return self._state is not None and self._state.over.is_set()

    @property
    def reply(self) -> Reply:
        """The reply, once the turn is over.

        Raises:
          MessageNotFinished: the turn is still running; iterate to the end, or `wait`.
          MessageError: the turn failed (`AgentError`, `MessageInterrupted`, …).
        """
        state = self._opened()
        if not state.over.is_set():
            raise not_finished(self.session_id, state.partial())
        if state.failure is not None:
            raise clone_error(state.failure) from state.failure.__cause__
        return state.builder.build()

    @property
    def partial_reply(self) -> Reply:
        """The part of the reply that was received so far."""
        return self._opened().partial()

    async def __aenter__(self) -> Self:
        """Send the message.

        Raises:
          MessageRejected: the server refused it.
          StreamClosed, ReconnectFailed, SessionNotFound: the stream has ended.
          ConnectionFailed: the server could not be reached; the message was not sent.

        A checkpoint. If it is cancelled before the first byte was sent, nothing is sent; if later,
        the server is asked to cancel the message.
        """
        self._enter(self._controller.session_id)
        if self._attached:
            ticket = await ticket_of_running(self._controller)
            self._resumption = Resumption(ticket, None, self._controller.prepared, resend=False)
            self._request = self._resumption.request
        elif self._controller.hooks is not None:
            self._hooks = self._controller.hooks.message(self._request)
        if self._resumption is not None:
            self._resumption.begin()
        controller, resumption = self._controller, self._resumption
        begin = partial(begin_message, controller, self._request, self, self._policies, resumption)
        try:
            self._state = await (begin() if self._hooks is None else self._hooks.enter(begin))
        except BaseException:
            if self._resumption is not None:
                self._resumption.end()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the scope; if the turn is not over, ask the server to cancel it (rule 1).

        A checkpoint, shielded from cancellation for at most ``cleanup_timeout`` seconds, and for
        as many again while a ticket is saved.
        """
        state = self._opened()
        self._left = True
        early = not state.over.is_set()
        try:
            await leave_message(self._controller, state, cancel=not self._attached)
        finally:
            if not state.over.is_set():
                cancelled_by = None if self._attached else "server"
                state.fail(left_early(self.session_id, state.partial(), cancelled_by=cancelled_by))
            state.buffer.discard()
            if self._resumption is not None:
                await save_ticket(state, self._resumption)
                self._resumption.end()
            if self._hooks is not None:
                await self._hooks.leave(state, exc, early=early)

    def __aiter__(self) -> Self:
        """Iterate the message's events; see `__anext__`."""
        return self

    def __anext__(self) -> Awaitable[Event]:
        """Return the next event of the turn. The terminal event is the last one.

        Raises:
          AgentError: the agent reported an error (after its ``error`` event was returned).
          MessageInterrupted: the turn was interrupted and could not be recovered.
          ConsumerTooSlow: the message was not iterated, and its buffer is full.
          StreamClosed, ReconnectFailed, SessionNotFound, ProtocolError: the stream ended.
          trio.BusyResourceError: another task is iterating the message.

        A checkpoint. If it is cancelled, no event is lost.
        """
        state = self._state or self._opened()  # this runs once per event: avoid the call
        if self._left:
            raise self._outside(self.session_id)
        return state.buffer.__anext__()

    def text_deltas(self) -> TextDeltas:
        """Return an iterator over the top-level text, in pieces as it arrives.

        The joined pieces are equal to ``reply.text``, also if the server sends no deltas, or its
        ``complete`` overtakes the last of them. Iterate either this or the message, not both.
        Permission requests and notifications are dropped as in `wait`.
        """
        return TextDeltas(self._next_event, lambda count: self._opened().builder.text[count:])

    def tool_updates(self) -> ToolCallUpdates:
        """Return an iterator over the tool calls of the turn, as they begin and finish.

        It returns each `ToolCall` twice, the same for servers of every generation: when its
        parameters are complete, and again when the tool has finished. What the events of a
        generation do not show is returned when the turn has ended. The calls of sub-agents have a
        ``parent_tool_call_id``. Iterate either this or the message, not both. Permission requests
        and notifications are dropped as in `wait`.
        """
        return ToolCallUpdates(self._next_event, lambda: self.reply)

    async def wait(self) -> Reply:
        """Iterate the message to its end, drop its events, and return the reply.

        Without ``on_permission``, a permission request among them is not answered, and without
        ``on_notification`` a notification: a warning is logged on ``trio_mix``.

        Raises what iterating and `reply` raise. A checkpoint.
        """
        async for event in self:
            if isinstance(event, ev.PermissionEvent | ev.NotificationEvent):
                self._dropped(event)
        return self.reply

    async def cancel(self) -> None:
        """Ask the server to cancel the message; its remaining events and its end still arrive.

        If the server has no such operation, no error is raised. A checkpoint. (OpenAPI:
        ``cancelSessionProcessing``)
        """
        await self._controller.actions.cancel_message(self._opened())

    async def grant(self, request: ev.PermissionEvent) -> None:
        """Grant a permission request. (OpenAPI: ``grantPermission``).

        Raises:
          ErrorResponse: the server does not know the request (any more).
        """
        await self._controller.actions.decide(request.permission_id, grant=True)

    async def deny(self, request: ev.PermissionEvent) -> None:
        """Deny a permission request. (OpenAPI: ``denyPermission``).

        Raises:
          ErrorResponse: the server does not know the request (any more).
        """
        await self._controller.actions.decide(request.permission_id, grant=False)

    async def respond(self, notification: ev.NotificationEvent, value: str | None = None) -> None:
        """Respond to a notification according to its type. (OpenAPI: ``respondToNotification``).

        Args:
          notification: the event.
          value: the text, or the choice; None to acknowledge it.

        Raises:
          ErrorResponse: the server does not know the notification (any more).
        """
        await self._controller.actions.respond(
            notification.notification_id, notification.response_type, value
        )

    async def _next_event(self) -> Event:
        """Return the next event for an iterator that does not return questions."""
        event = await self.__anext__()
        if isinstance(event, ev.PermissionEvent | ev.NotificationEvent):
            self._dropped(event)
        return event

    def _dropped(self, question: Question) -> None:
        """Warn, once per message and kind, about a question that the caller does not see."""
        kind = type(question)
        if kind in self._policies or kind in self._warned:
            return
        if self._controller.actions.warn_unanswered(question):
            self._warned.add(kind)

    def _opened(self) -> MessageState:
        if self._state is None:
            raise self._outside(self.session_id)
        return self._state
