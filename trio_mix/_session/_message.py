"""One sent message, as its sender holds it: a scope, a stream of events, a reply.

What it knows: its state, and whom to ask for what needs I/O. What it must never know: the wire
format, the nursery that the work runs in, how events found their way here.

Rule 1  The scope is the message: entering it sends, leaving it early ends the server's work.
Rule 2  Iteration ends with the turn, and raises what the turn failed with.
Rule 3  ``text_deltas`` joined is ``reply.text``, whatever the server did.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, TypeAlias, final

from trio_mix import events as ev
from trio_mix._public import public
from trio_mix.errors import (
    MessageInterrupted,
    MessageNotFinished,
    StreamClosed,
    UsageError,
    clone_error,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType

    from trio_mix._reply import Reply
    from trio_mix._session._controller import StreamController
    from trio_mix._session._message_state import MessageState
    from trio_mix._session._request import MessageRequest
    from trio_mix._session._stream_hooks import MessageHooks
    from trio_mix.events import Event

__all__ = ["Message", "PermissionPolicy", "TextDeltas"]

PermissionPolicy: TypeAlias = "Callable[[ev.PermissionEvent, Message], bool | Awaitable[bool]]"
"""Returns whether a permission request of a message is granted: only True grants it."""


@public("trio_mix")
@final
class Message:
    """One message that was sent, its events and its reply.

    Made by `SessionStream.send`; use it as an async context manager, and iterate it::

        async with stream.send("List the files here") as message:
            async for event in message:
                ...
            reply = message.reply

    Entering waits for the earlier messages of the session, sends, and returns when the server has
    accepted the message or its first event has come. Leaving before the turn is over tells the
    server to cancel it, shielded from cancellation, for at most ``cleanup_timeout`` seconds.
    """

    def __init__(
        self,
        controller: StreamController,
        request: MessageRequest,
        on_permission: PermissionPolicy | None,
    ) -> None:
        self._controller = controller
        self._request = request
        self._on_permission = on_permission
        self._state: MessageState | None = None
        self._hooks: MessageHooks | None = None
        self._used = False
        self._left = False
        self._warned = False

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
        """The text that was sent."""
        return self._request.text

    @property
    def session_id(self) -> str:
        """The session that it was sent to."""
        return self._controller.session_id

    @property
    def finished(self) -> bool:
        """Whether its turn is over, with a reply or a failure."""
        return self._state is not None and self._state.over.is_set()

    @property
    def reply(self) -> Reply:
        """The final result, once the turn is over.

        Raises:
          MessageNotFinished: the turn is still running; iterate to the end, or `wait`.
          MessageError: what the turn failed with (`AgentError`, `MessageInterrupted`, …).
        """
        state = self._opened()
        if not state.over.is_set():
            raise MessageNotFinished(
                f"The message on session {self.session_id} is still running. Iterate it to its "
                "end, or `await message.wait()`, before asking for its reply.",
                session_id=self.session_id,
                partial=state.partial(),
            )
        if state.failure is not None:
            raise clone_error(state.failure) from state.failure.__cause__
        return state.builder.build()

    @property
    def partial_reply(self) -> Reply:
        """What has come of the reply so far."""
        return self._opened().partial()

    async def __aenter__(self) -> Self:
        """Send the message.

        Raises:
          MessageRejected: the server refused it.
          StreamClosed, ReconnectFailed, SessionNotFound: the stream is over.
          ConnectionFailed: the server could not be reached to send it; nothing was sent.

        A checkpoint. Cancelled before anything was written, nothing is sent; later, the server is
        told to cancel.
        """
        if self._used:
            raise UsageError(
                f"The message to session {self.session_id!r} can be entered once: call "
                "stream.send() again for another one."
            )
        self._used = True
        self._hooks = self._controller.message_hooks(self._request)
        if self._hooks is None:
            self._state = await self._begin()
        else:
            self._state = await self._hooks.enter(self._begin)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the scope; end the server's work if it is not over (rule 1).

        A checkpoint. Shielded, for at most ``cleanup_timeout`` seconds.
        """
        state = self._opened()
        self._left = True
        early = not state.over.is_set()
        try:
            await self._controller.leave(state)
        finally:
            if not state.over.is_set():
                state.fail(
                    MessageInterrupted(
                        f"The message on session {self.session_id} was left before its turn was "
                        "over, and the server was told to cancel it. Stay in the block until the "
                        "end to get the whole reply. What had come is in .partial.",
                        session_id=self.session_id,
                        partial=state.partial(),
                        outcome="cancelled",
                    )
                )
            state.buffer.discard()
            if self._hooks is not None:
                await self._hooks.leave(state, exc, early=early)

    def __aiter__(self) -> Self:
        """Iterate the message's events; see `__anext__`."""
        return self

    def __anext__(self) -> Awaitable[Event]:
        """Return the turn's next event, the terminal one included, then end.

        Raises:
          AgentError: the agent gave up (after its ``error`` event was handed out).
          MessageInterrupted: the turn was cut and could not be completed.
          ConsumerTooSlow: too much stood waiting.
          StreamClosed, ReconnectFailed, SessionNotFound, ProtocolError: the stream ended.
          trio.BusyResourceError: another task is iterating it.

        A checkpoint. A cancelled wait loses nothing.
        """
        state = self._state or self._opened()  # no call where it can be had without
        if self._left:
            raise StreamClosed(
                f"The message's scope was left, on session {self.session_id}. Iterate it inside"
                " `async with stream.send(...)`.",
                session_id=self.session_id,
            )
        return state.buffer.__anext__()

    def text_deltas(self) -> TextDeltas:
        """Iterate only the top-level text, in pieces as it comes.

        The pieces joined are ``reply.text`` exactly, also where the server sends no deltas, or its
        ``complete`` overtakes the last of them. Iterate either this or the message, not both.
        A permission request is not seen here: see `wait`.
        """
        return TextDeltas(self)

    async def wait(self) -> Reply:
        """Read the message to its end, dropping its events, and return the reply.

        A permission request among them gets no answer without ``on_permission``: the logger
        ``trio_mix`` has a warning then.

        Raises what iterating and `reply` raise. A checkpoint.
        """
        async for event in self:
            if isinstance(event, ev.PermissionEvent):
                self._dropped(event)
        return self.reply

    async def cancel(self) -> None:
        """Tell the server to cancel the message; its events, and its end, still come.

        A server without a cancel operation is no error. A checkpoint. (OpenAPI:
        ``cancelSessionProcessing``)
        """
        await self._controller.cancel_message(self._opened())

    async def grant(self, request: ev.PermissionEvent) -> None:
        """Allow what a permission request asks for. (OpenAPI: ``grantPermission``).

        Raises:
          ErrorResponse: the server does not know the request (any more).
        """
        await self._controller.decide(request.permission_id, grant=True)

    async def deny(self, request: ev.PermissionEvent) -> None:
        """Refuse what a permission request asks for. (OpenAPI: ``denyPermission``).

        Raises:
          ErrorResponse: the server does not know the request (any more).
        """
        await self._controller.decide(request.permission_id, grant=False)

    async def respond(self, notification: ev.NotificationEvent, value: str | None = None) -> None:
        """Answer a notification in the way that it asks for. (OpenAPI: ``respondToNotification``).

        Args:
          notification: the event.
          value: the text, or the choice; None where it only wants to be acknowledged.

        Raises:
          ErrorResponse: the server does not know the notification (any more).
        """
        await self._controller.respond(
            notification.notification_id, notification.response_type, value
        )

    def _dropped(self, request: ev.PermissionEvent) -> None:
        """Note that the caller does not see a request; one word per message is enough."""
        if self._on_permission is None and not self._warned:
            self._warned = self._controller.warn_unanswered(request)

    async def _begin(self) -> MessageState:
        on_permission = self._on_permission
        return await self._controller.begin(
            self._request,
            None if on_permission is None else lambda request: on_permission(request, self),
        )

    def _opened(self) -> MessageState:
        if self._state is None:
            raise UsageError(
                f"The message to session {self.session_id!r} was not sent: use it as `async with"
                " stream.send(...) as message`."
            )
        return self._state


@final
class TextDeltas:
    """Top-level text in pieces: an asynchronous iterator made by `Message.text_deltas`."""

    def __init__(self, message: Message) -> None:
        self._message = message
        self._rest_given = False
        self._given = 0
        self._gap = False

    def __aiter__(self) -> Self:
        """Iterate the pieces."""
        return self

    async def __anext__(self) -> str:
        """Return the next piece; raises what iterating the message raises. A checkpoint."""
        while not self._rest_given:
            try:
                event = await self._message.__anext__()
            except StopAsyncIteration:
                self._rest_given = True
                rest = self._message._opened().builder.text[self._given :]
                if rest:
                    return rest  # noqa: ASYNC910 - the message's end was one
                break
            if isinstance(event, ev.StreamGapEvent):
                # What follows belongs behind what is missing: it comes with the rest.
                self._gap = True
            elif (
                isinstance(event, ev.ContentEvent)
                and event.parent_tool_call_id is None
                and not self._gap
            ):
                self._given += len(event.content)
                return event.content  # noqa: ASYNC910 - the message's event was one
            elif isinstance(event, ev.PermissionEvent):
                self._message._dropped(event)
        raise StopAsyncIteration
