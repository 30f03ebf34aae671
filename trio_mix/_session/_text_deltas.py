"""`TextDeltas`: the top-level text of a message, in pieces as it arrives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self, final

from trio_mix import events as ev

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_mix.events import Event


@final
class TextDeltas:
    """An asynchronous iterator over top-level text, returned by `Message.text_deltas`.

    Args:
      next_event: returns the next event of the message; it is a checkpoint.
      rest: returns what the reply's text has in addition to its first characters, whose number it
        is passed, when the message is over.
    """

    def __init__(
        self, next_event: Callable[[], Awaitable[Event]], rest: Callable[[int], str]
    ) -> None:
        self._next_event = next_event
        self._rest = rest
        self._rest_returned = False
        self._returned = 0
        self._gap = False

    def __aiter__(self) -> Self:
        """Return the iterator itself."""
        return self

    async def __anext__(self) -> str:
        """Return the next piece; raises what iterating the message raises. A checkpoint."""
        while not self._rest_returned:
            try:
                event = await self._next_event()
            except StopAsyncIteration:
                self._rest_returned = True
                rest = self._rest(self._returned)
                if rest:
                    return rest  # noqa: ASYNC910 - the end of the message was a checkpoint
                break
            if isinstance(event, ev.StreamGapEvent):
                # Text after the gap belongs after the missing text: return it at the end.
                self._gap = True
            elif (
                isinstance(event, ev.ContentEvent)
                and event.parent_tool_call_id is None
                and not self._gap
            ):
                self._returned += len(event.content)
                return event.content  # noqa: ASYNC910 - the event was a checkpoint
        raise StopAsyncIteration
