"""The questions of a turn to the user: permission requests and notifications."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import trio

from trio_mix.testing._records import NotificationAsked, PermissionAnswered, PermissionAsked
from trio_mix.testing.server._backend import PendingQuestion
from trio_mix.testing.server._frames import ServerEvent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_mix.testing.server._backend import Backend, LiveSession
    from trio_mix.testing.server._script import AskPermission, Notify

_Answer: TypeAlias = Literal["granted", "denied", "timeout"]


async def ask_permission(
    backend: Backend,
    live: LiveSession,
    step: AskPermission,
    parent_tool_call_id: str | None,
    *,
    silent: bool,
) -> _Answer:
    """Send a permission request, wait for its answer and return it.

    Args:
      backend: the server's state.
      live: the session.
      step: the request.
      parent_tool_call_id: the tool call of the sub-agent that asks, if one does.
      silent: whether no event is sent.
    """
    session_id = live.row.id
    permission_id = backend.store.new_id("permission")
    data: dict[str, object] = {
        "type": "permission",
        "id": permission_id,
        "sessionId": session_id,
        "toolName": step.tool_name,
        "description": step.description,
        "action": step.action,
        "params": dict(step.params),
    }
    if step.path:
        data["path"] = step.path
    if parent_tool_call_id is not None and backend.traits.message_ids:
        data["parentToolCallId"] = parent_tool_call_id
    pending = backend.permissions[permission_id] = PendingQuestion(session_id)
    backend.log.add(
        PermissionAsked(
            session_id=session_id, permission_id=permission_id, tool_name=step.tool_name
        )
    )
    try:
        event = ServerEvent("permission", data)
        if step.torn:
            for stream in live.streams:
                stream.tear(event, step.torn)
        elif not silent:
            backend.publish(live, event)  # to every stream, on pipeline servers too
        with trio.move_on_after(backend.settings.permission_timeout):
            await pending.answered.wait()
    finally:
        del backend.permissions[permission_id]
    answer: _Answer = "granted" if pending.answer == "granted" else "denied"
    if pending.answer is None:
        answer = "timeout"
    backend.log.add(PermissionAnswered(permission_id=permission_id, answer=answer))
    return answer


async def notify(
    backend: Backend,
    live: LiveSession,
    step: Notify,
    emit: Callable[[str, dict[str, object]], Awaitable[None]],
) -> None:
    """Send a notification, and wait for its answer if the step says so.

    Args:
      backend: the server's state.
      live: the session.
      step: the notification.
      emit: sends an event of the turn.
    """
    session_id = live.row.id
    await trio.lowlevel.checkpoint()
    if not backend.traits.notifications:
        return
    notification_id = backend.store.new_id("notification")
    data: dict[str, object] = {
        "id": notification_id,
        "sessionId": session_id,
        "title": step.title,
        "message": step.message,
        "notificationType": step.kind,
        "responseType": step.response,
        "timeout": round(step.timeout),
        "createdAt": int(backend.now().timestamp()),
    }
    if step.choices:
        data["choices"] = list(step.choices)
    pending = backend.notifications[notification_id] = PendingQuestion(session_id)
    backend.log.add(
        NotificationAsked(
            session_id=session_id, notification_id=notification_id, message=step.message
        )
    )
    await emit("notification", data)
    if step.wait:
        with trio.move_on_after(step.timeout):
            await pending.answered.wait()
        backend.notifications.pop(notification_id, None)
