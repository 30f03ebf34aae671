"""The part of `trio_mix.models` about sessions.

It keeps the rules that are listed there, and knows no more than that.
"""

from datetime import datetime

import attrs

from trio_mix._public import public
from trio_mix._record import Record
from trio_mix.models._words import BrowserMode, CallbackType

__all__ = ["Callback", "SessionData"]


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class Callback(Record):
    """Something that the server does whenever a tool has run (from 0.7.4)."""

    tool_name: str
    """The tool after whose runs it is done."""
    type: CallbackType | str
    """What is done."""
    name: str | None = None
    """A name for people to read."""
    bash_command: str | None = None
    """The command, for ``bash_script``."""
    bash_timeout: int | None = None
    """How long the command may run, in milliseconds; the server's default is 120,000."""
    sub_agent_prompt: str | None = None
    """The task, for ``sub_agent``."""
    sub_agent_type: str | None = None
    """Which agent does the task; the server's default is ``general-purpose``."""
    include_full_history: bool | None = None
    """Whether the sub-agent is shown the whole session."""
    message_content: str | None = None
    """The text, for ``send_message``."""
    exclude_from_context: bool | None = None
    """Whether the result is kept from the model."""


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class SessionData(Record):
    """A session: a conversation with the agent, and its counters."""

    id: str
    """The session's id."""
    title: str
    """The title."""
    created_at: datetime
    """When it was made."""
    user_message_count: int
    """Messages from the user."""
    assistant_message_count: int
    """Messages from the agent."""
    tool_call_count: int
    """Tool calls."""
    prompt_tokens: int
    """Tokens that went to the model."""
    completion_tokens: int
    """Tokens that came from the model."""
    cost: float
    """What it has cost, in US dollars."""
    first_user_message: str | None = None
    """The text of the first message."""
    browser_mode: BrowserMode | str | None = None
    """Which browser the agent drives (from 0.11)."""
    cdp_url: str | None = attrs.field(default=None, repr=False)
    """The DevTools address, for ``remote-cdp-websocket``; it may hold a token."""
    callbacks: tuple[Callback, ...] | None = None
    """What is done after tools have run."""
    model_id: str | None = None
    """The model."""
    provider: str | None = None
    """The model's provider."""
    session_type: str | None = None
    """``main`` or ``subagent``."""
    subagent_type: str | None = None
    """Which sub-agent it is."""
    parent_session_id: str | None = None
    """The session whose agent started this one."""
    parent_tool_call_id: str | None = None
    """The tool call that started this one."""
