"""What an agent asks during a turn, and the caller's functions that answer it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import attrs

from trio_mix import events as ev

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["MessagePolicies", "Policies", "Question"]

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
