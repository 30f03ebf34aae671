"""From bytes to frames: no sockets, and no JSON."""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import corpus
from benchmarks.sample import Missing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    Parse = Callable[[list[bytes]], Iterable[Any]]  # yields objects that have a .data


def events_of(chunking: str, count: int, kind: str) -> list[corpus.Event]:
    """Return the events of a stream."""
    if chunking == "line":  # one event with one long line
        return [corpus.delta("x" * count)]
    return list(corpus.events(count, kind))


def pieces_of(events: list[corpus.Event], chunking: str, form: str) -> list[bytes]:
    """Return the stream of some events in pieces."""
    frames = [corpus.frame(event, number, form) for number, event in enumerate(events, 2)]
    if chunking == "frame":
        return frames
    size = {"line": 1024, "7 bytes": 7, "16 KB": 16 * 1024, "64 KB": 64 * 1024}[chunking]
    return corpus.cut(b"".join(frames), size)


def trio_mix(pieces: list[bytes]) -> Iterable[Any]:
    from trio_mix.sse import SSEDecoder

    feed = SSEDecoder().feed
    for piece in pieces:
        yield from feed(piece)


def httpx_sse(pieces: list[bytes]) -> Iterable[Any]:
    import httpx
    from httpx_sse import EventSource

    headers = {"content-type": "text/event-stream"}
    yield from EventSource(httpx.Response(200, headers=headers, content=iter(pieces))).iter_sse()


def launchdarkly(pieces: list[bytes]) -> Iterable[Any]:
    from ld_eventsource.reader import _BufferedLineReader, _SSEReader

    yield from _SSEReader(_BufferedLineReader.lines_from(iter(pieces))).events_and_comments()


def mix_python_sdk(pieces: list[bytes]) -> Iterable[Any]:
    import httpx
    from mix_python_sdk.utils.eventstreaming import stream_events

    yield from stream_events(httpx.Response(200, content=iter(pieces)), _Text)


class _Text:
    """The class that the SDK's parser makes events of, from JSON of all fields."""

    def __init__(self, raw: str) -> None:
        self.data = json.dumps(json.loads(raw)["data"], separators=(",", ":"))


def split(pieces: list[bytes]) -> Iterable[Any]:
    """A lower bound: it takes the third line of a block for its data, whatever it is."""
    rest = b""
    for piece in pieces:
        *blocks, rest = (rest + piece if rest else piece).split(b"\n\n")
        for block in blocks:
            yield _Block(block.split(b"\n")[2][6:].decode())


class _Block:
    __slots__ = ("data",)

    def __init__(self, data: str) -> None:
        self.data = data


PARSERS: dict[str, Parse] = {
    "trio_mix": trio_mix,
    "httpx-sse": httpx_sse,
    "launchdarkly-eventsource": launchdarkly,
    "mix-python-sdk": mix_python_sdk,
    "floor: bytes.split": split,
}
SLOW = {"mix-python-sdk": 50}


def sample(
    peer: str, *, chunking: str, count: int, kind: str = corpus.DELTAS, form: str = "new"
) -> dict[str, float]:
    """Return the µs for each event, or for the long line the ms for it."""
    if peer in SLOW:
        count = max(count // SLOW[peer], 1)
    few = events_of(chunking, count if chunking == "line" else min(count, 2000), kind)
    check(peer, few, pieces_of(few, chunking, form))
    events = events_of(chunking, count, kind)
    pieces, total = pieces_of(events, chunking, form), len(events)
    del events
    if peer == "eventsource-parser":
        took = float(node("parse", pieces, total)) / 1e6
    else:
        parse = PARSERS[peer]
        began = time.process_time()
        seen = sum(1 for event in parse(pieces) if event.data)
        took = time.process_time() - began
        assert seen == total
    return {"ms": took * 1e3} if chunking == "line" else {"µs/event": took / total * 1e6}


def check(peer: str, events: list[corpus.Event], pieces: list[bytes]) -> None:
    """Compare the names and the data that a parser finds with what was sent."""
    if peer == "eventsource-parser":
        sent = "".join(f"{event.name}\n{event.data}\n" for event in events)
        if node("check", pieces, len(events)) != hashlib.sha256(sent.encode()).hexdigest():
            raise SystemExit("eventsource-parser reads other events than were sent")
        return
    seen = corpus.Check(events)
    for event in PARSERS[peer](pieces):
        seen.add(json.loads(event.data), getattr(event, "event", None))
    seen.done()


def node(mode: str, pieces: list[bytes], count: int) -> str:
    """Let Node parse the pieces, with the eventsource-parser that `benchmarks.node` installed."""
    from benchmarks import node as nodes

    path = Path(nodes.folder()) / "pieces.bin"
    path.write_bytes(b"".join(itertools.chain(*((len(p).to_bytes(4, "big"), p) for p in pieces))))
    try:
        return nodes.run(mode, str(path), str(count)).strip()
    except subprocess.CalledProcessError as error:
        raise Missing("eventsource-parser") from error
