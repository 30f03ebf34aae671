"""From a frame to an event object, compared with `json.loads`, which makes only a dict of it."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, get_args

from benchmarks import corpus

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix.sse import ServerSentEvent

DISTINCT = 2000


def trio_mix() -> Callable[[ServerSentEvent], Any]:
    from trio_mix._wire._events import decode_event  # no public name: users get decoded events

    return decode_event


def json_loads() -> Callable[[ServerSentEvent], Any]:
    loads = json.loads
    return lambda frame: loads(frame.data)


def msgspec_dict() -> Callable[[ServerSentEvent], Any]:
    import msgspec

    decode = msgspec.json.Decoder().decode
    return lambda frame: decode(frame.data)


DECODERS = {
    "trio_mix": trio_mix,
    "json.loads": json_loads,
    "floor: msgspec to a dict": msgspec_dict,
}


def sample(peer: str, *, kind: str, count: int) -> dict[str, float]:
    """Return the µs for each event, the loop itself included."""
    from trio_mix.events import Event, StreamGapEvent
    from trio_mix.sse import ServerSentEvent

    events = list(corpus.events(DISTINCT, kind, first=1))
    payloads = [(str(n), each.name, each.data.encode()) for n, each in enumerate(events)]

    def frames() -> list[ServerSentEvent]:
        # New texts each time: CPython keeps the UTF-8 form of a text that was encoded once.
        return [ServerSentEvent(n, name, data.decode()) for n, name, data in payloads]

    decode = DECODERS[peer]()
    check = corpus.Check(events)
    classes = set()
    for frame in frames():
        event = decode(frame)
        check.add(event)
        classes.add(type(event))
    check.done()
    if peer == "trio_mix" and kind == corpus.MIXED:
        assert classes == {*get_args(Event)} - {StreamGapEvent}
    took = 0.0
    for _ in range(count // DISTINCT):
        fresh = frames()
        began = time.process_time()
        for _event in map(decode, fresh):
            pass
        took += time.process_time() - began
    return {"µs/event": took / (count // DISTINCT * DISTINCT) * 1e6}
