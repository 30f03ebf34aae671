"""The POST of one message: a task in the stream's nursery, beside the reader.

What it knows: what the server's answers and failures mean for the turn. What it must never know:
the wire format, who holds the message, how a turn of unknown outcome is settled.

Rule 1  The POST is made when the stream is connected, and by a task of its own: a blocking server
        answers it only when the turn is over.
Rule 2  It is repeated by itself only when none of it was sent; what may have arrived is settled.
Rule 3  A refusal ends the message. 502 and 504 are no refusal: a proxy lost the answer. Nor is a
        failure of a server that answers when the turn is over, or of a turn whose events came:
        the message has run, or may have.
Rule 4  It is cancelled by whoever leaves the message before it was sent, and by the stream's end.
Rule 5  Once the server has accepted it, the same task looks after the turn until it is over.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

import trio

from trio_mix import errors
from trio_mix._turns._router import Input, Phase
from trio_mix.sse import ReconnectSchedule

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trio_mix._session._dispatcher import EventDispatcher
    from trio_mix._session._message_state import MessageState
    from trio_mix._session._request import MessageRequest
    from trio_mix._session._send_api import SendApi
    from trio_mix._session._send_queue import SendQueue
    from trio_mix.sse import ReconnectPolicy

__all__ = ["ANSWER_GRACE", "SendingHost", "Sendings", "transmit"]

ANSWER_GRACE: Final = 0.5
"""Seconds that the events of an answered turn may still take."""

_EVENTS_LIMIT: Final = 5.0
_LOST_ANSWER: Final = (502, 504)
_FAILED: Final = 500


class Sendings:
    """The scopes of a stream's POSTs, to be cancelled when it ends and not before (rule 4)."""

    def __init__(self) -> None:
        self._scopes: list[trio.CancelScope] = []

    @contextmanager
    def shielded(self) -> Iterator[trio.CancelScope]:
        """Make a scope that only its owner, and `end`, can cancel."""
        with trio.CancelScope(shield=True) as scope:
            self._scopes.append(scope)
            try:
                yield scope
            finally:
                self._scopes.remove(scope)

    def end(self) -> None:
        """Cancel them all: the stream is over."""
        for scope in self._scopes:
            scope.cancel(reason="the stream is over")


class SendingHost(Protocol):
    """What sending needs of the stream."""

    session_id: str
    send_queue: SendQueue
    dispatcher: EventDispatcher
    send_api: SendApi
    reconnect: ReconnectPolicy
    sendings: Sendings

    def settle(self, state: MessageState) -> None:
        """Find out what became of a turn."""

    async def watch(self, state: MessageState) -> None:
        """See a turn that was accepted to its end."""


async def transmit(host: SendingHost, state: MessageState, request: MessageRequest) -> None:
    """Send one message and tell the switchboard what came of it; never raises but Cancelled."""
    schedule = ReconnectSchedule(host.reconnect)
    schedule.begin(trio.current_time())
    # Shielded: what cancels the caller comes here as well, and a POST that is under way has to be
    # over before the server can be told to cancel what it started (rule 4).
    with host.sendings.shielded() as scope:
        state.sending = scope
        try:
            while True:
                await host.send_queue.wait_resumed()
                if state.turn_over.is_set():
                    return
                failure = await _post(host, state, request)
                if failure is None:
                    break
                delay = schedule.lost(trio.current_time())
                if delay is None:
                    host.dispatcher.end_with(state, failure, Input.REFUSED)
                    return
                await trio.sleep(delay)
        except Exception as exc:  # noqa: BLE001 - what a hook or a headers function raised, too
            host.dispatcher.end_with(state, exc, Input.REFUSED)
            return  # noqa: ASYNC910 - a task of its own: nobody awaits it
        if state.turn.phase is Phase.ANSWERED:
            await _await_events(state)
            if not state.turn.over and not request.text.startswith("/"):
                state.cut = True  # what is still under way will not be waited for
            host.dispatcher.step(state, Input.SETTLED)
    if state.turn.phase is Phase.RUNNING and not state.settling:
        await host.watch(state)


async def _await_events(state: MessageState) -> None:  # noqa: ASYNC910 - it has waited, or was timed out
    """Wait for what is still to come of an answered turn, while it comes."""
    seen = -1
    with trio.move_on_after(_EVENTS_LIMIT):  # noqa: ASYNC912 - it waits at least once
        while seen != state.turn.events:
            seen = state.turn.events
            with trio.move_on_after(ANSWER_GRACE):
                await state.turn_over.wait()
                return


async def _post(
    host: SendingHost, state: MessageState, request: MessageRequest
) -> errors.TransportError | None:
    """Send once; return the failure only where nothing was sent (rule 2)."""
    state.unanswered = True
    try:
        posted = await host.send_api.post(
            host.session_id, request, lambda: _sending(host.dispatcher, state)
        )
    except errors.TransportError as exc:
        if not exc.sent:
            state.posted = False
            host.dispatcher.step(state, Input.RESEND)
            return exc  # noqa: ASYNC910 - the request was one
        state.unanswered = False
        state.under_way = isinstance(exc, errors.RequestTimeout)
        if state.turn.phase is not Phase.RUNNING or state.turn.answer_due:
            host.settle(state)
        return None  # noqa: ASYNC910 - the request was one
    except errors.MixError as exc:
        state.unanswered = False
        if state.turn.ended_by is not None:
            host.dispatcher.step(state, Input.REFUSED)
        elif exc.status_code in _LOST_ANSWER:
            host.settle(state)
        elif (
            state.turn.events
            or state.builder.resent
            or (state.turn.answer_due and exc.status_code == _FAILED)
        ):
            state.refusal = _rejected(exc, host.session_id, request.text)
            host.settle(state)
        else:
            host.dispatcher.end_with(
                state, _rejected(exc, host.session_id, request.text), Input.REFUSED
            )
        return None  # noqa: ASYNC910 - as above
    state.unanswered = False
    traits, known = host.dispatcher.router.traits, host.send_api.traits()
    traits.answers, traits.rate_limit_ends = known.answers, known.rate_limit_ends
    if posted.answer is None:
        host.dispatcher.step(state, Input.ACCEPTED)
    else:
        host.dispatcher.step(state, Input.ANSWER, posted.answer)
    return None


def _sending(dispatcher: EventDispatcher, state: MessageState) -> None:
    state.posted = True
    if state.turn.phase is Phase.REGISTERED:
        dispatcher.step(state, Input.SENDING)


def _rejected(refusal: errors.MixError, session_id: str, text: str) -> errors.MessageRejected:
    said = str(refusal)
    if text.startswith("/") and isinstance(refusal, errors.ErrorResponse):
        # The refusal's own remedy is about ids and addresses; this is about what was typed.
        said = f"{refusal.error.message}. Use a command that mix.system.list_commands() names."
    rejected = errors.MessageRejected(
        f"The message to session {session_id} was refused and did not run: {said}",
        session_id=session_id,
    )
    rejected.__cause__ = refusal
    return rejected
