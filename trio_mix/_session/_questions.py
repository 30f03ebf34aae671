"""What an agent asks during a turn, and the caller's functions that answer it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeAlias

import attrs

from trio_mix import events as ev

if TYPE_CHECKING:
    from collections.abc import Callable

    import trio

_REMEMBERED: Final = 1000
_POLICIES_AT_ONCE: Final = 64
"""A further question is not answered: the server goes on without an answer after a while."""

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
      failure: the exception of a policy: the message fails with it when its turn ends.
    """

    def __init__(self, policies: MessagePolicies) -> None:
        self.policies = policies
        self.running: set[trio.CancelScope] = set()
        self.failure: BaseException | None = None
        # The last questions by class and id, each with whether it is undecided.
        self._asked: dict[tuple[type[Question], str], bool] = {}

    def add(self, question: Question) -> bool:
        """Note a question; return whether it is new: the server may repeat it."""
        if isinstance(question, ev.PermissionEvent):
            key: tuple[type[Question], str] = (ev.PermissionEvent, question.permission_id)
        else:
            key = (ev.NotificationEvent, question.notification_id)
        if key in self._asked:
            return False
        self._asked[key] = True
        if len(self._asked) > _REMEMBERED:
            del self._asked[next(iter(self._asked))]
        return True

    def answered_by_policy(self, question: Question) -> bool:
        """Return whether a policy can be asked about a question now."""
        return type(question) in self.policies and len(self.running) < _POLICIES_AT_ONCE

    def undecided(self) -> list[str]:
        """Return the ids of the permission requests that are not decided."""
        asked = self._asked.items()
        return [name for (kind, name), yet in asked if yet and kind is ev.PermissionEvent]

    def decided(self, permission_id: str) -> None:
        """Note that a permission request was decided, if it is one of the turn."""
        key = (ev.PermissionEvent, permission_id)
        if key in self._asked:
            self._asked[key] = False

    def end(self) -> None:
        """Stop the policies: the message is over."""
        for scope in self.running:
            scope.cancel(reason="the message is over")
