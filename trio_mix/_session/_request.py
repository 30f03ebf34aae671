"""The text and the options of a message that is to be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import attrs

from trio_mix.errors import ConfigurationError, MessageRejected

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix.models import ThinkingLevel


@attrs.frozen(kw_only=True)
class MessageRequest:
    """A message to send; fields that are None are not sent."""

    text: str
    plan_mode: bool = False
    thinking_level: ThinkingLevel | None = None
    max_steps: int | None = None
    media: Sequence[str] = ()
    apps: Sequence[str] = ()
    key: str = attrs.field(factory=lambda: uuid4().hex, eq=False, repr=False)
    """Its idempotency key: a relay runs a message once, however often it is posted."""


def check_request(
    request: MessageRequest, method: str, session_id: str, *, allow_shell: bool
) -> None:
    """Check a message before anything is sent.

    Args:
      request: the message.
      method: the method that the caller has used, for errors.
      session_id: the session, for errors.
      allow_shell: whether the text may start with ``!``.

    Raises:
      MessageRejected: the text is empty, or starts with ``!`` without ``allow_shell``.
      ConfigurationError: ``thinking_level`` or ``max_steps`` is invalid.
    """
    if not request.text.strip():
        raise MessageRejected(
            f"The message to session {session_id} was not sent, because its text is empty: pass a "
            "text.",
            session_id=session_id,
        )
    if request.text.lstrip().startswith("!") and not allow_shell:
        raise MessageRejected(
            f"The message to session {session_id} was not sent: pipeline servers run a text that "
            "starts with '!' as a shell command. Pass allow_shell=True if that is intended, or put "
            "another character before it.",
            session_id=session_id,
        )
    if request.thinking_level not in (None, "off", "basic", "medium", "maximum"):
        raise ConfigurationError(
            f"{method}(thinking_level={request.thinking_level!r}): use 'off', 'basic', 'medium' or "
            "'maximum'."
        )
    if request.max_steps is not None and request.max_steps < 1:
        raise ConfigurationError(f"{method}(max_steps={request.max_steps}): it must be at least 1.")
