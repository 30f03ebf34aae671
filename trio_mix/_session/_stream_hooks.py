"""Call the hooks of a session stream and of its messages.

1. The stream's tasks only queue a call here, without a checkpoint. One task of the stream's
   nursery calls the hooks, one after the other, in that order.
2. That task is shielded, because the end of the stream is reported too. From `close` on it has a
   deadline; after the deadline, hooks are still called but cancelled at their first checkpoint.
3. The queue is bounded. While a hook hangs, the newest calls are dropped, which is logged; the end
   of the stream is never dropped.
4. The hooks of a message are called in its sender's task, once for its start and once for its end.
"""

from __future__ import annotations

import math
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import trio

from trio_mix._http import ResponseStream, sanitize_url
from trio_mix._rest._request_hooks import call_each, call_hook, request_hooks
from trio_mix._rest._retry import Vetoed
from trio_mix._session._message_state import MessageState
from trio_mix._terminal_text import get_logger
from trio_mix.errors import MessageError, MessageRejected, RequestInfo
from trio_mix.hooks import (
    MessageFinishedContext,
    MessageStartedContext,
    StreamClosedContext,
    StreamLostContext,
    StreamOpenedContext,
    StreamRetryingContext,
)
from trio_mix.sse._connect import connect

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from trio_mix._session._send_api import MessageRequest
    from trio_mix.events import Event
    from trio_mix.hooks import Hooks, Outcome, State
    from trio_mix.sse._connect import Connect, StreamRequest

MAX_QUEUED: Final = 1000

_log = get_logger("trio_mix.hooks")


class StreamHooks:
    """Calls the hooks of one stream; created only if there are any.

    Args:
      hooks: the hooks, in order.
      session_id: the session.
      url: the URL of the stream, without user name and password.
    """

    def __init__(self, hooks: Sequence[Hooks], session_id: str, url: str) -> None:
        self.state: State = {}
        self._hooks = hooks
        self._session_id = session_id
        self._url = sanitize_url(url)
        self._stream_fields: dict[str, Any] = {
            "session_id": session_id,
            "url": self._url,
            "state": self.state,
        }
        self._calls: deque[Callable[[Hooks], Awaitable[None]]] = deque()
        self._dropped = 0
        self._queued = trio.Event()
        self._ended = False
        self._limit = math.inf
        self._running: trio.CancelScope | None = None
        self._began = self._changed = trio.current_time()
        self._connection = 0

    def connector(self) -> Connect:
        """Return the function for one connection attempt, which calls the request hooks."""
        hooks = request_hooks(self._hooks, self.state)
        if hooks is None:
            return connect
        info = RequestInfo("GET", self._url, "streaming.stream_events")
        attempts = 0

        async def connect_with_hooks(
            request: StreamRequest, last_event_id: Callable[[], str]
        ) -> ResponseStream:
            nonlocal attempts
            attempts += 1
            try:
                response = await hooks.around(
                    info,
                    attempts,
                    lambda added: connect(request, last_event_id, added),
                    ResponseStream.aclose,
                )
            except Vetoed as vetoed:
                veto = vetoed.veto
            else:
                attempts = 0
                return response
            raise veto  # here, so that no other exception becomes its context

        return connect_with_hooks

    # -- queueing calls (rule 1) ------------------------------------------------------------

    def opened(self) -> None:
        """Report that the server has sent ``connected``."""
        self._connection += 1
        context = StreamOpenedContext(
            **self._stream_fields, connection=self._connection, elapsed=self._lap()
        )
        self._queue(lambda hooks: call_hook(hooks.stream_opened, context))

    def lost(self, reason: str, *, planned: bool) -> None:
        """Report that a connection was lost."""
        context = StreamLostContext(
            **self._stream_fields, reason=reason, planned=planned, elapsed=self._lap()
        )
        self._queue(lambda hooks: call_hook(hooks.stream_lost, context))

    def retrying(self, delay: float, attempt: int, reason: str) -> None:
        """Report the wait before the next connection attempt."""
        context = StreamRetryingContext(
            **self._stream_fields, attempt=attempt, delay=delay, reason=reason
        )
        self._queue(lambda hooks: call_hook(hooks.stream_retrying, context))

    def ended(self, error: BaseException | None) -> None:
        """Report the end of the stream; nothing is reported after it."""
        if self._ended:
            return
        elapsed = trio.current_time() - self._began
        context = StreamClosedContext(**self._stream_fields, error=error, elapsed=elapsed)
        self._calls.append(lambda hooks: call_hook(hooks.stream_closed, context))
        self._ended = True
        self._queued.set()

    def close(self, timeout: float) -> None:
        """Give the remaining calls of hooks ``timeout`` seconds (rule 2)."""
        self._limit = trio.current_time() + timeout
        if self._running is not None:
            self._running.deadline = self._limit

    def _lap(self) -> float:
        before, self._changed = self._changed, trio.current_time()
        return self._changed - before

    def _queue(self, call: Callable[[Hooks], Awaitable[None]]) -> None:
        if self._ended:
            return
        if len(self._calls) < MAX_QUEUED:
            self._calls.append(call)
            self._queued.set()
            return
        if not self._dropped:
            _log.warning("hooks are too slow: reports about %s are dropped", self._url)
        self._dropped += 1

    # -- the task ---------------------------------------------------------------------------

    async def run(self) -> None:
        """Call the hooks until the end of the stream has been reported."""
        while self._calls or not self._ended:
            if not self._calls:
                self._queued = trio.Event()
                with trio.CancelScope(shield=True):  # ended by `ended`, which closing calls
                    await self._queued.wait()
            call = self._calls.popleft()
            for hooks in self._hooks:
                await self._call(partial(call, hooks))
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def _call(self, call: Callable[[], Awaitable[None]]) -> None:
        with trio.CancelScope(shield=True, deadline=self._limit) as scope:
            self._running = scope
            try:
                await call()
            finally:
                self._running = None
        if scope.cancelled_caught:
            _log.warning("a hook of the stream %s took too long, and was cancelled", self._url)

    # -- messages ---------------------------------------------------------------------------

    def message(self, request: MessageRequest) -> MessageHooks | None:
        """Return the hooks of a message, or None if no hook is for messages."""
        hooks = [each for each in self._hooks if each.message_started or each.message_finished]
        return MessageHooks(hooks, self._session_id, request, self.state) if hooks else None


class TimedMessageState(MessageState):
    """A state with the times of its first event and its end, for the hooks of a message."""

    first_event: float | None = None
    ended: float | None = None

    def take(self, events: Sequence[Event], size: int = 0) -> None:
        """Add the next events of the turn."""
        if self.first_event is None:
            self.first_event = trio.current_time()
        super().take(events, size)

    def _end(self, failure: BaseException | None) -> None:
        self.ended = trio.current_time()
        super()._end(failure)


class MessageHooks:
    """Calls the hooks of one message, in its sender's task (rule 4)."""

    def __init__(
        self, hooks: Sequence[Hooks], session_id: str, request: MessageRequest, stream_state: State
    ) -> None:
        self._hooks = hooks
        state: State = {}
        self._message_fields: dict[str, Any] = {
            "session_id": session_id,
            "text": request.text,
            "plan_mode": request.plan_mode,
            "state": state,
            "stream_state": stream_state,
        }
        self._begun: list[Hooks] = []
        self._began = trio.current_time()

    async def enter(self, begin: Callable[[], Awaitable[MessageState]]) -> MessageState:
        """Report the start, and send the message; if that fails, report the end."""
        context = MessageStartedContext(**self._message_fields)
        try:
            for hooks in self._hooks:
                self._begun.append(hooks)
                await call_hook(hooks.message_started, context)
            return await begin()
        except BaseException as error:
            if isinstance(error, trio.Cancelled):
                outcome: Outcome = "cancelled"
            else:
                outcome = "rejected" if isinstance(error, MessageRejected) else "failed"
            await self._finished(outcome, error, None)
            raise

    async def leave(self, state: MessageState, error: BaseException | None, *, early: bool) -> None:
        """Report the end.

        Args:
          state: the state of the message.
          error: the exception that leaves the message's scope.
          early: whether the scope is left before the message has ended.
        """
        if not early:
            outcome: Outcome = "complete" if state.failure is None else "failed"
            error = state.failure
        else:
            outcome = "cancelled" if isinstance(error, trio.Cancelled) else "left"
            error = state.failure if error is None else error
        await self._finished(outcome, error, state)

    async def _finished(
        self, outcome: Outcome, error: BaseException | None, state: MessageState | None
    ) -> None:
        now = trio.current_time()
        timed = state if isinstance(state, TimedMessageState) else None
        partial_reply = error.partial if isinstance(error, MessageError) else None
        reply = partial_reply if state is None else state.partial()
        first = None if timed is None else timed.first_event
        context = MessageFinishedContext(
            **self._message_fields,
            outcome=outcome,
            reply=reply,
            error=error,
            elapsed=(now if timed is None or timed.ended is None else timed.ended) - self._began,
            waited=None if timed is None else timed.recovery.began - self._began,
            first_event=None if timed is None or first is None else first - timed.recovery.began,
            recovered=reply is not None and reply.recovered,
            resent=reply is not None and reply.resent,
        )
        await call_each((each.message_finished, context) for each in self._begun)
