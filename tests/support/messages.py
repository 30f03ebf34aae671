"""Messages as the session layer sees them, without a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mix._session._message_state import MessageState
from trio_mix._session._send_api import MessageRequest
from trio_mix._turns._limits import Limits
from trio_mix._turns._recovery import Recovery
from trio_mix._turns._wire_traits import WireTraits
from trio_mix.sse import ReconnectPolicy

if TYPE_CHECKING:
    from trio_mix._turns._turn import Turn


def message_state(turn: Turn, mark: int = 100) -> MessageState:
    """Return the state of a message whose turn is registered."""
    request = MessageRequest(text=turn.text, plan_mode=turn.plan_mode)
    return MessageState(
        request, Recovery(turn, WireTraits(), ReconnectPolicy(), Limits(), 0.0), "s", mark
    )
