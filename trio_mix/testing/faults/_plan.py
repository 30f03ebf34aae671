"""What can go wrong between a client and a server, and when: the plan of a `FaultProxy`.

What it knows: kinds of faults, on which connection and at which byte they strike.
What it must never know: sockets, clocks. It is plain data, and a pure function of its seed.

Rules:

1. Bytes are counted per connection and direction, from 0: a fault at 5 strikes after five bytes
   were passed on and before the sixth.
2. Connections are counted per rule, among those whose first request fits the rule. So what strikes
   the second stream does not depend on how many other requests were made meanwhile.
3. A random plan draws the faults of each connection from the seed, the kind of connection and its
   number alone: the same seed gives the same faults, whatever order things happen in.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "Answer",
    "Corrupt",
    "Cut",
    "Direction",
    "Fault",
    "FaultPlan",
    "Refuse",
    "Rule",
    "Split",
    "Stall",
    "Throttle",
]

Direction: TypeAlias = Literal["down", "up"]
"""``down``: from the server to the client; ``up``: from the client to the server."""


@attrs.frozen
class Cut:
    """Lose the connection at a byte."""

    at: int
    """After how many bytes."""
    direction: Direction = "down"
    """Of which direction."""
    how: Literal["cut", "reset"] = "cut"
    """Whether the client sees an end or a reset."""
    server_notices: bool = True
    """Whether the server's side is lost too; else the server goes on talking to nobody."""


@attrs.frozen
class Stall:
    """Pass nothing on from a byte on, with the connection open."""

    at: int
    """After how many bytes."""
    seconds: float | None = None
    """For how long; None: for ever."""
    direction: Direction = "down"
    """In which direction."""


@attrs.frozen
class Corrupt:
    """Change bytes."""

    at: int
    """The first one."""
    count: int = 1
    """How many."""
    mask: int = 0x80
    """What each is XORed with."""
    direction: Direction = "down"
    """In which direction."""


@attrs.frozen
class Split:
    """Pass the bytes on in small pieces, each written by itself."""

    size: int = 1
    """The size of a piece."""
    direction: Direction = "down"
    """In which direction."""


@attrs.frozen
class Throttle:
    """Pass the bytes on slowly."""

    bytes_per_second: float
    """How fast."""
    direction: Direction = "down"
    """In which direction."""


@attrs.frozen
class Refuse:
    """Reset the connection before a byte was passed on."""


@attrs.frozen
class Answer:
    """Answer the connection's first request in the server's place, and close."""

    status: int
    """The status."""
    headers: tuple[tuple[str, str], ...] = ()
    """The headers, as ``(("Retry-After", "1"),)``."""
    body: bytes = b"the proxy says no\n"
    """The body, as plain text."""


Fault: TypeAlias = Cut | Stall | Corrupt | Split | Throttle | Refuse | Answer
"""Something that goes wrong on one connection."""


@attrs.frozen(init=False)
class Rule:
    """Which connections have which faults.

    Args:
      faults: what goes wrong on them.
      path: what the first request's path must begin with.
      method: the first request's method; None: any.
      connections: which of the connections that fit, counted from 1; None: all of them.
    """

    faults: tuple[Fault, ...]
    """What goes wrong."""
    path: str
    """What the path begins with."""
    method: str | None
    """The method, or None."""
    connections: frozenset[int] | None
    """Which connections, or None."""

    def __init__(
        self,
        *faults: Fault,
        path: str = "/",
        method: str | None = None,
        connections: Sequence[int] | None = None,
    ) -> None:
        for fault in faults:
            if not isinstance(fault, Fault):
                raise TypeError(f"Rule() takes faults, as Cut(400), not {fault!r}")
        object.__setattr__(self, "faults", faults)
        object.__setattr__(self, "path", path)
        object.__setattr__(self, "method", method)
        meant = None if connections is None else frozenset(connections)
        object.__setattr__(self, "connections", meant)

    def fits(self, method: str, path: str) -> bool:
        """Return whether a first request is meant."""
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
_REQUEST = 400  # about the size of a request: where a cut on the way up can matter


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
    """Which connection has which faults: by rules, or at random from a seed.

    Args:
      rules: all that fit apply to a connection; the faults of each are added up.
    """

    def __init__(self, *rules: Rule) -> None:
        for rule in rules:
            if not isinstance(rule, Rule):
                raise TypeError(f"a plan is made of rules: put the fault into one, Rule({rule!r})")
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
          kinds: what may happen, of ``cut``, ``reset``, ``cut_up``, ``lose`` (the server does not
            notice), ``stall``, ``corrupt``, ``split``, ``throttle``, ``refuse`` and ``busy``;
            None: all.
          window: the byte at which something happens is below this.
          rate: how likely a connection is to have any fault.
          most: how many faults a connection has at most.
          connections: how many of the first connections of each kind (streams, sends, others) are
            at risk; later ones are spared, so that everything can come to an end.
        """
        unknown = set(kinds or ()) - set(_KINDS)
        if unknown:
            raise ValueError(f"no such kind of fault: {', '.join(sorted(unknown))}")
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
        """Count a new connection by its first request, and return what goes wrong on it."""
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
