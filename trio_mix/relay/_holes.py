"""`Holes`: completes the turns of one session that lost events with a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from trio_mix import errors
from trio_mix._terminal_text import get_logger
from trio_mix.relay._foreign import foreign_outcome
from trio_mix.relay._records import Outcome
from trio_mix.relay._stored_rounds import running_rounds
from trio_mix.relay._upstream import FIRST_PAUSE

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix._mix import Mix
    from trio_mix.relay._appender import Appender
    from trio_mix.relay._turn_events import SessionEvents
    from trio_mix.relay._turn_queue import TurnQueue
    from trio_mix.relay._upstream import UpstreamStream

_FIRST_READING: Final = 1.0
_SLOWEST_READING: Final = 10.0

_logger = get_logger("trio_mix.relay")


class Holes:
    """The holes in the events of one session.

    Args:
      session_id: the session.
      mix: the client of the server.
      queue: the session's messages.
      events: its events.
      appender: appends to the session.
      upstream: its stream.

    Attributes:
      foreign_due: whether a turn that was sent past the relay must be settled.
      on_foreign: called when it must.
    """

    def __init__(
        self,
        session_id: str,
        mix: Mix,
        queue: TurnQueue,
        events: SessionEvents,
        appender: Appender,
        upstream: UpstreamStream,
    ) -> None:
        self.foreign_due: bool = False
        self.on_foreign: Callable[[], None] = lambda: None
        self._session_id = session_id
        self._mix = mix
        self._queue = queue
        self._events = events
        self._appender = appender
        self._upstream = upstream
        self._found = trio.Event()

    def note(self) -> None:
        """Note that events may have been missed."""
        self._found.set()
        if self._events.foreign is not None:
            self.foreign_due = True
            self.on_foreign()

    async def settle_foreign(self) -> None:
        """Complete a turn that was sent past the relay and lost events; once for each hole."""
        session = await self._upstream.wait_session()
        self.foreign_due = False
        turn = self._events.foreign
        if turn is None or not turn.cut:
            return
        try:
            outcome, rounds = await foreign_outcome(session, self._mix)
        except (errors.StreamError, errors.TransportError, errors.MixError) as exc:
            _logger.debug("Turn %s, which was sent past the relay: %s", turn.turn_id, exc)
            await trio.sleep(FIRST_PAUSE)
            return
        await self._upstream.wait_drained()
        if outcome is None and turn.end is None:
            return
        outcome = outcome or Outcome(kind="unknown")
        self._appender.add(self._events.settle_foreign(turn, outcome, rounds))

    async def run(self) -> None:
        """Pass on what is held back, once the stored messages show what is missing before it."""
        pause = _FIRST_READING
        while True:
            await trio.sleep(pause)
            turn, held = self._queue.current, self._events.held_text
            if turn is None or not held:
                pause = _FIRST_READING
                if not self._events.cut:
                    self._found = trio.Event()
                    await self._found.wait()
                continue
            pause = min(2 * pause, _SLOWEST_READING)
            ticket = None if turn.message is None else turn.message.ticket
            asked = None if ticket is None else ticket.user_message_id
            rounds = await running_rounds(self._mix, self._session_id, turn.record.request, asked)
            if turn is self._queue.current and not turn.settling:
                self._appender.add(self._events.release(rounds, held))
