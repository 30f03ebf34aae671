"""What a stream gets from its client: the operations that it uses, and its options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix._session._budget import Budget
    from trio_mix._session._refusals import SessionRefusals
    from trio_mix._session._resume import PreparedTickets
    from trio_mix._session._send_api import SendApi
    from trio_mix._session._stored_messages import StoredMessages
    from trio_mix._session._stream_hooks import StreamHooks
    from trio_mix.resources import Messages, Notifications, Permissions
    from trio_mix.sse import ReconnectPolicy
    from trio_mix.sse._supervisor import Supervisor

__all__ = ["Services", "Settings"]


@attrs.frozen(kw_only=True)
class Services:
    """The parts of the client that its streams use."""

    send_api: SendApi
    stored: StoredMessages
    messages: Messages
    permissions: Permissions
    notifications: Notifications
    source: Callable[[StreamHooks | None], Supervisor]
    budget: Budget
    refusals: SessionRefusals
    hooks: Callable[[], StreamHooks | None]
    prepared: PreparedTickets
    url: str
    end_outstanding: bool
    """Whether a turn of the session was cancelled on an earlier stream and has not ended yet."""
    created: bool
    """Whether the client has created the session, and has not opened a stream of it before."""


@attrs.frozen(kw_only=True)
class Settings:
    """The options of a stream; durations are in seconds."""

    reconnect: ReconnectPolicy
    connect_timeout: float
    idle_timeout: float | Literal["auto"] | None
    max_connection_age: float | None
    cleanup_timeout: float
    settle_timeout: float
    message_buffer: int
    max_event_size: int
    max_reply_size: int | None
    last_event_id: str | None
