"""Puts the questions of a session's agent to the user of the editor.

Rules:

1. Only the option to allow grants a permission request. Any other answer, and an error of the
   editor, denies it.
2. *Always* covers identical requests of this session and process only, and is not offered for a
   tool that may run a program.
3. A notification that the editor cannot answer, or that the user dismisses, is left to the
   server's time limit: no answer is invented.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from trio_mix.cli.acp._peer import RPCError
from trio_mix.cli.acp._updates import chunk, text_block, tool_kind
from trio_mix.cli.commands._permissions import identity, is_shell
from trio_mix.cli.ui._json import to_json

if TYPE_CHECKING:
    from trio_mix import Message
    from trio_mix.cli.acp._params import ClientCapabilities
    from trio_mix.cli.acp._peer import Peer
    from trio_mix.cli.acp._updates import Update
    from trio_mix.events import NotificationEvent, PermissionEvent

_ALLOW: Final = {"optionId": "allow", "name": "Allow", "kind": "allow_once"}
_ALWAYS: Final = {
    "optionId": "always",
    "name": "Allow, also identical requests later",
    "kind": "allow_always",
}
_REJECT: Final = {"optionId": "reject", "name": "Deny", "kind": "reject_once"}


class Questions:
    """Answers what the agent of one session asks, by asking the editor.

    Args:
      peer: the editor.
      capabilities: what the editor can show.
    """

    def __init__(self, peer: Peer, capabilities: ClientCapabilities) -> None:
        self._peer = peer
        self._forms = capabilities.elicitation is not None and (
            capabilities.elicitation.form is not None
        )
        self._notices = capabilities.session is not None and (
            capabilities.session.notices is not None
        )
        self._always: set[str] = set()

    async def decide(self, request: PermissionEvent, message: Message) -> bool:
        """Return whether the user grants a permission request."""
        if identity(request) in self._always:
            await trio.lowlevel.checkpoint()
            return True
        offered = [_ALLOW, _REJECT] if is_shell(request) else [_ALLOW, _ALWAYS, _REJECT]
        chosen = await self._choose(message.session_id, _tool_call(request), offered)
        if chosen == "always" and _ALWAYS in offered:
            self._always.add(identity(request))
            return True
        return chosen == "allow"

    async def respond(self, notification: NotificationEvent, message: Message) -> str | None:
        """Return the user's response to a notification."""
        kind, choices = notification.response_type, notification.choices or ()
        session_id = message.session_id
        if kind == "acknowledge":
            await self._show(session_id, notification)
            return None
        if self._forms:
            answer = await self._fill_in(session_id, notification)
        elif kind == "choice" and choices:
            options = [
                {"optionId": str(number), "name": choice, "kind": "allow_once"}
                for number, choice in enumerate(choices)
            ]
            asked: dict[str, object] = {
                "toolCallId": f"notification-{notification.notification_id}",
                "title": notification.title,
                "kind": "other",
                "content": [_content(notification.message)],
            }
            chosen = await self._choose(session_id, asked, options)
            answers = {str(number): choice for number, choice in enumerate(choices)}
            answer = answers.get(chosen or "")
        else:
            await self._show(session_id, notification)
            answer = None
        if answer is None:
            await trio.sleep_forever()  # until the message is over
        return answer

    async def _choose(
        self, session_id: str, asked: dict[str, object], options: list[dict[str, str]]
    ) -> str | None:
        """Return the id of the option that the user has chosen; None if none was."""
        params = {"sessionId": session_id, "toolCall": asked, "options": options}
        try:
            response = await self._peer.request("session/request_permission", params)
        except RPCError:
            await trio.lowlevel.checkpoint()
            return None
        match response:
            case {"outcome": {"outcome": "selected", "optionId": str(chosen)}}:
                return chosen
            case _:
                return None

    async def _fill_in(self, session_id: str, notification: NotificationEvent) -> str | None:
        """Return what the user has entered in a form; None if nothing fits the question."""
        field: dict[str, object] = {"type": "string", "title": notification.title}
        if notification.choices:
            field["enum"] = list(notification.choices)
        params = {
            "mode": "form",
            "sessionId": session_id,
            "message": notification.message or notification.title,
            "requestedSchema": {
                "type": "object",
                "properties": {"answer": field},
                "required": ["answer"],
            },
        }
        try:
            response = await self._peer.request("elicitation/create", params)
        except RPCError:
            await trio.lowlevel.checkpoint()
            return None
        match response:
            case {"action": "accept", "content": {"answer": str(answer)}} if (
                not notification.choices or answer in notification.choices
            ):
                return answer
            case _:
                return None

    async def _show(self, session_id: str, notification: NotificationEvent) -> None:
        title = notification.title or notification.message or "notification"
        if self._notices:
            update: Update = {
                "sessionUpdate": "notice",
                "severity": notification.notification_type,
                "title": title,
                "description": notification.message or None,
            }
        else:
            text = f"\n\n{title}\n\n{notification.message}\n\n"
            update = chunk("agent_message_chunk", text)
        await self._peer.notify("session/update", {"sessionId": session_id, "update": update})


def _tool_call(request: PermissionEvent) -> dict[str, object]:
    """Describe all that a request asks for."""
    target = "" if request.path is None else f" {request.path}"
    details = [request.description, to_json(dict(request.params)) if request.params else ""]
    asked: dict[str, object] = {
        "toolCallId": f"permission-{request.permission_id}",
        "title": f"{request.tool_name}: {request.action}{target}",
        "kind": tool_kind(request.tool_name),
        "status": "pending",
        "content": [_content(text) for text in details if text],
    }
    if request.params is not None:
        asked["rawInput"] = dict(request.params)
    if request.path:
        asked["locations"] = [{"path": request.path}]
    return asked


def _content(text: str) -> dict[str, object]:
    return {"type": "content", "content": text_block(text)}
