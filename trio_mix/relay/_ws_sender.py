"""Sends what the pump does not: answers, and the events of sessions that are behind.

Rules (tests cite the numbers):

1. Answers are sent before events that wait. The sessions that are behind take turns.
2. The task that sends runs only while there is something that the connection did not take.
3. Frames that nobody waits for are dropped while a client does not take the previous ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Final, TypeAlias, final

import trio

from trio_mix._terminal_text import get_logger
from trio_mix.relay._errors import RelayError

if TYPE_CHECKING:
    from trio_mix.relay._ws_output import FrameOutput

BROKEN: Final = 1006
"""The code that stands for a connection that broke; it is never sent."""
_LOG_FAILED: Final = 1011
_MAX_QUEUED: Final = 2**20
"""The size of the frames that are not sent yet, in bytes, beyond which there is no room."""

Advance: TypeAlias = Callable[[], Awaitable[bool]]
"""Sends the next events of a session; returns whether there are more."""

_logger = get_logger("trio_mix.relay")


@final
class SocketSender:
    """Sends to one WebSocket.

    Args:
      nursery: runs the task that sends.
      output: the frames of the socket.
      on_failure: called with a code and a reason if the socket must be closed.
      on_room: called when frames were taken.
    """

    __slots__ = (
        "_behind",
        "_flushing",
        "_frames",
        "_nursery",
        "_on_failure",
        "_on_room",
        "_queued",
        "output",
    )

    def __init__(
        self,
        nursery: trio.Nursery,
        output: FrameOutput,
        on_failure: Callable[[int, str], None],
        on_room: Callable[[], None],
    ) -> None:
        self.output = output
        self._nursery = nursery
        self._on_failure = on_failure
        self._on_room = on_room
        self._frames: deque[bytes] | None = None  # an empty one takes 760 bytes
        self._queued = 0
        self._behind: dict[Advance, None] = {}
        self._flushing = False
        output.on_rest = self.flush

    @property
    def full(self) -> bool:
        """Whether the client must take frames before it is sent more."""
        return self._queued > _MAX_QUEUED

    @property
    def busy(self) -> bool:
        """Whether bytes are on their way."""
        return self._flushing

    def send(self, frame: bytes, *, optional: bool = False) -> None:
        """Send a frame before all events that wait.

        Args:
          frame: the frame.
          optional: whether rule 3 applies.
        """
        if not self._flushing and self._send_nowait(frame):
            return
        if optional and self.full:
            return
        if self._frames is None:
            self._frames = deque()
        self._frames.append(frame)
        self._queued += len(frame)
        self.flush()

    def _send_nowait(self, frame: bytes) -> bool:
        try:
            return bool(self.output.send_nowait(frame))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return True  # nobody receives it

    def mark(self, advance: Advance) -> None:
        """Call a function until it has sent everything."""
        self._behind[advance] = None
        self.flush()

    def forget(self, advance: Advance) -> None:
        """Undo `mark`."""
        self._behind.pop(advance, None)

    def flush(self) -> None:
        """Send what is left to be sent (rule 2), unless the socket is closed already."""
        if not self._flushing and not self._nursery.cancel_scope.cancel_called:
            self._flushing = True
            self._nursery.start_soon(self._flush)

    async def _flush(self) -> None:  # noqa: ASYNC910 - its own task, which sends
        try:
            await self._send_rest()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._on_failure(BROKEN, "the connection is broken")
        except RelayError as error:
            _logger.warning("a WebSocket was closed: %s", error)
            self._on_failure(_LOG_FAILED, "the log of the relay cannot be read")
        finally:
            self._flushing = False

    async def _send_rest(self) -> None:
        await trio.lowlevel.checkpoint()
        while True:  # noqa: ASYNC913 - each iteration sends or returns
            if self.output.rest:
                await self.output.send_rest()
            elif self._frames:
                frame = self._frames.popleft()
                self._frames = self._frames or None
                await self.output.send_all(frame)
                self._queued -= len(frame)
                self._on_room()
            elif self._behind:
                advance = next(iter(self._behind))
                del self._behind[advance]
                if await advance():
                    self._behind[advance] = None  # after the others
            else:
                return
