"""Answers to the permission requests and notifications of agents."""

# ruff: noqa: A002  # ``id`` and ``type`` are the API's own names

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

from trio_mix._public import public
from trio_mix._rest._operation import LATEST, RpcMethod, body_param
from trio_mix.models import NotificationAnswer, PermissionResult
from trio_mix.resources._base import Resource, operation

if TYPE_CHECKING:
    from trio_mix._rest._options import RequestOptions


@public("trio_mix.resources")
class Permissions(Resource):
    """Permission requests: what tools may do."""

    @operation(
        "POST",
        "/api/permissions/{id}/grant",
        operation_id="grantPermission",
        result=PermissionResult,
        errors=(401, 404, 500),
        retry="safe",
        rpc=RpcMethod("permission.grant", {"id": "id"}),
    )
    async def grant(self, *, id: str, options: RequestOptions | None = None) -> PermissionResult:
        """Grant a permission request: the tool may run.

        If the response to a first try was lost, the retry may be answered 404: already decided.

        Args:
          id: the permission request, as `PermissionEvent.permission_id`.
          options: what differs for this call.
        """
        return await self._call(Permissions.grant, options, id=id)

    @operation(
        "POST",
        "/api/permissions/{id}/deny",
        operation_id="denyPermission",
        result=PermissionResult,
        errors=(401, 404, 500),
        retry="safe",
        rpc=RpcMethod("permission.deny", {"id": "id"}),
    )
    async def deny(self, *, id: str, options: RequestOptions | None = None) -> PermissionResult:
        """Deny a permission request: the tool must not run.

        If the response to a first try was lost, the retry may be answered 404: already decided.

        Args:
          id: the permission request, as `PermissionEvent.permission_id`.
          options: what differs for this call.
        """
        return await self._call(Permissions.deny, options, id=id)


@public("trio_mix.resources")
class Notifications(Resource):
    """Notifications: what agents report to the user, and ask."""

    @operation(
        "POST",
        "/api/notifications/{id}/respond",
        body_param("type", choices=get_args(NotificationAnswer)),
        body_param("value"),
        operation_id="respondToNotification",
        result=type(None),
        answers=(204,),
        errors=(401, 404, 500),
        generations=LATEST,
        retry="safe",
    )
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
          type: the kind of answer, as the notification's ``response_type`` asks for.
          value: the text, or the choice.
          options: what differs for this call.
        """
        await self._call(Notifications.respond, options, id=id, type=type, value=value)
