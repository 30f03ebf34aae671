"""What a chat says of itself: state of the stream, time, tokens, cost.

What it knows: the stream's state, the session's counters.
What it must never know: where it is shown.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import trio

from trio_mix import RequestOptions, RetryConfig
from trio_mix.errors import TrioMixError

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix import Mix, SessionStream

_PATIENCE = 2.0
"""Seconds that the counters may take: they are not worth waiting for."""
_TURNING = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_TICK = 0.2


@attrs.define
class SessionUsage:
    """What a session has used."""

    tokens_in: int = 0
    tokens_out: int = 0
    cost: float = 0.0

    def __str__(self) -> str:
        said = []
        if self.tokens_in or self.tokens_out:
            said.append(f"{self.tokens_in:,} tokens in, {self.tokens_out:,} out")
        if self.cost:
            said.append(f"${self.cost:.4f}")
        return " · ".join(said)

    def since(self, before: SessionUsage) -> SessionUsage:
        """Return what was used between two counts."""
        return SessionUsage(
            self.tokens_in - before.tokens_in,
            self.tokens_out - before.tokens_out,
            self.cost - before.cost,
        )


@attrs.define
class Status:
    """The state of a chat, in one line."""

    mix: Mix
    stream: SessionStream
    used: SessionUsage = attrs.field(factory=SessionUsage, init=False)
    _began: float | None = attrs.field(default=None, init=False)
    _cancelling: bool = attrs.field(default=False, init=False)

    def begin(self) -> None:
        """Say that a message runs."""
        self._began, self._cancelling = trio.current_time(), False

    def cancelling(self) -> None:
        """Say that the message is being cancelled."""
        self._cancelling = True

    def end(self) -> float:
        """Say that no message runs any more; returns how long it took."""
        took = trio.current_time() - (self._began or trio.current_time())
        self._began = None
        return took

    async def count(self) -> SessionUsage:
        """Ask the server what the session has used, and return what came since the last time.

        A server that does not tell, or not at once, leaves everything as it was.
        """
        await trio.lowlevel.checkpoint()
        options = RequestOptions(timeout=_PATIENCE, retries=RetryConfig(strategy="none"))
        try:
            session = await self.mix.sessions.get(id=self.stream.session_id, options=options)
        except TrioMixError:
            return SessionUsage()
        before = self.used
        self.used = SessionUsage(session.prompt_tokens, session.completion_tokens, session.cost)
        return self.used.since(before)

    def working(self) -> str:
        """Return the line for while a message runs."""
        elapsed = trio.current_time() - (self._began or 0.0)
        turning = _TURNING[int(elapsed / _TICK) % len(_TURNING)]
        if self._cancelling:
            return f"{turning} cancelling · {elapsed:.0f} s · Ctrl-C again leaves"
        state = self.stream.state.value
        doing = "working" if state == "connected" else state
        return f"{turning} {doing} · {elapsed:.0f} s · Ctrl-C cancels"

    def resting(self) -> str:
        """Return what stands beside the prompt; called from another thread."""
        said = [self.stream.state.value, str(self.used), "/help"]
        return " · ".join(part for part in said if part)

    def asking(self) -> str:
        """Return what stands beside a question; called from another thread."""
        return self.stream.state.value

    async def keep_turning(self, tick: Callable[[], None]) -> None:
        """Call a function again and again, until cancelled."""
        while True:
            await trio.sleep(_TICK)
            tick()
