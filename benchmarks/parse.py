"""From bytes to frames: no sockets, and no JSON."""

from __future__ import annotations

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

    Parse = Callable[[list[bytes]], Iterable[Any]]  # gives what has a .data


def stream(chunking: str, count: int, form: str) -> tuple[list[bytes], int]:
    """Return the pieces of a stream, and how many deltas are in it."""
    if chunking == "line":  # one event with one long line, in reads of 1 KiB
        raw = corpus.frame("content", json.dumps({"content": "x" * count}), 2)
        return corpus.cut(raw, 1024), 1
    frames = corpus.deltas(count, form=form)
    if chunking == "frame":
        return frames, count
    size = {"7 bytes": 7, "16 KB": 16 * 1024, "64 KB": 64 * 1024}[chunking]
    return corpus.cut(b"".join(frames), size), count


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
    """What the SDK's parser is given to make of an event's JSON: the parts that others give."""

    def __init__(self, raw: str) -> None:
        self.data = json.dumps(json.loads(raw)["data"], separators=(",", ":"))


def split(pieces: list[bytes]) -> Iterable[Any]:
    """A floor: what the standard asks for left out, and whole frames taken for granted."""
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


def sample(peer: str, *, chunking: str, count: int, form: str = "new") -> dict[str, float]:
    """Return the µs for each event (for the long line: the ms for it)."""
    if peer in SLOW:
        count = max(count // SLOW[peer], 1)
    if peer == "eventsource-parser":
        return node(chunking, count, form)
    parse = PARSERS[peer]
    pieces, events = stream(chunking, min(count, 2000) if chunking != "line" else count, form)
    check = corpus.Check()
    for event in parse(pieces):
        if chunking == "line":
            assert json.loads(event.data)["content"] == "x" * count
        else:
            check.add(json.loads(event.data)["content"])
    if chunking != "line":
        check.done(events)
    pieces, events = stream(chunking, count, form)
    began = time.process_time()
    seen = sum(1 for event in parse(pieces) if event.data)
    took = time.process_time() - began
    assert seen == events
    return {"ms": took * 1e3} if chunking == "line" else {"µs/event": took / events * 1e6}


def node(chunking: str, count: int, form: str) -> dict[str, float]:
    """Let Node do it, with the eventsource-parser that `benchmarks.node` has found."""
    from benchmarks import node as nodes

    pieces, events = stream(chunking, count, form)
    path = Path(nodes.folder()) / "pieces.bin"
    path.write_bytes(b"".join(itertools.chain(*((len(p).to_bytes(4, "big"), p) for p in pieces))))
    try:
        out = nodes.run("parse", str(path), str(events))
    except subprocess.CalledProcessError as error:
        raise Missing("eventsource-parser") from error
    took = float(out) / 1e6  # from µs
    return {"ms": took * 1e3} if chunking == "line" else {"µs/event": took / events * 1e6}
