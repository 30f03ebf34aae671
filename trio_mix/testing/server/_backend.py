"""The state that all parts of the server share: sessions, streams, turns, scripts.

Rules:

1. An event is numbered once per session if ids continue over connections, else once per stream.
2. Without replay, a pipeline server sends a turn's events only to the stream that runs the turn;
   otherwise every stream of the session receives them.
3. Nothing keeps a session of an async or blocking server from running several turns. Meanwhile
   each event of a turn is sent once for every running turn, and only the turn that began last can
   be cancelled; once any of them has ended, none can.
4. What a handler or a scripted function raises is kept and recorded, and stops nothing else.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Literal, Protocol, TypeAlias

import attrs
import trio

from trio_mix.errors import ConfigurationError, UsageError
from trio_mix.testing._log import Log, Match, check_match, matches
from trio_mix.testing._records import HandlerFailed
from trio_mix.testing._timeline import shorten
from trio_mix.testing.server._default_agent import plausible_turn
from trio_mix.testing.server._frames import ServerEvent
from trio_mix.testing.server._script import Turn
from trio_mix.testing.server._store import SessionRow, Store
from trio_mix.testing.server._tunnel import BrowserTunnels

if TYPE_CHECKING:
    from collections import deque
    from collections.abc import Awaitable, Callable, Iterable

    from trio_mix.testing.server._providers import Accounts
    from trio_mix.testing.server._script import How, Restart, Torn
    from trio_mix.testing.server._traits import Traits


@attrs.frozen(kw_only=True)
class ServerSettings:
    """The arguments of `MixServer`, which documents each."""

    replay: bool
    restart_ids: bool
    connected_id: bool
    heartbeat_interval: float | None
    max_connection_age: float | None
    cancel_endpoint: bool
    cancel_answer: Literal["status", "spec"]
    cancel_latency: float
    cancelled_tool: CancelledTool | None
    error_delay: float
    unknown_session: Literal["stream", "404"]
    permission_timeout: float
    slow_reader_limit: int | None
    double_events: bool | None
    tool_results: bool
    usage: bool
    row_lag: float
    jsonrpc: bool
    cancel_on_disconnect: bool
    answer_delay: float
    rest_send: bool
    ghost_runs: bool
    stall_after: int | None
    pace: float
    max_upload: int
    plan_mode_text: str
    id_prefix: str = ""
    queue_size: int = 100


CancelledTool: TypeAlias = Literal["error", "context", "complete"]
"""How a turn ends that is cancelled while a tool runs."""


class OpenStream(Protocol):
    """An open stream of a session."""

    live: LiveSession
    closed: bool
    messages: deque[str]
    changed: trio.lowlevel.ParkingLot

    def send_nowait(self, event: ServerEvent, number: int | None = None) -> None:
        """Queue an event; ``number`` is its id if ids continue over connections."""

    def send_raw(self, data: bytes, *, past_framing: bool = False) -> None:
        """Queue bytes to be written unchanged."""

    def tear(self, event: ServerEvent, how: Torn) -> None:
        """Queue an event's frame, damaged by another one."""

    async def drained(self) -> None:
        """Wait until everything is written, or the stream is closed."""

    def end(self, how: How) -> None:
        """End the stream."""


class RunningTurn(Protocol):
    """A turn that is running in a session."""

    def cancel(self) -> None:
        """Cancel the turn."""


class LiveSession:
    """The streams and turns of one session."""

    def __init__(self, row: SessionRow) -> None:
        self.row = row
        self.streams: list[OpenStream] = []
        self.running: list[RunningTurn] = []
        self.cancellable: RunningTurn | None = None
        self.history: list[tuple[int, ServerEvent]] = []
        self.numbers = itertools.count(1)
        self.runs: Counter[str] = Counter()


_UNSCRIPTED_KEPT: Final = 20
"""How many messages without a script are kept."""


@attrs.frozen
class _Script:
    match: Match
    turns: tuple[Turn, ...]
    used: list[int] = attrs.field(factory=list[int])

    def __str__(self) -> str:
        """Return how the messages were named for which the script is."""
        if isinstance(self.match, str):
            return shorten(self.match)
        if isinstance(self.match, re.Pattern):
            return f"re.compile({shorten(self.match.pattern)})"
        return f"the function {getattr(self.match, '__qualname__', repr(self.match))}"

    def next(self) -> Turn:
        self.used.append(1)
        return self.turns[min(len(self.used), len(self.turns)) - 1]


@attrs.define
class PendingQuestion:
    """A permission request or notification without an answer yet."""

    session_id: str
    answered: trio.Event = attrs.field(factory=trio.Event)
    answer: str | None = None
    value: str | None = None


@attrs.define
class CannedResponse:
    """A fixed response that replaces the real one for a number of requests."""

    path: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    times: int


class Backend:
    """The shared state."""

    def __init__(
        self, settings: ServerSettings, traits: Traits, log: Log, accounts: Accounts
    ) -> None:
        self.settings = settings
        self.traits = traits
        self.log = log
        self.accounts = accounts
        self._epoch: datetime | None = None
        self.store = Store(
            self.now,
            settings.id_prefix,
            tool_results=settings.tool_results,
            usage=settings.usage,
            lag=settings.row_lag,
        )
        self.live: dict[str, LiveSession] = {}
        self.permissions: dict[str, PendingQuestion] = {}
        self.notifications: dict[str, PendingQuestion] = {}
        self.scripts: list[_Script] = []
        self.unscripted: Counter[str] = Counter()
        """The messages that no script matched, as they are shown, and how often each ran."""
        self.more_unscripted = 0
        self.restart: Callable[[Restart], None] | None = None
        """Restarts the server that this is the state of."""
        self.failures: list[Exception] = []
        self.connections = itertools.count(1)
        self.canned: list[CannedResponse] = []
        self.lost_events: dict[str, int | None] = {}
        self.tunnels = BrowserTunnels()
        self.nursery: trio.Nursery | None = None
        self.current_session = ""
        """The session of the last stream or message, on servers that speak JSON-RPC."""

    def now(self) -> datetime:
        """Return the time of day, which advances with Trio's clock."""
        passed = timedelta(seconds=trio.current_time())
        if self._epoch is None:
            self._epoch = datetime.now(UTC) - passed
        return self._epoch + passed

    def session(self, session_id: str) -> LiveSession:
        """Return a session; `KeyError` without one."""
        try:
            return self.live[session_id]
        except KeyError:
            raise KeyError(f"there is no session {session_id!r} on this server") from None

    def create_session(self, title: str, session_id: str | None = None) -> LiveSession:
        """Create a session and announce it."""
        row = self.store.create(title, session_id=session_id)
        return self.adopt(row)

    def adopt(self, row: SessionRow) -> LiveSession:
        """Make a stored session available and announce it."""
        live = self.live[row.id] = LiveSession(row)
        created = int(row.created.timestamp())
        data = {"type": "session_created", "sessionId": row.id, "title": row.title}
        self.broadcast(ServerEvent("session_created", data | {"createdAt": created}, turn=False))
        return live

    def restore(self, counters: dict[str, int], sessions: Iterable[SessionRow]) -> None:
        """Add the sessions that an earlier server has saved."""
        self.store.counters.update(counters)
        for row in sessions:
            for message in row.rows:
                message.usage = self.settings.usage
            self.store.sessions[row.id] = row
            self.live[row.id] = LiveSession(row)

    def delete_session(self, session_id: str) -> None:
        """Delete a session, end its streams and announce the deletion."""
        live = self.live.pop(session_id)
        del self.store.sessions[session_id]
        self.cancel_all(live)
        data = {"type": "session_deleted", "sessionId": session_id}
        self.broadcast(ServerEvent("session_deleted", data, turn=False))
        for stream in list(live.streams):
            stream.send_nowait(ServerEvent("session_deleted", data, turn=False))
            stream.end("close")

    def forget_everything(self) -> None:
        """Delete all sessions, as the restart of a server without a disk does."""
        self.live.clear()
        self.store.sessions.clear()

    def publish(
        self, live: LiveSession, event: ServerEvent, only: OpenStream | None = None
    ) -> None:
        """Queue an event on its streams, unless it is one to lose."""
        left = self.lost_events.get(event.name, 0)
        if left is None or left > 0:
            self.lost_events[event.name] = None if left is None else left - 1
            return
        doubled = self.settings.double_events
        if doubled is None:
            doubled = not (self.settings.replay or self.traits.pipeline)
        for _ in range(max(1, len(live.running)) if doubled and event.turn else 1):
            number = None
            if not self.settings.restart_ids:
                number = next(live.numbers)
                if self.settings.replay:
                    live.history.append((number, event))
                    only = None
            for stream in list(live.streams) if only is None else [only]:
                stream.send_nowait(event, number)

    def broadcast(self, event: ServerEvent) -> None:
        """Queue an event on every stream of every session, if the version does that."""
        if self.traits.session_events:
            for live in self.live.values():
                if live.streams:
                    self.publish(live, event)

    def cancel(self, live: LiveSession) -> int:
        """Cancel the turn that can be cancelled, and return how many were: one or none."""
        if live.cancellable is None:
            return 0
        live.cancellable.cancel()
        return 1

    def cancel_all(self, live: LiveSession) -> int:
        """Cancel all turns of a session and return how many there were."""
        running = list(live.running)
        for run in running:
            run.cancel()
        return len(running)

    def decide(self, permission_id: str, answer: str) -> bool:
        """Answer a permission request, unless it is answered; return whether there is one."""
        pending = self.permissions.get(permission_id)
        if pending is not None and pending.answer is None:
            pending.answer = answer
            pending.answered.set()
        return pending is not None

    def streams(self, session_id: str | None = None) -> list[OpenStream]:
        """Return the open streams of one session, or of all."""
        every = [stream for live in self.live.values() for stream in live.streams]
        return [s for s in every if session_id is None or s.live.row.id == session_id]

    def drop(self, live: LiveSession, how: How) -> list[OpenStream]:
        """End a session's streams and return them."""
        lost = list(live.streams)
        for stream in lost:
            stream.end(how)
        return lost

    def add_script(self, match: Match, turns: tuple[Turn, ...]) -> None:
        """Add a script; later ones take precedence."""
        check_match(match, "script()")
        if not turns:
            raise ConfigurationError("script() needs at least one Turn")
        for turn in turns:
            if not isinstance(turn, Turn):
                raise TypeError(f"script() takes turns: put the steps into a turn, Turn({turn!r})")
        self.scripts.insert(0, _Script(match, turns))

    def turn_for(self, text: str) -> Turn:
        """Return the turn for a message: a script's, or the default agent's."""
        for script in self.scripts:
            if matches(script.match, text):
                return script.next()
        shown = shorten(text)
        if shown in self.unscripted or len(self.unscripted) < _UNSCRIPTED_KEPT:
            self.unscripted[shown] += 1
        else:
            self.more_unscripted += 1
        return plausible_turn(text, self.traits, self.settings.pace)

    def deviations(self) -> list[str]:
        """Return how the messages that ran differ from those that were scripted."""
        scripts = ", ".join(map(str, reversed(self.scripts))) or "none"
        found = [
            f"no script matches the message {text}"
            + (f" ({times} times)" if times > 1 else "")
            + f", so the default agent ran it; the scripts are for: {scripts}"
            for text, times in self.unscripted.items()
        ]
        if self.more_unscripted:
            found.append(f"no script matches {self.more_unscripted} more messages")
        found += [
            f"the script for {script} was never used"
            for script in reversed(self.scripts)
            if not script.used
        ]
        return found

    def spawn(self, function: Callable[[], Awaitable[None]]) -> None:
        """Run a function in the server's nursery."""
        if self.nursery is None:
            raise UsageError("the server is not running; use it as `async with MixServer()`")
        self.nursery.start_soon(self._guarded, function)

    async def _guarded(self, function: Callable[[], Awaitable[None]]) -> None:  # noqa: ASYNC910 - started as a task
        try:
            await function()
        except Exception as error:  # noqa: BLE001 - kept, and raised when the server is left
            self.failed(error)

    def failed(self, error: Exception) -> None:
        """Keep an exception, which is raised when the server is left."""
        self.failures.append(error)
        self.log.add(HandlerFailed(error=error))
