"""What became of a turn that was cut: asked of the session's stored messages.

What it knows: when to look, how often, and what each verdict means for the message. What it must
never know: the rows' shapes (`trio_mix._stored` judges them), sockets, who holds the message.

Rule 1  A server that replays settles the turn itself: once that is known, nothing is asked while
        the turn gives signs of life.
Rule 2  Finished there: the reply is completed from there. Still running: it goes on.
Rule 3  Never arrived there, proven and for a while: sent again, once. Never while the POST's own
        outcome is open, and never after an event of the turn.
Rule 4  No sign of life (an event of the turn, growth of what is stored) for ``settle_timeout``
        ends it: as gone where its rows are there, else as unknown, and the error says which.
Rule 5  A turn that its sender has left is settled only to know when the next may start.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import trio

from trio_mix import errors
from trio_mix._options import RequestOptions, RetryConfig
from trio_mix._stored import Earlier, Fate, Verdict, judge, rows_of
from trio_mix._turns import Input

if TYPE_CHECKING:
    from trio_mix._gate import SendGate
    from trio_mix._stored import StoredRow
    from trio_mix._switchboard import Inbox, Switchboard
    from trio_mix.resources import Messages, Sessions

__all__ = ["ARRIVAL_GRACE", "Baseline", "RecoveryHost", "StoredMessages", "settle"]

ARRIVAL_GRACE: Final = 3.0
"""Seconds that a message must stay absent before it counts as never arrived."""

_FIRST_LOOK: Final = 0.05
_SLOWEST_LOOK: Final = 5.0
_LOOK_TIMEOUT: Final = 10.0
_NO_SUCH_OPERATION: Final = (404, 405, 501)
_ONCE: Final = RetryConfig(strategy="none")


class StoredMessages:
    """Reads a session's stored messages by the operation that this server has for it.

    Kept by the client, so that what a server lacks is asked for once.
    """

    def __init__(self, sessions: Sessions, messages: Messages) -> None:
        self._sessions = sessions
        self._messages = messages
        self._has_export = True
        self._has_messages = True

    async def rows(self, session_id: str) -> list[StoredRow] | None:
        """Return all rows, or None where the server keeps none that can be asked for.

        Raises:
          MixError, TransportError: this time it did not work.
        """
        options = RequestOptions(retries=_ONCE, timeout=_LOOK_TIMEOUT)
        if self._has_export:
            try:
                exported = await self._sessions.export_session(id=session_id, options=options)
                return rows_of(exported.messages)
            except errors.MixDefaultError as exc:
                if exc.status_code not in _NO_SUCH_OPERATION:
                    raise
                self._has_export = False
            except errors.ResponseValidationError:
                self._has_export = False
        if self._has_messages:
            try:
                return rows_of(await self._messages.get_session(id=session_id, options=options))
            except errors.MixDefaultError as exc:
                if exc.status_code not in _NO_SUCH_OPERATION:
                    raise
                self._has_messages = False
        return None


class Baseline:
    """What was stored before the turns of this stream, and those turns' own texts."""

    def __init__(self, stored: StoredMessages, session_id: str) -> None:
        self._stored = stored
        self._session_id = session_id
        self._taken = False
        self.known: set[str] | None = None
        self.earlier: list[Earlier] = []

    async def ensure(self) -> None:
        """Look once, before the first message; where that fails there is no baseline."""
        if self._taken:
            await trio.lowlevel.checkpoint()
            return
        try:
            rows = await self._stored.rows(self._session_id)
        except (errors.MixError, errors.TransportError):
            rows = None
        self._taken = True
        if rows is not None:
            self.known = {row.id for row in rows}

    def judge(self, rows: list[StoredRow], inbox: Inbox) -> Verdict:
        """Say what the rows tell of a turn."""
        return judge(
            rows,
            user_message_id=inbox.turn.user_message_id,
            matches=inbox.turn.matches,
            known=self.known,
            earlier=self.earlier,
        )

    def count(self, inbox: Inbox) -> None:
        """Count a turn of our own that is over: its row is not the next one's."""
        if inbox.turn.user_message_id is not None and self.known is not None:
            self.known.add(inbox.turn.user_message_id)
        else:
            # A refused one, a failed one, a command: each may be stored or not.
            command = inbox.turn.text.startswith(("/", "!"))
            named = inbox.partial().message_id is not None
            self.earlier.append(
                Earlier(
                    text=inbox.turn.text,
                    plan_mode=inbox.turn.plan_mode,
                    certain=named and not command,
                )
            )


class RecoveryHost(Protocol):
    """What settling needs of the stream."""

    session_id: str
    gate: SendGate
    board: Switchboard
    baseline: Baseline
    stored: StoredMessages
    settle_timeout: float

    @property
    def continued(self) -> bool | None:
        """Whether the server replays; None: not known."""

    def send_again(self, inbox: Inbox) -> None:
        """Send a message a second time."""


async def settle(host: RecoveryHost, inbox: Inbox) -> None:
    """Find out what became of a turn, and end it or let it go on; raises only Cancelled."""
    try:
        await _settle(host, inbox)
    except errors.TrioMixError:
        return  # the stream is over, and has told everybody
    finally:
        inbox.settling = False


async def _settle(host: RecoveryHost, inbox: Inbox) -> None:
    await host.gate.wait_open()
    signs = _Signs(inbox, trio.current_time())
    pause = _FIRST_LOOK
    while True:
        with trio.move_on_after(pause):
            await inbox.turn_over.wait()
            return
        pause = min(pause * 2, _SLOWEST_LOOK)
        await host.gate.wait_open()
        if host.continued and signs.quiet(inbox, trio.current_time()) < host.settle_timeout / 2:
            continue
        verdict = await _look(host, inbox)
        if inbox.turn_over.is_set():
            return
        now = trio.current_time()
        silence = signs.silence(inbox, verdict, now)
        if verdict is None:
            pass
        elif verdict.fate is Fate.FINISHED:
            _recover(host, inbox, verdict)
            return
        elif verdict.fate is Fate.BROKEN_OFF:
            _interrupt(host, inbox, verdict, "gone", "the server broke it off")
            return
        elif verdict.fate is Fate.ABSENT and signs.absent_for(now) >= _arrival(host):
            if inbox.turn.events == 0 and not inbox.unanswered:
                _never_arrived(host, inbox, verdict)
                return
        elif verdict.user_message_id is not None and not inbox.turn.bound:
            host.board.router.bind(inbox.turn, verdict.user_message_id)
        if silence >= host.settle_timeout:
            _give_up(host, inbox, verdict)
            return


def _arrival(host: RecoveryHost) -> float:
    return min(ARRIVAL_GRACE, host.settle_timeout)


async def _look(host: RecoveryHost, inbox: Inbox) -> Verdict | None:
    try:
        rows = await host.stored.rows(host.session_id)
    except (errors.MixError, errors.TransportError):
        return None
    return None if rows is None else host.baseline.judge(rows, inbox)


class _Signs:
    """When a turn last gave a sign of life."""

    def __init__(self, inbox: Inbox, now: float) -> None:
        self._last = now
        self._events = inbox.turn.events
        self._growth = 0
        self._absent_since: float | None = None

    def quiet(self, inbox: Inbox, now: float) -> float:
        """Return the seconds since the last sign, as far as events tell."""
        if inbox.turn.events != self._events:
            self._events, self._last = inbox.turn.events, now
        return now - self._last

    def silence(self, inbox: Inbox, verdict: Verdict | None, now: float) -> float:
        """Return the seconds since the last sign, of events or of what is stored."""
        grown = verdict.growth if verdict is not None else self._growth
        if inbox.turn.events != self._events or grown > self._growth:
            self._events, self._growth, self._last = inbox.turn.events, grown, now
        if verdict is None or verdict.fate is not Fate.ABSENT:
            self._absent_since = None
        elif self._absent_since is None:
            self._absent_since = now
        return now - self._last

    def absent_for(self, now: float) -> float:
        return 0.0 if self._absent_since is None else now - self._absent_since


def _recover(host: RecoveryHost, inbox: Inbox, verdict: Verdict) -> None:
    host.board.gap("the connection was lost; the rest was read from the stored messages")
    host.board.step(inbox, Input.SETTLED, verdict.reply)


def _never_arrived(host: RecoveryHost, inbox: Inbox, verdict: Verdict) -> None:
    if inbox.abandoned:
        host.board.step(inbox, Input.SETTLED)
    elif inbox.builder.resent:
        _interrupt(host, inbox, verdict, "gone", "it was sent twice and never arrived")
    else:
        inbox.builder.restart()
        host.board.step(inbox, Input.RESEND)
        host.send_again(inbox)


def _give_up(host: RecoveryHost, inbox: Inbox, verdict: Verdict | None) -> None:
    silent = f"for {host.settle_timeout:g} s there was no sign of it"
    if verdict is None or verdict.fate in (Fate.UNKNOWN, Fate.ABSENT):
        why = "and the server's stored messages could not tell"
        _interrupt(host, inbox, verdict, "unknown", f"{silent}, {why}")
    elif verdict.looks_whole:
        _recover(host, inbox, verdict)
    else:
        _interrupt(host, inbox, verdict, "gone", f"{silent}, not even among the stored messages")


def _interrupt(
    host: RecoveryHost, inbox: Inbox, verdict: Verdict | None, outcome: str, why: str
) -> None:
    if verdict is not None and verdict.reply is not None and not inbox.over.is_set():
        inbox.builder.take_stored(verdict.reply)
    remedy = (
        "It is not running any more: send it again if it is still wanted."
        if outcome == "gone"
        else "It may have run, or may still run: look at the session before sending it again."
    )
    failure = errors.MessageInterrupted(
        f"The message on session {host.session_id} was cut by a lost connection; {why}. {remedy} "
        "What had come is in .partial.",
        session_id=host.session_id,
        partial=inbox.partial(),
        outcome=outcome,
    )
    host.board.end_with(inbox, failure, Input.SETTLED)
