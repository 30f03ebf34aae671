"""The upstream stream of one session: kept open, and read frame by frame."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from trio_mix import errors
from trio_mix._terminal_text import get_logger
from trio_mix.sse import ReconnectPolicy

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix._mix import Mix
    from trio_mix._session._stream import SessionStream
    from trio_mix._session._subscription import RawSubscription
    from trio_mix.relay._appender import Appender
    from trio_mix.relay._turn_events import SessionEvents

_FOREVER: Final = ReconnectPolicy(max_elapsed_time=None, max_interval=15.0)
_FRAMES: Final = 20_000
FIRST_PAUSE: Final = 0.25
LONGEST_PAUSE: Final = 15.0

_logger = get_logger("trio_mix.relay")


class UpstreamStream:
    """Reads the stream of one session, and appends its events.

    Args:
      session_id: the session.
      mix: the client of the server.
      events: turns frames into the events that consumers receive.
      appender: appends them.
      settle_timeout: that of the session stream, in seconds.
      announce: is passed what the stream reports about sessions.
      on_events: called when events were appended.

    Attributes:
      session: the session stream while it is open, else None.
      losses: how often events may have been missed.
    """

    def __init__(
        self,
        session_id: str,
        mix: Mix,
        events: SessionEvents,
        appender: Appender,
        *,
        settle_timeout: float,
        announce: Callable[[str, str, str], None],
        on_events: Callable[[], None],
    ) -> None:
        self.session: SessionStream | None = None
        self.losses: int = 0
        self.on_hole: Callable[[], None] = lambda: None
        """Called when events may have been missed."""
        self._session_id = session_id
        self._mix = mix
        self._events = events
        self._appender = appender
        self._settle_timeout = settle_timeout
        self._announce = announce
        self._on_events = on_events
        self._frames: RawSubscription | None = None
        self._opened = trio.Event()
        self._drained: trio.Event | None = None

    async def run(self) -> None:
        """Read until cancelled, or until the server does not know the session.

        Raises:
          SessionNotFound: the server does not know the session.
        """
        pause = FIRST_PAUSE
        while True:
            try:
                async with (
                    self._mix.open_stream(
                        self._session_id,
                        reconnect=_FOREVER,
                        settle_timeout=self._settle_timeout,
                    ) as session,
                    session.subscribe(raw=True, buffer=_FRAMES) as frames,
                ):
                    pause = FIRST_PAUSE
                    self.session, self._frames = session, frames
                    self._opened.set()
                    try:
                        await self._read(frames)
                    finally:
                        self.session = self._frames = None
                        self._opened = trio.Event()
                        self._note_drained()
            except errors.SessionNotFound:
                raise
            except (errors.TransportError, errors.MixError, errors.StreamError) as exc:
                _logger.debug("The stream of session %r: %s", self._session_id, exc)
            self._hole()
            await trio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    async def wait_session(self) -> SessionStream:
        """Wait until the session stream is open, and return it."""
        while self.session is None:
            await self._opened.wait()
        return self.session  # noqa: ASYNC910 - its own task; it may be open already

    async def wait_drained(self) -> None:  # noqa: ASYNC910 - usually nothing is buffered
        """Wait until all frames that were received have been taken."""
        while self._buffered():
            self._drained = trio.Event()
            await self._drained.wait()
        self._drained = None

    async def _read(self, frames: RawSubscription) -> None:
        events, appender = self._events, self._appender
        async for frame, message in frames:
            if frame.event == "stream_gap":
                self._hole()
            else:
                drafts = events.take(frame, mine=message is not None, position=appender.newest)
                if drafts:
                    appender.add(drafts)
                    self._on_events()
                if events.announced:
                    announced, events.announced = events.announced, []
                    for event, data, session_id in announced:
                        self._announce(event, data, session_id)
            await appender.wait_room()
            self._note_drained()

    def _hole(self) -> None:
        self.losses += 1
        self._events.hole()
        self.on_hole()

    def _note_drained(self) -> None:
        if self._drained is not None and not self._buffered():
            self._drained.set()

    def _buffered(self) -> int:
        return 0 if self._frames is None else len(self._frames._entered())
