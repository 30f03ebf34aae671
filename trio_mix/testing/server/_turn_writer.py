"""Writes reasoning, text and tool calls as events and as stored rows.

Rules:

1. A model round is one assistant row with one id. A tool call ends the round; the next text starts
   a new one.
2. A change is stored before its event is sent: the stored messages are never behind the stream,
   unless the server has a ``row_lag``.
3. The events of a sub-agent carry the id of its tool call; its rows belong to a session of its own.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Protocol

import trio

from trio_mix.testing.server._script import with_fields
from trio_mix.testing.server._store import Row, SessionRow, StoredToolCall, tool_input

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from trio_mix.testing.server._script import UseTool
    from trio_mix.testing.server._store import Store
    from trio_mix.testing.server._traits import Traits


class _Send(Protocol):
    def __call__(self, name: str, data: dict[str, object]) -> Awaitable[None]: ...


class TurnWriter:
    """Writes the output of one agent, or sub-agent, in one turn."""

    def __init__(
        self,
        store: Store,
        traits: Traits,
        session: SessionRow,
        send: _Send,
        parent_tool_call_id: str | None = None,
    ) -> None:
        self.session = session
        self.parent_tool_call_id = parent_tool_call_id
        self.row: Row | None = None
        self._rows: list[Row] = []
        self._store = store
        self._traits = traits
        self._send = send

    @property
    def calls(self) -> Iterator[StoredToolCall]:
        """The tool calls so far."""
        return (call for row in self._rows for call in row.tool_calls)

    @property
    def visible(self) -> bool:
        """Whether its events are sent: those of sub-agents only by some versions."""
        return self.parent_tool_call_id is None or self._traits.message_ids

    async def emit(self, name: str, data: dict[str, object], *, assistant: bool = False) -> None:
        """Send an event with the ids of its message and tool call."""
        if not self.visible:
            await trio.lowlevel.checkpoint()
            return
        marked: dict[str, object] = {"type": name, **data}
        if self._traits.message_ids:
            if assistant and self._rows:
                marked["assistantMessageId"] = self._rows[-1].id
            if self.parent_tool_call_id is not None:
                marked["parentToolCallId"] = self.parent_tool_call_id
        await self._send(name, marked)

    async def begin(self, text: str) -> None:
        """Store the user's message and, if the version does that, send its id."""
        row = self._store.add_row(self.session, "user", text)
        await trio.lowlevel.checkpoint()  # after storing: a message that runs is stored
        if self._traits.names_users:
            await self.emit("user_message_created", {"messageId": row.id, "content": text})

    async def think(self, pieces: Sequence[str]) -> None:
        """Write reasoning."""
        await trio.lowlevel.checkpoint()
        row = self._round()
        for piece in pieces:
            row.reasoning += piece
            row.reasoning_duration += 40
            self._store.touch(row)
            if self._traits.deltas:
                await self.emit("thinking", {"content": piece}, assistant=True)

    async def say(self, pieces: Sequence[str], *, withhold: int = 0) -> list[str]:
        """Write text; the last ``withhold`` pieces are stored and returned, not sent."""
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
        """Send a piece of text without storing it."""
        if self._traits.deltas:
            await self.emit("content", {"content": piece}, assistant=True)
        else:
            await trio.lowlevel.checkpoint()

    async def use(
        self, calls: Sequence[UseTool], work: Callable[[UseTool, StoredToolCall], Awaitable[None]]
    ) -> None:
        """Call tools in one round, and end the round; ``work`` runs while each tool runs."""
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
            name = made.name if self._traits.tool_execution_names else ""
            about: dict[str, object] = {"toolCallId": made.id, "toolName": name}
            await self._execution("start", {**about, "progress": f"Executing {made.name} tool"})
            await work(call, made)
            made.finished = True
            result = call.result
            if result is None and self._store.tool_results:
                result = "done"
            if result is not None:
                made.result, made.is_error = result, not call.success
            self._store.touch(row)
            ending = "done" if call.success else "failed"
            ended = {**about, "progress": f"{made.name} {ending}", "success": call.success}
            await self._execution("complete", ended)
        self._store.add_row(self.session, "tool")

    async def _execution(self, what: str, data: dict[str, object]) -> None:
        await trio.lowlevel.checkpoint()
        if self._traits.tool_execution_events:
            await self.emit(f"tool_execution_{what}", data)

    async def complete(self, changes: Mapping[str, object] = MappingProxyType({})) -> None:
        """Send ``complete``, with these changes to its fields."""
        row = self._round() if self.row is not None or not self._rows else self._rows[-1]
        row.finish = "end_turn"
        self._store.touch(row)
        data: dict[str, object] = {"content": row.text, "done": True, "messageId": row.id}
        if row.reasoning:
            data["reasoning"] = row.reasoning
            if self._traits.reasoning_duration:
                data["reasoningDuration"] = row.reasoning_duration
        await self.emit("complete", with_fields(data, changes))

    def break_off(self) -> dict[str, object]:
        """End the turn as canceled and return the data of a ``complete`` with the text so far."""
        row = self._rows[-1]
        row.finish = "canceled"
        self._store.touch(row)
        return {"type": "complete", "content": row.text, "done": True, "messageId": row.id}

    def abort(self) -> None:
        """End the turn as canceled; an empty row is stored if no round is open."""
        self._round()
        self.end_round("canceled")

    def end_round(self, finish: str) -> None:
        """End the open round, if there is one."""
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
            await self.emit("tool_use_start", {**name}, assistant=True)
            for piece in pieces:
                call.input += piece
                data: dict[str, object] = {"toolCallId": call.id, "input": piece}
                await self.emit("tool_use_parameter_delta", data, assistant=True)
            done: dict[str, object] = {**name, "input": text}
            await self.emit("tool_use_parameter_streaming_complete", done, assistant=True)
            return
        # Three states, each with all calls of the round so far, as old servers send them.
        await self._send_calls(row, call, "", self._traits.first_tool_status)
        if self._traits.tool_parameter_delta:
            for piece in pieces:
                data = {"toolCallId": call.id, "input": piece}
                await self.emit("tool_parameter_delta", data, assistant=True)
        await self._send_calls(row, call, "", "completed")
        call.input = text
        await self._send_calls(row, call, text, "completed")

    async def _send_calls(self, row: Row, newest: StoredToolCall, text: str, status: str) -> None:
        await trio.lowlevel.checkpoint()
        for call in row.tool_calls:
            new = call is newest
            data: dict[str, object] = {"id": call.id, "name": call.name}
            data |= {"input": text if new else call.input}
            data |= {"status": status if new else "completed"}
            await self.emit("tool", data, assistant=True)
