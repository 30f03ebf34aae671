"""Send the messages of all tabs to one session, and add its events to the history."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import attrs
import trio

from trio_mix import Hooks, events
from trio_mix.errors import MixError, TrioMixError

if TYPE_CHECKING:
    from trio_mix import Message, SessionStream
    from trio_mix.hooks import StreamLostContext, StreamOpenedContext

    from .history import History

__all__ = ["Relay", "state_hooks"]


def state_hooks(history: History) -> Hooks:
    """Return hooks that show lost and restored connections on the page."""

    def lost(context: StreamLostContext) -> None:
        if not context.planned:
            history.add("state", text=f"reconnecting: {context.reason}")

    def opened(_: StreamOpenedContext) -> None:
        history.add("state", text="connected")

    return Hooks(stream_lost=lost, stream_opened=opened)


def question(event: events.PermissionEvent) -> str:
    """Return all that a permission would grant, with hidden characters as escapes of JSON."""
    names = ("tool_name", "action", "path", "description", "params", "parent_tool_call_id")
    fields = {name: getattr(event, name) for name in names}
    return json.dumps({name: value for name, value in fields.items() if value}, indent=2)


@attrs.define
class Relay:
    """One session, shared by all tabs."""

    session: SessionStream
    history: History
    nursery: trio.Nursery
    _scopes: list[trio.CancelScope] = attrs.field(factory=list, init=False)
    _asking: dict[str, tuple[Message, events.PermissionEvent]] = attrs.field(
        factory=dict, init=False
    )

    def send(self, text: str) -> None:
        """Send a message; its events are added to the history."""
        self.nursery.start_soon(self._run, text)

    def cancel(self) -> None:
        """Cancel all messages: the running one and those that are queued."""
        for scope in self._scopes:
            scope.cancel(reason="Stop was pressed")

    async def decide(self, permission_id: str, *, grant: bool) -> bool:
        """Answer a permission request; return False if it is already decided."""
        message, request = self._asking.pop(permission_id, (None, None))
        if message is None or request is None:
            return False
        try:
            await (message.grant(request) if grant else message.deny(request))
        except MixError:
            grant = False  # too late: the server has denied it
        self.history.add("settled", id=permission_id, granted=grant)
        return True

    async def _run(self, text: str) -> None:
        self.history.add("you", text=text)
        with trio.CancelScope() as scope:
            self._scopes.append(scope)
            try:
                async with self.session.send(text) as message:
                    self.history.add("begin", text=text)
                    await self._follow(message)
            except TrioMixError as error:
                self.history.add("error", text=str(error))
        self._scopes.remove(scope)
        if scope.cancelled_caught:
            self.history.add("error", text="cancelled")

    async def _follow(self, message: Message) -> None:
        add, shown = self.history.add, ""
        async for event in message:
            match event:
                case events.ContentEvent(content=text, parent_tool_call_id=None):
                    shown += text
                    add("text", text=text)
                case events.ThinkingEvent(content=text, parent_tool_call_id=None):
                    add("thinking", text=text)
                case events.ToolExecutionStartEvent(tool_name=tool):
                    add("tool", text=tool)
                case events.PermissionEvent(permission_id=number):
                    self._asking[number] = (message, event)
                    add("permission", id=number, text=question(event))
                case events.StreamGapEvent(reason=reason):
                    add("state", text=reason)
        # Text without events: from servers without deltas, and after a lost connection.
        add("text", text=message.reply.text.removeprefix(shown))
        add("end", recovered=message.reply.recovered)
