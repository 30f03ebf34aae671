"""The agent's writer: thinking, text and tool calls as events and as stored rows.

What it knows: which events each generation has for what an agent says, and what is stored of it.
What it must never know: scripts, streams, how a turn ends.

Rules:

1. A model round is one assistant row with one id. A tool call ends the round; what comes next
   begins a new one.
2. What is told is stored before it is told: a reader of the stored messages is never behind the
   stream.
3. A sub-agent speaks with the id of the tool call that it works for, into a session of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import trio

from trio_mix.testing.server._store import Row, SessionRow, StoredToolCall, tool_input

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from trio_mix.testing.server._script import UseTool
    from trio_mix.testing.server._store import Store
    from trio_mix.testing.server._traits import Traits

__all__ = ["TurnWriter"]


class _Emit(Protocol):
    def __call__(self, name: str, data: dict[str, object]) -> Awaitable[None]: ...


class TurnWriter:
    """One agent's, or sub-agent's, contribution to one turn."""

    def __init__(
        self,
        store: Store,
        traits: Traits,
        session: SessionRow,
        emit: _Emit,
        parent_tool_call_id: str | None = None,
    ) -> None:
        self.session = session
        self.parent_tool_call_id = parent_tool_call_id
        self.row: Row | None = None
        self._rows: list[Row] = []
        self._store = store
        self._traits = traits
        self._emit = emit

    @property
    def visible(self) -> bool:
        """Whether what it says is told at all."""
        return self.parent_tool_call_id is None or self._traits.message_ids

    async def tell(self, name: str, data: dict[str, object], *, assistant: bool = False) -> None:
        """Send an event with the ids that belong on it."""
        if not self.visible:
            await trio.lowlevel.checkpoint()
            return
        marked: dict[str, object] = {"type": name, **data}
        if self._traits.message_ids:
            if assistant and self._rows:
                marked["assistantMessageId"] = self._rows[-1].id
            if self.parent_tool_call_id is not None:
                marked["parentToolCallId"] = self.parent_tool_call_id
        await self._emit(name, marked)

    async def begin(self, text: str) -> None:
        """Store the user's message and, where that is done, tell its id."""
        row = self._store.add_row(self.session, "user", text)
        await trio.lowlevel.checkpoint()  # not before: a message that runs is stored
        if self._traits.message_ids:
            await self.tell("user_message_created", {"messageId": row.id, "content": text})

    async def think(self, pieces: Sequence[str]) -> None:
        """Reason."""
        await trio.lowlevel.checkpoint()
        row = self._round()
        for piece in pieces:
            row.reasoning += piece
            row.reasoning_duration += 40
            self._store.touch(row)
            if self._traits.deltas:
                await self.tell("thinking", {"content": piece}, assistant=True)

    async def say(self, pieces: Sequence[str], *, withhold: int = 0) -> list[str]:
        """Answer; the last ``withhold`` pieces are stored but not told, and returned."""
        await trio.lowlevel.checkpoint()
        row = self._round()
        if not self._traits.deltas:
            withhold = 0
        at = len(pieces) - withhold
        for piece in pieces[:at]:
            row.text += piece
            self._store.touch(row)
            await self.delta(piece)
        held = list(pieces[at:])
        row.text += "".join(held)
        return held

    async def delta(self, piece: str) -> None:
        """Tell a piece of text without storing it."""
        if self._traits.deltas:
            await self.tell("content", {"content": piece}, assistant=True)
        else:
            await trio.lowlevel.checkpoint()

    async def use(
        self, calls: Sequence[UseTool], work: Callable[[UseTool, StoredToolCall], Awaitable[None]]
    ) -> None:
        """Call tools side by side; ``work`` is done while each of them runs. Ends the round."""
        await trio.lowlevel.checkpoint()
        row = self._round()
        stored: list[StoredToolCall] = []
        for call in calls:
            made = StoredToolCall(id=self._store.new_id("call"), name=call.name)
            stored.append(made)
            row.tool_calls.append(made)
            self._store.touch(row)
            await self._announce(row, made, tool_input(call.input))
        self.end_round("tool_use")
        for call, made in zip(calls, stored, strict=True):
            about: dict[str, object] = {"toolCallId": made.id, "toolName": made.name}
            await self.tell("tool_execution_start", {**about, "progress": f"Running {made.name}"})
            await work(call, made)
            made.finished, made.result, made.is_error = True, call.result, not call.success
            self._store.touch(row)
            ending = "done" if call.success else "failed"
            await self.tell(
                "tool_execution_complete",
                {**about, "progress": f"{made.name} {ending}", "success": call.success},
            )

    async def complete(self) -> None:
        """Say that it is done."""
        row = self._round() if self.row is not None or not self._rows else self._rows[-1]
        row.finish = "end_turn"
        self._store.touch(row)
        data: dict[str, object] = {"content": row.text, "done": True, "messageId": row.id}
        if row.reasoning:
            data |= {"reasoning": row.reasoning, "reasoningDuration": row.reasoning_duration}
        await self.tell("complete", data)

    def end_round(self, finish: str) -> None:
        """End the round that is open, if any."""
        if self.row is not None:
            self.row.finish = finish
            self._store.touch(self.row)
            self.row = None

    @property
    def last(self) -> Row | None:
        """The last round's row."""
        return self._rows[-1] if self._rows else None

    def _round(self) -> Row:
        if self.row is None:
            self.row = self._store.add_row(self.session, "assistant")
            self._rows.append(self.row)
        return self.row

    async def _announce(self, row: Row, call: StoredToolCall, text: str) -> None:
        size = max(1, -(-len(text) // 3))
        pieces = [text[at : at + size] for at in range(0, len(text), size)]
        name = {"id": call.id, "name": call.name}
        if self._traits.tool_use_events:
            await self.tell("tool_use_start", {**name}, assistant=True)
            for piece in pieces:
                call.input += piece
                data: dict[str, object] = {"toolCallId": call.id, "input": piece}
                await self.tell("tool_use_parameter_delta", data, assistant=True)
            done: dict[str, object] = {**name, "input": text}
            await self.tell("tool_use_parameter_streaming_complete", done, assistant=True)
            return
        # Three states, each told with all calls of the round so far, as the old servers do.
        await self._tell_calls(row, call, "", "running")
        if self._traits.tool_parameter_delta:
            for piece in pieces:
                data = {"toolCallId": call.id, "input": piece}
                await self.tell("tool_parameter_delta", data, assistant=True)
        await self._tell_calls(row, call, "", "completed")
        call.input = text
        await self._tell_calls(row, call, text, "completed")

    async def _tell_calls(self, row: Row, newest: StoredToolCall, text: str, status: str) -> None:
        await trio.lowlevel.checkpoint()
        for call in row.tool_calls:
            new = call is newest
            data: dict[str, object] = {"id": call.id, "name": call.name}
            data |= {"input": text if new else call.input}
            data |= {"status": status if new else "completed"}
            await self.tell("tool", data, assistant=True)
