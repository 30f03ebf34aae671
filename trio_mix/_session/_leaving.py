"""Leave a message whose turn is not over, and save the ticket of one that is."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

if TYPE_CHECKING:
    from trio_mix._session._message_state import MessageState
    from trio_mix._session._resume import Resumption

__all__ = ["leave_message", "save_ticket"]

_CANCELLED_END: Final = 1.0
"""How long leaving waits for a cancelled turn to end, in seconds."""


async def leave_message(
    state: MessageState, cleanup_timeout: float, *, cancel: bool = True
) -> None:
    """End the server's work on a message that is left; shielded, with a deadline.

    Args:
      state: the message.
      cleanup_timeout: the seconds that it may take.
      cancel: whether the server is asked to cancel it; if not, nothing is waited for.
    """
    if state.turn.over or state.turn_over.is_set():
        await trio.lowlevel.cancel_shielded_checkpoint()
        return
    state.recovery.leave(trio.current_time(), cancel=cancel)
    state.wake()
    if not cancel:
        await trio.lowlevel.cancel_shielded_checkpoint()
        return
    with trio.CancelScope(shield=True, deadline=trio.current_time() + cleanup_timeout):
        await state.cancelled.wait()
        if state.cancel_acknowledged:
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
