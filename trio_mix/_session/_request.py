"""What is to be sent: one message's text and the choices that go with it.

What it knows: the fields, as the caller has set them.
What it must never know: how they are written on the wire, and what becomes of the message.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from trio_mix._public import public

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix.models import ThinkingLevel

__all__ = ["MessageRequest"]


@public("trio_mix._session._message")  # a user meets it as `Message.request`
@attrs.frozen(kw_only=True)
class MessageRequest:
    """What is to be sent; fields left None are not put on the wire."""

    text: str
    plan_mode: bool = False
    thinking_level: ThinkingLevel | None = None
    max_steps: int | None = None
    media: Sequence[str] = ()
    apps: Sequence[str] = ()
