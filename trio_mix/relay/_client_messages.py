"""`RelayMessage`: a message that was sent by a `RelayClient`, with its events and its reply."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, Self, final
from uuid import uuid4

import attrs
import msgspec
import trio

from trio_mix import events as ev
from trio_mix._public import public
from trio_mix._turns._reply_builder import ReplyBuilder
from trio_mix._turns._streamed_text import beyond
from trio_mix._usage import AsyncScope, check_trio
from trio_mix._wire._events import decode_event
from trio_mix.errors import (
    AgentError,
    MessageInterrupted,
    MessageNotFinished,
    MessageRejected,
    SessionNotFound,
    StreamClosed,
    UsageError,
    clone_error,
)
from trio_mix.relay._client_calls import answer_of, carry_out, reply_of
from trio_mix.relay._client_sessions import Missed, TurnFollower
from trio_mix.relay._client_subscription import EventReader, gap_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from types import TracebackType

    from trio_mix._reply import Reply
    from trio_mix.events import Event
    from trio_mix.relay._client_link import Call, RelayLink

__all__ = ["RelayMessage"]

_ENDS: Final = ("done", "unknown", "cancelled")


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
    ) -> None:
        self._link = link
        self._text = text
        self._body = body
        self._key = key or uuid4().hex
        self._resumed = key is not None
        self._cleanup_timeout = cleanup_timeout
        self._follower = TurnFollower(max_size=max_size)
        self._reader = EventReader(link, session_id, self._follower)
        self._builder = ReplyBuilder()
        self._ended_by: ev.ErrorEvent | ev.RateLimitEvent | None = None
        self._completed = False
        self._incomplete = False
        self._end_state = ""
        self._reply: Reply | None = None
        self._failure: Exception | None = None
        self._used = False
        self._left = False

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
        return self._reply is not None or self._failure is not None

    @property
    def reply(self) -> Reply:
        """The reply, once the turn is over.

        Raises:
          MessageNotFinished: the turn is still running; iterate to the end, or `wait`.
          MessageError: the turn failed (`AgentError`, `MessageInterrupted`, …).
        """
        if self._failure is not None:
            raise clone_error(self._failure) from self._failure.__cause__
        if self._reply is None:
            raise MessageNotFinished(
                f"The message on session {self.session_id} is still running. Iterate it to its "
                "end, or `await message.wait()`, before asking for its reply.",
                session_id=self.session_id,
                partial=self.partial_reply,
            )
        return self._reply

    @property
    def partial_reply(self) -> Reply:
        """The part of the reply that was taken so far."""
        return self._builder.build() if self._reply is None else self._reply

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
        if self._used:
            raise UsageError("A message can be entered once: call client.send() again.")
        check_trio()
        self._used = True
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
            self._failure = MessageInterrupted(
                f"The message on session {self.session_id} was left before its turn was over, and"
                " the relay was asked to cancel it. Stay in the block until the end to get the"
                " whole reply. The partial reply is in `.partial`.",
                session_id=self.session_id,
                partial=self._builder.build(),
                outcome="cancelled",
            )
            with trio.move_on_after(self._cleanup_timeout, shield=True):
                await self._cancel()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def __aiter__(self) -> Self:
        """Iterate the message's events; see `__anext__`."""
        return self

    async def __anext__(self) -> Event:
        """Return the next event of the turn.

        Raises:
          AgentError: the agent reported an error (after its ``error`` event was returned).
          MessageInterrupted: whether the message ran cannot be known, or it was cancelled.
          SessionNotFound: the session was deleted.
          StreamError, RelayError: the client has failed, or was closed.
          trio.BusyResourceError: another task is iterating the message.

        A checkpoint. If it is cancelled, no event is lost.
        """
        if not self._used or self._left:
            raise StreamClosed(
                "The message is not open: iterate it inside `async with client.send(...) as"
                " message`.",
                session_id=self.session_id,
            )
        while not self.finished:
            if self._end_state:
                await self._finish(self._end_state)
                continue
            item = await self._reader.next()
            if isinstance(item, Missed):
                self._incomplete = True
                event: Event = gap_of(item)
            else:
                event = decode_event(item)
                if isinstance(event, ev.UnknownEvent) and event.name == "turn":
                    state = msgspec.json.decode(event.data).get("state")
                    self._end_state = state if state in _ENDS else ""
                    continue
            self._feed(event)
            return event
        await trio.lowlevel.checkpoint()
        if self._failure is not None:
            raise clone_error(self._failure) from self._failure.__cause__
        raise StopAsyncIteration

    def text_deltas(self) -> AsyncIterator[str]:
        """Return an iterator over the top-level text, in pieces as it arrives.

        The joined pieces are equal to ``reply.text``. Iterate either this or the message, not both.
        """
        return _TextDeltas(self)

    async def wait(self) -> Reply:
        """Iterate the message to its end, drop its events, and return the reply.

        Raises what iterating and `reply` raise. A checkpoint.
        """
        async for _ in self:
            pass
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

    async def _decide(self, request: ev.PermissionEvent, *, grant: bool) -> None:
        fields = {"sessionId": self.session_id, "permissionId": request.permission_id}
        await carry_out(self._link, {"type": "decide", **fields, "grant": grant})

    async def _cancel(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.turn_id is not None:
            await carry_out(self._link, {"type": "cancel", "turnId": self.turn_id})

    # -- sending --------------------------------------------------------------------------------

    async def _send(self) -> Mapping[str, Any]:
        """Send the message and return the answer; cancel the turn if this is cancelled."""
        call = self._start()
        try:
            return await answer_of(self._link, self._key, call)
        except trio.Cancelled:
            if call.posted:
                with trio.move_on_after(self._cleanup_timeout, shield=True):
                    await self._cancel_posted(call)
            raise

    def _start(self) -> Call:
        fields = {"type": "send", "sessionId": self.session_id, "body": self._body}
        return self._link.start_call(self._key, fields)

    async def _cancel_posted(self, posted: Call) -> None:
        """Cancel the turn of a message whose answer was not awaited."""
        await trio.lowlevel.checkpoint()
        answer = posted.answer
        if answer is None:  # ask for it: nothing is run twice with one key
            answer = await answer_of(self._link, self._key, self._start())
        if answer["type"] == "accepted":
            self._follower.name(answer["turnId"])
            await self._cancel()

    def _accepted(self, answer: Mapping[str, Any]) -> None:
        """Note the answer to the message.

        Raises:
          MessageRejected, SessionNotFound: it was refused.
        """
        if answer["type"] == "refused":
            text = f"The message to session {self.session_id} was refused: {answer['error']}"
            if answer["status"] == 404:
                raise SessionNotFound(text, url=self._link.shown, session_id=self.session_id)
            raise MessageRejected(
                f"{text} (HTTP {answer['status']}). It was not sent to the agent.",
                session_id=self.session_id,
            )
        self._follower.name(answer["turnId"])
        if self._resumed and answer.get("repeated"):
            self._incomplete = True  # an earlier process has seen its first events
            if "turn" in answer:
                self._settle(answer["turn"])

    # -- the end --------------------------------------------------------------------------------

    def _feed(self, event: Event) -> None:
        self._builder.feed([event])
        match event:
            case ev.ErrorEvent() | ev.RateLimitEvent() if event.parent_tool_call_id is None:
                self._ended_by = event
            case ev.CompleteEvent() if event.parent_tool_call_id is None and event.done:
                self._completed = True

    async def _finish(self, state: str) -> None:
        """End with what the events show, else with what the relay has stored."""
        await trio.lowlevel.checkpoint()
        if state != "unknown" and self._ended_by is not None and not self._completed:
            self._failure = self._agent_error(self._ended_by)
        elif state == "done" and self._completed and not self._incomplete:
            self._reply = self._builder.build()
        else:
            answer = await answer_of(self._link, self._key, self._start())
            turn = answer.get("turn")
            self._settle({"outcome": state} if turn is None else turn)

    def _settle(self, turn: Mapping[str, Any]) -> None:
        """End with a turn as the relay has stored it."""
        error = turn.get("error") or ""
        match turn.get("outcome"):
            case "complete" if turn.get("reply") is not None:
                self._reply = reply_of(turn["reply"])
            case "complete":  # the relay does not keep it any more
                received = self._builder.build()
                self._reply = attrs.evolve(received, incomplete=True, doubts=("gap",))
            case "error":
                self._failure = self._agent_error(self._ended_by or ev.ErrorEvent(error=error))
            case "refused":
                self._failure = MessageRejected(
                    f"The message to session {self.session_id} was refused: {error}",
                    session_id=self.session_id,
                )
            case "cancelled":
                self._failure = self._interrupted("was cancelled", error, "cancelled")
            case _:
                why = "was interrupted, and whether it ran cannot be known"
                self._failure = self._interrupted(why, error, "unknown")

    def _interrupted(
        self, what: str, error: str, outcome: Literal["unknown", "cancelled"]
    ) -> MessageInterrupted:
        why = f": {error}" if error else ""
        return MessageInterrupted(
            f"The message on session {self.session_id} {what}{why}. The partial reply is in"
            " `.partial`.",
            session_id=self.session_id,
            partial=self._builder.build(),
            outcome=outcome,
        )

    def _agent_error(self, event: ev.ErrorEvent | ev.RateLimitEvent) -> AgentError:
        kind = f" ({event.type})" if event.type else ""
        return AgentError(
            f"The agent gave up the message on session {self.session_id}: {event.error}{kind}. "
            "Check the server's log, or send the message again. The partial reply is in "
            "`.partial`.",
            event=event,
            session_id=self.session_id,
            partial=self._builder.build(),
        )


@final
class _TextDeltas:
    """An asynchronous iterator over the top-level text of a message."""

    def __init__(self, message: RelayMessage) -> None:
        self._message = message
        self._pieces: list[str] = []
        self._gap = False
        self._ended = False

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> str:
        """Return the next piece; raises what iterating the message raises. A checkpoint."""
        while not self._ended:
            try:
                event = await self._message.__anext__()
            except StopAsyncIteration:
                self._ended = True
                rest = beyond("".join(self._pieces), self._message.reply.text)
                if rest:
                    return rest  # noqa: ASYNC910 - the end of the message was a checkpoint
                break
            if isinstance(event, ev.StreamGapEvent):
                self._gap = True  # what follows belongs after the missing text
            elif (
                isinstance(event, ev.ContentEvent)
                and event.parent_tool_call_id is None
                and not self._gap
            ):
                self._pieces.append(event.content)
                return event.content  # noqa: ASYNC910 - the event was a checkpoint
        raise StopAsyncIteration
