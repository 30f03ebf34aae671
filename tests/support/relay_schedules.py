"""The schedules of faults of the relay's campaign, drawn from seeds."""

from __future__ import annotations

import random

import attrs

from trio_mix.relay import Retention
from trio_mix.testing import (
    Api,
    AskPermission,
    Cut,
    Fail,
    Fault,
    Pause,
    Refuse,
    Rule,
    Say,
    Stall,
    Step,
    Turn,
    UseTool,
)

APIS: tuple[Api, ...] = ("async", "async", "async", "blocking", "pipeline", "pipeline-oldest")


@attrs.define
class Schedule:
    """One run."""

    seed: int
    api: Api
    messages: dict[str, list[Turn]]
    """What the agent does for each message."""
    rules: list[Rule]
    accidents: list[tuple[float, str, float]]
    """When, what, and for how long."""
    senders: int
    consumers: int
    retention: Retention
    ring: int
    log_delay: float
    cancels: float
    """The share of messages that are cancelled."""


def draw(seed: int) -> Schedule:
    """Draw a schedule."""
    rng = random.Random(f"relay {seed}")
    api = rng.choice(APIS)
    messages = {f"message {number}": [_turn(rng, number)] for number in range(rng.randint(1, 6))}
    kinds = ["kill", "kill", "cut", "restart", "full disk", "unplug"]
    if api in ("async", "blocking"):
        kinds += ["takeover", "forget"] if rng.random() < 0.3 else []
    accidents = sorted(
        (rng.uniform(0, 40), rng.choice(kinds), rng.choice([0.01, 0.5, 3.0, 20.0]))
        for _ in range(rng.randint(0, 4))
    )
    return Schedule(
        seed=seed,
        api=api,
        messages=messages,
        rules=[_rule(rng) for _ in range(rng.randint(0, 3))],
        accidents=accidents,
        senders=rng.randint(1, 3),
        consumers=rng.randint(1, 3),
        retention=Retention(events=rng.choice([10, 40, 100_000, 100_000])),
        ring=rng.choice([1, 5, 50, 2000]),
        log_delay=rng.choice([0.0, 0.004, 0.5]),
        cancels=rng.choice([0.0, 0.0, 0.3]),
    )


def _turn(rng: random.Random, number: int) -> Turn:
    steps: list[Step] = []
    for part in range(rng.randint(1, 4)):
        kind = rng.choice(["say", "say", "tool", "pause", "ask"])
        words = [f"{number}.{part}.{word} " for word in range(rng.randint(1, 12))]
        if kind == "say":
            for word in words:
                steps.append(Say(word, deltas=[word]))
                if rng.random() < 0.3:
                    steps.append(Pause(rng.choice([0.01, 0.3, 2.0])))
        elif kind == "tool":
            steps.append(UseTool("bash", input={"part": part}))
        elif kind == "pause":
            steps.append(Pause(rng.choice([0.1, 1.0, 8.0])))
        elif rng.random() < 0.5:
            steps.append(AskPermission("bash"))
    if rng.random() < 0.1:
        return Turn(*steps, Fail("the model failed"))
    return Turn(*steps, Say(f"end of {number}", deltas=["end of ", f"{number}"]))


def _rule(rng: random.Random) -> Rule:
    where = rng.choice(["/stream", "/api", "/"])
    faults: list[Fault] = [
        Cut(rng.randint(100, 4000), how=rng.choice(["cut", "reset"])),
        Cut(rng.randint(1, 400), direction="up"),
        Cut(rng.randint(100, 3000), server_notices=False),
        Stall(rng.randint(100, 3000), seconds=rng.choice([1.0, 30.0])),
        Refuse(),
    ]
    return Rule(rng.choice(faults), path=where, connections=[rng.randint(1, 6) for _ in range(3)])
