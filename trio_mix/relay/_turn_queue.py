"""`TurnQueue`: accepts the messages of one session, and keeps the turns that are not over.

Rule 1  Messages are accepted in an order, which is that in which they are sent.
Rule 2  A sender that leaves changes nothing: what is stored is sent.
Rule 3  If no other message is queued, the sender waits for the server's answer, for a bounded time.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import OrderedDict, deque
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trio_mix.relay._errors import Draining, QueueFull, TurnUnknown
from trio_mix.relay._outbox import Draft
from trio_mix.relay._records import Answer, Audience, SendRequest, Sent, TurnRecord, TurnState

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix._session._message import Message
    from trio_mix.relay._appender import Appender
    from trio_mix.relay._log import Log
    from trio_mix.relay._settings import HubSettings

_MOST_QUEUED: Final = 64 * 2**20
"""Characters of the messages that are queued for one session."""
_REMEMBERED: Final = 10_000
"""Turns that are not queued again if the log still shows them as not over."""


@attrs.define(eq=False)
class ActiveTurn:
    """A turn that is not over."""

    record: TurnRecord
    decided: trio.Event = attrs.field(factory=trio.Event)
    """The server has accepted or refused it, or it is over."""
    over: trio.Event = attrs.field(factory=trio.Event)
    """It is over, or the owner of the session is closed."""
    message: Message | None = None
    cancelling: bool = False
    senders: int = 0
    """Senders that wait for the server's answer."""
    refusing: bool = False
    """The server's refusal is being stored, for a sender that waits for it."""
    posted_here: bool = False
    """Whether this process has begun to send it."""
    settling: bool = False
    """Whether its end is being stored."""


class TurnQueue:
    """The turns of one session that are not over.

    Args:
      session_id: the session.
      log: the log.
      settings: the settings.
      appender: appends to the session.
      wall_clock: returns the time in seconds since 1970.

    Attributes:
      turns: the turns, by their ids.
      waiting: those that wait to be sent.
      current: the one that is being sent or runs.
      draining: whether no more messages are accepted or sent.
      on_queued: called when a message was queued.
    """

    def __init__(
        self,
        session_id: str,
        log: Log,
        settings: HubSettings,
        appender: Appender,
        *,
        wall_clock: Callable[[], float],
    ) -> None:
        self.turns: dict[str, ActiveTurn] = {}
        self.waiting: deque[ActiveTurn] = deque()
        self.current: ActiveTurn | None = None
        self.draining: bool = False
        self.on_queued: Callable[[], None] = lambda: None
        self._session_id = session_id
        self._log = log
        self._settings = settings
        self._appender = appender
        self._now = wall_clock
        self._closed = False
        self._accepting = trio.Lock()
        self._seen: OrderedDict[str, None] = OrderedDict()

    @property
    def sendable(self) -> bool:
        """Whether a message waits that may be sent."""
        return bool(self.waiting) and not self.draining

    def remove(self, turn: ActiveTurn) -> None:
        """Remove a turn that is over, and wake all who wait for it."""
        self.turns.pop(turn.record.turn_id, None)
        if turn in self.waiting:
            self.waiting.remove(turn)
        turn.decided.set()
        turn.over.set()

    def close(self) -> None:
        """Wake all who wait for a turn; the turns are resumed by the next owner."""
        self._closed = True
        for turn in self.turns.values():
            turn.decided.set()
            turn.over.set()

    def enqueue(self, record: TurnRecord) -> None:
        """Queue a turn that is stored."""
        turn = ActiveTurn(record)
        self.turns[record.turn_id] = turn
        self._seen[record.turn_id] = None
        while len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)
        self.waiting.append(turn)
        if self._closed:  # while it was being stored: the next owner sends it
            turn.decided.set()
            turn.over.set()
        self.on_queued()

    async def adopt(self) -> list[ActiveTurn]:
        """Queue the turns of the session that are stored and not known here, and return them.

        Raises:
          LogError: the log cannot be read.
        """
        adopted: list[ActiveTurn] = []
        async with self._accepting:
            for record in await self._log.outbox.pending(self._session_id):
                if record.turn_id in self._seen:
                    continue
                self.enqueue(record)
                adopted.append(self.turns[record.turn_id])
        return adopted

    async def send(self, request: SendRequest, *, body: str, key: str | None, subject: str) -> Sent:
        """Accept a message; see `SessionFeed.send`."""
        record = new_record(
            self._session_id, request, body=body, key=key, subject=subject, now=self._now()
        )
        # Shielded: what is stored must be queued (rule 2). The log ends within a bound.
        stored, idle = record, False
        with trio.CancelScope(shield=True):
            async with self._accepting:
                self._check_open()
                waiting = sum(len(each.record.request.text) for each in self.turns.values())
                full = waiting + len(request.text) > _MOST_QUEUED and self.turns
                if full or len(self.turns) >= self._settings.queue_max:
                    raise QueueFull(
                        f"{len(self.turns)} messages are queued for session {self._session_id!r}: "
                        "send it again later."
                    )
                idle = not self.turns
                stored = await self._log.outbox.accept(record)
                if stored.turn_id == record.turn_id:
                    self.enqueue(stored)
                    self._appender.add([turn_draft(stored)])
        await trio.lowlevel.checkpoint()
        repeated = stored.turn_id != record.turn_id
        turn = self.turns.get(stored.turn_id)
        if turn is None:
            known = await self._log.outbox.turn(stored.turn_id) or stored
            return Sent(known, refusal_of(known), repeated=repeated)
        if idle or turn is self.current:
            await self.wait_answer(turn)
        return Sent(turn.record, refusal_of(turn.record), repeated=repeated)

    def _check_open(self) -> None:
        if self.draining or self._closed:
            raise Draining("The relay is shutting down. Send the message again.")

    async def wait_answer(self, turn: ActiveTurn) -> None:
        """Wait for the server's answer to a message, for a bounded time."""
        turn.senders += 1
        try:
            with trio.move_on_after(self._settings.answer_wait):
                await turn.decided.wait()
            if turn.refusing:
                await turn.decided.wait()
        finally:
            turn.senders -= 1

    async def wait_turn(self, turn_id: str) -> TurnRecord:
        """Wait for the end of a turn and return it; see `SessionFeed.wait_turn`."""
        turn = self.turns.get(turn_id)
        if turn is not None:
            await turn.over.wait()
            if turn.record.state.over:
                return turn.record
            raise Draining("The relay is shutting down. The turn goes on: ask again for it.")
        record = await self._log.outbox.turn(turn_id)
        if record is None:
            raise TurnUnknown(f"There is no turn {turn_id!r}. Check the id.")
        return record


def new_record(
    session_id: str,
    request: SendRequest,
    *,
    body: str,
    key: str | None,
    subject: str,
    now: float,
) -> TurnRecord:
    """Return a turn for a message; see `SessionFeed.send`."""
    return TurnRecord(
        turn_id=new_turn_id(),
        session_id=session_id,
        request=request,
        digest=hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest(),
        created_at=now,
        key=key,
        subject=subject,
    )


def new_turn_id() -> str:
    """Return an id for a turn."""
    return f"turn_{uuid.uuid4().hex}"


def turn_draft(record: TurnRecord) -> Draft:
    """Return the event that reports the state of a turn."""
    fields: dict[str, object] = {"turnId": record.turn_id, "state": record.state.value}
    if record.state is TurnState.ACCEPTED:  # others see it while it is queued
        fields |= {"text": record.request.text, "by": record.subject}
    data = json.dumps(fields, separators=(",", ":"))
    return Draft("turn", data, Audience.RELAY)


def refusal_of(record: TurnRecord) -> Answer | None:
    """Return the server's refusal of a message, if it refused it."""
    refused = record.outcome is not None and record.outcome.kind == "refused"
    return record.answer if refused else None
