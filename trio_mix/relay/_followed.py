"""What a follower knows of a session from its stored events: turns, and requests for the user.

Rule 1  The state of a turn is that of its last ``turn`` event.
Rule 2  The requests of a turn are open until they are answered, or the turn is over.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from trio_mix import events as ev
from trio_mix._turns._wire_traits import turn_id_of
from trio_mix._wire._events import decode_event
from trio_mix.relay._records import TurnState
from trio_mix.relay._turn_progress import OpenRequest
from trio_mix.sse import SSEDecoder

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from trio_mix.relay._records import LoggedEvent, TurnRecord
    from trio_mix.sse import ServerSentEvent

_NAMES: Final = (b"turn\n", b"permission", b"notification", b"complete\n", b"error\n")
_EVENT: Final = b"\nevent: "
_MOST_ASKED: Final = 1000


class FollowedTurns:
    """The turns of a session that another relay owns.

    Attributes:
      active: the states of the turns that are not over, by their ids.
      running: the turn that is being sent or runs.
      start: the position before the last turn that began; 0: none is known.
      requests: the permission requests that are open.
      asked: the permission requests and notifications, also those that were answered.
    """

    def __init__(self) -> None:
        self.active: dict[str, TurnState] = {}
        self.running: str | None = None
        self.start: int = 0
        self.requests: dict[str, OpenRequest] = {}
        self.asked: dict[str, None] = {}

    def begin(self, pending: Iterable[TurnRecord]) -> None:
        """Note the turns that are not over, as they are stored."""
        for record in pending:
            self.active[record.turn_id] = record.state
            if record.state in (TurnState.POSTING, TurnState.RUNNING):
                self.running = record.turn_id
                self.start = record.first_id or self.start

    def note(self, events: Sequence[LoggedEvent]) -> list[str]:
        """Note stored events, and return the turns whose state has changed."""
        changed: list[str] = []
        for event in events:
            name = event.frame[event.frame.find(_EVENT) + len(_EVENT) :][:20]
            if name.startswith(_NAMES):
                for frame in SSEDecoder().feed(event.frame):
                    changed += self._take(frame, event.id)
        return changed

    def _take(self, frame: ServerSentEvent, position: int) -> list[str]:
        if frame.event == "turn":
            data = json.loads(frame.data)  # written by a relay
            turn, state = str(data["turnId"]), TurnState(data["state"])
            self._change(turn, state, position)
            return [turn]
        if frame.event == "permission_settled":
            self.requests.pop(json.loads(frame.data)["permissionId"], None)
            return []
        event = decode_event(frame)
        match event:
            case ev.PermissionEvent():
                turn = turn_id_of(frame.data) or ""
                self.requests[event.permission_id] = OpenRequest(frame.data, turn, position)
                self._note_asked(event.permission_id)
            case ev.NotificationEvent():
                self._note_asked(event.notification_id)
            case ev.CompleteEvent() | ev.ErrorEvent() if event.parent_tool_call_id is None:
                turn = turn_id_of(frame.data) or ""
                self._close_requests(turn)
            case _:
                pass
        return []

    def _note_asked(self, request_id: str) -> None:
        self.asked[request_id] = None
        while len(self.asked) > _MOST_ASKED:
            oldest = next(iter(self.asked))
            del self.asked[oldest]
            self.requests.pop(oldest, None)

    def _change(self, turn: str, state: TurnState, position: int) -> None:
        if state.over:
            self.active.pop(turn, None)
            self._close_requests(turn)
            if self.running == turn:
                self.running = None
            return
        self.active[turn] = state
        if state is TurnState.POSTING:
            self.running, self.start = turn, position - 1
        elif state is TurnState.RUNNING:
            self.running = turn

    def _close_requests(self, turn: str) -> None:
        for name in [name for name, each in self.requests.items() if each.turn_id == turn]:
            del self.requests[name]
