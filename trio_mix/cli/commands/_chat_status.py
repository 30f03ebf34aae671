"""The status texts of a chat: state of the stream, time, tokens and cost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from trio_mix import RequestOptions, RetryConfig
from trio_mix.errors import TrioMixError

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix import Mix, SessionStream

_COUNT_TIMEOUT = 2.0
"""The time limit in seconds for reading tokens and cost, which are not worth a longer wait."""
_FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_TICK = 0.2


@attrs.define
class SessionUsage:
    """The tokens and the cost of a session."""

    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0

    def __str__(self) -> str:
        parts = []
        if self.tokens_in or self.tokens_out:
            parts.append(f"{self.tokens_in:,} tokens in, {self.tokens_out:,} out")
        if self.cost:
            parts.append(f"${self.cost:.4f}")
        return " · ".join(parts)

    def since(self, before: SessionUsage) -> SessionUsage:
        """Return the difference to an earlier count."""
        return SessionUsage(
            self.tokens_in - before.tokens_in,
            self.tokens_out - before.tokens_out,
            self.cost - before.cost,
        )


@attrs.define
class Status:
    """Composes the status texts of a chat."""

    mix: Mix
    stream: SessionStream | None
    """The stream; None: the session does not exist yet."""
    used: SessionUsage = attrs.field(factory=SessionUsage, init=False)
    _began: float | None = attrs.field(default=None, init=False)
    _cancelling: bool = attrs.field(default=False, init=False)

    @property
    def state(self) -> str:
        """The state of the stream in a word or two."""
        return "new session" if self.stream is None else self.stream.state.value

    def follow(self, stream: SessionStream | None) -> None:
        """Report another stream from now on."""
        self.stream, self.used = stream, SessionUsage()

    def begin(self) -> None:
        """Note that a message has started."""
        self._began, self._cancelling = trio.current_time(), False

    def cancelling(self) -> None:
        """Note that the message is being cancelled."""
        self._cancelling = True

    def end(self) -> float:
        """Note that the message has ended, and return its duration in seconds."""
        took = trio.current_time() - (self._began or trio.current_time())
        self._began = None
        return took

    async def count(self) -> SessionUsage:
        """Read tokens and cost from the server, and return the difference to the last count.

        If the server does not report them, or not in time, the last count is kept.
        """
        await trio.lowlevel.checkpoint()
        if self.stream is None:
            return SessionUsage()
        options = RequestOptions(timeout=_COUNT_TIMEOUT, retries=RetryConfig(strategy="none"))
        try:
            session = await self.mix.sessions.get(id=self.stream.session_id, options=options)
        except TrioMixError:
            return SessionUsage()
        before = self.used
        self.used = SessionUsage(session.prompt_tokens, session.completion_tokens, session.cost)
        return self.used.since(before)

    def working(self) -> str:
        """Return the status line of a running message."""
        elapsed = trio.current_time() - (self._began or 0.0)
        frame = _FRAMES[int(elapsed / _TICK) % len(_FRAMES)]
        if self._cancelling:
            return f"{frame} cancelling · {elapsed:.0f} s · Ctrl-C again exits"
        doing = "working" if self.state == "connected" else self.state
        return f"{frame} {doing} · {elapsed:.0f} s · Ctrl-C cancels"

    def resting(self) -> str:
        """Return the text beside the prompt; called from another thread."""
        parts = [self.state, str(self.used), "/help"]
        return " · ".join(part for part in parts if part)

    async def animate(self, tick: Callable[[], None]) -> None:
        """Call a function five times a second, until cancelled."""
        while True:
            await trio.sleep(_TICK)
            tick()
