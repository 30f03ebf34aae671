"""A hub in front of a bundled server, in memory, and what a consumer receives of a session."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import attrs

from tests.support.relay_memory_log import MemoryLog, MemoryStore
from trio_mix import Mix
from trio_mix.relay._hub import Hub
from trio_mix.relay._records import SendRequest
from trio_mix.relay._settings import HubSettings
from trio_mix.sse import ServerSentEvent, SSEDecoder

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from trio_mix.relay._feed import SessionFeed
    from trio_mix.relay._records import LoggedEvent, Sent
    from trio_mix.testing import MemoryNetwork, MixServer

__all__ = [
    "ends_of",
    "logged",
    "open_hub",
    "post",
    "read_all",
    "text_of",
    "until_over",
]


@asynccontextmanager
async def open_hub(
    server: MixServer,
    store: MemoryStore | MemoryLog | None = None,
    *,
    network: MemoryNetwork | None = None,
    **settings: float,
) -> AsyncIterator[Hub]:
    """Open a hub in front of a server, and wait until it is ready."""
    log = store if isinstance(store, MemoryLog) else MemoryLog(store)
    async with Mix("http://mix.test", network=network or server.network) as mix:
        options = HubSettings(**settings)  # type: ignore[arg-type]
        async with Hub(mix, log, options) as hub:
            yield hub


async def post(feed: SessionFeed, text: str, *, key: str | None = None, subject: str = "") -> Sent:
    """Send a message."""
    request = SendRequest(text=text)
    return await feed.send(request, body=json.dumps({"text": text}), key=key, subject=subject)


async def until_over(feed: SessionFeed, sent: Sent) -> None:
    """Wait for the end of a turn."""
    await feed.wait_turn(sent.turn.turn_id)


async def read_all(
    feed: SessionFeed, position: int, *, relay: bool = False
) -> list[ServerSentEvent]:
    """Return the events after a position."""
    decoder, found = SSEDecoder(), list[ServerSentEvent]()
    while position < feed.newest:
        chunk = feed.read_nowait(position, relay=relay, limit=200)
        if chunk is None:
            chunk = await feed.read(position, relay=relay, limit=200)
        found += decoder.feed(chunk.data)
        position = chunk.position
    return found


def logged(events: Sequence[LoggedEvent], *, relay: bool = False) -> list[ServerSentEvent]:
    """Decode stored events."""
    decoder = SSEDecoder()
    shown = [event.shown(relay=relay, pipeline=True) for event in events]
    return [frame for each in shown for frame in decoder.feed(each)]


@attrs.frozen
class Ending:
    """The end of one turn."""

    turn_id: str
    event: str
    data: dict[str, object]


def ends_of(frames: Sequence[ServerSentEvent]) -> list[Ending]:
    """Return the ends of turns."""
    found = []
    for frame in frames:
        if frame.event in ("complete", "error"):
            data = json.loads(frame.data)
            if data.get("parentToolCallId") is None:
                found.append(Ending(data["turnId"], frame.event, data))
    return found


def text_of(frames: Sequence[ServerSentEvent], turn_id: str) -> str:
    """Return the top-level text of a turn."""
    return "".join(
        data["content"]
        for frame in frames
        if frame.event == "content"
        and (data := json.loads(frame.data)).get("parentToolCallId") is None
        and data["turnId"] == turn_id
    )
