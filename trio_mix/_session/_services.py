"""What a stream gets from its client: the operations that it uses, and its options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import attrs

from trio_mix.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix._session._buffers import Budget
    from trio_mix._session._refusals import SessionRefusals
    from trio_mix._session._resume import PreparedTickets
    from trio_mix._session._send_api import SendApi
    from trio_mix._session._stored_messages import StoredMessages
    from trio_mix._session._stream_hooks import StreamHooks
    from trio_mix.resources import Messages, Notifications, Permissions
    from trio_mix.sse import ReconnectPolicy
    from trio_mix.sse._supervisor import Supervisor


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

    def check(self, max_buffered_size: int | None) -> None:
        """Raise `ConfigurationError` if an option of `Mix.open_stream` is invalid.

        Args:
          max_buffered_size: how many bytes of events the client may buffer; None: no limit.
        """
        idle_timeout = None if self.idle_timeout == "auto" else self.idle_timeout
        for name, seconds in (
            ("connect_timeout", self.connect_timeout),
            ("max_connection_age", self.max_connection_age),
            ("cleanup_timeout", self.cleanup_timeout),
            ("settle_timeout", self.settle_timeout),
            ("idle_timeout", idle_timeout),
        ):
            if seconds is not None and not (isinstance(seconds, int | float) and seconds > 0):
                raise ConfigurationError(
                    f"open_stream({name}={seconds!r}): it must be a positive number of seconds."
                )
        for name, size in (
            ("message_buffer", self.message_buffer),
            ("max_event_size", self.max_event_size),
            ("max_reply_size", self.max_reply_size),
        ):
            if size is not None and size < 1:
                raise ConfigurationError(f"open_stream({name}={size}): it must be at least 1.")
        if max_buffered_size is not None and self.max_event_size > max_buffered_size:
            raise ConfigurationError(
                f"open_stream(max_event_size={self.max_event_size}): it must not exceed the "
                f"client's max_buffered_size={max_buffered_size}."
            )
        if self.last_event_id is not None and any(bad in self.last_event_id for bad in "\r\n\0"):
            raise ConfigurationError(
                "open_stream(last_event_id=...): it contains a line break or NUL, which no event id"
                " has: use the id of an event, or the one in statistics()."
            )
