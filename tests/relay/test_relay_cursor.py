"""Ids, positions, gaps and the ring of newest events."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_mix.errors import UsageError
from trio_mix.relay._cursor import Ring, missed_after
from trio_mix.relay._ids import (
    EPOCH,
    IdSequence,
    before_first,
    epoch_of,
    parse_position,
    sequence_of,
)
from trio_mix.relay._records import Audience, LoggedEvent, encode_frame
from trio_mix.sse import SSEDecoder

# -- ids ---------------------------------------------------------------------------------------


def test_ids_count_within_an_epoch_and_rise_over_epochs() -> None:
    first, second = IdSequence(1), IdSequence(2)
    assert first.newest == before_first(1) == 1_000_000_000
    ids = [first.take(), first.take(), second.take()]
    assert ids == [1_000_000_001, 1_000_000_002, 2_000_000_001]
    assert [(epoch_of(each), sequence_of(each)) for each in ids] == [(1, 1), (1, 2), (2, 1)]


def test_an_epoch_ends_before_its_ids_reach_the_next_one() -> None:
    ids = IdSequence(7)
    ids.newest = 8 * EPOCH - 2
    assert ids.take() == 8 * EPOCH - 1
    with pytest.raises(UsageError, match="Epoch 7 has no event ids left"):
        ids.take()


@pytest.mark.parametrize("epoch", [0, -1, 10**10])
def test_an_epoch_outside_its_range_is_refused(epoch: int) -> None:
    with pytest.raises(UsageError, match="An epoch is between 1 and"):
        IdSequence(epoch)


def test_a_text_that_is_no_position_is_unknown() -> None:
    newest = 3 * EPOCH + 5
    for text in ("", "x", "-1", "+1000000001", "1e12", " 1000000001", "1_000_000_001", "٣" * 10):
        assert parse_position(text, newest) is None, text
    for text in ("1", "999999999", "9" * 19, "1" * 20, str(newest + 1), "0" * 10 + "1000000001"):
        assert parse_position(text, newest) is None, text
    for known in (EPOCH, EPOCH + 7, newest):
        assert parse_position(str(known), newest) == known


@given(st.text(max_size=25), st.integers(EPOCH, 2**63 - 1))
def test_a_position_is_never_outside_the_session(text: str, newest: int) -> None:
    position = parse_position(text, newest)
    assert position is None or EPOCH <= position <= newest


# -- frames ------------------------------------------------------------------------------------


@given(
    st.integers(EPOCH, 2**63 - 1),
    st.from_regex(r"[a-z_]{1,20}", fullmatch=True),
    st.text(max_size=50).filter(lambda text: "\r" not in text),
)
def test_a_frame_is_decoded_to_what_was_encoded(event_id: int, event: str, data: str) -> None:
    [decoded] = SSEDecoder().feed(encode_frame(event_id, event, data))
    assert (decoded.id, decoded.event) == (str(event_id), event)
    assert decoded.data == data.encode("utf-8", "replace").decode()


# -- the ring ----------------------------------------------------------------------------------


def events_of(ids: IdSequence, sizes: list[int]) -> list[LoggedEvent]:
    made = []
    for size in sizes:
        event_id = ids.take()
        audience = Audience(size % 3)
        name = "rate_limit_error" if audience is Audience.RATE_LIMIT else "content"
        made.append(LoggedEvent(event_id, audience, encode_frame(event_id, name, "x" * size)))
    return made


batches = st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=6), max_size=25)


@given(
    batches,
    st.integers(1, 20),
    st.integers(1, 3000),
    st.integers(1, 1500),
    st.booleans(),
    st.booleans(),
    st.data(),
)
def test_a_reader_of_the_ring_gets_every_event_once_and_in_order(
    sizes: list[list[int]],
    kept: int,
    kept_bytes: int,
    limit: int,
    relay: bool,
    pipeline: bool,
    data: st.DataObject,
) -> None:
    ids = IdSequence(2)
    ring = Ring(before_first(1) + 9, size=kept, max_bytes=kept_bytes, pipeline=pipeline)
    stored: list[LoggedEvent] = []
    positions = [ring.newest]
    for batch in sizes:
        made = events_of(ids, batch)
        ring.append(made)
        stored += made
        positions += [event.id for event in made]
        # The newest batch stays; beside it both limits hold.
        assert len(ring) <= max(kept, len(made))
    position = data.draw(st.sampled_from(positions))
    if position < ring.oldest:
        assert ring.read(position, relay=relay) is None
        position = ring.oldest
    expected = b"".join(
        event.shown(relay=relay, pipeline=pipeline) for event in stored if event.id > position
    )
    got = b""
    while position < ring.newest:
        chunk = ring.read(position, relay=relay, limit=limit)
        assert chunk is not None
        assert chunk.position > position
        covered = [event for event in stored if position < event.id <= chunk.position]
        assert len(covered) == 1 or sum(len(event.frame) for event in covered) <= limit
        got += chunk.data
        position = chunk.position
    assert got == expected
    at_the_end = ring.read(position, relay=relay)
    assert at_the_end is not None
    assert (at_the_end.data, at_the_end.position) == (b"", position)


def test_consumers_at_the_newest_batch_share_its_bytes() -> None:
    ids = IdSequence(1)
    ring = Ring(ids.newest)
    ring.append(events_of(ids, [1, 3, 5]))
    before = ring.newest
    ring.append(events_of(ids, [3, 3, 3]))
    first, second = ring.read(before, relay=False), ring.read(before, relay=False)
    assert first is not None
    assert second is not None
    assert first.data is second.data


def test_a_plain_client_gets_a_rate_limit_as_the_error_that_ends_its_turn() -> None:
    event = LoggedEvent(
        EPOCH + 1, Audience.RATE_LIMIT, encode_frame(EPOCH + 1, "rate_limit_error", '{"error":"x"}')
    )
    assert event.shown(relay=True, pipeline=True) == event.frame
    assert event.shown(relay=False, pipeline=False) == b""
    [decoded] = SSEDecoder().feed(event.shown(relay=False, pipeline=True))
    assert (decoded.event, decoded.data, decoded.id) == ("error", '{"error":"x"}', str(EPOCH + 1))


# -- gaps --------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.integers(1, 9), st.integers(0, 9)), max_size=6), st.data())
def test_a_gap_has_the_number_of_deleted_events_after_a_position(
    epochs: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Each epoch has some events; the oldest ones of all are deleted."""
    ids = [
        epoch * EPOCH + sequence
        for epoch, (count, _) in enumerate(epochs, 1)
        for sequence in range(1, count + 1)
    ]
    cut = data.draw(st.integers(0, len(ids)))
    deleted: dict[int, int] = {}
    for gone in ids[:cut]:
        deleted[epoch_of(gone)] = sequence_of(gone)
    position = data.draw(st.sampled_from([EPOCH, *ids]))
    missed = sum(gone > position for gone in ids[:cut])
    gap = missed_after(position, deleted)
    assert (0 if gap is None else gap.missed) == missed


def test_a_gap_from_an_epoch_that_is_not_counted_any_more_has_no_number() -> None:
    gap = missed_after(3 * EPOCH + 1, {4: 10}, forgotten=3)
    assert gap is not None
    assert gap.missed is None
    gap = missed_after(4 * EPOCH + 4, {4: 10}, forgotten=3)
    assert gap is not None
    assert gap.missed == 6
