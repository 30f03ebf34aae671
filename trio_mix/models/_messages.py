"""The part of `trio_mix.models` about messages, sent and stored.

It keeps the rules that are listed there, and knows no more than that.
"""

import attrs

from trio_mix._public import public
from trio_mix._record import Record
from trio_mix.models._inputs import parse_input
from trio_mix.models._words import CallbackType

__all__ = ["BackendMessage", "CallbackResultData", "CancelResult", "SendResult", "ToolCallData"]


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class CallbackResultData(Record):
    """What came of one callback."""

    callback_type: CallbackType | str
    """What was done."""
    success: bool
    """Whether it succeeded."""
    tool_call_id: str
    """The tool call after which it was done."""
    tool_name: str
    """That tool's name."""
    callback_name: str | None = None
    """The callback's name."""
    error: str | None = None
    """What went wrong."""
    exclude_from_context: bool | None = None
    """Whether the model was not shown it."""
    exit_code: int | None = None
    """The command's exit status."""
    stdout: str | None = None
    """The command's output."""
    stderr: str | None = None
    """The command's error output."""
    subagent_id: str | None = None
    """The sub-agent's session."""
    subagent_result: str | None = None
    """The sub-agent's answer."""


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class ToolCallData(Record):
    """A tool call of a stored message."""

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
    result: str | None = None
    """What the tool gave back."""
    is_error: bool | None = None
    """Whether the tool failed."""
    screenshot_urls: tuple[str, ...] | None = None
    """Pictures that were taken while it ran."""

    @property
    def parsed_input(self) -> object:
        """The parameters as JSON values; ``None`` where ``input`` is no JSON text (yet)."""
        return parse_input(self.input)


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class BackendMessage(Record):
    """A stored message: the user's text, or what the agent answered."""

    id: str
    """The message's id."""
    role: str
    """``user``, ``assistant`` or ``tool``."""
    session_id: str
    """The session it belongs to."""
    user_input: str
    """The user's text; empty in the agent's own messages."""
    assistant_response: str | None = None
    """The agent's text."""
    reasoning: str | None = None
    """The agent's reasoning."""
    reasoning_duration: int | None = None
    """How long the reasoning took, in milliseconds."""
    tool_calls: tuple[ToolCallData, ...] | None = None
    """The tool calls it made."""
    callback_results: tuple[CallbackResultData, ...] | None = None
    """What came of the session's callbacks."""
    model: str | None = None
    """The model that answered."""
    input_tokens: int | None = None
    """Tokens that went to the model."""
    output_tokens: int | None = None
    """Tokens that came from the model."""
    cache_creation_tokens: int | None = None
    """Tokens written to the provider's cache."""
    cache_read_tokens: int | None = None
    """Tokens read from the provider's cache."""
    cost: float | None = None
    """What it has cost, in US dollars."""


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class SendResult(Record):
    """How the server took a message: accepted for later (202), or answered at once (200)."""

    status_code: int
    """The HTTP status: 202 accepted, 200 answered."""
    status: str | None = None
    """What the server says it does with it, as ``processing``; ``None`` with an answer."""
    session_id: str | None = None
    """The session."""
    message: BackendMessage | None = None
    """The answer: of a blocking server, and of any server to a slash command."""


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class CancelResult(Record):
    """What came of a request to stop what a session is doing."""

    cancelled: bool
    """Whether something was told to stop."""
    status: str | None = None
    """The server's word, where it gives one."""
    session_id: str | None = None
    """The session, where the server names it."""
