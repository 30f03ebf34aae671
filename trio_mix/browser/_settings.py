"""The options of a tunnel, validated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from trio_mix.errors import ConfigurationError

if TYPE_CHECKING:
    from trio_mix.browser._websocket import Connect
    from trio_mix.sse import ReconnectPolicy

_MIN_ANSWER = 1000


@attrs.frozen(kw_only=True)
class TunnelSettings:
    """The options that `open_tunnel` documents."""

    reconnect: ReconnectPolicy
    connect_timeout: float
    command_timeout: float
    max_answer_size: int
    max_queue_size: int
    ping_interval: float
    ping_timeout: float
    close_timeout: float
    connect: Connect

    def __attrs_post_init__(self) -> None:
        for name in (
            "connect_timeout",
            "command_timeout",
            "ping_interval",
            "ping_timeout",
            "close_timeout",
        ):
            seconds = getattr(self, name)
            if not isinstance(seconds, int | float) or not seconds > 0:
                raise ConfigurationError(
                    f"open_tunnel({name}={seconds!r}): must be a positive number of seconds."
                )
        if self.max_answer_size < _MIN_ANSWER:
            raise ConfigurationError(
                f"open_tunnel(max_answer_size={self.max_answer_size}): must be at least"
                f" {_MIN_ANSWER} bytes."
            )
        if self.max_queue_size < self.max_answer_size:
            raise ConfigurationError(
                f"open_tunnel(max_queue_size={self.max_queue_size}): must be at least"
                f" max_answer_size, {self.max_answer_size} bytes."
            )
