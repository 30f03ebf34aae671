"""The plan of a `FaultProxy`: which faults occur, on which connection, at which byte.

Rules:

1. Bytes are counted per connection and direction, from 0: a fault at 5 occurs after five bytes
   were forwarded and before the sixth.
2. Connections are counted per rule, among those whose first request matches the rule. So the faults
   of the second stream do not depend on how many other requests were made meanwhile.
3. A random plan draws the faults of a connection only from the seed, the kind of the connection and
   its number: the same seed gives the same faults, in whatever order connections are made.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import attrs

from trio_mix.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Direction: TypeAlias = Literal["down", "up"]
"""``down``: from the server to the client; ``up``: from the client to the server."""


@attrs.frozen
class Cut:
    """Close the connection at a byte."""

    at: int
    """After how many bytes."""
    direction: Direction = "down"
    """The direction in which the bytes are counted."""
    how: Literal["cut", "reset"] = "cut"
    """What the client sees: an end (cut) or a reset."""
    server_notices: bool = True
    """Whether the server's side is closed too; if not, what the server sends is discarded."""


@attrs.frozen
class Stall:
    """Forward nothing from a byte on, and keep the connection open."""

    at: int
    """After how many bytes."""
    seconds: float | None = None
    """For how many seconds; None: forever."""
    direction: Direction = "down"
    """The direction."""


@attrs.frozen
class Corrupt:
    """Change bytes."""

    at: int
    """The position of the first byte."""
    count: int = 1
    """How many bytes."""
    mask: int = 0x80
    """The value that each byte is XORed with."""
    direction: Direction = "down"
    """The direction."""


@attrs.frozen
class Split:
    """Forward the bytes in small pieces, each in a separate write."""

    size: int = 1
    """The size of a piece in bytes."""
    direction: Direction = "down"
    """The direction."""


@attrs.frozen
class Throttle:
    """Forward the bytes slowly."""

    bytes_per_second: float
    """The rate."""
    direction: Direction = "down"
    """The direction."""


@attrs.frozen
class Refuse:
    """Reset the connection before any byte is forwarded."""


@attrs.frozen
class Answer:
    """Answer the connection's first request instead of the server, and close the connection."""

    status: int
    """The HTTP status."""
    headers: tuple[tuple[str, str], ...] = ()
    """The headers, for example ``(("Retry-After", "1"),)``."""
    body: bytes = b"the proxy says no\n"
    """The body, as plain text."""


Fault: TypeAlias = Cut | Stall | Corrupt | Split | Throttle | Refuse | Answer
"""A fault on one connection."""


@attrs.frozen(init=False)
class Rule:
    """The faults of the connections that match.

    Args:
      faults: the faults of these connections.
      path: the beginning of the first request's path.
      method: the first request's method; None: any.
      connections: which of the matching connections, counted from 1; None: all of them.
    """

    faults: tuple[Fault, ...]
    """The faults."""
    path: str
    """The beginning of the path."""
    method: str | None
    """The method, or None."""
    connections: frozenset[int] | None
    """Which of the matching connections, or None."""

    def __init__(
        self,
        *faults: Fault,
        path: str = "/",
        method: str | None = None,
        connections: Sequence[int] | None = None,
    ) -> None:
        for fault in faults:
            if not isinstance(fault, Fault):
                raise TypeError(f"Rule() takes faults, for example Cut(400), not {fault!r}")
        object.__setattr__(self, "faults", faults)
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "method", method)
        meant = None if connections is None else frozenset(connections)
        object.__setattr__(self, "connections", meant)

    def fits(self, method: str, path: str) -> bool:
        """Return whether a connection with this first request matches."""
        return path.startswith(self.path) and self.method in (None, method)


_KINDS: Final = (
    "cut",
    "reset",
    "cut_up",
    "lose",
    "stall",
    "corrupt",
    "split",
    "throttle",
    "refuse",
    "busy",
)
_REQUEST = 400  # about the size of a request: a later cut on the way up has no effect


def _random_fault(kind: str, rng: random.Random, window: int) -> Fault:
    at = rng.randrange(window)
    match kind:
        case "cut" | "reset":
            return Cut(at, how="cut" if kind == "cut" else "reset")
        case "cut_up":
            return Cut(rng.randrange(_REQUEST), "up", rng.choice(["cut", "reset"]))
        case "lose":
            return Cut(at, server_notices=False)
        case "stall":
            return Stall(at, rng.choice([0.5, 5.0, 120.0]))
        case "corrupt":
            return Corrupt(at, rng.randint(1, 8), rng.randint(1, 255))
        case "split":
            return Split(rng.randint(1, 7))
        case "throttle":
            return Throttle(rng.choice([200.0, 2_000.0]))
        case "busy":
            wait = str(rng.randint(0, 3))
            return Answer(rng.choice([429, 503]), (("Retry-After", wait),))
        case _:
            return Refuse()


class FaultPlan:
    """The faults of each connection: by rules, or at random from a seed.

    Args:
      rules: a connection has the faults of every rule that matches it.
    """

    def __init__(self, *rules: Rule) -> None:
        for rule in rules:
            if not isinstance(rule, Rule):
                raise TypeError(
                    f"FaultPlan() takes rules: put the fault into a rule, Rule({rule!r})"
                )
        self.rules = rules
        self.seed: int | None = None
        self._counts: Counter[object] = Counter()
        self._draw: Callable[[str, int], tuple[Fault, ...]] | None = None

    @classmethod
    def random(
        cls,
        seed: int,
        *,
        kinds: Sequence[str] | None = None,
        window: int = 4000,
        rate: float = 0.7,
        most: int = 2,
        connections: int = 6,
    ) -> FaultPlan:
        """Make a plan from a seed.

        Args:
          seed: the same seed gives the same plan.
          kinds: the kinds to choose from: ``cut``, ``reset``, ``cut_up``, ``lose`` (the server does
            not notice), ``stall``, ``corrupt``, ``split``, ``throttle``, ``refuse``, ``busy``;
            None: all.
          window: faults occur at a byte below this one.
          rate: the probability that a connection has any fault.
          most: the maximum number of faults per connection.
          connections: how many of the first connections of each kind (streams, sends, others) can
            have faults; later ones have none, so that a program can finish.

        Raises:
          ConfigurationError: a kind is unknown.
        """
        unknown = set(kinds or ()) - set(_KINDS)
        if unknown:
            raise ConfigurationError(f"unknown kind of fault: {', '.join(sorted(unknown))}")
        chosen = list(_KINDS if kinds is None else kinds)

        def draw(kind: str, number: int) -> tuple[Fault, ...]:
            rng = random.Random(f"{seed}/{kind}/{number}")
            if number > connections or rng.random() >= rate:
                return ()
            picks = rng.sample(chosen, min(len(chosen), rng.randint(1, most)))
            return tuple(_random_fault(pick, rng, window) for pick in picks)

        plan = cls()
        plan.seed = seed
        plan._draw = draw
        return plan

    def faults_for(self, method: str, path: str) -> tuple[Fault, ...]:
        """Count a new connection by its first request and return its faults."""
        found: list[Fault] = []
        for position, rule in enumerate(self.rules):
            if rule.fits(method, path):
                self._counts[position] += 1
                if rule.connections is None or self._counts[position] in rule.connections:
                    found += rule.faults
        if self._draw is not None:
            kind = "stream" if path == "/stream" else "send" if method == "POST" else "other"
            self._counts[kind] += 1
            found += self._draw(kind, self._counts[kind])
        return tuple(found)

    def __repr__(self) -> str:
        if self.seed is not None:
            return f"FaultPlan.random({self.seed})"
        return f"FaultPlan({', '.join(map(repr, self.rules))})"
