"""Parts of the drawings of the relay: the states of a send, and the positions of consumers.

The states and arrows are read from the relay's own table; an arrow without a position fails the
build.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, TypeAlias

from trio_mix.relay._ids import EPOCH
from trio_mix.relay._outbox import TRANSITIONS
from trio_mix.relay._records import TurnState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Point: TypeAlias = tuple[float, float]
S = TurnState

_BOX = (112, 34)
_AT: dict[S, Point] = {
    S.ACCEPTED: (80, 150),
    S.POSTING: (270, 150),
    S.RUNNING: (460, 150),
    S.DONE: (660, 40),
    S.UNKNOWN: (660, 150),
    S.CANCELLED: (660, 260),
}

# For each arrow: its corners, its label, and the position of the label.
_WAYS: dict[tuple[S, S], tuple[list[Point], str, Point]] = {
    (S.ACCEPTED, S.POSTING): ([(136, 150), (214, 150)], "ticket stored", (138, 166)),
    (S.POSTING, S.ACCEPTED): (
        [(250, 133), (250, 104), (100, 104), (100, 133)],
        "no byte was sent",
        (120, 98),
    ),
    (S.POSTING, S.RUNNING): ([(326, 150), (404, 150)], "accepted", (338, 166)),
    (S.ACCEPTED, S.DONE): ([(60, 133), (60, 28), (604, 28)], "refused, or failed", (70, 22)),
    (S.POSTING, S.DONE): ([(290, 133), (290, 40), (604, 40)], "", (0, 0)),
    (S.RUNNING, S.DONE): ([(460, 133), (460, 52), (604, 52)], "reply, or error", (472, 68)),
    (S.RUNNING, S.UNKNOWN): ([(516, 150), (604, 150)], "not stored", (524, 144)),
    (S.POSTING, S.UNKNOWN): ([(290, 167), (290, 190), (640, 190), (640, 167)], "", (0, 0)),
    (S.ACCEPTED, S.UNKNOWN): ([(100, 167), (100, 206), (680, 206), (680, 167)], "", (0, 0)),
    (S.ACCEPTED, S.CANCELLED): ([(60, 167), (60, 272), (604, 272)], "cancelled", (70, 266)),
    (S.POSTING, S.CANCELLED): ([(270, 167), (270, 260), (604, 260)], "", (0, 0)),
    (S.RUNNING, S.CANCELLED): ([(460, 167), (460, 248), (604, 248)], "", (0, 0)),
}

OUTBOX = (730, 300, "The states of a send")


def outbox(path: Callable[[list[Point]], str]) -> Iterator[str]:
    """Draw the states of a send; ``path`` returns a path with rounded corners."""
    for start, targets in TRANSITIONS.items():
        for end in sorted(targets):
            corners, text, (x, y) = _WAYS[start, end]  # KeyError: add the new arrow to _WAYS
            label = f'<text class="label" x="{x}" y="{y}">{escape(text)}</text>' if text else ""
            yield (
                f'<g class="arrow" data-from="{start.name}" data-to="{end.name}">'
                f'<path d="{path(corners)}" marker-end="url(#tip)"/>{label}</g>'
            )
    width, height = _BOX
    for state, (x, y) in _AT.items():
        yield (
            f'<g class="{"box end" if state.over else "box"}" data-state="{state.name}"><rect'
            f' x="{x - width / 2}" y="{y - height / 2}" width="{width}" height="{height}" rx="8"/>'
            f'<text x="{x}" y="{y + 5}" text-anchor="middle">{state.value}</text></g>'
        )


POSITIONS = (760, 250, "Events of three epochs, and the positions of four consumers")

_LEFT, _STEP, _Y = 20, 58, 110
# The epoch of each event, and whether it is deleted.
_EVENTS = [(1, True), (1, True), (1, False), (1, False), (2, False), (2, False), (2, False)]
_EVENTS += [(3, False), (3, False), (3, False)]
# After how many events a consumer is, what is written, in which row, and how it is marked.
_CONSUMERS = [
    (1, "position 1·10⁹ + 1: the gap has 1 event", 200),
    (4, "position 1·10⁹ + 4: replay of 6 events", 222),
    (7, "from=turn: the last turn begins", 66),
    (10, "now", 44),
]


def positions(_path: Callable[[list[Point]], str]) -> Iterator[str]:
    """Draw what is stored of a session, and where consumers are."""
    counts: dict[int, int] = {}
    for number, (epoch, deleted) in enumerate(_EVENTS):
        counts[epoch] = counts.get(epoch, 0) + 1
        x = _LEFT + number * _STEP + (epoch - 1) * 24
        kind, text = ("wait", "deleted") if deleted else ("work", f"+{counts[epoch]}")
        yield (
            f'<g class="span {kind}"><rect x="{x}" y="{_Y - 17}" width="{_STEP - 6}" height="34"'
            f' rx="5"/><text x="{x + (_STEP - 6) / 2}" y="{_Y + 5}" text-anchor="middle"'
            f' class="{"label" if deleted else ""}">{text}</text></g>'
        )
        if counts[epoch] == 1:
            base = f"epoch {epoch}: {epoch}·10⁹" if EPOCH == 10**9 else ""
            yield f'<text class="lane" x="{x}" y="{_Y + 42}">{escape(base)}</text>'
    for after, text, row in _CONSUMERS:
        epoch = _EVENTS[after - 1][0]
        x = _LEFT + after * _STEP - 3 + (epoch - 1) * 24
        yield f'<line class="mark" x1="{x}" x2="{x}" y1="{min(row, _Y)}" y2="{max(row, _Y)}"/>'
        yield f'<text class="label" x="{x + 6}" y="{row + 4}">{escape(text)}</text>'
