"""The result of a message: its reply, and the tool calls in it."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

from trio_mix._public import public
from trio_mix.models._inputs import parse_input

__all__ = ["Doubt", "Reply", "ToolCall"]

Doubt: TypeAlias = Literal["gap", "contradicted", "stored", "answer", "shared"]
"""Why a reply may not be exactly what the server made of a message: see `Reply.doubts`."""


@public("trio_mix")
@attrs.frozen(kw_only=True)
class ToolCall:
    """One use of a tool, by the agent or by one of its sub-agents."""

    tool_call_id: str
    """The id of the call."""
    name: str = ""
    """The tool's name."""
    input: str = ""
    """The parameters as the server sent them: JSON text, or empty while they are unknown."""
    input_complete: bool = False
    """Whether ``input`` has all parameters: the server reported that they are complete, started the
    tool, or stored the call. False while the parameters arrive, and if the rest of them was lost
    with a connection: ``input`` is then what was received."""
    finished: bool = False
    """Whether the tool has finished, as far as the client knows."""
    success: bool | None = None
    """Whether the tool succeeded; None if the server did not report it."""
    result: str | None = None
    """The result of the tool; only stored messages contain it."""
    parent_tool_call_id: str | None = None
    """The id of the call that started the sub-agent which made this call."""

    @property
    def parsed_input(self) -> object:
        """The parameters as JSON values; ``None`` while ``input`` is not valid JSON."""
        return parse_input(self.input)


@public("trio_mix")
@attrs.frozen(kw_only=True)
class Reply:
    """The reply to one message."""

    text: str = ""
    """All top-level text in order; tool calls split it into several assistant messages."""
    final_text: str = ""
    """The text of the last assistant message."""
    reasoning: str = ""
    """All top-level reasoning in order; empty if the server sends none."""
    tool_calls: tuple[ToolCall, ...] = ()
    """Every tool call once, in the order in which they began."""
    message_id: str | None = None
    """The id of the last assistant message, if the server sends it."""
    user_message_id: str | None = None
    """The id of the stored user message, if the server sends it."""
    reasoning_duration: int | None = None
    """The duration of the reasoning in milliseconds, as measured by the server."""
    recovered: bool = False
    """Whether the end was read from the session's stored messages after a lost connection."""
    resent: bool = False
    """Whether the message was sent a second time, because according to the server or its stored
    messages the first attempt had not arrived."""
    incomplete: bool = False
    """Whether text may be missing, or another message's: a lost connection or an incomplete frame
    removed some of it, the final text of the server contradicts the text that was received, or
    another turn of the session may have run at the same time; and the stored messages could not
    be read, or do not settle it. ``doubts`` has the reasons."""
    doubts: tuple[Doubt, ...] = ()
    """Why the reply may not be exactly the server's reply to this message, or its text not that of
    the deltas; empty if both are certain.

    ``"gap"``: events were lost, and the stored messages could not be read. ``"contradicted"``: the
    final text of the server contradicts the text that was received. ``"stored"``: the stored
    messages do not show whether they are complete. ``"answer"``: the events were another client's,
    as the HTTP response shows. ``"shared"``: another turn of the session may have run at the same
    time, and nothing shows for certain which of the events were whose.

    If there are doubts and ``incomplete`` is false, ``text`` is right: it was read from the stored
    messages, and only the deltas are not its pieces."""
