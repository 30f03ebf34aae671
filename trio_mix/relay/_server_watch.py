"""`ServerWatch`: whether the Mix server can be reached, and which generation it has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast, get_args

import trio

from trio_mix import errors
from trio_mix._terminal_text import get_logger
from trio_mix.relay._errors import LogError, SessionUnknown, UpstreamUnavailable
from trio_mix.relay._generation import Generation, find_generation

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_mix._mix import Mix
    from trio_mix.relay._log import Log

_GENERATION: Final = "generation"
_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 15.0

_logger = get_logger("trio_mix.relay")


class ServerWatch:
    """Asks the server for its generation: at the start, and after each loss of a stream.

    Args:
      mix: the client of the server.
      log: remembers the generation.
      on_replaced: called when the server was replaced by one of another generation.

    Attributes:
      generation: the server's generation; None while the server was never reached.
      reachable: whether the server was reached the last time.
    """

    def __init__(self, mix: Mix, log: Log, on_replaced: Callable[[], Awaitable[None]]) -> None:
        self.generation: Generation | None = None
        self.reachable: bool = False
        self._mix = mix
        self._log = log
        self._on_replaced = on_replaced
        self._known = trio.Event()
        self._lost = trio.Event()

    async def recall(self) -> None:
        """Take the generation from the log.

        Raises:
          LogError: it cannot be read.
        """
        self._set(await self._log.recall(_GENERATION))

    async def wait_known(self) -> None:
        """Wait until the server's generation is known."""
        await self._known.wait()

    def lost(self) -> None:
        """Note that a stream was lost."""
        self._lost.set()

    async def run(self) -> None:
        """Watch the server until cancelled."""
        pause = _PAUSE
        while True:
            try:
                await self._note(await find_generation(self._mix))
                pause = _PAUSE
                self._lost = trio.Event()
                await trio.sleep(_PAUSE)
                await self._lost.wait()
            except (errors.TransportError, errors.ProtocolError) as exc:
                self.reachable = False
                if isinstance(exc, errors.ProtocolError) and pause == _PAUSE:
                    _logger.warning("The server cannot be used: %s", exc)
                _logger.debug("The server cannot be reached: %s", exc)
            except LogError as exc:
                _logger.error("The server's generation is not stored: %s", exc)
            await trio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _set(self, found: str | None) -> None:
        if found in get_args(Generation):
            self.generation = cast("Generation", found)
            self._known.set()

    async def _note(self, found: Generation) -> None:
        """Remember the server's generation."""
        self.reachable = True
        before = self.generation
        if found == before:
            return  # noqa: ASYNC910 - internal; remembering waits
        await self._log.remember(_GENERATION, found)
        self._set(found)
        if before is not None:
            _logger.warning("The server was of generation %r and is %r now.", before, found)
            await self._on_replaced()

    async def verify(self, session_id: str) -> None:
        """Check that the server knows a session.

        Raises:
          SessionUnknown: it does not.
          UpstreamUnavailable: it cannot be asked.
        """
        try:
            async with self._mix.open_stream(session_id):
                self.reachable = True
        except errors.SessionNotFound as exc:
            raise SessionUnknown(f"There is no session {session_id!r}. Check the id.") from exc
        except errors.StreamAlreadyOpen:
            return  # noqa: ASYNC910 - another open stream proves it
        except (errors.TransportError, errors.MixError, errors.StreamError) as exc:
            raise UpstreamUnavailable(
                f"Session {session_id!r} is not known here, and the server cannot be asked: {exc}"
            ) from exc
