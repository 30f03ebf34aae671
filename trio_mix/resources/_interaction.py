"""Answers to what an agent asks: permissions and notifications.

What it knows: the arguments of these operations. What it must never know: how a call is made.
"""

# ruff: noqa: A002  # ``id`` and ``type`` are the API's own names

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mix._public import public
from trio_mix._rest._tables import _interaction as op
from trio_mix.resources._base import Resource, implements

if TYPE_CHECKING:
    from trio_mix._rest._options import RequestOptions
    from trio_mix.models import NotificationAnswer, PermissionResult

__all__ = ["Notifications", "Permissions"]


@public("trio_mix.resources")
class Permissions(Resource):
    """What tools may do."""

    @implements(op.GRANT_PERMISSION)
    async def grant(self, *, id: str, options: RequestOptions | None = None) -> PermissionResult:
        """Let a tool do what it has asked for.

        When a first try's answer was lost, a second one may be told that there is none: 404.

        Args:
          id: the permission, as `PermissionEvent.permission_id`.
          options: what differs for this call.
        """
        return await self._core.request(op.GRANT_PERMISSION, {"id": id}, options)

    @implements(op.DENY_PERMISSION)
    async def deny(self, *, id: str, options: RequestOptions | None = None) -> PermissionResult:
        """Keep a tool from doing what it has asked for.

        When a first try's answer was lost, a second one may be told that there is none: 404.

        Args:
          id: the permission, as `PermissionEvent.permission_id`.
          options: what differs for this call.
        """
        return await self._core.request(op.DENY_PERMISSION, {"id": id}, options)


@public("trio_mix.resources")
class Notifications(Resource):
    """What agents tell and ask the user."""

    @implements(op.RESPOND_TO_NOTIFICATION)
    async def respond(
        self,
        *,
        id: str,
        type: NotificationAnswer,
        value: str | None = None,
        options: RequestOptions | None = None,
    ) -> None:
        """Answer a notification.

        Args:
          id: the notification, as `NotificationEvent.notification_id`.
          type: how, as the notification's ``response_type`` asks.
          value: the text, or the choice.
          options: what differs for this call.
        """
        values = {"id": id, "type": type, "value": value}
        await self._core.request(op.RESPOND_TO_NOTIFICATION, values, options)
