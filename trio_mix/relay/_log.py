"""What the relay needs of a log: events, leases and the outbox.

Every engine passes the same tests, ``tests/relay/test_relay_log.py``.

Rule 1  What `Lease.append` has returned from is stored: a killed process loses nothing of it.
Rule 2  An append is one transaction: its events and its turns are stored together, or not at all.
Rule 3  A lease has an epoch and a random token. Acquiring a session again invalidates the previous
        lease: its appends raise `Fenced`, and nothing of them is stored.
Rule 4  An idempotency key belongs to a session and a subject. It is kept for 24 hours, and for as
        long as its turn is not over.
Rule 5  Ids that were assigned are never assigned again, also if nothing was stored with them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from types import TracebackType
    from typing import Self

    from trio_mix.relay._records import LoggedEvent, TurnRecord

KEY_KEPT = 24 * 3600.0
"""Seconds for which an idempotency key is remembered."""


@attrs.frozen(kw_only=True)
class Retention:
    """How much the log keeps. The oldest events are deleted, in slices of up to 1,000."""

    events: int = 100_000
    """The number of events of one session."""
    age: float = 7 * 24 * 3600.0
    """The age of events, and of turns that are over, in seconds."""
    bytes: int = 4 * 2**30
    """The bytes of all events of all sessions; the largest session loses its oldest ones first."""
    turn_bytes: int = 256 * 2**20
    """The bytes of the messages and replies of turns that are over, of all sessions. The oldest
    turns lose theirs first; their states and keys are kept. A log on Redis does not apply it."""


@attrs.frozen(kw_only=True)
class Extent:
    """Which events of a session are stored."""

    newest: int
    """The id of the newest event that was ever stored, or the position before the first one."""
    oldest: int
    """The position before the first event that is kept; ``newest`` if none is."""
    deleted: Mapping[int, int] = attrs.field(factory=dict)
    """For each epoch, the sequence number of its last deleted event."""
    forgotten: int = 0
    """The newest epoch of which the number of deleted events is not known any more; 0: none."""


@attrs.frozen(kw_only=True)
class LogStatistics:
    """Counters of a log since it was opened."""

    commits: int = 0
    """Transactions that were committed."""
    appends: int = 0
    """Appends; several are committed together."""
    events: int = 0
    """Events that were stored."""
    bytes: int = 0
    """Bytes of these events."""
    deleted: int = 0
    """Events that were deleted by the retention."""
    failures: int = 0
    """Transactions that failed."""


class Lease(Protocol):
    """The right to append the events of one session, until it is released or taken over."""

    @property
    def session_id(self) -> str:
        """The session."""
        ...

    @property
    def epoch(self) -> int:
        """The epoch of the events that are appended with this lease."""
        ...

    @property
    def newest(self) -> int:
        """The position of the newest stored event when the lease was acquired."""
        ...

    @property
    def takeover(self) -> bool:
        """Whether the previous owner may still be running: what it was posting is not repeated."""
        ...

    def remaining(self) -> float:
        """Return for how many seconds the lease is valid, by the monotonic clock."""
        ...

    async def wait_lost(self) -> None:
        """Wait until it is known that the session was acquired again; that may never be noticed."""
        ...

    async def append(self, events: Sequence[LoggedEvent], turns: Sequence[TurnRecord] = ()) -> None:
        """Store events, and the new state of turns, in one transaction (rules 1 and 2).

        Raises:
          Fenced: the session was acquired again.
          LogError: nothing was stored.

        A checkpoint. If it is cancelled, both may or may not be stored.
        """
        ...

    async def release(self) -> None:
        """Give the session up, so that it can be acquired without waiting; never raises."""
        ...


class Outbox(Protocol):
    """The turns of all sessions."""

    async def accept(self, turn: TurnRecord) -> TurnRecord:
        """Store a new turn, and return it; or the turn that has its key already.

        Raises:
          KeyReused: the key belongs to a turn with another body.
          LogError: nothing was stored.
        """
        ...

    async def turn(self, turn_id: str) -> TurnRecord | None:
        """Return a turn; None if it is unknown."""
        ...

    async def pending(self, session_id: str) -> list[TurnRecord]:
        """Return the turns of a session that are not over, in the order of their acceptance."""
        ...

    async def sessions(self) -> list[str]:
        """Return the sessions that have turns which are not over."""
        ...


class Follower(Protocol):
    """Receives the events of a session that another relay owns. Its methods must not block."""

    @property
    def owner(self) -> str:
        """The name of that relay, as far as is known."""
        ...

    def received(self, previous: int, events: Sequence[LoggedEvent]) -> None:
        """Note that events were stored.

        Args:
          previous: the position before them.
          events: the events.
        """
        ...

    def released(self) -> None:
        """Note that the session can be acquired."""
        ...

    def resumed(self) -> None:
        """Note that events may have been stored that were not received."""
        ...


class PeerRequests(Protocol):
    """What the other relays of a log want of this one."""

    def turn_accepted(self, session_id: str, turn_id: str) -> None:
        """Note that another relay has accepted a turn of a session that this one owns."""
        ...

    async def answer(self, session_id: str, request: Mapping[str, object]) -> Mapping[str, object]:
        """Carry out another relay's request that concerns a session, and return the response."""
        ...

    def session_of(self, request_id: str) -> str | None:
        """Return the session of a permission request or notification, if this relay knows it."""
        ...

    def unowned(self, session_id: str | None) -> None:
        """Note that a session with turns that are not over has no owner; None: some may have."""
        ...

    def resumed(self) -> None:
        """Note that messages of other relays may have been lost."""
        ...


class Peers(Protocol):
    """The other relays that use a log."""

    @property
    def connected(self) -> bool:
        """Whether the log can be used, and no other relay can take sessions over."""
        ...

    def serve(self, requests: PeerRequests | None) -> None:
        """Carry out the requests of other relays from now on; None: ignore them."""
        ...

    def follow(self, session_id: str, follower: Follower) -> Callable[[], None]:
        """Pass the events of a session to a follower; return a function that ends this.

        `Follower.resumed` is called once all further events are received.
        """
        ...

    async def ask(self, session_id: str, request: Mapping[str, object]) -> Mapping[str, object]:
        """Pass a request to the relay that owns a session, and return its response.

        Raises:
          OwnerUnreachable: it did not answer in time.
          LogError: it could not be asked.
        """
        ...

    async def find(self, request_id: str) -> str | None:
        """Return the session of a permission request or notification that another relay knows.

        Raises:
          LogError: the other relays could not be asked.
        """
        ...


class Log(Protocol):
    """Stores the events and turns of all sessions. Use it as an async context manager.

    Entering raises `LogError` if the log cannot be used.
    """

    @property
    def peers(self) -> Peers | None:
        """The other relays that use the log; None if one relay uses it alone."""
        ...

    @property
    def outbox(self) -> Outbox:
        """The turns."""
        ...

    async def acquire(self, session_id: str, *, seen: int = 0) -> Lease:
        """Return a new lease of a session, in a new epoch (rule 3).

        Args:
          session_id: the session.
          seen: the newest position that the relay knows of: the new epoch is a later one.

        Raises:
          SessionOwned: another relay owns it.
          LogError: the log cannot be written.
        """
        ...

    async def read(
        self, session_id: str, after: int, *, max_bytes: int = 262_144
    ) -> list[LoggedEvent]:
        """Return the next stored events after a position, in order; empty at the end.

        Args:
          session_id: the session.
          after: the position.
          max_bytes: return no more than that, except if the first event is larger.
        """
        ...

    async def extent(self, session_id: str) -> Extent | None:
        """Return which events of a session are stored; None if the session is unknown."""
        ...

    async def remember(self, name: str, value: str) -> None:
        """Store a value under a name, such as the server's generation."""
        ...

    async def recall(self, name: str) -> str | None:
        """Return a stored value, or None."""
        ...

    def statistics(self) -> LogStatistics:
        """Return the log's counters."""
        ...

    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...
