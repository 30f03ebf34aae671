"""Draw one schedule of faults for three relays on one Redis."""

from __future__ import annotations

import random

import attrs

from trio_mix.testing import Pause, Say, Turn, UseTool

__all__ = ["RELAYS", "Accident", "Schedule", "draw"]


RELAYS = 3

Accident = tuple[float, str, int, float]
"""When, what, to which relay, and for how long."""


@attrs.define
class Schedule:
    """One run."""

    seed: int
    messages: dict[int, list[tuple[str, Turn]]]
    """For each session, its messages."""
    accidents: list[Accident]
    consumers: int


def draw(seed: int, *, replicated: bool) -> Schedule:
    """Draw a schedule."""
    rng = random.Random(f"fleet {seed}")
    messages: dict[int, list[tuple[str, Turn]]] = {}
    for session in range(rng.randint(1, 3)):
        messages[session] = []
        for number in range(rng.randint(1, 3)):
            text = f"{seed}.{session}.{number}"
            messages[session].append((text, _turn(rng, text)))
    kinds = ["kill", "stop", "cut", "half cut", "drop", "drain", "redis kill", "redis stop", "lose"]
    if replicated:
        kinds = ["promote", "promote", *kinds]
        kinds.remove("redis kill")
    accidents: list[Accident] = sorted(
        (
            rng.uniform(0.0, 2.0),
            rng.choice(kinds),
            rng.randrange(RELAYS),
            rng.choice([0.1, 0.7, 1.5, 2.5]),
        )
        for _ in range(rng.randint(1, 3))
    )
    return Schedule(seed, messages, accidents, rng.randint(1, 2))


def _turn(rng: random.Random, text: str) -> Turn:
    steps: list[Say | Pause | UseTool] = []
    for word in range(rng.randint(3, 15)):
        said = f"{text}.{word} "
        steps += [Say(said, deltas=[said]), Pause(rng.choice([0.0, 0.02, 0.1, 0.4]))]
        if rng.random() < 0.1:
            steps.append(UseTool("bash", input={"word": word}))
    return Turn(*steps, Say("end", deltas=["end"]))
