"""The text and the options of a message that is to be sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix.models import ThinkingLevel

__all__ = ["MessageRequest"]


@attrs.frozen(kw_only=True)
class MessageRequest:
    """A message to send; fields that are None are not sent."""

    text: str
    plan_mode: bool = False
    thinking_level: ThinkingLevel | None = None
    max_steps: int | None = None
    media: Sequence[str] = ()
    apps: Sequence[str] = ()
