"""Frames and connections for the tests of the replay filter."""

from __future__ import annotations

from trio_mix._turns._replay_filter import ReplayFilter
from trio_mix.sse import ServerSentEvent

__all__ = ["admitted", "after", "connect", "frame"]


def frame(number: int | str, data: str = "", event: str = "content") -> ServerSentEvent:
    return ServerSentEvent(id=str(number), event=event, data=data or f"data {number}")


def connect(replay_filter: ReplayFilter, connected_id: int | str = "") -> None:
    replay_filter.opened()
    replay_filter.connected(str(connected_id))


def admitted(replay_filter: ReplayFilter, *frames: ServerSentEvent) -> list[bool]:
    return [bool(replay_filter.admit([one])) for one in frames]


def after(*numbers: int | str, connected_id: int | str = "") -> ReplayFilter:
    """A filter that has seen one connection with these events."""
    replay_filter = ReplayFilter()
    connect(replay_filter, connected_id)
    assert all(admitted(replay_filter, *map(frame, numbers)))
    return replay_filter
