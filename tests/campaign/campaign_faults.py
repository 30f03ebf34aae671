"""Draw the faults of one schedule: what the proxy does to requests and streams."""

from __future__ import annotations

from email.utils import formatdate
from typing import TYPE_CHECKING, Literal

from trio_mix.testing import (
    Answer,
    Corrupt,
    Cut,
    Fault,
    Refuse,
    Rule,
    Split,
    Stall,
    Throttle,
)

if TYPE_CHECKING:
    import random

__all__ = ["EPOCH", "draw_rules"]


EPOCH = 1_800_000_000.0
"""The time of day at time 0 of the mock clock."""


def draw_rules(rng: random.Random) -> tuple[Rule, ...]:
    rate = rng.choice([0.0, 0.25, 0.5, 0.8])
    corrupts = rng.random() < 0.12
    first = 1 if rng.random() < 0.1 else 2
    rules = [
        _draw_rule(rng, "stream", number, corrupts=corrupts)
        for number in range(first, first + 5)
        if rng.random() < rate or number == 2
    ]
    if rng.random() < 0.8 and first == 2:  # the first stream, after it has come up
        fault = _stream_fault(rng, corrupts=corrupts)
        rules.append(Rule(fault, path="/stream", method="GET", connections=[1]))
    for kind in ("send", "look"):
        rules += [
            _draw_rule(rng, kind, number, corrupts=corrupts)
            for number in range(1, 5)
            if rng.random() < rate * 0.6
        ]
    return tuple(rules)


def _stream_fault(rng: random.Random, *, corrupts: bool) -> Fault:
    at = 400 + rng.randrange(rng.choice([600, 6000]))
    kind = rng.choice(["cut", "reset", "lose", "stall", "split", "throttle"])
    if corrupts and rng.random() < 0.3:
        return Corrupt(at, rng.randint(1, 8), rng.randint(1, 255))
    match kind:
        case "cut" | "reset":
            return Cut(at, how="cut" if kind == "cut" else "reset")
        case "lose":
            return Cut(at, server_notices=False)
        case "stall":
            return Stall(at, rng.choice([0.5, 5.0, 120.0]))
        case "split":
            return Split(rng.randint(1, 7))
        case _:
            return Throttle(rng.choice([200.0, 2000.0]))


def _draw_rule(rng: random.Random, kind: str, number: int, *, corrupts: bool) -> Rule:
    window = {"stream": 3000, "send": 350, "look": 2500}[kind]
    faults = [_fault(rng, window, corrupts=corrupts) for _ in range(rng.choice([1, 1, 2]))]
    if kind == "stream":
        return Rule(*faults, path="/stream", method="GET", connections=[number])
    if kind == "send":
        path = rng.choice(["/stream/", "/api/sessions/"])
        return Rule(*faults, path=path, method="POST", connections=[number])
    return Rule(*faults, path="/api/", method="GET", connections=[number])


def _fault(rng: random.Random, window: int, *, corrupts: bool) -> Fault:
    at = rng.randrange(window)
    what = rng.choice(
        ["cut", "cut", "reset", "up", "up", "lose", "stall", "stall up", "split", "throttle"]
        + ["refuse", "busy", "busy"]
        + ["corrupt"] * (3 if corrupts else 0)
    )
    match what:
        case "cut" | "reset":
            return Cut(at, how="cut" if what == "cut" else "reset")
        case "up":
            how: Literal["cut", "reset"] = rng.choice(["cut", "reset"])
            return Cut(rng.randrange(450), "up", how)
        case "lose":
            return Cut(at, server_notices=False)
        case "stall":
            return Stall(at, rng.choice([0.5, 5.0, 120.0]))
        case "stall up":
            return Stall(rng.randrange(450), rng.choice([0.5, 5.0, 120.0]), "up")
        case "split":
            return Split(rng.randint(1, 7), rng.choice(["down", "up"]))
        case "throttle":
            return Throttle(rng.choice([200.0, 2000.0]), rng.choice(["down", "up"]))
        case "corrupt":
            return Corrupt(at, rng.randint(1, 8), rng.randint(1, 255), rng.choice(["down", "up"]))
        case "busy":
            return Answer(rng.choice([429, 503]), (("Retry-After", _retry_after(rng)),))
        case _:
            return Refuse()


def _retry_after(rng: random.Random) -> str:
    seconds = rng.randint(0, 4)
    if rng.random() < 0.5:
        return str(seconds)
    return formatdate(EPOCH + seconds + rng.randrange(40), usegmt=True)
