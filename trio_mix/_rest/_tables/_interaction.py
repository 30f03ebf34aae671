"""The table's entries for answers to what an agent asks.

What it knows: what `Operation` asks for. What it must never know: how a request is made.
"""

from __future__ import annotations

from typing import Final, get_args

from trio_mix._rest._operation import (
    LATEST,
    Operation,
    body_param,
    path_param,
)
from trio_mix.models import NotificationAnswer, PermissionResult

_ERR: Final = (401, 404, 500)

RESPOND_TO_NOTIFICATION: Final = Operation(
    name="notifications.respond",
    operation_id="respondToNotification",
    method="POST",
    path="/api/notifications/{id}/respond",
    params=(
        path_param("id"),
        body_param("type", required=True, choices=get_args(NotificationAnswer)),
        body_param("value"),
    ),
    result=type(None),
    answers={204: ""},
    errors=_ERR,
    generations=LATEST,
    retry="safe",
)
GRANT_PERMISSION: Final = Operation(
    name="permissions.grant",
    operation_id="grantPermission",
    method="POST",
    path="/api/permissions/{id}/grant",
    params=(path_param("id"),),
    result=PermissionResult,
    answers={200: "{granted}"},
    errors=_ERR,
    retry="safe",
)
DENY_PERMISSION: Final = Operation(
    name="permissions.deny",
    operation_id="denyPermission",
    method="POST",
    path="/api/permissions/{id}/deny",
    params=(path_param("id"),),
    result=PermissionResult,
    answers={200: "{denied}"},
    errors=_ERR,
    retry="safe",
)
