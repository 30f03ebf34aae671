"""`ToolCallUpdates`: the tool calls of a message, as they begin and finish."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Self, final

import trio

from trio_mix._turns._tool_calls import ToolUpdates

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_mix._reply import Reply, ToolCall
    from trio_mix.events import Event


@final
class ToolCallUpdates:
    """An asynchronous iterator over tool calls, returned by `Message.tool_updates`."""

    def __init__(
        self, next_event: Callable[[], Awaitable[Event]], reply: Callable[[], Reply]
    ) -> None:
        self._next_event = next_event
        self._reply = reply
        self._updates = ToolUpdates()
        self._due: deque[ToolCall] = deque()
        self._over = False

    def __aiter__(self) -> Self:
        """Return the iterator itself."""
        return self

    async def __anext__(self) -> ToolCall:
        """Return the next update; raises what iterating the message raises. A checkpoint."""
        waited = False
        while not self._due and not self._over:
            waited = True
            try:
                event = await self._next_event()
            except StopAsyncIteration:
                self._over = True
                self._due.extend(self._updates.end(self._reply().tool_calls))
            else:
                self._due.extend(self._updates.feed(event))
        if not self._due:
            raise StopAsyncIteration
        if not waited:
            await trio.lowlevel.checkpoint()
        return self._due.popleft()  # noqa: ASYNC910 - an event was awaited
