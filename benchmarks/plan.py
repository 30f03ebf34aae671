"""The benches: what is run, by which peers, and the targets."""

from __future__ import annotations

from typing import Any

import attrs

from benchmarks.corpus import DELTAS, MIXED

SSE = "httpx-sse"
STREAM = "trio_mix stream_events"
MESSAGE = "trio_mix Message"
SESSION = "trio_mix open_stream"
IMPORT = "from trio_mix import Mix"
SDK = "mix-python-sdk"
NODE = "eventsource-parser"
FLOOR = "floor: Trio socket + json.loads"
SHORT_PEERS = ["trio_mix", "floor: bytes.split", "floor: msgspec", FLOOR]
_FLOODED = (
    STREAM,
    SSE,
    "trio_mix open_event_source",
    "trio_mix, a caller's httpx client",
    "httpx2 + httpx-sse",
    "aiohttp, raw lines",
    "launchdarkly-eventsource",
    SDK,
    NODE,
    FLOOR,
    "floor: Trio + h11",
    "floor: httpx aiter_raw",
)
_PARSERS = ("trio_mix", SSE, "launchdarkly-eventsource", SDK, NODE, "floor: bytes.split")


@attrs.frozen
class Target:
    """The most that a peer's figure may be."""

    peer: str
    figure: str
    at_most: float
    against: str | None = None
    """The peer whose figure is 1.0; None for that of the bench."""


@attrs.frozen(kw_only=True)
class Bench:
    """The same work, done by each of the peers: one table of the results."""

    name: str
    title: str
    module: str
    peers: tuple[str, ...]
    against: str
    """The peer that ratios are taken to, round by round."""
    arguments: dict[str, Any] = attrs.field(factory=dict)
    short: dict[str, Any] = attrs.field(factory=dict)
    """The arguments that are smaller in the short form."""
    targets: tuple[Target, ...] = ()
    limits: tuple[Target, ...] = ()
    """Targets for the figure itself, and not for its ratio."""
    server: bool = True
    in_short: bool = True


def _named(name: str, kind: str) -> str:
    """Return the name of a bench: that of the corpus follows if it is not the plain one."""
    return name if kind == DELTAS else f"{name}, {kind}"


def _parse(chunks: str, chunking: str, kind: str, count: int, most: float | None) -> Bench:
    figure = "ms" if chunking == "line" else "µs/event"
    return Bench(
        name=_named(f"parse, {chunks}", kind),
        title=_named(f"Bytes to frames, {chunks}", kind),
        module="parse",
        # Before a blank line comes, the SDK looks at each byte of a frame again with each chunk.
        peers=tuple(p for p in _PARSERS if p != SDK or (kind, chunking) != (MIXED, "7 bytes")),
        against=SSE,
        arguments={"chunking": chunking, "count": count, "kind": kind},
        short={} if chunking == "line" else {"count": count // 5},
        targets=() if most is None else (Target("trio_mix", figure, most),),
        server=False,
        in_short=chunking != "64 KB" and (kind == DELTAS or chunking == "frame"),
    )


def _decode(kind: str, most: float) -> Bench:
    return Bench(
        name=_named("decode", kind),
        title=_named("An event to its class", kind),
        module="decode",
        peers=("trio_mix", "json.loads", "floor: msgspec to a dict"),
        against="json.loads",
        arguments={"kind": kind, "count": 100_000},
        short={"count": 20_000},
        targets=(Target("trio_mix", "µs/event", most),),
        server=False,
    )


def _flood(chunks: str, chunking: str, kind: str, *targets: Target) -> Bench:
    return Bench(
        name=_named(f"flood, {chunks}", kind),
        title=_named(f"Socket to consumer, {chunks}", kind),
        module="message",
        # The SDK raises on the events of newer servers.
        peers=(MESSAGE, *(peer for peer in _FLOODED if peer != SDK or kind == DELTAS)),
        against=SSE,
        arguments={"count": 100_000, "chunking": chunking, "kind": kind},
        short={"count": 20_000},
        targets=targets,
        in_short=kind == DELTAS or chunking == "frame",
    )


def _hold(count: int, kind: str = DELTAS, *targets: Target) -> Bench:
    return Bench(
        name=_named(f"hold, {count} streams", kind),
        title=_named(f"{count:,} open streams", kind),
        module="hold",
        peers=(STREAM, SESSION, SSE, "httpx2 + httpx-sse", FLOOR),
        against=SSE,
        arguments={"count": count, "kind": kind},
        targets=targets,
        in_short=count == 100,
    )


def _first(name: str, warm: bool, most: float) -> Bench:
    return Bench(
        name=f"first event, {name}",
        title=f"A new client's first event, {name}",
        module="stream",
        peers=tuple(peer for peer in _FLOODED if peer != NODE),
        against=SSE,
        arguments={"what": "first", "warm": warm},
        targets=(Target(STREAM, "CPU ms", most),),
        in_short=warm,
    )


def _held(*most: float) -> tuple[Target, ...]:
    """Return the targets of streams of `stream_events` that are held open."""
    figures = ("KB each", "connect CPU s", "µs/event")
    return tuple(Target(STREAM, figure, each) for figure, each in zip(figures, most, strict=True))


_SESSIONS = (
    Target(SESSION, "KB each", 0.9),
    Target(SESSION, "connect CPU s", 0.6),
)
# Targets of the paced bench, first events, open streams and imports are the last figures of a quiet
# machine, with about a tenth added: they vary by that much.
BENCHES = (
    _parse("1 frame a chunk", "frame", DELTAS, 100_000, 0.35),
    _parse("1 frame a chunk", "frame", MIXED, 50_000, 0.45),
    _parse("16 KB chunks", "16 KB", DELTAS, 100_000, 0.25),
    _parse("16 KB chunks", "16 KB", MIXED, 50_000, None),
    _parse("64 KB chunks", "64 KB", DELTAS, 100_000, 0.25),
    _parse("64 KB chunks", "64 KB", MIXED, 50_000, 0.35),
    _parse("7-byte chunks", "7 bytes", DELTAS, 20_000, 0.5),
    _parse("7-byte chunks", "7 bytes", MIXED, 10_000, 0.6),
    _parse("a line of 512 KiB in reads of 1 KiB", "line", DELTAS, 512 * 1024, None),
    _decode(DELTAS, 0.5),
    _decode(MIXED, 0.7),
    _flood(
        "1 frame a chunk",
        "frame",
        DELTAS,
        Target(STREAM, "µs/event", 0.20),
        Target(MESSAGE, "µs/event", 0.36),
    ),
    _flood(
        "1 frame a chunk",
        "frame",
        MIXED,
        Target(STREAM, "µs/event", 0.25),
        Target(STREAM, "µs/event", 1.0, FLOOR),
        Target(MESSAGE, "µs/event", 0.40),
    ),
    _flood(
        "16 KB chunks",
        "16k",
        DELTAS,
        Target(STREAM, "µs/event", 0.40),
        Target(MESSAGE, "µs/event", 0.80),
    ),
    _flood(
        "16 KB chunks",
        "16k",
        MIXED,
        Target(STREAM, "µs/event", 0.50),
        Target(STREAM, "µs/event", 1.1, FLOOR),
        Target(MESSAGE, "µs/event", 0.85),
    ),
    Bench(
        name="flood, 1 frame a chunk, the oldest form",
        title="Socket to consumer, 1 frame a chunk, the oldest form",
        module="message",
        peers=(STREAM, SSE),
        against=SSE,
        arguments={"count": 100_000, "chunking": "frame", "form": "oldest"},
        in_short=False,
    ),
    Bench(
        name="end to end",
        title="Open a stream, send, read the turn, 1 frame a chunk",
        module="message",
        peers=(MESSAGE, SDK),
        against=SDK,
        arguments={"count": 100_000},
        short={"count": 20_000},
        targets=(Target(MESSAGE, "µs/event", 1 / 160),),
    ),
    Bench(
        name="end to end, mixed",
        title="Open a stream, send, read the turn, 1 frame a chunk, mixed",
        module="message",
        peers=(MESSAGE, FLOOR),  # the SDK raises on the events of newer servers
        against=FLOOR,
        arguments={"count": 100_000, "kind": MIXED},
        in_short=False,
    ),
    Bench(
        name="paced, 2,000/s",
        title="2,000 frames a second: CPU and lateness",
        module="stream",
        peers=tuple(peer for peer in _FLOODED if peer not in (SDK, NODE)),
        against=SSE,
        arguments={"what": "paced", "count": 4000, "rate": 2000},
        short={"count": 1000},
        targets=(
            Target(STREAM, "µs/event", 0.55),
            Target(STREAM, "p50 µs", 0.65),
            Target(STREAM, "p99 µs", 0.8),
        ),
        in_short=False,
    ),
    _first("warm", True, 0.07),
    _first("cold", False, 0.19),
    _hold(100),
    _hold(1000, DELTAS, *_held(0.52, 0.43, 0.21), *_SESSIONS),
    _hold(1000, MIXED, *_SESSIONS),
    _hold(5000, DELTAS, *_held(0.48, 0.17, 0.24)),
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
        limits=(
            Target("trio_mix", "CPU ms", 0.5),
            Target("trio_mix", "MB", 0.1),
            Target(IMPORT, "CPU ms", 37.0),
            Target(IMPORT, "MB", 3.0),
        ),
        server=False,
    ),
    Bench(
        name="slow consumer",
        title="Read 100,000 events while the consumer sleeps",
        module="message",
        peers=(MESSAGE,),
        against=MESSAGE,
        arguments={"count": 100_000, "slow": True},
        in_short=False,
    ),
    Bench(
        name="100 sessions at once",
        title="100 sessions, a message of 200 deltas in each",
        module="message",
        peers=(MESSAGE,),
        against=MESSAGE,
        arguments={"count": 200, "sessions": 100},
        in_short=False,
    ),
)


@attrs.frozen(kw_only=True)
class Growth:
    """The growth of a figure with one argument: a line in a plot for each peer."""

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
    """Whether the figure is divided by the argument."""


GROWTHS = (
    Growth(
        name="events",
        title="CPU per event by the number of events on one stream",
        module="message",
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
        module="message",
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
