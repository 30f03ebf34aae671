"""The fuzzer's targets hold on what was found, on random input, and fail where they should.

``python tests/fuzz all --seconds 60`` is the fuzzer itself, which finds more, on Linux.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support import fuzz_events, fuzz_targets
from tests.support.fuzz_targets import SEEDS, TARGETS
from trio_mix._turns._reply_builder import ReplyBuilder
from trio_mix._turns._stored_turn import TurnOutcome, Verdict
from trio_mix._wire._events import decode_event
from trio_mix.sse import SSEDecoder

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix.events import Event
    from trio_mix.sse import ServerSentEvent

_EXAMPLES = int(os.environ.get("TRIO_MIX_EXAMPLES", "150"))
_RUNNER = Path(__file__).parent

FOUND: list[tuple[str, bytes]] = [
    # What may yet become a byte order mark is no line, however small the limit on lines.
    ("decoder", b"\x01\x00\x01\x01\xef\xbb"),
    ("decoder", b"\x01\x00\x01\x01\xef\xbb\xbf\xef\xbb"),
    # A delta that ends an answered turn does not own the fragments after it.
    ("turns", b"%\x00\x00\x05\x02<)<<<\xba\x00\x19\x00\x00\x00\x00"),
]
"""Inputs that once made a target fail, and what they were about."""


@pytest.mark.parametrize(("target", "data"), FOUND)
def test_what_once_failed_holds(target: str, data: bytes) -> None:
    TARGETS[target](data)


@pytest.mark.parametrize("target", TARGETS)
@given(data=st.binary(max_size=200))
@settings(max_examples=_EXAMPLES, deadline=None)
def test_targets_hold_whatever_the_bytes(target: str, data: bytes) -> None:
    TARGETS[target](data)


@pytest.mark.parametrize("target", TARGETS)
def test_the_inputs_to_begin_with_hold(target: str) -> None:
    for seed in SEEDS[target]:
        TARGETS[target](seed)


def test_the_inputs_to_begin_with_are_events_of_their_classes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: set[type] = set()

    def note(frame: ServerSentEvent) -> Event:
        seen.add(type(event := decode_event(frame)))
        return event

    monkeypatch.setattr(fuzz_events, "decode_event", note)
    for seed in SEEDS["events"]:
        TARGETS["events"](seed)
    assert len(seen) >= 15


# -- a target that cannot fail would be a defect ---------------------------------------------


def _loses_a_line_end(patch: pytest.MonkeyPatch) -> None:
    feed = SSEDecoder.feed
    patch.setattr(SSEDecoder, "feed", lambda self, data: feed(self, data.replace(b"\r", b"\n")))


def _forgets_the_limit(patch: pytest.MonkeyPatch) -> None:
    def make(last_event_id: str, **_: object) -> SSEDecoder:
        return SSEDecoder(last_event_id=last_event_id)

    patch.setattr(fuzz_targets, "SSEDecoder", make)


def _changed(old: str, new: str) -> Callable[[pytest.MonkeyPatch], None]:
    def change(patch: pytest.MonkeyPatch) -> None:
        def decode_wrongly(frame: ServerSentEvent) -> Event:
            return decode_event(attrs.evolve(frame, data=frame.data.replace(old, new)))

        patch.setattr(fuzz_events, "decode_event", decode_wrongly)

    return change


def _feeds_twice(patch: pytest.MonkeyPatch) -> None:
    feed = ReplyBuilder.feed

    def twice(self: Any, events: list[Event]) -> None:
        feed(self, [event for event in events for _ in range(2)])

    patch.setattr(ReplyBuilder, "feed", twice)


def _loses_the_end_of_batches(patch: pytest.MonkeyPatch) -> None:
    feed = ReplyBuilder.feed
    patch.setattr(ReplyBuilder, "feed", lambda self, events: feed(self, events[:1]))


def _calls_all_absent(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(fuzz_targets, "judge", lambda *_, **__: Verdict(outcome=TurnOutcome.ABSENT))


@pytest.mark.parametrize(
    ("target", "spoil"),
    [
        ("decoder", _loses_a_line_end),
        ("decoder", _forgets_the_limit),
        ("events", _changed("1.0", "2")),
        ("events", _changed("null", "7")),
        ("events", _changed("1.5", "1")),
        ("events", _changed('"type"', '"kind"')),
        ("turns", _feeds_twice),
        ("turns", _loses_the_end_of_batches),
        ("stored", _calls_all_absent),
    ],
)
def test_a_target_sees_what_is_wrong(
    target: str, spoil: Callable[[pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    spoil(monkeypatch)
    rng = random.Random(1)
    pieces = (b"data: a", b"\n", b"\r", b"id: 1", b"\n\n", b"data")
    inputs = [*SEEDS[target]]
    for _ in range(3000):
        inputs.append(rng.randbytes(rng.randrange(80)))
        inputs.append(rng.randbytes(4) + b"".join(rng.choices(pieces, k=8)))
    with pytest.raises(AssertionError):
        for data in inputs:
            TARGETS[target](data)


def test_the_runner_replays_a_file_and_knows_every_target(tmp_path: Path) -> None:
    (tmp_path / "input").write_bytes(b"\0\0\0\0data: a\n\n")
    for target in TARGETS:
        command = [sys.executable, str(_RUNNER), target, "--replay", str(tmp_path / "input")]
        subprocess.run(command, check=True, timeout=60)  # noqa: S603 - our own
