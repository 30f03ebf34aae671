"""What the fuzzer drives: each target takes any bytes and compares with a slow, plain model.

1. ``decoder``: the SSE decoder gives what the standard's own wording gives, limits included,
   however the bytes are cut.
2. ``events``: decoding an event never raises, keeps what it does not know, and agrees with a plain
   reading of the JSON where that is beyond doubt.
3. ``turns``: whatever comes, an event has at most one owner, a reply's deltas are its text, and
   the size of batches makes no difference.
4. ``stored``: rows never raise; a turn is called absent only where no row can be its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Final, get_type_hints

import attrs

from tests.support import event_makers as make
from tests.support.fuzz_bytes import Bytes
from tests.support.reference_decoder import split_lines
from trio_mix import events as ev
from trio_mix._turns._reply_builder import ReplyBuilder
from trio_mix._turns._stored_rows import StoredRow
from trio_mix._turns._stored_turn import PriorTurn, TurnOutcome, judge
from trio_mix._turns._turn import Input, Phase, Turn, same_text
from trio_mix._wire._events import EVENT_CLASSES, decode_event
from trio_mix._wire._lenient_endings import ENDINGS
from trio_mix.errors import ProtocolError
from trio_mix.events import Event, UnknownEvent
from trio_mix.sse import ServerSentEvent, SSEDecoder

__all__ = ["DICTIONARY", "SEEDS", "TARGETS"]


# -- the decoder -----------------------------------------------------------------------------

Frames = tuple[list[tuple[str, str, str]], str, float | None, bool]
"""The frames, the last event id, the retry, and whether a limit was exceeded."""

_LIMITS: Final = (16 * 2**20, 1, 3, 7, 16, 40, 200)


def decoder(data: bytes) -> None:
    given = Bytes(data)
    limit = _LIMITS[given.number(len(_LIMITS))]
    last_id = ("", "old")[given.number(2)]
    size, odd = 1 + given.number(64), 1 + given.number(13)
    stream = given.rest()
    expected = _by_the_standard(stream, limit, last_id)
    sizes = ((len(stream) or 1,), (1,), (size,), (size, odd), (3, odd, 1))
    for cut in sizes:
        found = _decoded(stream, limit, last_id, cut)
        assert found == expected, f"cut by {cut}: {found} is not {expected}"


def _decoded(stream: bytes, limit: int, last_id: str, sizes: tuple[int, ...]) -> Frames:
    sse = SSEDecoder(max_event_size=limit, last_event_id=last_id)
    frames: list[tuple[str, str, str]] = []
    at = turn = 0
    try:
        while at < len(stream):
            size = sizes[turn % len(sizes)]
            frames += [(f.id, f.event, f.data) for f in sse.feed(stream[at : at + size])]
            at, turn = at + size, turn + 1
    except ProtocolError:
        frames += [(f.id, f.event, f.data) for f in sse.undelivered]
        return frames, "", None, True  # of no further use: only what was dispatched counts
    return frames, sse.last_event_id, sse.retry, False


def _by_the_standard(stream: bytes, limit: int, last_id: str) -> Frames:
    """Interpret line by line, in the words of the standard, with our limits on top."""
    if len(stream) < 3 and b"\xef\xbb\xbf".startswith(stream):
        return [], last_id, None, False  # what may yet be a byte order mark is no line so far
    stream = stream.removeprefix(b"\xef\xbb\xbf")
    lines = split_lines(stream)
    ends = b"\n".join([*lines, b""])
    rest = stream.replace(b"\r\n", b"\n").replace(b"\r", b"\n")[len(ends) :]
    frames: list[tuple[str, str, str]] = []
    id_, name, data, retry, size = last_id, "", "", None, 0
    for raw in lines:
        line = raw.decode("utf-8", "replace")
        if len(raw) > limit:
            return frames, "", None, True
        field, _, value = line.partition(":")
        value = value[1:] if value[:1] == " " else value
        if not line:
            if data:
                frames.append((id_, name or "message", data[:-1]))
            last_id, name, data, size = id_, "", "", 0
        elif field == "data":
            size += len(value.encode()) + (1 if data else 0)
            data += value + "\n"
            if size > limit:
                return frames, "", None, True
        elif field == "event":
            name = value
        elif field == "id" and "\0" not in value:
            id_ = value
        elif field == "retry" and value and all("0" <= digit <= "9" for digit in value):
            retry = float(value) / 1000
    if len(rest) > limit:
        return frames, "", None, True
    return frames, last_id, retry, False


# -- events ----------------------------------------------------------------------------------

_NAMES: Final = (*sorted(EVENT_CLASSES), "message", "brand_new", "", "Content")
_OWN_ID: Final = {"permission": "permission_id", "notification": "notification_id"}
_CALL_ID: Final = ("tool", "tool_use_start", "tool_use_parameter_streaming_complete")


class _InDoubtError(Exception):
    """JSON on which parsers may differ."""


def events(data: bytes) -> None:
    given = Bytes(data)
    name = _NAMES[given.number(len(_NAMES))]
    frame_id = ("", "7")[given.number(2)]
    shape = given.number(4)
    raw = _payload(name, given) if shape > 1 else given.rest()
    text = raw.decode("utf-8", "replace")
    if shape == 1:  # no stream gives such text, yet nothing may raise
        text = raw.decode("utf-8", "surrogatepass") if _passes(raw) else raw.decode("latin-1")
    frame = ServerSentEvent(id=frame_id, event=name, data=text)
    event = decode_event(frame)
    assert isinstance(event, Event)
    assert event.id == (frame_id or None)
    assert event == decode_event(frame), "it depends on what came before"
    hash(event)
    if isinstance(event, UnknownEvent):
        assert (event.name, event.data) == (name, text)
    else:
        assert type(event) is EVENT_CLASSES[name]
        json.dumps(attrs.asdict(event), default=list).encode()
    if name in ENDINGS:
        return  # read leniently where the strict rules reject them
    try:
        expected = _plainly_read(frame)
    except _InDoubtError:
        return
    assert event == expected, f"{event} is not {expected}"


_VALUES: Final = (
    *(b'"a"', b"null", b"true", b"false", b"0", b"-1", b"1.0", b"1.5", b"1e3", b"1e999", b"[]"),
    *(b"{}", b'["a"]', b'["a",1]', b'{"a":[null,1]}', b'"\\ud83d\\ude00"', b'"\\ud800"', b"NaN"),
    *(b"9007199254740993", b"9223372036854775808", b'"\xff"', b'"\n"', b"", b"01", b"[[[[1]]]]"),
)


def _payload(name: str, given: Bytes) -> bytes:
    """Make JSON of the fields that such an event has, and a few others, with odd values."""
    cls = EVENT_CLASSES.get(name, UnknownEvent)
    keys = [_key(name, field.name) for field in attrs.fields(cls) if field.name != "id"]
    required = [
        _key(name, field.name)
        for field in attrs.fields(cls)
        if field.name != "id" and field.default is attrs.NOTHING
    ]
    pairs = [(key, _VALUES[given.number(len(_VALUES))]) for key in required if given.number(16)]
    while given and len(pairs) < 12:
        key = (*keys, "toolCallId", "type", "\\u0000")[given.number(len(keys) + 3)]
        pairs.append((key, _VALUES[given.number(len(_VALUES))]))
    return b"{" + b",".join(b'"%s":%s' % (key.encode(), value) for key, value in pairs) + b"}"


def _passes(raw: bytes) -> bool:
    try:
        raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:
        return False
    return True


def _plainly_read(frame: ServerSentEvent) -> Event:
    """Decode as the documentation says, field by field."""
    unknown = UnknownEvent(id=frame.id or None, name=frame.event, data=frame.data)
    cls = EVENT_CLASSES.get(frame.event)
    if cls is None:
        return unknown
    try:
        payload = json.loads(frame.data, object_pairs_hook=_once, parse_constant=_no_constant)
    except RecursionError:
        raise _InDoubtError from None
    except ValueError:
        return unknown
    if not isinstance(payload, dict):
        return unknown
    _check(payload)
    values: dict[str, Any] = {}
    for field in attrs.fields(cls):
        if field.name == "id":
            continue
        key = _key(frame.event, field.name)
        if key == "id" and field.name == "tool_call_id" and key not in payload:
            key = "toolCallId"
        value = payload.get(key)
        if value is None and (field.default is attrs.NOTHING or key in payload):
            if field.default is attrs.NOTHING or type(None) not in _members(cls, field.name):
                return unknown
        elif key in payload:
            value = _fit(value, _members(cls, field.name))
            if value is None:
                return unknown
        if key in payload or field.default is attrs.NOTHING:
            values[field.name] = value
    return cls(id=frame.id or None, **values)


def _members(cls: type, field: str) -> tuple[Any, ...]:
    hint = get_type_hints(cls)[field]
    return (
        tuple(getattr(hint, "__args__", ()))
        if type(None) in getattr(hint, "__args__", ())
        else (hint,)
    )


def _fit(value: object, hints: tuple[Any, ...]) -> object:
    """Return the value as the field has it; None: it does not fit."""
    for hint in hints:
        origin = getattr(hint, "__origin__", hint)
        if origin is int and type(value) in (int, float):
            number = float(value)  # type: ignore[arg-type]
            if abs(number) >= 2**53:
                raise _InDoubtError
            return int(number) if number == int(number) else None
        if origin in (str, bool) and type(value) is origin:
            return value
        if origin is Mapping and isinstance(value, dict):
            return value
        if origin is tuple and isinstance(value, list):
            fits = all(isinstance(each, str) for each in value)
            return tuple(value) if fits else None
    return None


def _key(name: str, field: str) -> str:
    if _OWN_ID.get(name) == field or (name in _CALL_ID and field == "tool_call_id"):
        return "id"
    head, *rest = field.split("_")
    return head + "".join(word.capitalize() for word in rest)


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    if len({key for key, _ in pairs}) != len(pairs):
        raise _InDoubtError
    return dict(pairs)


def _no_constant(text: str) -> object:
    raise ValueError(text)


def _check(value: object) -> None:
    """Give up where a number or a text is of the kind that parsers differ about."""
    if isinstance(value, str):
        if any("\ud800" <= char <= "\udfff" for char in value):
            raise _InDoubtError
    elif isinstance(value, int | float):
        if abs(value) >= 2**53:
            raise _InDoubtError
    elif isinstance(value, dict):
        for key, inner in value.items():
            _check(key)
            _check(inner)
    elif isinstance(value, list):
        for inner in value:
            _check(inner)


# -- turns -----------------------------------------------------------------------------------

_APIS: Final = ("async", "auto", "blocking", "pipeline", "pipeline-oldest")
_IDS: Final = (None, "a", "b", "c")


def turns(data: bytes) -> None:
    one_by_one, in_batches = _Talk(data, batches=False), _Talk(data, batches=True)
    assert one_by_one.seen == in_batches.seen, f"{one_by_one.seen} is not {in_batches.seen}"


class _Talk:
    """A conversation as the bytes have it, its events routed one by one or in batches."""

    def __init__(self, data: bytes, *, batches: bool) -> None:
        self._batches = batches
        given = Bytes(data)
        self.router = make.router_for(_APIS[given.number(len(_APIS))])
        self._turns = [self.router.register("hello")]
        self._replies = {self._turns[0]: ReplyBuilder()}
        self._firm: set[Turn] = set()
        self._text: dict[Turn, str] = {}
        self._arrived: dict[int, Event] = {}
        self._owned: set[int] = set()
        self._events: list[Event] = []
        self.seen: list[object] = []
        while given:
            self._act(given, given.number(32))
        self._deliver()
        for turn, builder in self._replies.items():
            reply = builder.build()
            self.seen.append((reply, turn.events, turn.phase))
            if turn not in self._firm:
                assert self._text.get(turn, "") + builder.rest == reply.text

    def _act(self, given: Bytes, act: int) -> None:
        router, turn = self.router, self._turns[-1]
        if len(Input) <= act < 28:
            self._events.append(_event(given))
            if act % 2:
                self._deliver()
            return
        self._deliver()
        if act < len(Input):
            router.apply(turn, list(Input)[act])
        elif act == 28 and router.turn is None:
            self._turns.append(router.register("hello"))
            self._replies[self._turns[-1]] = ReplyBuilder()
        elif act == 29:
            router.lost()
            self._firm.add(turn)
            self._replies[turn].gap()
        elif act == 30:
            router.bind(turn, "a")
        elif act == 31:
            router.own(turn, _IDS[given.number(4)], None)
        assert (router.turn is self._turns[-1]) is not self._turns[-1].over

    def _deliver(self) -> None:
        """Route a batch, or each of its events."""
        events, self._events = self._events, []
        if self._batches:
            self._route(events)
        else:
            for event in events:
                self._route([event])

    def _route(self, events: list[Event]) -> None:
        mine = self.router.turn
        was = mine.phase if mine is not None else None
        route = self.router.route(events)
        self._arrived.update((id(event), event) for event in events)
        if route.turn is None:
            assert not route.events
            return
        assert route.turn is mine, "only the registered turn can be an owner"
        assert was not in (Phase.REGISTERED, Phase.ENDED)
        self._replies[route.turn].feed(route.events)
        for event in route.events:
            assert id(event) in self._arrived
            assert id(event) not in self._owned, "owned twice"
            self._owned.add(id(event))
            self.seen.append((event, self._turns.index(route.turn)))
            if isinstance(event, ev.ContentEvent) and event.parent_tool_call_id is None:
                self._text[route.turn] = self._text.get(route.turn, "") + event.content


def _event(given: Bytes) -> Event:
    first, second, third = (_IDS[given.number(4)] for _ in range(3))
    text = ("hello", "other", "ab", "")[given.number(4)]
    makers: tuple[Callable[[], Event], ...] = (
        lambda: make.says(text, first, second),
        lambda: make.says(text, first),
        lambda: make.thinks(text, first, second),
        lambda: make.asked(first or "u", text, second),
        lambda: make.done(first, text, second, is_done=third is not None),
        lambda: make.done(first, text),
        lambda: make.error(text, second),
        lambda: make.rate_limit(second),
        lambda: make.tool(first or "t", text, "completed" if third else "running"),
        lambda: make.begins(first or "t", second, third),
        lambda: make.piece(first or "t", text, second, third),
        lambda: make.old_piece(first or "t", text),
        lambda: make.whole(first or "t", text, second, third),
        lambda: make.runs(first or "t", second),
        lambda: make.ran(first or "t", second, success=third is None),
        lambda: make.permission(second),
        make.unknown,
        lambda: attrs.evolve(make.BUSY),  # another object each time: owners are found by identity
    )
    return makers[given.number(len(makers))]()


# -- stored rows -----------------------------------------------------------------------------


def stored(data: bytes) -> None:
    given = Bytes(data)
    text = ("hi", "ho")[given.number(2)]
    user_id = (None, None, "1")[given.number(3)]
    known = None if given.number(4) == 0 else {str(given.number(6)), str(given.number(6))}
    earlier = [
        PriorTurn(text=("hi", "ho")[given.number(2)], certain=bool(given.number(2)))
        for _ in range(given.number(4))
    ]
    rows: list[StoredRow] = []
    growth = -1
    while given:
        rows.append(
            StoredRow(
                id=str(len(rows)) + (" user" if given.number(8) == 7 else ""),
                role=("user", "assistant", "tool")[given.number(3)],
                text=("hi", "ho", "", "hi\nplan")[given.number(4)],
                finish=(None, "", "end_turn", "tool_use", "canceled")[given.number(5)],
                joined=given.number(8) == 7,
            )
        )
        found = judge(
            rows,
            user_message_id=user_id,
            matches=lambda stored: same_text(text, stored, plan_mode=False),
            known=known,
            earlier=earlier,
        )
        mine = [
            row for row in rows if row.role == "user" and same_text(text, row.text, plan_mode=False)
        ]
        if found.outcome is TurnOutcome.ABSENT:
            assert user_id is None, "an id that is not stored proves nothing"
            new = [row for row in mine if known is None or row.id not in known]
            own = sum(turn.certain and turn.matches(text) for turn in earlier)
            assert len(new) <= own, "called absent, though a row may be its own"
        if found.reply is not None:
            texts = [row.text for row in rows if row.role == "assistant"]
            assert all(piece in texts for piece in found.reply.texts)
            if user_id is not None:
                assert found.growth >= growth, "what is stored of a turn shrinks"
                growth = found.growth
        if found.outcome is TurnOutcome.FINISHED:
            assert found.reply is not None


TARGETS: Final[Mapping[str, Callable[[bytes], None]]] = {
    "decoder": decoder,
    "events": events,
    "turns": turns,
    "stored": stored,
}

DICTIONARY: Final[Mapping[str, tuple[str, ...]]] = {
    "decoder": (
        *("data:", "data: ", "event: ", "id: ", "retry: ", "\\x0a\\x0a", "\\x0d\\x0a", "\\x0d"),
        *("\\xef\\xbb\\xbf", "\\xe2\\x80\\xa8", "\\x00", ":", "30000"),
    ),
    "events": (
        *(f'\\"{_key(name, field.name)}\\":' for name, cls in EVENT_CLASSES.items()
          for field in attrs.fields(cls)),
        *("null", "true", "1e3", "1.5", "\\\\ud800", "{}", "[]", '\\"a\\"', "{", "}", ","),
    ),
    "turns": (),
    "stored": (),
}  # fmt: skip

_PREPARED: Final = (list(Input).index(Input.SENDING), list(Input).index(Input.ACCEPTED))

SEEDS: Final[Mapping[str, tuple[bytes, ...]]] = {
    "decoder": (
        b"\0\0\x03\x05id: 1\nevent: x\ndata: {}\nretry: 5\n\n",
        b"\x03\x01\x01\x01\xef\xbb\xbfdata: a\r\ndata\r\n\r\n: c\rid\r\r",
    ),
    "events": tuple(
        bytes([number, 1, 0])
        + json.dumps(
            {_key(name, field.name): "x" for field in attrs.fields(EVENT_CLASSES[name])}
            | {"done": True, "success": True, "createdAt": 1, "params": {}, "options": ["a"]}
        ).encode()
        for number, name in enumerate(sorted(EVENT_CLASSES))
    ),
    "turns": tuple(
        bytes(
            [
                api,
                *_PREPARED,
                *(each for text in (2, 0, 2, 1) for each in (10, 1, 0, 0, text, 0)),
                29,
            ]
        )
        for api in range(len(_APIS))
    ),
    "stored": (bytes([2, *range(40)]),),
}
