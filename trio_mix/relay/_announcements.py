"""Report created and deleted sessions to the consumers of all sessions."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_ANNOUNCED: Final = 1000


class Announcements:
    """Reports created and deleted sessions, each once."""

    def __init__(self) -> None:
        self._callbacks: dict[object, Callable[[str, str, str], None]] = {}
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()

    def subscribe(self, callback: Callable[[str, str, str], None]) -> Callable[[], None]:
        """Call a function with the event's name, its data and the session's id.

        Args:
          callback: called synchronously; it must not block or raise.

        Returns:
          A function that ends this.
        """
        key = object()
        self._callbacks[key] = callback

        def end() -> None:
            self._callbacks.pop(key, None)

        return end

    def report(self, event: str, data: str, session_id: str) -> None:
        """Report an event of a stream, unless another stream has brought it already."""
        if (event, session_id) in self._seen:
            return
        self._seen[event, session_id] = None
        if len(self._seen) > _ANNOUNCED:
            self._seen.popitem(last=False)
        for callback in list(self._callbacks.values()):
            callback(event, data, session_id)
