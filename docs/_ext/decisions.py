"""Draws the table of decisions about a message as SVG, from the library's own rules."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from trio_mix._turns._rules import RULES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio_mix._turns._facts import Concern, Facts
    from trio_mix._turns._rules import Rule
    from trio_mix._turns._stored_turn import TurnOutcome

WIDTH = 1010
_TOP, _ROW, _GAP = 30, 30, 16
_CONCERN, _STORED, _WHEN, _ACTION = 8, 176, 396, 610
_KINDS = {
    "COMPLETE": "good",
    "COMPLETE_IN_DOUBT": "good",
    "GONE": "bad",
    "UNKNOWN": "bad",
    "REFUSE": "bad",
    "END_BY_ERROR": "bad",
}


def groups() -> dict[Concern, list[Rule]]:
    """Return the rules by concern, in the order in which they are tried."""
    found: dict[Concern, list[Rule]] = {}
    for rule in RULES:
        found.setdefault(rule.concern, []).append(rule)
    return found


def conditions() -> dict[str, str]:
    """Return what each condition of the table means, in the words of the source."""
    used = {condition for rule in RULES for condition in rule.when}
    return {
        name_of(each): (each.__doc__ or "") for each in sorted(used, key=lambda one: one.__name__)
    }


def height() -> int:
    """Return how high the drawing is."""
    return _TOP + len(RULES) * _ROW + len(groups()) * _GAP


def drawn() -> Iterator[str]:
    """Draw each concern's rules in a block of their own."""
    for x, title in (
        (_CONCERN, "what is open"),
        (_STORED, "the stored messages say"),
        (_WHEN, "and"),
        (_ACTION, "then"),
    ):
        yield f'<text class="lane" x="{x}" y="18">{escape(title)}</text>'
    y = _TOP
    for concern, rules in groups().items():
        size = len(rules) * _ROW
        middle = y + size / 2
        yield (
            f'<g class="box" data-concern="{concern.name}"><rect x="{_CONCERN}" y="{y}" width="150"'
            f' height="{size - 4}" rx="8"/><text x="{_CONCERN + 75}" y="{middle + 3:.0f}"'
            f' text-anchor="middle">{escape(concern.name.lower())}</text></g>'
        )
        for rule in rules:
            yield _row(rule, y + _ROW // 2)
            y += _ROW
        y += _GAP


def _row(rule: Rule, y: int) -> str:
    stored = ", ".join(sorted(map(_outcome, rule.stored)))
    when = ", ".join(map(name_of, rule.when))
    kind = _KINDS.get(rule.then.name, "")
    return (
        f'<g class="rule {kind}" data-rule="{rule.concern.name} {rule.then.name}">'
        f'<text class="label" x="{_STORED}" y="{y + 4}">{escape(_shortened(stored))}</text>'
        f'<text class="label" x="{_WHEN}" y="{y + 4}">{escape(when)}</text>'
        f'<path d="M{_ACTION - 24} {y}H{_ACTION - 6}" marker-end="url(#tip)"/>'
        f'<text x="{_ACTION}" y="{y + 4}">{escape(rule.then.value)}</text></g>'
    )


def _outcome(outcome: TurnOutcome | None) -> str:
    return "nothing readable" if outcome is None else outcome.value


def _shortened(stored: str) -> str:
    return {3: "anything but absent", 4: "anything", 5: "anything, or nothing readable"}.get(
        stored.count(","), stored
    )


def name_of(condition: Callable[[Facts], bool]) -> str:
    """Return a condition's name in words."""
    return condition.__name__.replace("_", " ")
