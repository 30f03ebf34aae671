"""The possible texts of a scripted turn, by which the judge knows whose text a reply has."""

from __future__ import annotations

from typing import TYPE_CHECKING

from campaign_schedule import words_of

from trio_mix.testing import AskPermission, Say, SubAgent, Think, Turn, UseTool, UseTools

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from trio_mix.testing import Api, Step

__all__ = ["names_in", "texts_of"]

_ENDED = "(a round has ended)"


def texts_of(turn: Turn, apis: Collection[Api]) -> set[str]:
    """Return the possible texts of a turn, which depend on permissions."""
    texts: set[str] = set()
    for way in _ways(turn.steps):
        texts.add("".join(way))
        if "pipeline-oldest" in apis:  # it sends only the text of the last round; all is stored
            texts.add(way[-1])
    return texts


def _ways(steps: Sequence[Step], so_far: tuple[str, ...] = ("",)) -> set[tuple[str, ...]]:
    """Return the texts of a turn's rounds, for each possible path; a mark ends a round."""
    ways = {so_far}
    for step in steps:
        match step:
            case Say(text):
                ways = {_open(way, text) for way in ways}
            case Think():
                ways = {_open(way, "") for way in ways}
            case UseTool() | UseTools() | SubAgent():
                ways = {(*_open(way, ""), _ENDED) for way in ways}
            case AskPermission(_, then, otherwise):
                ways = {after for way in ways for after in _ways(then, way)} | {
                    after for way in ways for after in _ways(otherwise or (), way)
                }
            case _:
                pass
    if so_far != ("",):
        return ways
    return {tuple(part for part in way if part != _ENDED) for way in ways}


def _open(way: tuple[str, ...], text: str) -> tuple[str, ...]:
    """Add text to the open round, or to a new one."""
    return (*way, text) if way[-1] == _ENDED else (*way[:-1], way[-1] + text)


def names_in(turn: Turn) -> set[str]:
    """Return the names in the words of a turn."""
    texts = {part for way in _ways(turn.steps) for part in way}
    return {name for text in texts for name in words_of(text)} | {
        name for step in turn.steps for name in words_of(getattr(step, "text", ""))
    }
