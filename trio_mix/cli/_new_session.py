"""The session that a message is sent in: one that exists, or a new one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypedDict

import attrs

from trio_mix.cli._errors import CommandUsageError
from trio_mix.cli._last_session import last_session
from trio_mix.cli.ui._text import excerpt

if TYPE_CHECKING:
    from trio_mix.cli._client import Connection
    from trio_mix.models import PromptMode

_LONGEST_TITLE: Final = 60


class _Fields(TypedDict, total=False):
    model_id: str
    provider: str
    custom_system_prompt: str
    prompt_mode: PromptMode


@attrs.frozen(kw_only=True)
class SessionChoice:
    """The options that choose a session, or describe a new one."""

    session: str | None = None
    """The id of a session that exists."""
    last: bool = False
    """Whether to continue the session that was used last."""
    model: str | None = None
    """The model of a new session, as ``PROVIDER/MODEL``."""
    system: str | None = None
    """What is added to the system prompt of a new session."""

    def session_id(self, server: Connection) -> str | None:
        """Return the id of the session to continue; None: create one.

        Raises:
          CommandUsageError: options contradict each other, or no session is known.
        """
        if self.session is not None and self.last:
            raise CommandUsageError("--continue and --session both name a session: use one of them")
        found = last_session(server.shown_url) if self.last else self.session
        option = "--model" if self.model else "--system" if self.system else None
        if found is not None and option is not None:
            raise CommandUsageError(
                f"{option} is for a new session: the server fixes the model and the system prompt "
                "when a session is created"
            )
        return found

    @property
    def fields(self) -> _Fields:
        """The arguments for creating the session."""
        fields = _Fields()
        if self.model:
            provider, slash, model = self.model.partition("/")
            fields["model_id"] = model if slash else provider
            if slash:
                fields["provider"] = provider
        if self.system:
            fields["custom_system_prompt"] = self.system
            fields["prompt_mode"] = "append"
        return fields


def title_of(text: str) -> str:
    """Return the title of a session that begins with a message: its first line."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    return excerpt(first.strip(), _LONGEST_TITLE) or "trio-mix"
