"""Log a failure that many workers have at once in one line, and its end in one more."""

from __future__ import annotations

import logging

import attrs

__all__ = ["Trouble"]

_log = logging.getLogger("daemon")
_MOST_REASONS = 5


@attrs.define
class Trouble:
    """A kind of failure, the workers or sessions that have it now, and the reasons logged."""

    begins: str
    """The log line of a new reason, which follows it."""
    is_over: str
    """The log line for the end, when none has it any more."""
    _having: set[str] = attrs.field(factory=set, init=False)
    _reasons: set[str] = attrs.field(factory=set, init=False)

    def begin(self, name: str, reason: object) -> None:
        """Note that one has the failure, and log the reason unless it was logged."""
        self._having.add(name)
        text = " ".join(str(reason).split())
        if text not in self._reasons and len(self._reasons) < _MOST_REASONS:
            self._reasons.add(text)
            _log.warning("%s: %s", self.begins, text)

    def end(self, name: str) -> None:
        """Note that one does not have the failure, and log it if that was the last one."""
        self._having.discard(name)
        if self._reasons and not self._having:
            self._reasons.clear()
            _log.info("%s", self.is_over)
