"""Make a failing schedule smaller: leave out parts that its violations do not need.

A part has a name, for example ``rules 2`` or ``step 'message 3' 0 1``. The seed and the names of
what is left out determine the smaller schedule.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

import attrs
from campaign_schedule import Client, Job, Schedule, Visit

from trio_mix.testing import Say, Turn

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

__all__ = ["parts", "shrink", "without"]

_Part = TypeVar("_Part")


def parts(schedule: Schedule) -> Iterator[str]:
    """Return the names of what can be left out, the large parts first."""
    for number in range(1, len(schedule.clients)):
        yield f"client {number}"
    for name in ("rules", "accidents", "dead", "subscribers"):
        for number in range(len(getattr(schedule, name))):
            yield f"{name} {number}"
    for job in _jobs(schedule):
        yield f"job {job}"
    if schedule.answer_delay:
        yield "answer_delay"
    for text, turns in schedule.turns.items():
        for number, turn in enumerate(turns):
            said = [at for at, step in enumerate(turn.steps) if isinstance(step, Say)]
            for at in range(len(turn.steps)):
                if at not in said[:1]:  # a turn without text could be any turn
                    yield f"step {text!r} {number} {at}"


def _jobs(schedule: Schedule) -> Iterator[str]:
    for number, client in enumerate(schedule.clients):
        for at, visit in enumerate(client.visits):
            for sender, jobs in enumerate(visit.senders):
                for index in range(len(jobs)):
                    yield f"{number} {at} {sender} {index}"


def without(schedule: Schedule, names: Collection[str]) -> Schedule:
    """Return the schedule without some of its parts."""
    clients = tuple(
        Client(
            tuple(
                attrs.evolve(visit, senders=_senders(f"{number} {at}", visit, names))
                for at, visit in enumerate(client.visits)
            )
        )
        for number, client in enumerate(schedule.clients)
        if f"client {number}" not in names
    )
    turns = {
        text: tuple(
            Turn(*_kept(turn.steps, f"step {text!r} {number}", names))
            for number, turn in enumerate(used)
        )
        for text, used in schedule.turns.items()
    }
    return attrs.evolve(
        schedule,
        clients=clients,
        turns=turns,
        rules=_kept(schedule.rules, "rules", names),
        accidents=_kept(schedule.accidents, "accidents", names),
        dead=_kept(schedule.dead, "dead", names),
        subscribers=_kept(schedule.subscribers, "subscribers", names),
        answer_delay=0.0 if "answer_delay" in names else schedule.answer_delay,
    )


def _senders(where: str, visit: Visit, names: Collection[str]) -> tuple[tuple[Job, ...], ...]:
    return tuple(
        tuple(job for index, job in enumerate(jobs) if f"job {where} {sender} {index}" not in names)
        for sender, jobs in enumerate(visit.senders)
    )


def _kept(each: tuple[_Part, ...], name: str, names: Collection[str]) -> tuple[_Part, ...]:
    return tuple(part for number, part in enumerate(each) if f"{name} {number}" not in names)


def shrink(schedule: Schedule, fails: Callable[[Schedule], bool], most: int = 300) -> list[str]:
    """Return the names of parts without which the schedule still fails.

    Args:
      schedule: a schedule that fails.
      fails: runs a schedule and returns whether it fails in the same way.
      most: the largest number of runs.
    """
    left_out: list[str] = []
    found = True
    while found:
        found = False
        for name in parts(schedule):
            if name in left_out or most <= 0:
                continue
            most -= 1
            if fails(without(schedule, [*left_out, name])):
                left_out.append(name)
                found = True
    return left_out
