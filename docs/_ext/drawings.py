"""Sphinx extension: the directive ``drawing`` draws the states of a turn and a stream as SVG.

The states and arrows are read from the library's own table. Only their positions are here, and an
arrow without a position fails the build, so the drawing is never out of date. The SVG is part of
the page, so that its colours follow the theme.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, ClassVar

import decisions as table  # beside this file, which conf.py puts on the path
import relay_drawings as relay
from docutils import nodes
from docutils.parsers.rst import Directive

from trio_mix._turns._turn import TRANSITIONS, Input, Phase

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sphinx.application import Sphinx

Point = tuple[float, float]
P = Phase

_BOX = (112, 34)
_AT: dict[Phase, Point] = {
    P.REGISTERED: (350, 30),
    P.POSTED: (350, 130),
    P.RUNNING: (350, 230),
    P.ENDED: (190, 350),
    P.ANSWERED: (510, 350),
    P.OVER: (350, 460),
}
"""The centre of each state's box."""

# For each arrow: its corners, and the position and anchor of its label.
_WAYS: dict[tuple[Phase, Phase], tuple[list[Point], Point, str]] = {
    (P.REGISTERED, P.POSTED): ([(350, 47), (350, 113)], (358, 84), "start"),
    (P.POSTED, P.RUNNING): ([(350, 147), (350, 213)], (358, 178), "start"),
    (P.RUNNING, P.OVER): ([(350, 247), (350, 443)], (358, 300), "start"),
    (P.POSTED, P.REGISTERED): ([(294, 124), (120, 124), (120, 24), (294, 24)], (128, 74), "start"),
    (P.RUNNING, P.REGISTERED): ([(294, 224), (96, 224), (96, 36), (294, 36)], (88, 130), "end"),
    (P.POSTED, P.ENDED): ([(294, 136), (176, 136), (176, 333)], (168, 250), "end"),
    (P.RUNNING, P.ENDED): ([(294, 236), (204, 236), (204, 333)], (212, 280), "start"),
    (P.POSTED, P.ANSWERED): ([(406, 136), (550, 136), (550, 333)], (558, 250), "start"),
    (P.RUNNING, P.ANSWERED): ([(406, 236), (498, 236), (498, 333)], (490, 280), "end"),
    (P.RUNNING, P.RUNNING): (
        [(406, 224), (430, 224), (430, 206), (380, 206), (380, 213)],
        (438, 212),
        "start",
    ),
    (P.REGISTERED, P.OVER): ([(406, 30), (684, 30), (684, 472), (406, 472)], (676, 22), "end"),
    (P.POSTED, P.OVER): ([(406, 124), (652, 124), (652, 460), (406, 460)], (644, 116), "end"),
    (P.ENDED, P.RUNNING): ([(246, 342), (316, 342), (316, 247)], (308, 332), "end"),
    (P.ENDED, P.OVER): ([(190, 367), (190, 454), (294, 454)], (182, 392), "end"),
    (P.ANSWERED, P.OVER): ([(510, 367), (510, 448), (406, 448)], (518, 400), "start"),
    (P.ANSWERED, P.ANSWERED): (
        [(566, 350), (590, 350), (590, 384), (540, 384), (540, 367)],
        (598, 362),
        "start",
    ),
}


def edges() -> dict[tuple[Phase, Phase], list[Input]]:
    """Return the arrows of the table, each with its inputs."""
    found: dict[tuple[Phase, Phase], list[Input]] = {}
    for phase, ways in TRANSITIONS.items():
        for what, target in ways.items():
            found.setdefault((phase, target), []).append(what)
    return found


def machine() -> str:
    """Draw the state machine of a turn."""
    return _svg(700, 500, "The states of a turn and their transitions", _machine())


def _machine() -> Iterator[str]:
    for (start, end), inputs in edges().items():
        corners, (x, y), anchor = _WAYS[start, end]  # KeyError: add the new arrow to _WAYS
        names = [each.name.lower() for each in inputs]
        said = ", ".join(name for name in names)
        yield (
            f'<g class="arrow" data-from="{start.name}" data-to="{end.name}"'
            f' data-by="{" ".join(names)}"><path d="{_path(corners)}" marker-end="url(#tip)"/>'
            f"{_label(x, y, anchor, said)}</g>"
        )
    for phase in TRANSITIONS:
        x, y = _AT[phase]
        width, height = _BOX
        kind = "box end" if not TRANSITIONS[phase] else "box"
        yield (
            f'<g class="{kind}" data-state="{phase.name}"><rect x="{x - width / 2}"'
            f' y="{y - height / 2}" width="{width}" height="{height}" rx="8"/>'
            f'<text x="{x}" y="{y + 5}" text-anchor="middle">{escape(phase.value)}</text></g>'
        )


def _label(x: float, y: float, anchor: str, text: str) -> str:
    words = text.split(", ")
    lines = [", ".join(words[at : at + 2]) for at in range(0, len(words), 2)]
    parts = "".join(
        f'<tspan x="{x}" dy="{0 if number == 0 else 16}">{escape(line)}'
        f"{',' if number < len(lines) - 1 else ''}</tspan>"
        for number, line in enumerate(lines)
    )
    return f'<text class="label" x="{x}" y="{y}" text-anchor="{anchor}">{parts}</text>'


def _path(corners: list[Point], radius: float = 8) -> str:
    """Return a path along corners, which are rounded."""
    parts = [f"M{corners[0][0]} {corners[0][1]}"]
    for before, corner, after in zip(corners, corners[1:], corners[2:], strict=False):
        (ax, ay), (bx, by) = _towards(corner, before, radius), _towards(corner, after, radius)
        parts.append(f"L{ax} {ay}Q{corner[0]} {corner[1]} {bx} {by}")
    parts.append(f"L{corners[-1][0]} {corners[-1][1]}")
    return "".join(parts)


def _towards(start: Point, end: Point, distance: float) -> Point:
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = max((dx * dx + dy * dy) ** 0.5, 1)
    step = min(distance, length / 2) / length
    return round(start[0] + dx * step, 1), round(start[1] + dy * step, 1)


# The timeline: one row for each participant, time from left to right.

_LEFT, _SCALE = 116, 0.905
_LANES = {"your task": 70, "the stream": 150, "connection": 230, "the server": 310}
_SPANS: list[tuple[str, float, float, str, str]] = [
    ("your task", 125, 240, "send", "work"),
    ("your task", 240, 560, "iterate", "wait"),
    ("your task", 560, 660, "reply", "work"),
    ("the stream", 30, 125, "connecting", "wait"),
    ("the stream", 125, 270, "connected", "work"),
    ("the stream", 270, 490, "reconnecting", "wait"),
    ("the stream", 490, 730, "connected", "work"),
    ("connection", 50, 270, "1", "work"),
    ("connection", 340, 365, "", "lost"),
    ("connection", 455, 730, "3", "work"),
    ("the server", 140, 520, "works on the turn, connected or not", "work"),
]
_MARKS: list[tuple[float, str, str]] = [
    (270, "connection", "lost"),
    (365, "connection", "refused"),
    (490, "connection", "connected"),
]
_NOTES: list[tuple[float, float, str, str]] = [
    (127, 44, "1", "POST, once connected"),
    (272, 204, "2", "delay"),
    (367, 204, "3", "longer delay"),
    (492, 124, "4", "gap; stored messages read"),
    (524, 284, "5", "stored as finished"),
]


def timeline() -> str:
    """Draw a stream that is lost during a turn and reconnected."""
    return _svg(760, 350, "A stream that loses its connection in the middle of a turn", _timeline())


def _timeline() -> Iterator[str]:
    for name, y in _LANES.items():
        yield f'<text class="lane" x="8" y="{y + 5}">{escape(name)}</text>'
        yield f'<line class="rule" x1="{_LEFT}" x2="756" y1="{y + 22}" y2="{y + 22}"/>'
    for lane, start, end, text, kind in _SPANS:
        y = _LANES[lane]
        x0, x1 = (_LEFT + (at - 30) * _SCALE for at in (start, end))
        yield (
            f'<g class="span {kind}"><rect x="{x0:.0f}" y="{y - 15}" width="{x1 - x0:.0f}"'
            f' height="30" rx="5"/><text x="{(x0 + x1) / 2:.0f}" y="{y + 5}"'
            f' text-anchor="middle">{escape(text)}</text></g>'
        )
    for at, lane, _ in _MARKS:
        x = _LEFT + (at - 30) * _SCALE
        yield f'<line class="mark" x1="{x:.0f}" x2="{x:.0f}" y1="40" y2="{_LANES[lane] + 22}"/>'
    for at, y, number, text in _NOTES:
        x = _LEFT + (at - 30) * _SCALE
        yield (
            f'<circle class="number" cx="{x + 8:.0f}" cy="{y - 4}" r="9"/>'
            f'<text class="digit" x="{x + 8:.0f}" y="{y}" text-anchor="middle">{number}</text>'
            f'<text class="label" x="{x + 22:.0f}" y="{y}">{escape(text)}</text>'
        )


def _svg(width: int, height: int, title: str, parts: Iterator[str]) -> str:
    tip = (
        '<defs><marker id="tip" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7"'
        ' markerHeight="7" orient="auto-start-reverse"><path d="M0 0L10 5L0 10z"/></marker></defs>'
    )
    return (
        f'<div class="drawing"><svg viewBox="0 0 {width} {height}" role="img"'
        f' xmlns="http://www.w3.org/2000/svg" aria-label="{escape(title)}">'
        f"<title>{escape(title)}</title>{tip}{''.join(parts)}</svg></div>"
    )


def decisions() -> str:
    """Draw what the stored messages mean for a message."""
    title = "What the stored messages mean for a message, by what is open about it"
    return _svg(table.WIDTH, table.height(), title, table.drawn())


def outbox() -> str:
    """Draw the states of a message that was sent through a relay."""
    return _svg(*relay.OUTBOX, relay.outbox(_path))


def positions() -> str:
    """Draw the events that a relay has stored of a session, and the positions of consumers."""
    return _svg(*relay.POSITIONS, relay.positions(_path))


DRAWINGS = {
    "turn": machine,
    "supervision": timeline,
    "decisions": decisions,
    "outbox": outbox,
    "positions": positions,
}


class Drawing(Directive):
    """Insert a drawing."""

    required_arguments = 1
    option_spec: ClassVar = {}

    def run(self) -> list[nodes.Node]:
        """Draw."""
        return [nodes.raw("", DRAWINGS[self.arguments[0]](), format="html")]


class TurnInputs(Directive):
    """Insert the list of a turn's inputs, with their docstrings."""

    def run(self) -> list[nodes.Node]:
        """Return the list."""
        items = nodes.definition_list()
        for each in Input:
            term = nodes.term("", "", nodes.literal("", each.name.lower()))
            meaning = nodes.paragraph("", f"{each.value[0].upper()}{each.value[1:]}.")
            items += nodes.definition_list_item("", term, nodes.definition("", meaning))
        return [nodes.rubric("", "Inputs"), items]


class Conditions(Directive):
    """List the conditions and the concerns of the table of decisions."""

    def run(self) -> list[nodes.Node]:
        """Make the list."""
        items = nodes.definition_list()
        meanings = {concern.name.lower(): f"{concern.value}." for concern in table.groups()}
        for name, meaning in {**meanings, **table.conditions()}.items():
            text = meaning.replace("``", "")
            term = nodes.term("", "", nodes.literal("", name))
            body = nodes.definition("", nodes.paragraph("", f"{text[0].upper()}{text[1:]}"))
            items += nodes.definition_list_item("", term, body)
        return [nodes.rubric("", "The words of the drawing"), items]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("drawing", Drawing)
    app.add_directive("turn-inputs", TurnInputs)
    app.add_directive("decision-conditions", Conditions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
