"""Between the session and the history: what is sent, what comes back, who may do what.

What it knows: the client's stream and messages. What it must never know: HTTP, browsers.
"""

from __future__ import annotations

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
    """Let the page see that the server is away, and back."""

    def lost(told: StreamLostContext) -> None:
        if not told.planned:
            history.add("state", text=f"reconnecting: {told.reason}")

    def opened(_: StreamOpenedContext) -> None:
        history.add("state", text="connected")

    return Hooks(stream_lost=lost, stream_opened=opened)


@attrs.define
class Relay:
    """One session, shared by all tabs."""

    stream: SessionStream
    history: History
    nursery: trio.Nursery
    _scopes: list[trio.CancelScope] = attrs.field(factory=list, init=False)
    _asking: dict[str, tuple[Message, events.PermissionEvent]] = attrs.field(
        factory=dict, init=False
    )

    def send(self, text: str) -> None:
        """Send a message; what becomes of it is seen in the history."""
        self.nursery.start_soon(self._run, text)

    def cancel(self) -> None:
        """Cancel all messages: the one that runs, and those that wait behind it."""
        for scope in self._scopes:
            scope.cancel(reason="somebody pressed Stop")

    async def decide(self, permission_id: str, *, grant: bool) -> bool:
        """Answer a permission request; False if it is settled already, in another tab perhaps."""
        message, request = self._asking.pop(permission_id, (None, None))
        if message is None or request is None:
            return False
        try:
            await (message.grant(request) if grant else message.deny(request))
        except MixError:
            grant = False  # too late: the agent did not wait
        self.history.add("settled", id=permission_id, granted=grant)
        return True

    async def _run(self, text: str) -> None:
        self.history.add("you", text=text)
        with trio.CancelScope() as scope:
            self._scopes.append(scope)
            try:
                async with self.stream.send(text) as message:
                    self.history.add("begin", text=text)
                    await self._follow(message)
            except TrioMixError as error:
                self.history.add("error", text=str(error))
        self._scopes.remove(scope)
        if scope.cancelled_caught:
            self.history.add("error", text="cancelled")

    async def _follow(self, message: Message) -> None:
        tell, shown = self.history.add, ""
        async for event in message:
            match event:
                case events.ContentEvent(content=text, parent_tool_call_id=None):
                    shown += text
                    tell("text", text=text)
                case events.ThinkingEvent(content=text, parent_tool_call_id=None):
                    tell("thinking", text=text)
                case events.ToolExecutionStartEvent(tool_name=tool):
                    tell("tool", text=tool)
                case events.PermissionEvent(permission_id=number, tool_name=tool):
                    self._asking[number] = (message, event)
                    tell("permission", id=number, text=f"{tool}: {event.description}")
                case events.StreamGapEvent(reason=reason):
                    tell("state", text=reason)
        # What no event brought: of servers without deltas, and after a lost connection.
        tell("text", text=message.reply.text.removeprefix(shown))
        tell("end", recovered=message.reply.recovered)
