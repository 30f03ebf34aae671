"""Draw one schedule of the campaign from its seed: server, turns, callers, faults, accidents.

Each delta of each scripted turn is a word that contains the name of the turn, so that each word of
a reply can be traced to its turn. `campaign_features` makes a schedule harder.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs
from campaign_faults import draw_rules

from trio_mix.testing import (
    Api,
    AskPermission,
    Complete,
    Corrupt,
    Drop,
    Emit,
    Fail,
    LateDelta,
    Pause,
    RateLimit,
    Rule,
    Say,
    Step,
    SubAgent,
    Think,
    Turn,
    UseTool,
    UseTools,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = [
    "AGAIN",
    "Accident",
    "Client",
    "Dead",
    "Job",
    "Mode",
    "Schedule",
    "Visit",
    "Words",
    "draw_plain",
    "draw_senders",
    "draw_turn",
    "silence",
    "words_of",
]

Mode: TypeAlias = Literal["ask", "iterate", "deltas", "slow", "cancel", "leave"]
What: TypeAlias = Literal[
    "restart",
    "upgrade",
    "forget",
    "cut",
    "close",
    "reset",
    "drop",
    "unplug",
    "foreign",
    "busy store",
]


@attrs.frozen
class Job:
    """One message, and how its sender uses it."""

    text: str
    mode: Mode
    wait: float
    """Seconds before it is sent."""
    patience: float
    """Seconds that a slow consumer takes for an event, or after which a caller cancels."""
    ticks: int
    """The number of further checkpoints after which a caller cancels."""


@attrs.frozen
class Accident:
    """Something that happens to the server or to the network."""

    what: What
    after: Literal["time", "frames", "accepted", "opened"]
    """The kind of event that it waits for."""
    count: float
    """The number of these events, or of seconds."""
    ticks: int
    """The number of further checkpoints."""
    length: float
    """The duration in seconds, for accidents that have one."""


@attrs.frozen
class Visit:
    """One session stream of a client, from its opening to its end."""

    senders: tuple[tuple[Job, ...], ...]
    """The messages of each task that sends some."""
    wait: float = 0.0
    """Seconds between the end of the stream before it and its opening."""
    lasts: float | None = None
    """Seconds after which the block of the stream is cancelled; None: it is left at the end."""


@attrs.frozen
class Client:
    """One `Mix` and the session streams that it opens one after another."""

    visits: tuple[Visit, ...]


@attrs.frozen
class Dead:
    """A process that sent a message and was killed before the clients open their streams."""

    text: str
    lives: float
    """Seconds from the message to the death."""
    wait: float
    """Seconds from the death until the next process starts."""


@attrs.frozen(kw_only=True)
class Schedule:
    """Everything that happens in one run."""

    seed: int
    order: int = 0
    """The order in which Trio runs tasks that are ready at the same time, by its number."""
    api: Api
    replay: bool
    connected_id: bool
    named: bool
    """Whether the client is created with the generation (``api=``)."""
    cancel_on_disconnect: bool
    ghost_runs: bool
    answer_delay: float
    grants: bool
    """Whether the client answers permission requests."""
    message_buffer: int
    turns: dict[str, tuple[Turn, ...]]
    clients: tuple[Client, ...]
    """The first one sends the last message, after all faults."""
    subscribers: tuple[tuple[int, float], ...]
    """The buffer of each subscriber, and the seconds that it takes for an event."""
    rules: tuple[Rule, ...]
    accidents: tuple[Accident, ...]
    features: frozenset[str] = frozenset()
    """What makes the schedule harder than a plain one."""
    dead: tuple[Dead, ...] = ()
    upgrade: Api | None = None
    """The generation of the server after the accident "upgrade"."""
    cancel_latency: float = 0.05
    cancelled_tool: Literal["error", "context", "complete"] | None = None
    jsonrpc: bool = True
    error_delay: float = 0.0

    @property
    def corrupts(self) -> bool:
        """Whether bytes may be changed in transit, which a client cannot always detect."""
        return any(isinstance(fault, Corrupt) for rule in self.rules for fault in rule.faults)

    @property
    def apis(self) -> set[Api]:
        """The generations that the server has in the course of the run."""
        return {self.api} if self.upgrade is None else {self.api, self.upgrade}


class Words:
    """Generates the words of one turn."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._next = 0

    def deltas(self, count: int) -> list[str]:
        first, self._next = self._next, self._next + count
        return [f"{self._name}.{number} " for number in range(first, self._next)]

    def say(self, count: int) -> Say:
        deltas = self.deltas(count)
        return Say("".join(deltas), deltas=deltas)


AGAIN = Turn(Words("again").say(2))
"""The turn of a text that runs too often."""


_PERMISSION_TIMEOUT = 30.0
"""Seconds for which the server waits for the answer to a permission request."""


def words_of(text: str) -> set[str]:
    """Return the names of the turns whose words are in a text."""
    return {word.partition(".")[0] for word in text.split()}


def silence(steps: Iterable[object]) -> float:
    """Return for how long a turn may be silent: after a loss, it is then taken for gone."""
    return sum(
        step.seconds
        if isinstance(step, Pause)
        else _PERMISSION_TIMEOUT * isinstance(step, AskPermission)
        + silence((*getattr(step, "steps", ()), *getattr(step, "then", ())))
        for step in steps
    )


def draw_plain(seed: int) -> Schedule:
    """Return the plain schedule of a seed: one client, and a session that is idle at first."""
    rng = random.Random(f"schedule {seed}")
    api: Api = rng.choice(["async", "async", "async", "blocking", "pipeline", "pipeline-oldest"])
    replay = api != "pipeline-oldest" and rng.random() < 0.25
    senders, turns = draw_senders(rng, api)
    for number in range(3):
        turns[f"final {number}"] = (Turn(Words(f"f{number}").say(3)),)
    return Schedule(
        seed=seed,
        api=api,
        replay=replay,
        connected_id=rng.random() < 0.6,
        named=api != "pipeline-oldest" and rng.random() < 0.4,
        cancel_on_disconnect=rng.random() < 0.08,
        ghost_runs=rng.random() < 0.7,
        answer_delay=rng.choice([0.0, 0.0, 0.0, 0.3, 4.0]),
        grants=rng.random() < 0.7,
        message_buffer=rng.choice([1024, 1024, 8, 2]),
        turns=turns,
        clients=(Client((Visit(senders),)),),
        subscribers=tuple(
            (rng.choice([4, 1000]), rng.choice([0.0, 0.5])) for _ in range(rng.randrange(3))
        ),
        rules=draw_rules(rng),
        accidents=_draw_accidents(rng, api),
    )


def draw_senders(
    rng: random.Random, api: Api, number: int = 0
) -> tuple[tuple[tuple[Job, ...], ...], dict[str, tuple[Turn, ...]]]:
    """Return the messages of some tasks, and the turns of each text.

    The first message has the number after ``number``.
    """
    turns: dict[str, tuple[Turn, ...]] = {}
    senders: list[tuple[Job, ...]] = []
    for _ in range(rng.choice([1, 1, 2, 3])):
        jobs: list[Job] = []
        for _ in range(rng.choice([1, 2, 3])):
            number += 1
            text = "the same" if rng.random() < 0.25 else f"message {number}"
            turn = draw_turn(rng, api, f"t{number}")
            turns[text] = (*turns.get(text, ()), turn)
            jobs.append(
                Job(
                    text=text,
                    mode=rng.choice(
                        ["ask", "ask", "iterate", "iterate", "deltas", "slow", "cancel", "leave"]
                    ),
                    wait=rng.choice([0.0, 0.0, 0.01, 1.0, 30.0]),
                    patience=rng.choice([0.0, 0.001, 0.05, 2.0, 20.0]),
                    ticks=rng.randrange(60),
                )
            )
        senders.append(tuple(jobs))
    for text, used in turns.items():  # a text that runs too often says so by its words
        turns[text] = (*used, AGAIN)
    return tuple(senders), turns


def draw_turn(rng: random.Random, api: Api, name: str) -> Turn:
    """Return a turn whose words have this name."""
    words = Words(name)
    steps: list[Step] = []
    for _ in range(rng.choice([1, 2, 3, 5])):
        steps += _draw_steps(rng, api, words)
    if not any(isinstance(step, Say) for step in steps) or rng.random() < 0.6:
        steps.append(words.say(rng.randint(1, 6)))
    if api == "pipeline-oldest" and not isinstance(steps[-1], Say):
        # Its rows have no finish reason: a turn that ended with a tool would be one that hangs.
        steps.append(words.say(1))
    ending = rng.random()
    if ending < 0.06:
        steps.append(Fail(f"{name} has failed", retry_after=rng.choice([None, 1000])))
    elif ending < 0.1:
        steps.append(RateLimit(2))
    elif ending < 0.2 and api == "async" and isinstance(steps[-1], Say):
        steps.append(Complete(overtakes=rng.randint(1, 2)))
    elif ending < 0.25 and api == "async":
        steps.append(LateDelta(f"{name}.late "))
    return Turn(*steps)


def _draw_steps(rng: random.Random, api: Api, words: Words) -> list[Step]:
    what = rng.random()
    if what < 0.35:
        return [words.say(rng.choice([1, 3, 8, 30]))]
    if what < 0.5:
        return [Think("hm, let me think", deltas=rng.randint(1, 4))]
    if what < 0.7:
        return [Pause(rng.choice([0.01, 0.5, 3.0, 20.0]))]
    if what < 0.8:
        inner: list[Step] = [Pause(rng.choice([0.1, 15.0]))] if rng.random() < 0.4 else []
        return [UseTool("glob", {"pattern": "*" * rng.randint(1, 300)}, steps=inner)]
    if what < 0.84:
        return [UseTools(UseTool("glob", {"pattern": "*"}), UseTool("grep", {"pattern": "x"}))]
    if what < 0.88:
        return [SubAgent(Say("sub-agents say this", deltas=3), UseTool("glob"))]
    if what < 0.92:
        return [AskPermission("bash", then=[words.say(2)], otherwise=[words.say(1)])]
    if what < 0.95:
        return [Emit("brand_new", {"type": "brand_new", "number": 1})]
    return [Drop(rng.choice(["cut", "close", "reset"]))]


def _draw_accidents(rng: random.Random, api: Api) -> tuple[Accident, ...]:
    kinds: list[What] = ["restart", "cut", "close", "reset", "drop", "unplug", "busy store"]
    if api == "async":
        kinds.extend(("foreign", "foreign"))
    if rng.random() < 0.15:
        kinds.append("forget")
    return tuple(
        Accident(
            what=rng.choice(kinds),
            after=rng.choice(["time", "frames", "accepted", "opened"]),
            count=rng.choice([1, 1, 2, 3, 5, 13, 34]),
            ticks=rng.choice([0, 0, 1, 3, 7, 20, 50]),
            length=rng.choice([0.3, 2.0, 12.0, 90.0]),
        )
        for _ in range(rng.choice([0, 0, 1, 1, 2, 4]))
    )
