"""The result of a message: its reply, and the tool calls in it."""

from __future__ import annotations

import attrs

from trio_mix._public import public
from trio_mix.models._inputs import parse_input

__all__ = ["Reply", "ToolCall"]


@public("trio_mix")
@attrs.frozen(kw_only=True)
class ToolCall:
    """One use of a tool, by the agent or by one of its sub-agents."""

    tool_call_id: str
    """The call's id."""
    name: str = ""
    """The tool's name."""
    input: str = ""
    """The parameters as the server sent them: JSON text, or empty while unknown."""
    input_complete: bool = False
    """Whether ``input`` is all of them: the server said so, the tool was started with them, or they
    are stored. False while they come, and where a lost connection took the rest: ``input`` is then
    what had come before."""
    finished: bool = False
    """Whether the tool has run to its end, as far as the client was told."""
    success: bool | None = None
    """Whether it succeeded; None where the server did not say."""
    result: str | None = None
    """What it returned; only stored messages hold it."""
    parent_tool_call_id: str | None = None
    """The call that started the sub-agent whose call this is."""

    @property
    def parsed_input(self) -> object:
        """The parameters as JSON values; ``None`` where ``input`` is no JSON text (yet)."""
        return parse_input(self.input)


@public("trio_mix")
@attrs.frozen(kw_only=True)
class Reply:
    """What the server made of one message."""

    text: str = ""
    """All top-level text in order; using a tool splits it over several assistant messages."""
    final_text: str = ""
    """The text of the last assistant message."""
    reasoning: str = ""
    """All top-level reasoning in order; empty where the server sends none."""
    tool_calls: tuple[ToolCall, ...] = ()
    """Every tool call once, in the order they began."""
    message_id: str | None = None
    """The id of the last assistant message, where the server names it."""
    user_message_id: str | None = None
    """The id under which the server stored what was sent, where it names it."""
    reasoning_duration: int | None = None
    """How long the reasoning took, in milliseconds as the server counts."""
    recovered: bool = False
    """Whether the end was read from the session's stored messages after a lost connection."""
    resent: bool = False
    """Whether it was sent a second time, because the first had not arrived, as far as the server's
    stored messages, or its own word, can tell."""
    incomplete: bool = False
    """Whether text may be missing: a lost connection or a torn frame took some of it, and what is
    stored could not be read to fill it in, or does not tell whether it is all; or the text that the
    server ended with contradicts what had come of it. ``final_text`` is then that of the end."""
