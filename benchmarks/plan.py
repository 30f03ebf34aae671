"""What is run: the benches, who takes part, and the targets of issue 5."""

from __future__ import annotations

from typing import Any

import attrs

SSE = "httpx-sse"
STREAM = "trio_mix stream_events"
MESSAGE = "trio_mix Message"
IMPORT = "from trio_mix import Mix"
SDK = "mix-python-sdk"
SHORT_PEERS = ["trio_mix", "floor: bytes.split", "floor: msgspec", "floor: Trio socket"]
_FLOODED = (
    STREAM,
    SSE,
    "trio_mix open_event_source",
    "trio_mix, a caller's httpx client",
    "httpx2 + httpx-sse",
    "aiohttp, raw lines",
    "launchdarkly-eventsource",
    SDK,
    "eventsource-parser",
    "floor: Trio socket",
    "floor: Trio + h11",
    "floor: httpx aiter_raw",
)
_PARSERS = (
    "trio_mix",
    SSE,
    "launchdarkly-eventsource",
    SDK,
    "eventsource-parser",
    "floor: bytes.split",
)


@attrs.frozen(kw_only=True)
class Bench:
    """One column group of the results: the same work, done by each of the peers."""

    name: str
    title: str
    module: str
    peers: tuple[str, ...]
    against: str
    """The peer that ratios are taken to, round by round."""
    arguments: dict[str, Any] = attrs.field(factory=dict)
    short: dict[str, Any] = attrs.field(factory=dict)
    """What is smaller in the short form."""
    targets: dict[tuple[str, str], float] = attrs.field(factory=dict)
    """For a peer and a figure: the most that its ratio may be."""
    limits: dict[tuple[str, str], float] = attrs.field(factory=dict)
    """For a peer and a figure: the most that it may be."""
    server: bool = True
    in_short: bool = True


def _parse(name: str, chunking: str, count: int, target: float | None) -> Bench:
    figure = "ms" if chunking == "line" else "µs/event"
    return Bench(
        name=f"parse, {name}",
        title=f"Bytes to frames, {name}",
        module="parse",
        peers=_PARSERS,
        against=SSE,
        arguments={"chunking": chunking, "count": count},
        short={} if chunking == "line" else {"count": count // 5},
        targets={} if target is None else {("trio_mix", figure): target},
        server=False,
        in_short=chunking != "64 KB",
    )


def _flood(name: str, chunking: str, form: str, one: float | None, road: float | None) -> Bench:
    targets = {(STREAM, "µs/event"): one} if one else {}
    if road:
        targets[MESSAGE, "µs/event"] = road
    return Bench(
        name=f"flood, {name}",
        title=f"Socket to consumer, {name}",
        module="road",
        peers=(MESSAGE, *_FLOODED) if form == "new" else (STREAM, SSE),
        against=SSE,
        arguments={"count": 100_000, "chunking": chunking, "form": form},
        short={"count": 20_000},
        targets=targets,
        in_short=form == "new",
    )


def _hold(count: int) -> Bench:
    return Bench(
        name=f"hold, {count} streams",
        title=f"{count:,} open streams",
        module="hold",
        peers=(STREAM, "trio_mix open_stream", SSE, "httpx2 + httpx-sse", "floor: Trio socket"),
        against=SSE,
        arguments={"count": count},
        targets={}
        if count < 1000
        else {
            (STREAM, "KB each"): 0.8,
            (STREAM, "connect s"): 0.5,
            (STREAM, "connect CPU s"): 0.6,
            (STREAM, "µs/event"): 0.6,
        },
        in_short=count == 100,
    )


def _first(name: str, warm: bool) -> Bench:
    return Bench(
        name=f"first event, {name}",
        title=f"A new client's first event, {name}",
        module="stream",
        peers=tuple(peer for peer in _FLOODED if peer != "eventsource-parser"),
        against=SSE,
        arguments={"what": "first", "warm": warm},
        targets={(STREAM, "ms"): 0.2},
        in_short=warm,
    )


BENCHES = (
    _parse("1 frame a chunk", "frame", 100_000, 0.40),
    _parse("16 KB chunks", "16 KB", 100_000, 0.25),
    _parse("64 KB chunks", "64 KB", 100_000, 0.25),
    _parse("7-byte chunks", "7 bytes", 20_000, 0.8),
    _parse("a line of 512 KiB in reads of 1 KiB", "line", 512 * 1024, None),
    Bench(
        name="decode, content",
        title="A content event to its class",
        module="decode",
        peers=("trio_mix", "json.loads", "floor: msgspec to a dict"),
        against="json.loads",
        arguments={"what": "content", "count": 200_000},
        short={"count": 50_000},
        targets={("trio_mix", "µs/event"): 0.5},
        server=False,
    ),
    Bench(
        name="decode, other events",
        title="Other events to their classes",
        module="decode",
        peers=("trio_mix", "json.loads", "floor: msgspec to a dict"),
        against="json.loads",
        arguments={"what": "others", "count": 200_000},
        short={"count": 50_000},
        server=False,
        in_short=False,
    ),
    _flood("1 frame a chunk", "frame", "new", 0.25, 0.35),
    _flood("16 KB chunks", "16k", "new", 0.45, 0.55),
    _flood("1 frame a chunk, the oldest form", "frame", "oldest", None, None),
    Bench(
        name="full road",
        title="Open a stream, send, read the turn, 1 frame a chunk",
        module="road",
        peers=(MESSAGE, SDK),
        against=SDK,
        arguments={"count": 100_000},
        short={"count": 20_000},
        targets={(MESSAGE, "µs/event"): 1 / 200},
    ),
    Bench(
        name="paced, 2,000/s",
        title="2,000 frames a second: CPU and lateness",
        module="stream",
        peers=tuple(peer for peer in _FLOODED if peer not in (SDK, "eventsource-parser")),
        against=SSE,
        arguments={"what": "paced", "count": 4000, "rate": 2000},
        short={"count": 1000},
        targets={(STREAM, "µs/event"): 0.65, (STREAM, "p50 µs"): 1.0, (STREAM, "p99 µs"): 1.0},
        in_short=False,
    ),
    _first("warm", warm=True),
    _first("cold", warm=False),
    _hold(100),
    _hold(1000),
    _hold(5000),
    Bench(
        name="import",
        title="Import, on top of trio, httpx, attrs and cattrs",
        module="startup",
        peers=(
            "trio_mix",
            IMPORT,
            "from trio_mix.sse import …",
            "trio, httpx, attrs, cattrs",
            SSE,
            SDK,
            "aiohttp, raw lines",
        ),
        against="trio, httpx, attrs, cattrs",
        limits={
            (peer, figure): most
            for peer in ("trio_mix", IMPORT)
            for figure, most in (("ms", 25.0), ("MB", 5.0))
        },
        server=False,
    ),
    Bench(
        name="slow consumer",
        title="Read 100,000 events while the consumer sleeps",
        module="road",
        peers=(MESSAGE,),
        against=MESSAGE,
        arguments={"count": 100_000, "slow": True},
        in_short=False,
    ),
    Bench(
        name="100 sessions at once",
        title="100 sessions, a message of 200 deltas in each",
        module="road",
        peers=(MESSAGE,),
        against=MESSAGE,
        arguments={"count": 200, "sessions": 100},
        in_short=False,
    ),
)


@attrs.frozen(kw_only=True)
class Growth:
    """How a figure grows with one argument: a line in a plot for each peer."""

    name: str
    title: str
    module: str
    peers: tuple[str, ...]
    argument: str
    values: tuple[int, ...]
    figure: str
    arguments: dict[str, Any] = attrs.field(factory=dict)
    server: bool = True
    per: bool = False
    """Whether the figure is to be divided by the argument."""


GROWTHS = (
    Growth(
        name="events",
        title="CPU per event by the number of events on one stream",
        module="road",
        peers=(MESSAGE, STREAM, SSE),
        argument="count",
        values=(100, 1000, 10_000, 100_000, 1_000_000),
        figure="µs/event",
    ),
    Growth(
        name="streams",
        title="CPU per stream to connect, by the number of streams",
        module="hold",
        peers=(STREAM, "trio_mix open_stream", SSE),
        argument="count",
        values=(1, 10, 100, 1000, 5000),
        figure="connect CPU s",
        per=True,
    ),
    Growth(
        name="streams-events",
        title="CPU per event by the number of streams",
        module="hold",
        peers=(STREAM, "trio_mix open_stream", SSE),
        argument="count",
        values=(1, 10, 100, 1000, 5000),
        figure="µs/event",
    ),
    Growth(
        name="messages",
        title="CPU per event (50 to a message) by the number of messages on one stream",
        module="road",
        peers=(MESSAGE,),
        argument="messages",
        values=(1, 10, 100, 1000),
        figure="µs/event",
        arguments={"count": 50},
    ),
    Growth(
        name="line",
        title="CPU per byte of one line, in reads of 1 KiB, by its length",
        module="parse",
        peers=("trio_mix", SSE, "launchdarkly-eventsource"),
        argument="count",
        values=(2**12, 2**14, 2**16, 2**18, 2**20, 2**22),
        figure="ms",
        arguments={"chunking": "line"},
        server=False,
        per=True,
    ),
)
