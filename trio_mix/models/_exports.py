"""The part of `trio_mix.models` about exported sessions.

It keeps the rules that are listed there, and knows no more than that.
"""

from collections.abc import Mapping
from datetime import datetime

import attrs

from trio_mix._public import public
from trio_mix._record import Record
from trio_mix.models._inputs import parse_input

__all__ = ["ExportMessage", "ExportSession", "ExportToolCall"]


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ExportToolCall(Record):
    """A tool call in an exported session."""

    id: str
    """The tool call's id."""
    name: str
    """The tool's name."""
    input: str
    """The parameters as JSON text."""
    type: str
    """The call's kind, as ``function``."""
    finished: bool
    """Whether it is over."""
    input_json: Mapping[str, object] | None = attrs.field(default=None, hash=False)
    """The parameters as the server has parsed them."""
    result: str | None = None
    """What the tool gave back."""
    is_error: bool | None = None
    """Whether the tool failed (up to 0.6.9)."""
    metadata: str | None = None
    """What the tool noted besides (up to 0.6.9)."""
    screenshot_urls: tuple[str, ...] | None = None
    """Pictures that were taken while it ran (from 0.11)."""

    @property
    def parsed_input(self) -> object:
        """The parameters as JSON values; ``None`` where ``input`` is no JSON text (yet)."""
        return parse_input(self.input)


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ExportMessage(Record):
    """A message in an exported session."""

    id: str
    """The message's id."""
    role: str
    """``user``, ``assistant`` or ``tool``."""
    content: str
    """The text."""
    created_at: datetime
    """When it was stored."""
    updated_at: datetime
    """When it last changed."""
    finish_reason: str | None = None
    """Why the model stopped; ``None`` while it has not."""
    model: str | None = None
    """The model that answered."""
    reasoning: str | None = None
    """The reasoning."""
    reasoning_duration: int | None = None
    """How long the reasoning took, in milliseconds."""
    tool_calls: tuple[ExportToolCall, ...] | None = None
    """The tool calls it made."""


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ExportSession(Record):
    """A session with all that was said in it."""

    id: str
    """The session's id."""
    title: str
    """The title."""
    messages: tuple[ExportMessage, ...]
    """The messages, oldest first."""
    created_at: datetime | None = None
    """When it was made."""
    updated_at: datetime | None = None
    """When it last changed."""
    user_message_count: int | None = None
    """Messages from the user."""
    assistant_message_count: int | None = None
    """Messages from the agent."""
    tool_call_count: int | None = None
    """Tool calls."""
    prompt_tokens: int | None = None
    """Tokens that went to the model."""
    completion_tokens: int | None = None
    """Tokens that came from the model."""
    cost: float | None = None
    """What it has cost, in US dollars."""
