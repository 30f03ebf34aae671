"""Begin a message on a session stream: wait for its turn, register it, start its task; leave it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from trio_mix._session._message_state import MessageState
from trio_mix._session._message_task import MessageTask
from trio_mix._session._stream_hooks import TimedMessageState
from trio_mix._turns._recovery import Recovery
from trio_mix.sse import StreamState

if TYPE_CHECKING:
    from trio_mix._session._controller import StreamController
    from trio_mix._session._questions import MessagePolicies
    from trio_mix._session._resume import Resumption
    from trio_mix._session._send_api import MessageRequest

_CANCELLED_END: Final = 1.0
"""How long leaving waits for a cancelled turn to end, in seconds."""


async def begin_message(
    controller: StreamController,
    request: MessageRequest,
    sender: object,
    policies: MessagePolicies,
    resumption: Resumption | None = None,
) -> MessageState:
    """Wait for the earlier messages, send the message, and return when it is running.

    Args:
      controller: the stream.
      request: the message.
      sender: what raw subscribers receive with the message's events.
      policies: answer its permission requests and notifications.
      resumption: its ticket; None if it has none.

    Raises:
      MessageRejected: the server refused the message.
      StreamError, TransportError: the stream has ended, or the message could not be sent.

    If it is cancelled, the message is left.
    """
    if controller.reader.state is StreamState.RECONNECTING:
        controller.loss_logger.watch()
    controller.requests.append(request)
    try:
        await _wait_for_turn(controller, resumption)
    except BaseException:
        controller.requests.remove(request)
        raise
    state = _register(controller, request, sender, policies, resumption)
    task = MessageTask(
        state=state,
        dispatcher=controller.dispatcher,
        send_api=controller.send_api,
        stored=controller.stored,
        passed_on=controller.reader.wait_passed_on,
        wait_resumed=controller.send_queue.wait_resumed,
        cancel=controller.actions.cancel,
        deny=partial(controller.actions.decide, grant=False),
        resumption=resumption,
    )
    controller.tasks.start(task)
    try:
        await state.started.wait()
    except BaseException:
        state.buffer.discard()  # nothing iterates it any more
        await leave_message(controller, state)
        await save_ticket(state, resumption)
        raise
    if state.failure is not None and not state.turn.events:
        await save_ticket(state, resumption)
        raise state.failure
    return state


async def _wait_for_turn(controller: StreamController, resumption: Resumption | None) -> None:
    """Acquire the queue while the stream is connected."""
    await controller.send_queue.acquire()
    try:
        if resumption is not None:
            resumption.expect_fresh(controller.stored.history)
        with trio.move_on_after(controller.settings.cleanup_timeout):
            await controller.actions.wait_cancelled()
        await controller.send_queue.wait_resumed()
        await controller.reader.wait_passed_on()
    except BaseException:
        controller.send_queue.release()
        raise


def _register(
    controller: StreamController,
    request: MessageRequest,
    sender: object,
    policies: MessagePolicies,
    resumption: Resumption | None,
) -> MessageState:
    """Register a message as the current one."""
    turn = controller.router.register(
        request.text,
        plan_mode=request.plan_mode,
        ticket=None if resumption is None else resumption.ticket,
    )
    recovery = Recovery(
        turn,
        controller.router.traits,
        controller.settings.reconnect,
        controller.settings.limits,
        trio.current_time(),
    )
    recovery.continued = controller.continued
    history = controller.stored.history
    unknown = history.session_unknown or bool(controller.gap_due)
    # A relay queues messages.
    recovery.session_unknown = unknown and not controller.send_api.relayed
    if controller.router.others > controller.others_known and not controller.router.traits.ids:
        history.due = True  # another client's message may have the same text
    controller.others_known = controller.router.others
    recovery.reading_due = unknown or history.due
    kind = MessageState if controller.hooks is None else TimedMessageState
    state = kind(
        request,
        recovery,
        controller.session_id,
        controller.settings.message_buffer,
        sender=sender,
        max_size=controller.settings.max_reply_size,
        policies=policies,
        ask=controller.answer_questions,
    )
    if resumption is not None:
        resumption.apply(recovery)
        state.gap_unreported = state.gap_unreported or turn.resumed
    controller.dispatcher.attach(state)
    controller.messages_sent += 1
    controller.reader.nudge()
    return state


async def leave_message(
    controller: StreamController, state: MessageState, *, cancel: bool = True
) -> None:
    """End the server's work on a message that is left; shielded, within ``cleanup_timeout``.

    Args:
      controller: the stream.
      state: the message.
      cancel: whether the server is asked to cancel it; if not, nothing is waited for.
    """
    if state.turn.over or state.turn_over.is_set():
        await trio.lowlevel.cancel_shielded_checkpoint()
        return
    state.recovery.leave(trio.current_time(), cancel=cancel)
    state.questions.end()
    state.wake()
    if not cancel:
        await trio.lowlevel.cancel_shielded_checkpoint()
        return
    deadline = trio.current_time() + controller.settings.cleanup_timeout
    with trio.CancelScope(shield=True, deadline=deadline):
        await state.cancelled.wait()
        await controller.actions.wait_cancelled()  # the turn may have ended meanwhile
        await state.denied.wait()
        if state.recovery.leaving.acknowledged:
            # The end of the turn follows soon. Without waiting for it, it could be taken for the
            # end of the next message, on this stream or on another one.
            with trio.move_on_after(_CANCELLED_END):
                await state.turn_over.wait()


async def save_ticket(state: MessageState, resumption: Resumption | None) -> None:
    """Save the ticket of a message that is over, or left; shielded, within ``cleanup_timeout``.

    Args:
      state: the message.
      resumption: its ticket; None if it has none.
    """
    if resumption is not None:
        with trio.CancelScope(shield=True):
            await resumption.update(state)
    await trio.lowlevel.cancel_shielded_checkpoint()
