"""The questions that the agent asks during one turn, and which of them a policy is to answer.

Rule 1  At most `ANSWERED_AT_ONCE` questions of a message are answered at a time, from the call of
        the policy until its answer has arrived or has finally failed. The others wait in their
        order. The denials of a message that is left are counted, too.
Rule 2  A question is put to its policy once, even if the server repeats it.
Rule 3  What waits is bounded in number and in bytes. A warning is logged when a bound is passed.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs
import trio

from trio_mix import events as ev
from trio_mix._session._warnings import warn_too_many_questions

if TYPE_CHECKING:
    from collections.abc import Callable

ANSWERED_AT_ONCE: Final = 16
"""How many questions of one message are answered at a time."""
MOST_OPEN: Final = 1000
"""How many questions of one message are remembered; a further one is not, if all are open."""
MOST_WAITING_BYTES: Final = 16 * 2**20
"""How much data of questions may wait for a policy, in bytes; a single one may be larger."""

Question: TypeAlias = ev.PermissionEvent | ev.NotificationEvent
"""An event that waits for an answer."""

MessagePolicies: TypeAlias = "dict[type[Question], Callable[[Any], object]]"
"""What answers the questions of a message, by their class."""


@attrs.frozen
class Policies:
    """The functions that answer the questions of a stream's messages; None: nothing does."""

    on_permission: Callable[[ev.PermissionEvent, Any], object] | None = None
    on_notification: Callable[[ev.NotificationEvent, Any], object] | None = None

    def of(self, message: object) -> MessagePolicies:
        """Return the policies as functions of the questions of one message."""
        found: MessagePolicies = {}
        on_permission, on_notification = self.on_permission, self.on_notification
        if on_permission is not None:
            found[ev.PermissionEvent] = lambda question: on_permission(question, message)
        if on_notification is not None:
            found[ev.NotificationEvent] = lambda question: on_notification(question, message)
        return found


class Questions:
    """The questions that the agent has asked during one turn, and the policies that answer them.

    Args:
      policies: what answers them, by their class.

    Attributes:
      policies: what answers them, by their class.
      running: the scopes of the policies that are running.
      slots: who has one may answer questions (rule 1).
      checked: the ids of the permission requests that are being compared with the stored messages.
      ended: no further question is put to a policy, and no answer is sent again.
      failure: the exception of a policy: the message fails with it when its turn ends.
    """

    def __init__(self, policies: MessagePolicies) -> None:
        self.policies = policies
        self.running: set[trio.CancelScope] = set()
        self.slots: trio.Semaphore = trio.Semaphore(ANSWERED_AT_ONCE)
        self.checked: set[str] = set()
        self.ended: trio.Event = trio.Event()
        self.failure: BaseException | None = None
        # The last questions by class and id, each with whether it is open.
        self._asked: dict[tuple[type[Question], str], bool] = {}
        self._waiting: deque[tuple[Question, int]] = deque()
        self._waiting_bytes = 0
        self._warned = False

    def add(self, question: Question) -> bool:
        """Note a question; return whether it is new and there is room for it (rule 3)."""
        key = _key(question)
        if key in self._asked:
            return False
        if len(self._asked) >= MOST_OPEN:
            settled = next((key for key, is_open in self._asked.items() if not is_open), None)
            if settled is None:
                self._warn(question)
                return False
            del self._asked[settled]
        # A notification without a policy is not closed when the message is left.
        self._asked[key] = type(question) in self.policies or type(question) is ev.PermissionEvent
        return True

    def check(self, request: ev.PermissionEvent) -> bool:
        """Note that a request is being compared with the stored messages.

        Returns:
          whether the comparison is to be started: it is not under way, and there is room for it.
        """
        if request.permission_id in self.checked:
            return False
        if len(self.checked) >= ANSWERED_AT_ONCE:
            self._warn(request)
            return False
        self.checked.add(request.permission_id)
        return True

    def has_policy(self, question: Question) -> bool:
        """Return whether there is a policy for a question."""
        return type(question) in self.policies

    def put(self, question: Question, size: int) -> bool:
        """Let a question wait for its policy; return whether a slot was acquired to answer it.

        Args:
          question: the question.
          size: the size of its data, in bytes.
        """
        if self.ended.is_set() or not self.has_policy(question):
            return False
        if self._waiting and self._waiting_bytes + size > MOST_WAITING_BYTES:
            self._warn(question)
            return False
        self._waiting.append((question, size))
        self._waiting_bytes += size
        try:
            self.slots.acquire_nowait()
        except trio.WouldBlock:
            return False
        return True

    def next(self) -> Question | None:
        """Return the next question for a policy; None if none waits."""
        if not self._waiting:
            return None
        question, size = self._waiting.popleft()
        self._waiting_bytes -= size
        return question

    def answered(self, question: Question) -> None:
        """Note that nothing has to be done about a question any more."""
        self._close(_key(question))

    def decided(self, permission_id: str) -> None:
        """Note that a permission request was decided, if it is one of the turn."""
        self._close((ev.PermissionEvent, permission_id))

    def close_open(self) -> deque[str]:
        """Return the ids of the permission requests that are not decided, and note that they are.

        A checkpoint of the caller may follow: requests that arrive later are returned next time.
        """
        found = deque(
            permission_id
            for (kind, permission_id), is_open in self._asked.items()
            if is_open and kind is ev.PermissionEvent
        )
        for permission_id in found:
            self.decided(permission_id)
        return found

    def end(self) -> None:
        """Stop the policies: the message is over, or left."""
        self.ended.set()
        self._waiting.clear()
        self._waiting_bytes = 0
        for scope in self.running:
            scope.cancel(reason="the message is over")

    def _close(self, key: tuple[type[Question], str]) -> None:
        if key in self._asked:
            self._asked[key] = False

    def _warn(self, question: Question) -> None:
        if not self._warned:
            self._warned = True
            warn_too_many_questions(question.session_id)


def _key(question: Question) -> tuple[type[Question], str]:
    if isinstance(question, ev.PermissionEvent):
        return (ev.PermissionEvent, question.permission_id)
    return (ev.NotificationEvent, question.notification_id)
