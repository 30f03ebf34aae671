"""The stored sessions and messages of the server.

Rules:

1. A turn writes one user row, then one assistant row for each model round, and an empty tool row
   after each round that called tools.
2. Rows grow while the turn runs: reading them meanwhile returns partial rows. If rows lag, they are
   read as they were that many seconds ago.
3. An assistant row has a finish reason only when it is finished; other rows always have one.
4. Times are in whole seconds, the type of a tool call is an empty text, and its result is missing
   unless the server is to return results.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

import attrs
import trio

from trio_mix.testing.server._frames import to_json

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from trio_mix.testing.server._traits import Traits


def iso(moment: datetime) -> str:
    """Return a time in the format of the API."""
    return moment.isoformat().replace("+00:00", "Z")


def _stored_time(moment: datetime) -> str:
    return iso(moment.replace(microsecond=0))


@attrs.define(kw_only=True)
class StoredToolCall:
    """A stored tool call."""

    id: str
    name: str
    input: str = ""
    finished: bool = False
    result: str | None = None
    is_error: bool = False

    def as_json(self, *, export: bool) -> dict[str, object]:
        """Return the call as ``ToolCallData`` or ``ExportToolCall``."""
        shown: dict[str, object] = {
            "id": self.id,
            "name": self.name,
            "input": self.input,
            "type": "",
            "finished": self.finished,
        }
        if self.result is not None:
            shown["result"] = self.result
            if not export:
                shown["isError"] = self.is_error
        return shown


@attrs.define(kw_only=True)
class Row:
    """A stored message."""

    id: str
    session_id: str
    role: str
    text: str = ""
    reasoning: str = ""
    reasoning_duration: int = 0
    tool_calls: list[StoredToolCall] = attrs.field(factory=list[StoredToolCall])
    finish: str = ""
    usage: bool = False
    """Whether tokens and cost are shown; a token is a word."""
    created: datetime
    updated: datetime
    earlier: list[tuple[float, Row]] = attrs.field(factory=list[tuple[float, "Row"]])
    """What it was, and from when on, if rows lag: the first is shown once the lag is over."""

    def keep(self, lag: float) -> None:
        """Keep what it is now, and drop what will not be shown any more."""
        calls = [attrs.evolve(call) for call in self.tool_calls]
        now = trio.current_time()
        self.earlier.append((now, attrs.evolve(self, tool_calls=calls, earlier=[])))
        self._drop(now - lag)

    def shown(self, lag: float) -> Row | None:
        """Return it as it was shown some seconds ago; None: it was not."""
        if not self.earlier:
            return self
        until = trio.current_time() - lag
        self._drop(until)
        since, row = self.earlier[0]
        return row if since <= until else None

    def _drop(self, until: float) -> None:
        while len(self.earlier) > 1 and self.earlier[1][0] <= until:
            del self.earlier[0]

    def shown_usage(self) -> dict[str, object]:
        """Return the tokens and the cost of an assistant row, if they are shown."""
        if not self.usage or self.role != "assistant":
            return {}
        words = len(self.text.split())
        return {"inputTokens": 100, "outputTokens": words, "cost": 0.001 * words}

    def as_json(self) -> dict[str, object]:
        """Return the row as ``BackendMessage``; ``userInput`` is the text of any row."""
        shown: dict[str, object] = {
            "id": self.id,
            "sessionId": self.session_id,
            "role": self.role,
            "userInput": self.text,
        }
        if self.role == "assistant":
            shown["assistantResponse"] = self.text
        if self.reasoning:
            shown |= {"reasoning": self.reasoning, "reasoningDuration": self.reasoning_duration}
        if self.tool_calls:
            shown["toolCalls"] = [call.as_json(export=False) for call in self.tool_calls]
        return shown | self.shown_usage()

    def as_rpc(self) -> dict[str, object]:
        """Return the row as JSON-RPC does."""
        shown: dict[str, object] = {
            "id": self.id,
            "sessionId": self.session_id,
            "role": self.role,
            "content": self.text,
        }
        if self.tool_calls:
            shown["toolCalls"] = [call.as_json(export=True) for call in self.tool_calls]
        return shown

    def as_answer(self, question: str, calls: Iterable[StoredToolCall] = ()) -> dict[str, object]:
        """Return the last row of a turn as the response to the blocking send of its question.

        Args:
          question: the message.
          calls: the tool calls of the turn; those that have a result are shown.
        """
        with_result = [call.as_json(export=False) for call in calls if call.result is not None]
        shown: dict[str, object] = {"toolCalls": with_result} if with_result else {}
        return shown | {
            "id": self.id,
            "sessionId": "",
            "role": "user",
            "userInput": question,
            "assistantResponse": self.text,
            **self.shown_usage(),
        }

    def as_export(self) -> dict[str, object]:
        """Return the row as ``ExportMessage``."""
        shown: dict[str, object] = {
            "id": self.id,
            "role": self.role,
            "content": self.text,
            "createdAt": _stored_time(self.created),
            "updatedAt": _stored_time(self.updated),
        }
        if self.role == "assistant":
            shown["model"] = "scripted-model"
        if self.finish:
            shown["finishReason"] = self.finish
        if self.reasoning:
            shown |= {"reasoning": self.reasoning, "reasoningDuration": self.reasoning_duration}
        if self.tool_calls:
            shown["toolCalls"] = [call.as_json(export=True) for call in self.tool_calls]
        return shown


@attrs.define(kw_only=True)
class SessionRow:
    """A stored session."""

    id: str
    title: str
    created: datetime
    rows: list[Row] = attrs.field(factory=list[Row])
    files: dict[str, tuple[bytes, datetime]] = attrs.field(
        factory=dict[str, tuple[bytes, datetime]]
    )
    callbacks: list[object] = attrs.field(factory=list[object])
    extra: dict[str, object] = attrs.field(factory=dict[str, object])
    parent_session_id: str | None = None
    parent_tool_call_id: str | None = None

    @property
    def subagent(self) -> bool:
        """Whether it is a sub-agent's session."""
        return self.parent_session_id is not None

    @property
    def changed(self) -> datetime:
        """When it was last changed."""
        return max((row.updated for row in self.rows), default=self.created)

    def counts(self) -> dict[str, object]:
        """Return the counts of messages, tool calls and tokens."""
        user = [row for row in self.rows if row.role == "user"]
        assistant = [row for row in self.rows if row.role == "assistant"]
        return {
            "userMessageCount": len(user),
            "assistantMessageCount": len(assistant),
            "toolCallCount": sum(len(row.tool_calls) for row in assistant),
            "promptTokens": sum(len(row.text.split()) for row in user),
            "completionTokens": sum(len(row.text.split()) for row in assistant),
            "cost": 0.0,
        }

    def as_json(self, traits: Traits) -> dict[str, object]:
        """Return the session as ``SessionData``."""
        shown: dict[str, object] = {
            "id": self.id,
            "title": self.title,
            "createdAt": _stored_time(self.created),
            **self.counts(),
        }
        first = next((row.text for row in self.rows if row.role == "user"), None)
        if first is not None:
            shown["firstUserMessage"] = first
        if traits.browser_mode:
            shown["sessionType"] = "subagent" if self.subagent else "main"
            shown["browserMode"] = self.extra.get("browserMode", "local-browser-service")
            for name in ("cdpUrl", "modelId", "provider", "subagentType"):
                if name in self.extra:
                    shown[name] = self.extra[name]
            if self.parent_session_id is not None:
                shown["parentSessionId"] = self.parent_session_id
                shown["parentToolCallId"] = self.parent_tool_call_id
            if self.callbacks:
                shown["callbacks"] = self.callbacks
        return shown

    def as_export(self, rows: Iterable[Row]) -> dict[str, object]:
        """Return the session as ``ExportSession``, with these rows."""
        return {
            "id": self.id,
            "title": self.title,
            "createdAt": _stored_time(self.created),
            "updatedAt": _stored_time(self.changed),
            **self.counts(),
            "messages": [row.as_export() for row in rows],
        }


class Store:
    """All sessions, in the order of their creation.

    Args:
      now: returns the time of day.
      id_prefix: the beginning of the number in each id.
      tool_results: whether the results of tools are stored.
      usage: whether rows show tokens and cost.
      lag: seconds by which the rows that are shown are older than the events.
    """

    def __init__(
        self,
        now: Callable[[], datetime],
        id_prefix: str = "",
        *,
        tool_results: bool = False,
        usage: bool = False,
        lag: float = 0.0,
    ) -> None:
        self.now = now
        self._lag = lag
        self.usage = usage
        self.tool_results = tool_results
        self._id_prefix = id_prefix
        self.sessions: dict[str, SessionRow] = {}
        self.counters: dict[str, int] = {}
        """The number of ids of each kind that were made. Never reset, not even when a restart
        deletes the sessions: ids stay unique."""

    def new_id(self, kind: str) -> str:
        """Return a new id: readable, and the same in every run."""
        number = self.counters[kind] = self.counters.get(kind, 0) + 1
        return f"{kind}-{self._id_prefix}{number}"

    def create(
        self,
        title: str,
        *,
        session_id: str | None = None,
        parent: SessionRow | None = None,
        tool_call_id: str | None = None,
    ) -> SessionRow:
        """Create a session."""
        session = SessionRow(
            id=session_id if session_id is not None else self.new_id("session"),
            title=title,
            created=self.now(),
            parent_session_id=parent.id if parent is not None else None,
            parent_tool_call_id=tool_call_id,
        )
        self.sessions[session.id] = session
        return session

    def add_row(self, session: SessionRow, role: str, text: str = "") -> Row:
        """Add a row to a session."""
        now = self.now()
        row = Row(
            id=self.new_id(role),
            session_id=session.id,
            role=role,
            text=text,
            usage=self.usage,
            finish="" if role == "assistant" else "stop",
            created=now,
            updated=now,
        )
        session.rows.append(row)
        self._keep(row)
        return row

    def touch(self, row: Row) -> None:
        """Update the time of a row that has changed."""
        row.updated = self.now()
        self._keep(row)

    def _keep(self, row: Row) -> None:
        if self._lag:
            row.keep(self._lag)

    def shown(self, session: SessionRow) -> list[Row]:
        """Return the rows of a session that can be read now."""
        shown = (row.shown(self._lag) for row in session.rows)
        return [row for row in shown if row is not None]

    def history(self, role: str | None = None) -> list[Row]:
        """Return the rows of all sessions, or those of one role, newest first."""
        rows = [row for session in self.sessions.values() for row in session.rows]
        rows.sort(key=lambda row: row.created, reverse=True)
        return [row for row in rows if role in (None, row.role)]

    def fork(self, session: SessionRow, message_index: int, title: str) -> SessionRow:
        """Copy a session up to a message, which is included."""
        copy = self.create(title)
        copy.extra = dict(session.extra)
        for row in session.rows[: message_index + 1]:
            new_id = self.new_id(row.role)
            copy.rows.append(attrs.evolve(row, earlier=[], id=new_id, session_id=copy.id))
        return copy


def tool_input(value: object) -> str:
    """Return a tool's parameters as the text that is sent."""
    return value if isinstance(value, str) else to_json(value)
