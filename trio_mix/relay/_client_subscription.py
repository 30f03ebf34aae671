"""What iterates the events of a session: a reader of one follower, and `RelaySubscription`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Self, final

import trio

from trio_mix import events as ev
from trio_mix._public import public
from trio_mix._usage import AsyncScope
from trio_mix._wire._events import decode_event
from trio_mix.errors import clone_error
from trio_mix.relay._client_sessions import Missed

if TYPE_CHECKING:
    from types import TracebackType

    from trio_mix.events import Event
    from trio_mix.relay._client_link import RelayLink
    from trio_mix.relay._client_sessions import Follower
    from trio_mix.sse import ServerSentEvent

_LOST: Final = "the relay does not keep these events any more"


def gap_of(missed: Missed) -> ev.StreamGapEvent:
    """Return the event that takes the place of events that are missing."""
    return ev.StreamGapEvent(id=None, missed=missed.count, reason=_LOST)


class EventReader:
    """Takes the items of one follower, from one task at a time."""

    def __init__(self, link: RelayLink, session_id: str, follower: Follower) -> None:
        self.session_id = session_id
        self.follower = follower
        self._link = link
        self._news = trio.Event()
        self._busy = False
        self._open = False
        follower.on_change = self._changed

    def _changed(self) -> None:
        self._news.set()

    async def open(self) -> None:
        """Follow the session, and wait until the position is known.

        Raises:
          SessionNotFound, StreamError, RelayError: the session, or the link, has failed.
        """
        self._open = True
        self._link.follow(self.session_id, self.follower)
        try:
            await trio.lowlevel.checkpoint()
            while self.follower.began is None:
                self._check_failure()
                await self._wait()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Follow the session no longer."""
        if self._open:
            self._open = False
            self._link.unfollow(self.session_id, self.follower)

    async def next(self) -> ServerSentEvent | Missed:
        """Return the next item. A cancelled wait loses none."""
        if self._busy:
            await trio.lowlevel.checkpoint()
            raise trio.BusyResourceError("another task is iterating this")
        self._busy = True
        try:
            await trio.lowlevel.checkpoint()
            while True:  # noqa: ASYNC913 - each iteration returns, raises or waits
                item = self.follower.take()
                if item is not None:
                    return item
                self._check_failure()
                await self._wait()
        finally:
            self._busy = False

    def _check_failure(self) -> None:
        failure = self.follower.failure
        if failure is not None:
            raise clone_error(failure) from failure.__cause__

    async def _wait(self) -> None:
        self._news = trio.Event()
        await self._news.wait()


@public("trio_mix.relay")
@final
class RelaySubscription(AsyncScope):
    """All events of a session, beginning at a position. Returned by `RelayClient.subscribe`.

    Use it as an async context manager, and iterate it. No event is lost or returned twice, whatever
    happens to the connection or to the relay. A subscriber that is slow loses none either: the
    relay sends what did not fit into its buffer again. A `StreamGapEvent` takes the place of events
    that the relay does not keep any more.
    """

    _entered_as = "async with client.subscribe(...) as events"

    def __init__(self, link: RelayLink, session_id: str, follower: Follower) -> None:
        self._reader = EventReader(link, session_id, follower)
        self._last: str | None = None

    def __repr__(self) -> str:
        return f"<trio_mix.relay.RelaySubscription to session {self.session_id!r}>"

    @property
    def session_id(self) -> str:
        """The id of the session."""
        return self._reader.session_id

    @property
    def last_event_id(self) -> str | None:
        """The position of the last event that was returned: what ``after`` can be next time.

        Before the first event it is the position at which the subscription began; None before it
        was entered.
        """
        return self._last

    async def __aenter__(self) -> Self:
        """Subscribe; no event after the position is missed from here on.

        Raises:
          SessionNotFound: the relay does not know the session, or the token does not cover it.
          StreamError, RelayError: the client has failed, or was closed.
          UsageError: the subscription was entered before.

        A checkpoint. It waits while the connection is lost, as long as the `ReconnectPolicy` says.
        """
        self._enter(self.session_id)
        await self._reader.open()
        self._last = str(self._reader.follower.began)
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Unsubscribe, and drop the events that are buffered. A shielded checkpoint."""
        self._left = True
        self._reader.close()
        await trio.lowlevel.cancel_shielded_checkpoint()

    def __aiter__(self) -> Self:
        """Return the iterator itself; see `__anext__`."""
        return self

    async def __anext__(self) -> Event:
        """Return the next event of the session.

        Raises:
          SessionNotFound: the session was deleted.
          StreamError, RelayError: the client has failed, or was closed.
          trio.BusyResourceError: another task is iterating it.

        A checkpoint. A cancelled wait loses no event.
        """
        self._check_inside(self.session_id)
        item = await self._reader.next()
        if isinstance(item, Missed):
            return gap_of(item)
        if item.id:
            self._last = item.id
        return decode_event(item)
