"""Make the plain schedule of a seed harder: features, each drawn from the seed too.

- ``rough``: odd endings, lost last deltas, torn frames and chunks, ids that run backwards, tools
  that wait for a permission, rate limits that are waited for.
- ``at work``: a process was killed before, and the server still runs its message.
- ``reopen``: the client closes its stream, most often while the server works, and opens it again.
- ``two clients``: another client sends messages on the same session.
- ``upgrade``: the server is replaced by one of a later generation.
- ``names users``: a blocking server announces each user message; only ends name their answers.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Literal

import attrs
from campaign_schedule import (
    AGAIN,
    Accident,
    Client,
    Dead,
    Job,
    Schedule,
    Visit,
    draw_plain,
    draw_senders,
    draw_turn,
)

from trio_mix.testing import (
    Api,
    AskPermission,
    Complete,
    Drop,
    Fail,
    LateDelta,
    Pause,
    RateLimit,
    Raw,
    Say,
    Step,
    Turn,
    UseTool,
)

if TYPE_CHECKING:
    from collections.abc import Collection

    from trio_mix.testing.server._script import Torn

__all__ = ["FEATURES", "OFF", "draw"]

FEATURES = ("rough", "at work", "reopen", "two clients", "upgrade", "names users")

OFF: dict[str, str] = {}
"""Features that are not drawn unless they are asked for, and why."""

_LATER: dict[Api, tuple[Api, ...]] = {
    "pipeline-oldest": ("pipeline", "async"),
    "pipeline": ("blocking", "async", "async"),
    "blocking": ("async",),
}

_TORN: tuple[Torn, ...] = (False, False, True, "chunk", "ids")

_ODD_COMPLETE: tuple[dict[str, object], ...] = (
    {"content": None},
    {"content": None},
    {"done": "true"},
    {"done": 1},
    {"reasoning": 5},
    {"reasoningDuration": "40"},
    {"messageId": 17},
    {"usage": "none"},
    {"type": None},
)


def draw(seed: int, features: Collection[str] | None = None) -> Schedule:
    """Return the schedule of a seed.

    Args:
      seed: determines everything.
      features: the features; None: those that the seed draws, without those that are off.
    """
    rng = random.Random(f"features {seed}")
    drawn = {feature for feature in FEATURES[:-1] if rng.random() < 0.3}
    if random.Random(f"names users {seed}").random() < 0.3:  # the others' draws stay the same
        drawn.add("names users")
    chosen = drawn - OFF.keys() if features is None else set(features)
    schedule = draw_plain(seed)
    if schedule.api != "blocking":
        chosen.discard("names users")
    if schedule.api not in _LATER:
        chosen.discard("upgrade")
    if not chosen:
        return schedule
    schedule = attrs.evolve(
        schedule,
        features=frozenset(chosen),
        cancel_latency=rng.choice([0.02, 0.05, 0.5]),
        cancelled_tool=rng.choice([None, "error", "context", "complete"]),
        jsonrpc=rng.random() < 0.7,
        error_delay=random.Random(f"error delay {seed}").choice([0.0, 0.0, 0.05, 0.5]),
    )
    if rng.random() < 0.4:  # what the server does is wrong most easily where nothing else is
        schedule = attrs.evolve(schedule, rules=(), accidents=())
    if "two clients" in chosen:
        schedule = _add_client(rng, schedule)
        # Without stored messages, nothing shows whose message an oldest server's stream has run.
        schedule = attrs.evolve(schedule, jsonrpc=True)
    if "at work" in chosen:
        schedule = _add_dead(rng, schedule)
    if "reopen" in chosen:
        schedule = attrs.evolve(
            schedule,
            clients=tuple(Client(_visits(rng, client)) for client in schedule.clients),
        )
    if "rough" in chosen:
        schedule = _roughen(rng, schedule)
    if "upgrade" in chosen:
        schedule = _add_upgrade(rng, schedule)
    return schedule


def _add_client(rng: random.Random, schedule: Schedule) -> Schedule:
    senders, turns = draw_senders(rng, schedule.api, 100)
    return attrs.evolve(
        schedule,
        clients=(*schedule.clients, Client((Visit(senders, wait=rng.choice([0.0, 0.0, 2.0])),))),
        turns=_joined(schedule.turns, turns),
    )


def _add_dead(rng: random.Random, schedule: Schedule) -> Schedule:
    dead: list[Dead] = []
    turns = schedule.turns
    for number in range(rng.choice([1, 1, 2])):
        name = f"d{number}"
        text = "the same" if rng.random() < 0.15 else f"dead {number}"
        turn = draw_turn(rng, schedule.api, name)
        ends = (isinstance(step, Complete | Fail | RateLimit | LateDelta) for step in turn.steps)
        body = next((i for i, end in enumerate(ends) if end), len(turn.steps))
        at = rng.randrange(body + 1)
        pause = Pause(rng.choice([0.3, 3.0, 20.0, 100.0]))
        steps: list[Step] = [UseTool("bash", {}, steps=[pause]) if rng.random() < 0.4 else pause]
        turns = _joined(turns, {text: (Turn(*turn.steps[:at], *steps, *turn.steps[at:]), AGAIN)})
        dead.append(Dead(text, rng.choice([0.01, 0.1, 2.0]), rng.choice([0.0, 0.0, 0.5, 10.0])))
    return attrs.evolve(schedule, dead=tuple(dead), turns=turns)


def _joined(
    turns: dict[str, tuple[Turn, ...]], more: dict[str, tuple[Turn, ...]]
) -> dict[str, tuple[Turn, ...]]:
    joined = dict(turns)
    for text, added in more.items():
        joined[text] = (*joined[text][:-1], *added) if text in joined else added
    return joined


def _visits(rng: random.Random, client: Client) -> tuple[Visit, ...]:
    """Split the messages of a client into several visits."""
    jobs = [job for visit in client.visits for sender in visit.senders for job in sender]
    visits: list[Visit] = []
    while jobs:
        count = rng.choice([1, 1, 2])
        some, jobs = jobs[:count], jobs[count:]
        lasts: float | None = None
        if jobs and rng.random() < 0.7:
            some[-1] = _left_early(rng, some[-1])
        elif jobs and rng.random() < 0.5:
            lasts = rng.choice([0.01, 0.3, 5.0])
        wait = rng.choice([0.0, 0.0, 0.0, 0.05, 1.0])
        visits.append(Visit((tuple(some),), wait=wait, lasts=lasts))
    return tuple(visits)


def _left_early(rng: random.Random, job: Job) -> Job:
    mode: Literal["cancel", "leave"] = rng.choice(["cancel", "leave"])
    return attrs.evolve(job, mode=mode, wait=0.0, patience=rng.choice([0.001, 0.05, 0.5]))


def _add_upgrade(rng: random.Random, schedule: Schedule) -> Schedule:
    upgrade = Accident(
        what="upgrade",
        after=rng.choice(["time", "frames", "accepted", "opened"]),
        count=rng.choice([1, 2, 3, 8]),
        ticks=rng.choice([0, 0, 3, 20]),
        length=0.0,
    )
    return attrs.evolve(
        schedule,
        upgrade=rng.choice(_LATER[schedule.api]),
        accidents=(*schedule.accidents, upgrade),
        replay=False,
        named=False,
    )


# --- rough turns ----------------------------------------------------------------------------------


def _roughen(rng: random.Random, schedule: Schedule) -> Schedule:
    turns = {
        text: tuple(
            _rough_turn(rng, schedule.api, text, turn)
            if turn is not AGAIN and not text.startswith("final")
            else turn
            for turn in used
        )
        for text, used in schedule.turns.items()
    }
    return attrs.evolve(schedule, turns=turns)


def _rough_turn(rng: random.Random, api: Api, text: str, turn: Turn) -> Turn:
    steps = list(turn.steps)
    if rng.random() < 0.35:
        steps.insert(rng.randrange(len(steps)), _disturbance(rng, text))
    if api in ("blocking", "async") and rng.random() < 0.15:
        at = rng.randrange(len(steps))
        steps[at:at] = [RateLimit(2), Pause(rng.choice([0.5, 30.0]))]
    last = steps[-1]
    if isinstance(last, Fail):
        steps[-1] = attrs.evolve(last, data=_odd_failure(rng, last.error))
    elif isinstance(last, RateLimit):
        steps[-1] = attrs.evolve(last, data={"attempt": "2"})
    elif not isinstance(last, LateDelta) and rng.random() < 0.5:
        ending = steps.pop() if isinstance(last, Complete) else Complete()
        assert isinstance(ending, Complete)
        spoken = api in ("blocking", "async") and isinstance(steps[-1], Say)
        steps.append(
            attrs.evolve(
                ending,
                data=rng.choice(_ODD_COMPLETE) if rng.random() < 0.5 else {},
                loses=rng.randint(1, 4) if spoken and rng.random() < 0.5 else 0,
            )
        )
    return Turn(*steps)


def _disturbance(rng: random.Random, text: str) -> Step:
    what = rng.random()
    if what < 0.15:
        return Raw(b"\n\n\n5\r\ndata:", past_framing=True)
    if what < 0.25:
        return Drop("cut")
    torn: Torn = rng.choice(_TORN)
    params = {"command": f"echo '{text}'"}
    asks = AskPermission("bash", [Pause(0.1)], [], params=params, torn=torn)
    return UseTool("bash", params, steps=[asks])


def _odd_failure(rng: random.Random, error: str) -> dict[str, object]:
    return rng.choice(
        [
            {"retryAfter": 1.5},
            {"attempt": "2", "maxAttempts": None},
            {"error": {"message": error}},
            {"error": None, "message": error},
            {"error": None, "detail": [error]},
        ]
    )
