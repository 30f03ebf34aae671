"""`PendingCalls`: the messages of a `RelayClient` that the relay answers.

Rule 1  A call is sent on each connection until it is answered. The relay knows it by its key, so
        that it is carried out once.
Rule 2  A call that the relay cannot carry out now is sent again later, as long as the
        `ReconnectPolicy` says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import msgspec
import trio

from trio_mix.errors import UsageError, clone_error
from trio_mix.relay._errors import CommandRefused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from trio_mix.sse._reconnect import ReconnectSchedule


class Call:
    """A message that is answered.

    Attributes:
      key: its key.
      text: the message.
      posted: whether it may have reached the relay.
      sent: whether it was sent on the current connection.
      answer: the relay's answer, None before.
      failure: why there is no answer.
      done: there is an answer, or a failure.
    """

    __slots__ = ("answer", "done", "failure", "key", "posted", "schedule", "sent", "text")

    def __init__(self, key: str, message: Mapping[str, object]) -> None:
        self.key: str = key
        self.text: str = msgspec.json.encode({**message, "key": key}).decode()
        self.posted: bool = False
        self.sent: bool = False
        self.answer: Mapping[str, Any] | None = None
        self.failure: Exception | None = None
        self.done: trio.Event = trio.Event()
        self.schedule: ReconnectSchedule | None = None


class PendingCalls:
    """The calls that are not answered.

    Args:
      new_schedule: returns a schedule for repetitions.
      later: calls a function after some seconds, unless the connection is lost first.
      on_unsent: called when there is something to send.
    """

    def __init__(
        self,
        new_schedule: Callable[[], ReconnectSchedule],
        later: Callable[[float, Callable[[], None]], None],
        on_unsent: Callable[[], None],
    ) -> None:
        self._new_schedule = new_schedule
        self._later = later
        self._on_unsent = on_unsent
        self._calls: dict[str, Call] = {}
        self._failure: Exception | None = None

    # -- what the client does -------------------------------------------------------------------

    def start(self, key: str, message: Mapping[str, object]) -> Call:
        """Send a message until it is answered; ``call.done`` is set then.

        Args:
          key: its key.
          message: the other fields.

        Raises:
          UsageError: a call with this key is not answered yet.
        """
        if key in self._calls:
            raise UsageError(
                f"The message with the key {key!r} is being sent already: use a new key for each."
            )
        call = Call(key, message)
        call.failure = self._failure
        if self._failure is None:
            self._calls[key] = call
            self._on_unsent()
        else:
            call.done.set()
        return call

    async def wait(self, call: Call) -> Mapping[str, Any]:
        """Wait for the answer of a call and return it; a call whose wait ends is not repeated.

        Raises:
          StreamError, RelayError: the link has ended.
        """
        try:
            await call.done.wait()
        finally:
            if self._calls.get(call.key) is call:
                del self._calls[call.key]
        if call.failure is not None:
            raise clone_error(call.failure) from call.failure.__cause__
        assert call.answer is not None  # noqa: S101 - done without a failure
        return call.answer

    async def carry_out(self, message: Mapping[str, object]) -> None:
        """Carry out a cancel or a decision.

        Raises:
          CommandRefused: the relay refused it.
          StreamError, RelayError: the link has ended.
        """
        answer = await self.wait(self.start(uuid4().hex, message))
        if answer["type"] == "refused":
            raise CommandRefused(
                f"The relay refused to {message['type']}: {answer['error']}",
                status_code=answer["status"],
            )

    # -- what the link does ---------------------------------------------------------------------

    def connected(self) -> None:
        """Note that there is a new connection: all calls are to be sent on it."""
        for call in self._calls.values():
            call.sent = False

    def unsent(self) -> Iterator[str]:
        """Return the messages that are to be sent now, and note that they are sent."""
        for call in list(self._calls.values()):
            if not call.sent:
                call.sent = call.posted = True
                yield call.text

    def answered(self, fields: Mapping[str, Any]) -> None:
        """Note the relay's answer to a call."""
        call = self._calls.get(fields["key"])
        if call is not None and not self._repeated_later(fields, call):
            del self._calls[call.key]
            call.answer = fields
            call.done.set()

    def fail(self, failure: Exception) -> None:
        """End all calls, also those that are started later, with an error."""
        self._failure = failure
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.failure = failure
            call.done.set()

    def _repeated_later(self, answer: Mapping[str, Any], call: Call) -> bool:
        """Repeat a call that the relay could not carry out now; return whether it is repeated."""
        if answer["type"] != "refused" or answer["status"] != 503:
            return False
        schedule = call.schedule = call.schedule or self._new_schedule()
        delay = schedule.lost(trio.current_time(), retry_after=answer.get("retryAfter"))
        if delay is None:
            return False

        def repeat() -> None:
            schedule.begin(trio.current_time())
            call.sent = False
            self._on_unsent()

        self._later(delay, repeat)
        return True
