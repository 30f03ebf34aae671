"""The sessions of a server as lines of JSON, and back.

Rules:

1. The first line has the version of the format and the counters of ids; each other line is a
   session, in the order of creation. Keys and settings of the server are not in it.
2. All lines together have at most `MAX_STATE` bytes. Beyond it, the sessions that were changed
   longest ago are left out.
3. A text that this version cannot have written is refused with its line, and never guessed at.
"""

from __future__ import annotations

import base64
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar

import attrs
import trio

from trio_mix._json import NotJSON, parse
from trio_mix.errors import ConfigurationError
from trio_mix.testing.server._frames import to_json
from trio_mix.testing.server._store import Row, SessionRow, StoredToolCall

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix.testing.server._store import Store

T = TypeVar("T")

MAX_STATE: Final = 64 * 2**20
"""The largest state, in bytes."""
_FORMAT: Final = 1
_FORMAT_KEY: Final = "trio_mix_server_state"
_SLICE: Final = 2**18
"""The number of bytes that are encoded between two checkpoints."""


@attrs.frozen
class SavedSession:
    """The parts of a session's line: JSON texts, and files that are not encoded yet."""

    head: bytes
    rows: list[bytes]
    files: list[tuple[str, bytes, str]]

    @property
    def size(self) -> int:
        """The size of the line in bytes, or a little more."""
        files = sum(len(name) * 6 + len(data) * 4 // 3 + 64 for name, data, _ in self.files)
        return len(self.head) + sum(map(len, self.rows)) + len(self.rows) + files + 64

    def line(self) -> bytes:
        """Return the line; it takes long for large files."""
        files = [[n, base64.b64encode(data).decode("ascii"), at] for n, data, at in self.files]
        rows = b",".join(self.rows)
        return b'%s,"rows":[%s],"files":%s}\n' % (self.head[:-1], rows, _json(files))


def _json(value: object) -> bytes:
    return to_json(value).encode("utf-8", "replace")  # a lone surrogate cannot be read again


async def encode(store: Store) -> tuple[bytes, list[SavedSession], int]:
    """Return the first line, the sessions that are saved, and the number that are left out.

    A checkpoint after each quarter of a MiB; what changes meanwhile may be in it.
    """
    await trio.lowlevel.checkpoint()
    sessions = list(store.sessions.values())
    newest = sorted(sessions, key=lambda each: each.changed, reverse=True)
    saved: dict[str, SavedSession] = {}
    room = MAX_STATE
    for session in newest:
        found = await _saved(session)
        room -= found.size
        if room < 0:
            break
        saved[session.id] = found
    head = _json({_FORMAT_KEY: _FORMAT, "counters": store.counters}) + b"\n"
    kept = [saved[each.id] for each in sessions if each.id in saved]
    return head, kept, len(sessions) - len(kept)


async def _saved(session: SessionRow) -> SavedSession:
    rows: list[bytes] = []
    since = 0
    for row in list(session.rows):
        rows.append(_json(_row_values(row)))
        since += len(rows[-1])
        if since > _SLICE:
            await trio.lowlevel.checkpoint()
            since = 0
    head = {
        "id": session.id,
        "title": session.title,
        "created": session.created.isoformat(),
        "callbacks": session.callbacks,
        "extra": session.extra,
        "parent": session.parent_session_id,
        "parent_call": session.parent_tool_call_id,
    }
    files = [(name, data, at.isoformat()) for name, (data, at) in session.files.items()]
    await trio.lowlevel.checkpoint()
    return SavedSession(_json(head), rows, files)


def _row_values(row: Row) -> dict[str, object]:
    calls = [
        [call.id, call.name, call.input, call.finished, call.result, call.is_error]
        for call in row.tool_calls
    ]
    return {
        "id": row.id,
        "role": row.role,
        "text": row.text,
        "reasoning": row.reasoning,
        "duration": row.reasoning_duration,
        "calls": calls,
        "finish": row.finish,
        "created": row.created.isoformat(),
        "updated": row.updated.isoformat(),
    }


def decode(data: bytes, name: str) -> tuple[dict[str, int], list[SessionRow]]:
    """Return the counters of ids and the sessions of a saved state.

    Args:
      data: the lines.
      name: the file, for errors.

    Raises:
      ConfigurationError: a newer version has written them, or they are not of a server.
    """
    first, _, rest = data.partition(b"\n")
    head = _value(first, name, 1)
    version = head.get(_FORMAT_KEY) if isinstance(head, dict) else None
    if not isinstance(version, int) or isinstance(version, bool):
        raise _broken(name, 1, "it does not begin as one")
    if version > _FORMAT:
        raise ConfigurationError(
            f"{name} was written by a newer version of trio_mix (format {version}; this version "
            f"reads {_FORMAT}): install that version, or name another file."
        )
    sessions: list[SessionRow] = []
    if not data.endswith(b"\n"):
        raise _broken(name, data.count(b"\n") + 1, "its end is missing")
    for number, line in enumerate(rest.splitlines(), 2):
        value = _value(line, name, number)
        sessions.append(_checked(_session, value, name, number))
    counters: dict[str, int] = _checked(_counters, head, name, 1)
    return counters, sessions


def _value(line: bytes, name: str, number: int) -> Any:
    try:
        return parse(line)
    except NotJSON as error:
        problem = str(error)
    raise _broken(name, number, f"it is not JSON: {problem}")


def _checked(read: Callable[[Any], T], value: Any, name: str, number: int) -> T:
    try:
        return read(value)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        problem = f"{type(error).__name__}"
    raise _broken(name, number, f"its values are of another shape ({problem})")


def _broken(name: str, number: int, why: str) -> ConfigurationError:
    return ConfigurationError(
        f"{name}, line {number}: this is not the saved state of a server: {why}. Remove the file "
        "to begin without sessions, or name another one."
    )


def _counters(head: Any) -> dict[str, int]:
    return {_text(key): _number(number) for key, number in head["counters"].items()}


def _session(value: Any) -> SessionRow:
    session_id = _text(value["id"])
    return SessionRow(
        id=session_id,
        title=_text(value["title"]),
        created=_time(value["created"]),
        rows=[_row(row, session_id) for row in value["rows"]],
        files={
            _text(name): (base64.b64decode(_text(data), validate=True), _time(at))
            for name, data, at in value["files"]
        },
        callbacks=list(value["callbacks"]),
        extra=dict(value["extra"]),
        parent_session_id=_optional(value["parent"]),
        parent_tool_call_id=_optional(value["parent_call"]),
    )


def _row(value: Any, session_id: str) -> Row:
    return Row(
        id=_text(value["id"]),
        session_id=session_id,
        role=_text(value["role"]),
        text=_text(value["text"]),
        reasoning=_text(value["reasoning"]),
        reasoning_duration=_number(value["duration"]),
        tool_calls=[_call(*call) for call in value["calls"]],
        finish=_text(value["finish"]),
        created=_time(value["created"]),
        updated=_time(value["updated"]),
    )


def _call(
    call_id: object, name: object, text: object, finished: object, result: object, failed: object
) -> StoredToolCall:
    return StoredToolCall(
        id=_text(call_id),
        name=_text(name),
        input=_text(text),
        finished=finished is True,
        result=_optional(result),
        is_error=failed is True,
    )


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    return value


def _optional(value: object) -> str | None:
    return None if value is None else _text(value)


def _number(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    return value


def _time(value: object) -> datetime:
    moment = datetime.fromisoformat(_text(value))
    if moment.tzinfo is None:
        raise ValueError
    return moment
