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
from typing import TYPE_CHECKING, Final

import attrs

from tests.support import event_makers as make
from tests.support.fuzz_bytes import Bytes
from tests.support.fuzz_events import events, wire_key
from tests.support.reference_decoder import split_lines
from trio_mix import events as ev
from trio_mix._turns._reply_builder import ReplyBuilder
from trio_mix._turns._stored_rows import StoredRow
from trio_mix._turns._stored_turn import PriorTurn, TurnOutcome, judge
from trio_mix._turns._turn import Input, Phase, Turn, same_text
from trio_mix._wire._events import EVENT_CLASSES
from trio_mix.errors import ProtocolError
from trio_mix.sse import SSEDecoder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from trio_mix.events import Event

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
        asked = route.asked and not (route.events or route.busy)  # of a busy stream's message
        assert was is not Phase.ENDED
        assert asked or was is not Phase.REGISTERED
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
        *(f'\\"{wire_key(name, field.name)}\\":' for name, cls in EVENT_CLASSES.items()
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
            {wire_key(name, field.name): "x" for field in attrs.fields(EVENT_CLASSES[name])}
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
