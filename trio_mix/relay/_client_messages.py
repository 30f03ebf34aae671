"""`RelayMessage`: a message that was sent by a `RelayClient`, with its events and its reply."""

from __future__ import annotations

from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias, TypeGuard, final, get_args
from uuid import uuid4

import trio

from trio_mix import events as ev
from trio_mix._public import public
from trio_mix._session._policies import checked_grant, checked_response
from trio_mix._session._questions import Policies, Question, Questions
from trio_mix._session._text_deltas import TextDeltas
from trio_mix._session._warnings import warn_unanswered
from trio_mix._usage import AsyncScope, call
from trio_mix.errors import StreamError, UsageError, clone_error
from trio_mix.models import NotificationAnswer
from trio_mix.relay._client_sessions import TurnFollower
from trio_mix.relay._client_subscription import EventReader
from trio_mix.relay._client_turn import ClientTurn
from trio_mix.relay._errors import CommandRefused, RelayError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from types import TracebackType

    from trio_mix._reply import Reply
    from trio_mix.events import Event
    from trio_mix.relay._client_calls import Call
    from trio_mix.relay._client_link import RelayLink

RelayPermissionPolicy: TypeAlias = (
    "Callable[[ev.PermissionEvent, RelayMessage], bool | Awaitable[bool]]"
)
"""Returns whether a permission request of a message is granted: only True grants it."""

RelayNotificationPolicy: TypeAlias = (
    "Callable[[ev.NotificationEvent, RelayMessage], str | Awaitable[str | None] | None]"
)
"""Returns the response to a notification of a message: a text, a choice, or None to acknowledge."""

_ANSWERED_BEFORE: Final = 404


@public("trio_mix.relay")
@final
class RelayMessage(AsyncScope):
    """A message, its events and its reply. Returned by `RelayClient.send`.

    Use it as an async context manager, and iterate it, as a `trio_mix.Message`. Entering sends the
    message; the relay runs it once, however often the connection is lost. Leaving the scope before
    the turn is over asks the relay to cancel it.
    """

    _entered_as = "async with client.send(...) as message"

    def __init__(
        self,
        link: RelayLink,
        session_id: str,
        text: str,
        body: Mapping[str, object],
        key: str | None,
        *,
        max_size: int,
        cleanup_timeout: float,
        policies: Policies,
    ) -> None:
        self._link = link
        self._text = text
        self._body = body
        self._key = key or uuid4().hex
        self._resumed = key is not None
        self._cleanup_timeout = cleanup_timeout
        self._follower = TurnFollower(max_size=max_size)
        self._reader = EventReader(link, session_id, self._follower)
        self._turn = ClientTurn(session_id)
        self._questions = Questions(policies.of(self))
        self._follower.on_over = self._questions.end
        self._warned: set[type[Question]] = set()
        self._question: Question | None = None
        self._asking = False

    def __repr__(self) -> str:
        state = "finished" if self.finished else "running" if self._used else "not sent"
        return f"<trio_mix.relay.RelayMessage on session {self.session_id!r} ({state})>"

    @property
    def session_id(self) -> str:
        """The id of the session."""
        return self._reader.session_id

    @property
    def text(self) -> str:
        """The text of the message."""
        return self._text

    @property
    def key(self) -> str:
        """The idempotency key: another process can pass it to `RelayClient.send` to resume."""
        return self._key

    @property
    def turn_id(self) -> str | None:
        """The id of the turn; None before the relay has accepted the message."""
        return self._follower.turn_id

    @property
    def finished(self) -> bool:
        """Whether the turn is over, and its end was taken: with a reply or an error."""
        return self._turn.finished

    @property
    def reply(self) -> Reply:
        """The reply, once the turn is over.

        Raises:
          MessageNotFinished: the turn is still running; iterate to the end, or `wait`.
          MessageError: the turn failed (`AgentError`, `MessageInterrupted`, …).
        """
        return self._turn.reply

    @property
    def partial_reply(self) -> Reply:
        """The part of the reply that was taken so far."""
        return self._turn.partial

    async def __aenter__(self) -> Self:
        """Send the message, and return when the relay has accepted it.

        Raises:
          MessageRejected: the relay or the server refused it.
          SessionNotFound: the relay does not know the session, or the token does not cover it.
          StreamError, RelayError: the client has failed, or was closed.
          UsageError: the message was entered before.

        A checkpoint. If it is cancelled before the message was sent, nothing is sent; if later, the
        relay is asked to cancel the turn.
        """
        self._enter(self.session_id)
        await self._reader.open()
        try:
            self._accepted(await self._send())
        except BaseException:
            self._reader.close()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Leave the scope; if the turn is not over, ask the relay to cancel it.

        A checkpoint, shielded from cancellation for at most ``cleanup_timeout`` seconds.
        """
        self._left = True
        self._reader.close()
        if not self.finished:
            self._turn.leave()
            with trio.move_on_after(self._cleanup_timeout, shield=True):
                await self._cancel()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def __aiter__(self) -> Self:
        """Iterate the message's events; see `__anext__`."""
        return self

    async def __anext__(self) -> Event:
        """Return the next event of the turn.

        A permission request and a notification are answered first by ``on_permission`` and
        ``on_notification`` of `RelayClient.send`, if these were passed; a function that is running
        when the turn ends is cancelled.

        Raises:
          Exception: what ``on_permission`` or ``on_notification`` raised; the permission is denied.
          CommandRefused: the relay refused the answer of such a function, for example because the
            token lacks the verb; one that comes too late is dropped.
          AgentError: the agent reported an error (after its ``error`` event was returned).
          MessageInterrupted: whether the message ran cannot be known, or it was cancelled.
          SessionNotFound: the session was deleted.
          StreamError, RelayError: the client has failed, or was closed.
          trio.BusyResourceError: another task is iterating the message.

        A checkpoint. If it is cancelled, no event is lost; a question that was not answered is put
        to its policy again.
        """
        self._check_inside(self.session_id)
        while not self.finished:
            if self._question is not None:
                return await self._answer(self._question)
            if not self._turn.end:
                event = self._turn.take(await self._reader.next())
                if self._is_for_policy(event):
                    self._question = event
                elif event is not None:
                    return event
            elif not self._turn.finish():  # ask for what the relay has stored
                answer = await self._link.calls.wait(self._start())
                self._turn.settle(answer.get("turn"))
        await trio.lowlevel.checkpoint()
        if self._turn.failure is not None:
            raise clone_error(self._turn.failure) from self._turn.failure.__cause__
        raise StopAsyncIteration

    def text_deltas(self) -> TextDeltas:
        """Return an iterator over the top-level text, in pieces as it arrives.

        The joined pieces are equal to ``reply.text``. Iterate either this or the message, not both.
        """
        return TextDeltas(self._next_event, self._turn.text_after)

    async def wait(self) -> Reply:
        """Iterate the message to its end, drop its events, and return the reply.

        A permission request or a notification that no function answers is logged as a warning on
        ``trio_mix``, unless the client follows the session elsewhere, too.

        Raises what iterating and `reply` raise. A checkpoint.
        """
        async for event in self:
            self._dropped(event)
        return self.reply

    async def cancel(self) -> None:
        """Ask the relay to cancel the turn; its remaining events and its end still arrive.

        Raises:
          StreamError, RelayError: the client has failed, or was closed.

        A checkpoint.
        """
        await self._cancel()

    async def grant(self, request: ev.PermissionEvent) -> None:
        """Grant a permission request.

        Raises:
          CommandRefused: another client has denied it, or the relay refused the answer.
        """
        await self._decide(request, grant=True)

    async def deny(self, request: ev.PermissionEvent) -> None:
        """Deny a permission request.

        Raises:
          CommandRefused: another client has granted it, or the relay refused the answer.
        """
        await self._decide(request, grant=False)

    async def respond(self, notification: ev.NotificationEvent, value: str | None = None) -> None:
        """Respond to a notification according to its type.

        Args:
          notification: the event.
          value: the text, or the choice; None to acknowledge it.

        Raises:
          CommandRefused: the relay or the server refused the response, for example because the
            notification was answered before.
          UsageError: the type of response that the notification asks for is unknown.
        """
        kind = notification.response_type
        if kind not in get_args(NotificationAnswer):
            raise UsageError(
                f"The notification {notification.notification_id!r} asks for a response of the"
                f" unknown type {kind!r}: it cannot be answered through a relay."
            )
        fields = {"sessionId": self.session_id, "notificationId": notification.notification_id}
        command = {"type": "respond", **fields, "response": kind, "value": value}
        await self._link.calls.carry_out(command)

    async def _next_event(self) -> Event:
        """Return the next event for an iterator that does not return questions."""
        event = await self.__anext__()
        self._dropped(event)
        return event

    def _dropped(self, event: Event) -> None:
        """Warn, once for each kind, about a question that nothing in this client answers."""
        if not isinstance(event, ev.PermissionEvent | ev.NotificationEvent):
            return
        kind = type(event)
        seen = kind in self._questions.policies or self._link.followed(self.session_id) > 1
        if not seen and kind not in self._warned:
            self._warned.add(kind)
            warn_unanswered(event, self.session_id)

    def _is_for_policy(self, event: Event | None) -> TypeGuard[Question]:
        """Return whether an event is a question that a policy has not seen and can answer."""
        match event:
            case ev.PermissionEvent():
                known = True
            case ev.NotificationEvent():
                known = event.response_type in get_args(NotificationAnswer)
            case _:
                return False
        return known and self._questions.has_policy(event) and self._questions.add(event)

    async def _answer(self, question: Question) -> Event:
        """Answer a question by its policy, unless the turn is over; return the question."""
        if self._asking:
            await trio.lowlevel.checkpoint()
            raise trio.BusyResourceError("another task is iterating this")
        self._asking = True
        scope = trio.CancelScope()
        self._questions.running.add(scope)
        try:
            with scope:
                if self._follower.over:
                    self._questions.end()
                await trio.lowlevel.checkpoint()
                await self._ask(question)
        except Exception:
            self._settled(question)
            raise
        finally:
            self._asking = False
            self._questions.running.discard(scope)
        self._settled(question)
        return question

    def _settled(self, question: Question) -> None:
        self._question = None
        self._questions.answered(question)

    async def _ask(self, question: Question) -> None:
        """Ask the policy, and send its answer; a failure of the policy denies a permission."""
        try:
            result = await call(self._questions.policies[type(question)], question)
            if isinstance(question, ev.PermissionEvent):
                sending = partial(self._decide, question, grant=checked_grant(result))
            else:
                value = checked_response(result, question).value
                sending = partial(self.respond, question, value)
        except Exception:
            if isinstance(question, ev.PermissionEvent):
                with suppress(StreamError, RelayError):  # the policy's error is raised
                    await self._decide(question, grant=False)
            raise
        try:
            await sending()
        except CommandRefused as refused:
            if refused.status_code != _ANSWERED_BEFORE:
                raise

    async def _decide(self, request: ev.PermissionEvent, *, grant: bool) -> None:
        fields = {"sessionId": self.session_id, "permissionId": request.permission_id}
        await self._link.calls.carry_out({"type": "decide", **fields, "grant": grant})

    async def _cancel(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.turn_id is not None:
            await self._link.calls.carry_out({"type": "cancel", "turnId": self.turn_id})

    # -- sending --------------------------------------------------------------------------------

    async def _send(self) -> Mapping[str, Any]:
        """Send the message and return the answer; cancel the turn if this is cancelled."""
        call = self._start()
        try:
            return await self._link.calls.wait(call)
        except trio.Cancelled:
            if call.posted:
                with trio.move_on_after(self._cleanup_timeout, shield=True):
                    await self._cancel_posted(call)
            raise

    def _start(self) -> Call:
        fields = {"type": "send", "sessionId": self.session_id, "body": self._body}
        return self._link.calls.start(self._key, fields)

    async def _cancel_posted(self, posted: Call) -> None:
        """Cancel the turn of a message whose answer was not awaited."""
        await trio.lowlevel.checkpoint()
        answer = posted.answer
        if answer is None:  # ask for it: nothing is run twice with one key
            answer = await self._link.calls.wait(self._start())
        if answer["type"] == "accepted":
            self._follower.name(answer["turnId"])
            await self._cancel()

    def _accepted(self, answer: Mapping[str, Any]) -> None:
        """Note the answer to the message; raises the error of a refusal."""
        if answer["type"] == "refused":
            raise self._turn.refusal(answer, self._link.shown)
        self._follower.name(answer["turnId"])
        if self._resumed and answer.get("repeated"):
            self._turn.miss()
            if "turn" in answer:
                self._turn.settle(answer["turn"])
