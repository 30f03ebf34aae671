"""The HTTP side of a relay over a hub whose sessions, events and answers the test decides."""

from __future__ import annotations

import itertools
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import attrs
import trio

from trio_mix import Mix
from trio_mix.relay._connection import StreamConnection
from trio_mix.relay._cursor import Ring, join_events
from trio_mix.relay._errors import QueueFull, SessionUnknown, TurnUnknown
from trio_mix.relay._exchange import HttpLimits
from trio_mix.relay._guard import OriginGuard
from trio_mix.relay._health import ServerState
from trio_mix.relay._http import serve_connection
from trio_mix.relay._ids import before_first, parse_position
from trio_mix.relay._passthrough import Upstream
from trio_mix.relay._records import (
    Answer,
    Audience,
    Chunk,
    Gap,
    LoggedEvent,
    Outcome,
    Sent,
    Start,
    TurnRecord,
    TurnState,
    encode_frame,
)
from trio_mix.relay._routes import Routes
from trio_mix.relay._sse import Streams
from trio_mix.relay._ws import Sockets
from trio_mix.testing import MemoryNetwork
from trio_mix.testing.net._listener import MEMORY_URL

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from trio_mix.relay._grants import Auth
    from trio_mix.relay._hub import Hub
    from trio_mix.relay._records import SendRequest, StartFrom
    from trio_mix.testing import MixServer
    from trio_mix.testing.net._memory import MemoryStream

FIRST = before_first(1)


class ScriptedFeed:
    """One session: its events are what the test appends."""

    def __init__(self, hub: ScriptedHub, session_id: str, ring: int) -> None:
        self.hub = hub
        self.session_id = session_id
        self.events: list[LoggedEvent] = []
        self.deleted = 0
        """How many of the oldest events are not kept."""
        self.reads: list[int] = []
        """The positions at which the log was read."""
        self.consumers = 0
        self.turn_running: str | None = None
        self.closed: str | None = None
        self.requests: list[tuple[str, str]] = []
        self.sent: list[TurnRecord] = []
        self.refusal: Answer | None = None
        self.cancels: list[str] = []
        self._ring = Ring(FIRST, size=ring, pipeline=hub.generation == "pipeline")
        self._callbacks: dict[object, Callable[[], None]] = {}
        self._changed = trio.Event()

    @property
    def newest(self) -> int:
        return self._ring.newest

    def append(
        self, event: str, data: object, audience: Audience = Audience.ALL, times: int = 1
    ) -> None:
        text = data if isinstance(data, str) else json.dumps(data)
        ids = range(self.newest + 1, self.newest + 1 + times)
        events = [LoggedEvent(each, audience, encode_frame(each, event, text)) for each in ids]
        self.events += events
        self._ring.append(events)
        self._notify()

    def close(self, reason: str) -> None:
        self.closed = reason
        self._notify()

    def _notify(self) -> None:
        self._changed.set()
        self._changed = trio.Event()
        for callback in list(self._callbacks.values()):
            callback()

    async def start(self, *, last_event_id: str | None = None, from_: StartFrom = "now") -> Start:
        await trio.lowlevel.checkpoint()
        oldest = FIRST + self.deleted
        if last_event_id is None:
            return Start(oldest if from_ == "earliest" else self.newest)
        position = parse_position(last_event_id, self.newest)
        if position is None:
            return Start(self.newest, Gap(None))
        return Start(max(position, oldest), Gap(oldest - position) if position < oldest else None)

    def read_nowait(self, position: int, *, relay: bool, limit: int = 65536) -> Chunk | None:
        return self._ring.read(position, relay=relay, limit=limit)

    async def read(self, position: int, *, relay: bool, limit: int = 262144) -> Chunk:
        await trio.lowlevel.checkpoint()
        del limit
        self.reads.append(position)
        first = max(position - FIRST, self.deleted)
        chosen = self.events[first : first + 100]
        pipeline = self._ring.pipeline
        chunk = join_events(chosen, position, relay=relay, pipeline=pipeline)
        missed = first - (position - FIRST)
        return attrs.evolve(chunk, gap=Gap(missed)) if missed else chunk

    def on_append(self, callback: Callable[[], None]) -> Callable[[], None]:
        key = object()
        self._callbacks[key] = callback

        def unsubscribe() -> None:
            del self._callbacks[key]

        return unsubscribe

    def open_requests(self, position: int) -> list[tuple[str, str]]:
        del position
        return self.requests

    async def send(self, request: SendRequest, *, body: str, key: str | None, subject: str) -> Sent:
        await trio.lowlevel.checkpoint()
        for known in self.sent:
            if key is not None and (known.key, known.subject) == (key, subject):
                return Sent(known, known.answer, repeated=True)
        if len(self.sent) == self.hub.queue_max:
            raise QueueFull("as many messages as allowed are queued")
        turn = TurnRecord(
            turn_id=f"t{next(self.hub.numbers)}",
            session_id=self.session_id,
            request=request,
            digest=body,
            created_at=1.0,
            key=key,
            subject=subject,
            answer=self.refusal,
        )
        self.sent.append(turn)
        return Sent(turn, self.refusal)

    def finish(self, turn_id: str, outcome: Outcome) -> None:
        """End a turn."""
        state = TurnState.CANCELLED if outcome.kind == "cancelled" else TurnState.DONE
        self.sent = [
            attrs.evolve(turn, state=state, outcome=outcome) if turn.turn_id == turn_id else turn
            for turn in self.sent
        ]
        self._notify()

    async def wait_turn(self, turn_id: str) -> TurnRecord:
        await trio.lowlevel.checkpoint()
        while True:
            [turn] = [turn for turn in self.sent if turn.turn_id == turn_id]
            if turn.state.over:
                return turn
            await self._changed.wait()

    async def cancel_running(self) -> Answer:
        await trio.lowlevel.checkpoint()
        self.cancels.append("running")
        return Answer(status=200, content_type="application/json", body=b'{"cancelled": true}')

    async def cancel_waiting(self) -> int:
        await trio.lowlevel.checkpoint()
        self.cancels.append("waiting")
        return 0


@attrs.frozen
class ScriptedStatistics:
    turns_total: int = 7
    owners: int = 2


class ScriptedHub:
    """The hub of the HTTP side under test."""

    def __init__(self, generation: str | None = "async", *, ring: int = 2000) -> None:
        self.generation = generation
        self.ready = True
        self.upstream_reachable = True
        self.queue_max = 100
        self.feeds: dict[str, ScriptedFeed] = {}
        self.numbers: Iterator[int] = itertools.count(1)
        self.requests_of: dict[str, str] = {}
        self.decisions: list[tuple[str, bool, str]] = []
        self._ring = ring

    def add(self, session_id: str) -> ScriptedFeed:
        feed = self.feeds[session_id] = ScriptedFeed(self, session_id, self._ring)
        return feed

    @asynccontextmanager
    async def session(self, session_id: str) -> AsyncIterator[ScriptedFeed]:
        await trio.lowlevel.checkpoint()
        if session_id not in self.feeds:
            raise SessionUnknown(f"there is no session {session_id}")
        feed = self.feeds[session_id]
        feed.consumers += 1
        try:
            yield feed
        finally:
            feed.consumers -= 1

    async def turn(self, turn_id: str) -> TurnRecord | None:
        await trio.lowlevel.checkpoint()
        turns = [turn for feed in self.feeds.values() for turn in feed.sent]
        return next((turn for turn in turns if turn.turn_id == turn_id), None)

    async def cancel(self, turn_id: str) -> TurnRecord:
        turn = await self.turn(turn_id)
        if turn is None:
            raise TurnUnknown(turn_id)
        self.feeds[turn.session_id].finish(turn_id, Outcome(kind="cancelled"))
        return cast("TurnRecord", await self.turn(turn_id))

    async def session_of_request(self, request_id: str) -> str | None:
        await trio.lowlevel.checkpoint()
        return self.requests_of.get(request_id)

    async def decide(self, permission_id: str, *, grant: bool, subject: str) -> Answer:
        await trio.lowlevel.checkpoint()
        self.decisions.append((permission_id, grant, subject))
        return Answer(status=200, content_type="application/json", body=b'{"ok": true}')

    async def drain(self, timeout: float) -> None:
        del timeout
        await trio.lowlevel.checkpoint()

    def statistics(self) -> ScriptedStatistics:
        return ScriptedStatistics()


class RelayHttp:
    """The HTTP side, as something to connect to."""

    url = MEMORY_URL

    def __init__(
        self, hub: ScriptedHub, routes: Routes, streams: Streams, sockets: Sockets, mix: Mix
    ) -> None:
        self.hub = hub
        self.routes = routes
        self.streams = streams
        self.sockets = sockets
        self.mix = mix
        self.state = routes.state
        self.nursery: trio.Nursery
        self.capacity = 64 * 1024

    @property
    def network(self) -> MemoryNetwork:
        return MemoryNetwork(self._accept, capacity=self.capacity)

    def _accept(self, stream: MemoryStream) -> bool:
        limits = HttpLimits(stall_timeout=self.streams.rooms.stall_timeout)
        connection = StreamConnection(stream)
        self.nursery.start_soon(serve_connection, connection, self.routes.handle, limits)
        return True


@asynccontextmanager
async def open_http(
    hub: ScriptedHub,
    server: MixServer | None = None,
    *,
    auth: Auth | None = None,
    host: str = "localhost",
    loopback: bool = True,
    origins: tuple[str, ...] = (),
    stall_timeout: float = 30.0,
) -> AsyncIterator[RelayHttp]:
    """Serve a hub; requests that are passed on go to the server."""
    network = None if server is None else server.network
    url = MEMORY_URL if server is None else server.url
    headers = {"Mix-Relay-Upstream": "1"}
    async with Mix(url, network=cast("Any", network), headers=headers) as mix:
        streams = Streams(heartbeat=15.0, stall_timeout=stall_timeout)
        sockets = Sockets(cast("Hub", hub), streams.rooms, heartbeat=15.0)
        routes = Routes(
            hub=cast("Hub", hub),
            mix=mix,
            upstream=Upstream(mix),
            streams=streams,
            sockets=sockets,
            guard=OriginGuard(host, (), origins),
            auth=auth,
            state=ServerState(),
            loopback=loopback,
        )
        relay = RelayHttp(hub, routes, streams, sockets, mix)
        async with trio.open_nursery() as relay.nursery:
            relay.nursery.start_soon(streams.run)
            relay.nursery.start_soon(sockets.run)
            yield relay
            relay.nursery.cancel_scope.cancel()
