"""`SessionFollower`: a session that another relay owns, read from the log.

Rule 1  Its consumers receive every event once and in order: events that are published are taken
        only if they follow those that are here; what is missing is read from the log.
Rule 2  A message is accepted once it is stored in the log; the owner finds it there.
Rule 3  What changes a turn that is not over is asked of the owner. Nothing else is.
"""

from __future__ import annotations

import base64
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, cast

import trio

from trio_mix._terminal_text import get_logger
from trio_mix.relay._errors import (
    AlreadyDecided,
    Draining,
    LogError,
    OwnerUnreachable,
    QueueFull,
    RelayError,
    TurnUnknown,
    UpstreamUnavailable,
)
from trio_mix.relay._followed import FollowedTurns
from trio_mix.relay._records import Answer, Sent, TurnState
from trio_mix.relay._turn_queue import new_record, refusal_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from trio_mix.relay._cursor import Ring
    from trio_mix.relay._log import Log, Peers
    from trio_mix.relay._records import LoggedEvent, SendRequest, TurnRecord
    from trio_mix.relay._settings import HubSettings
    from trio_mix.relay._turn_progress import OpenRequest

_MOST_WAITING: Final = 16 * 2**20
_PAUSE: Final = 0.1
_RAISED: Final[Mapping[str, type[RelayError]]] = {
    kind.__name__: kind
    for kind in (AlreadyDecided, Draining, TurnUnknown, UpstreamUnavailable, LogError)
}
"""What the owner raises that is passed on as it is."""

_logger = get_logger("trio_mix.relay")


class SessionFollower:
    """Follows one session. Made and run by the session.

    Args:
      session_id: the session.
      owner: the name of the relay that owns it.
      log: the log.
      peers: the other relays.
      settings: the settings.
      ring: receives the events.
      listeners: called when the ring has new events.
      wall_clock: returns the time in seconds since 1970.

    Attributes:
      owner: the name of the relay that owns the session, as far as is known.
      draining: whether no more messages are accepted.
    """

    def __init__(
        self,
        session_id: str,
        owner: str,
        log: Log,
        peers: Peers,
        settings: HubSettings,
        ring: Ring,
        listeners: Mapping[object, Callable[[], None]],
        *,
        wall_clock: Callable[[], float],
    ) -> None:
        self.owner: str = owner
        self.draining: bool = False
        self._session_id = session_id
        self._log = log
        self._peers = peers
        self._settings = settings
        self._ring = ring
        self._listeners = listeners
        self._now = wall_clock
        self._turns = FollowedTurns()
        self._waiting: deque[tuple[int, Sequence[LoggedEvent]]] = deque()
        self._waiting_bytes = 0
        self._behind = True
        self._work = trio.Event()
        self._released = trio.Event()
        self._grown: trio.Event | None = None
        self._changed: dict[str, list[trio.Event]] = {}
        self._ended = False

    # -- events -------------------------------------------------------------------------------

    async def begin(self) -> None:
        """Read what is stored of the turns that are not over.

        Raises:
          LogError: the log cannot be read.
        """
        self._turns.begin(await self._log.outbox.pending(self._session_id))
        position = self._turns.start or self._ring.newest
        while position < self._ring.newest:
            events = await self._log.read(self._session_id, position)
            if not events:
                break
            self._turns.note([event for event in events if event.id <= self._ring.newest])
            position = events[-1].id
        await self._catch_up()

    async def run(self) -> None:
        """Follow the session until cancelled."""
        end = self._peers.follow(self._session_id, self)
        try:
            while True:
                if not self._behind:
                    await self._work.wait()
                self._work = trio.Event()
                try:
                    await self._catch_up()
                except LogError as exc:
                    _logger.debug("Session %r is not read: %s", self._session_id, exc)
                    await trio.sleep(_PAUSE)
        finally:
            end()
            self._ended = True
            for events in self._changed.values():
                for event in events:
                    event.set()

    async def wait_released(self) -> None:
        """Wait until the session may be free."""
        await self._released.wait()
        self._released = trio.Event()

    def received(self, previous: int, events: Sequence[LoggedEvent]) -> None:
        """Take events that were published (rule 1)."""
        if self._behind or previous > self._ring.newest:
            self._behind = True
            self._waiting.append((previous, events))
            self._waiting_bytes += sum(len(event.frame) for event in events)
            while self._waiting_bytes > _MOST_WAITING:
                _, gone = self._waiting.popleft()
                self._waiting_bytes -= sum(len(event.frame) for event in gone)
            self._work.set()
        else:
            self._take(events)

    def released(self) -> None:
        """Note that the session can be acquired."""
        self._released.set()

    def resumed(self) -> None:
        """Read what may have been missed; the session may have been released meanwhile."""
        self._behind = True
        self._work.set()
        self._released.set()

    async def reach(self, position: int, timeout: float) -> None:
        """Wait until the events up to a position are here, for some seconds."""
        if position > self._ring.newest:
            self._behind = True
            self._work.set()
        with trio.move_on_after(timeout):  # noqa: ASYNC912 - nothing may be missing
            while position > self._ring.newest and not self._ended:
                self._grown = self._grown or trio.Event()
                await self._grown.wait()
        await trio.lowlevel.checkpoint()

    async def _catch_up(self) -> None:
        if not self._behind:
            return  # noqa: ASYNC910 - the caller waits for work
        await self._read_on()
        self._behind = False
        while self._waiting:
            previous, events = self._waiting.popleft()
            if previous > self._ring.newest:  # something was dropped
                self._behind = True
                self._waiting.clear()
                break
            self._take(events)
        self._waiting_bytes = 0

    async def _read_on(self) -> None:
        """Read what the log has now; nothing once the session is not followed any more."""
        while events := await self._log.read(self._session_id, self._ring.newest):
            if self._ended:  # the ring is another's
                return
            self._take(events)

    def _take(self, events: Sequence[LoggedEvent]) -> None:
        if events and events[0].id <= self._ring.newest:
            events = [event for event in events if event.id > self._ring.newest]
        if not events:
            return
        self._ring.append(events)
        if self._grown is not None:
            self._grown.set()
            self._grown = None
        for turn in self._turns.note(events):
            for event in self._changed.pop(turn, ()):
                event.set()
        for listener in list(self._listeners.values()):
            listener()

    # -- what a session shows -----------------------------------------------------------------

    @property
    def busy(self) -> bool:
        """Whether the session must stay open, apart from its consumers."""
        return bool(self._changed)

    @property
    def turn_running(self) -> str | None:
        """The id of the turn that is running, or None."""
        return self._turns.running

    @property
    def turn_start(self) -> int:
        """The position before the last turn that began; the newest one if none is known."""
        return min(self._turns.start or self._ring.newest, self._ring.newest)

    @property
    def queued(self) -> int:
        """The number of messages that are queued."""
        return len(self._turns.active) - (self._turns.running in self._turns.active)

    @property
    def requests(self) -> Mapping[str, OpenRequest]:
        """The permission requests that are open."""
        return self._turns.requests

    def asked(self, request_id: str) -> bool:
        """Return whether a permission request or notification is one of the session."""
        return request_id in self._turns.asked

    # -- turns --------------------------------------------------------------------------------

    async def send(self, request: SendRequest, *, body: str, key: str | None, subject: str) -> Sent:
        """Accept a message (rule 2); see `SessionFeed.send`."""
        if self.draining:
            await trio.lowlevel.checkpoint()
            raise Draining("The relay is shutting down. Send the message again.")
        record = new_record(
            self._session_id, request, body=body, key=key, subject=subject, now=self._now()
        )
        active = self._turns.active
        if active:  # the log may have their ends, which have not been received yet
            await self._read_on()
        if len(active) >= self._settings.queue_max:
            raise QueueFull(
                f"{len(active)} messages are queued for session {self._session_id!r}: "
                "send it again later."
            )
        idle = not active
        stored = await self._log.outbox.accept(record)
        repeated = stored.turn_id != record.turn_id
        if not repeated:
            active.setdefault(stored.turn_id, TurnState.ACCEPTED)
        if idle or (stored.turn_id == self._turns.running):
            with trio.move_on_after(self._settings.answer_wait):
                stored = await self._wait(stored.turn_id, decided=True) or stored
        elif repeated:
            stored = await self._log.outbox.turn(stored.turn_id) or stored
        return Sent(stored, refusal_of(stored), repeated=repeated)

    async def wait_turn(self, turn_id: str) -> TurnRecord | None:
        """Wait for the end of a turn, and return it; None if the session is not followed any more.

        Raises:
          TurnUnknown: there is no such turn.
        """
        return await self._wait(turn_id, decided=False)

    async def _wait(self, turn_id: str, *, decided: bool) -> TurnRecord | None:
        while not self._ended:
            changed = trio.Event()
            events = self._changed.setdefault(turn_id, [])
            events.append(changed)
            try:
                record = await self._log.outbox.turn(turn_id)
                if record is None:
                    raise TurnUnknown(f"There is no turn {turn_id!r}. Check the id.")
                if record.state.over or (decided and record.state is TurnState.RUNNING):
                    return record
                await changed.wait()
            finally:
                if changed in events:
                    events.remove(changed)
                if not events and self._changed.get(turn_id) is events:
                    del self._changed[turn_id]
        await trio.lowlevel.checkpoint()
        return None

    # -- what is asked of the owner -----------------------------------------------------------

    async def cancel_turn(self, turn_id: str) -> TurnRecord | None:
        """Cancel a turn (rule 3)."""
        with suppress(TurnUnknown):  # it is over
            await self._ask("cancel", turn=turn_id)
        return await self._log.outbox.turn(turn_id)

    async def cancel_running(self) -> Answer:
        """Cancel the turn that is running, and return the server's answer."""
        return answer_of(await self._ask("cancel_running"))

    async def cancel_waiting(self) -> int:
        """Cancel the messages that are queued, and return their number."""
        return int(cast("Any", await self._ask("cancel_waiting"))["count"])

    async def decide(self, permission_id: str, *, grant: bool, subject: str) -> Answer:
        """Answer a permission request; the owner knows which answer was the first."""
        return answer_of(await self._ask("decide", id=permission_id, grant=grant, subject=subject))

    async def _ask(self, what: str, **fields: object) -> Mapping[str, object]:
        return await ask_owner(self._peers, self._session_id, what, **fields)


async def ask_owner(
    peers: Peers, session_id: str, what: str, **fields: object
) -> Mapping[str, object]:
    """Ask the owner of a session, and return its response.

    Raises:
      RelayError: what the owner raised.
      OwnerUnreachable: it did not answer.
    """
    response = await peers.ask(session_id, {"what": what, **fields})
    name, text = response.get("error"), str(response.get("text", ""))
    if name is None:
        return response
    raise _RAISED.get(str(name), OwnerUnreachable)(text)


def answer_fields(answer: Answer) -> dict[str, object]:
    """Return the server's answer for another relay."""
    body = base64.b64encode(answer.body).decode()
    return {"status": answer.status, "type": answer.content_type, "body": body}


def answer_of(fields: Mapping[str, object]) -> Answer:
    """Return the answer that `answer_fields` wrote.

    Raises:
      OwnerUnreachable: it is something else.
    """
    try:
        values = cast("Mapping[str, Any]", fields)
        return Answer(
            status=int(values["status"]),
            content_type=str(values["type"]),
            body=base64.b64decode(values["body"]),
        )
    except (KeyError, ValueError, TypeError) as exc:
        raise OwnerUnreachable("The relay that owns the session has answered nonsense.") from exc
