"""Properties of the decoder: cuts make no difference, the reference agrees, work is linear."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.reference_decoder import decode as reference
from trio_mix.errors import ProtocolError
from trio_mix.sse import SSEDecoder

Triple = tuple[str, str, str]

# Lines and pieces that the rules are about, so that random streams are worth decoding.
LINES = [
    *(b"", b"", b"", b"", b"data: a", b"data", b"data:  b", b"id: 1", b"id: 2", b"id", b"id: x\0"),
    *(b"event: e", b"event:", b"retry: 5", b"retry: 30000", b"retry: x", b": comment", b":"),
    *("data: ü日🚲\u2028\x85".encode(), b"data: \xff\xe6\x97", b"Data: a", b"foo", b"\xef\xbb\xbf"),
]
WHOLE = [
    b"data: a\n\n",
    b"id: 1\ndata: b\n\n",
    b"id: 2\nevent: c\ndata: {}\nretry: 30000\n\n",
    b"event: d\ndata: {}\n\n",
]
ends = st.sampled_from([b"\n", b"\n", b"\n", b"\r\n", b"\r"])
lines = st.builds(bytes.__add__, st.sampled_from(LINES), ends)
streams = st.one_of(
    st.lists(st.one_of(lines, st.sampled_from(WHOLE)), max_size=30).map(b"".join),
    st.lists(st.one_of(lines, st.sampled_from(LINES), ends), max_size=30).map(b"".join),
    st.binary(max_size=200),
)
cuts = st.lists(st.integers(0, 300), max_size=30)


def pieces(stream: bytes, at: list[int]) -> list[bytes]:
    marks = sorted({min(mark, len(stream)) for mark in at} | {0, len(stream)})
    return [stream[a:b] for a, b in zip(marks, [*marks[1:], len(stream)], strict=True)]


def fast(chunks: list[bytes], last_event_id: str = "") -> tuple[list[Triple], str, float | None]:
    decoder = SSEDecoder(last_event_id=last_event_id)
    events = [(e.id, e.event, e.data) for chunk in chunks for e in decoder.feed(chunk)]
    return events, decoder.last_event_id, decoder.retry


@given(streams, cuts, st.sampled_from(["", "old"]))
@settings(max_examples=400)
@example(b"data: a\n\n\n\ndata: b\n\n", [8], "")
@example(b"id: 1\ndata: a\n\ndata: b\ndata: c\n\n", [24], "")
@example(b"event: e\n\ndata: a\ndata: b\n\n", [12], "")
@example(b"\xef\xbb\xbf\r\ndata: a\r\n\r\n", [3, 4], "")
def test_any_split_decodes_as_the_reference_decodes_the_whole(
    stream: bytes, at: list[int], last_event_id: str
) -> None:
    expected = reference(stream, last_event_id)
    wanted = (expected.events, expected.last_event_id, expected.retry)
    assert fast([stream], last_event_id) == wanted
    assert fast(pieces(stream, at), last_event_id) == wanted
    assert fast([stream[i : i + 1] for i in range(len(stream))], last_event_id) == wanted


def outcome(chunks: list[bytes], limit: int) -> tuple[list[Triple], str]:
    decoder = SSEDecoder(max_event_size=limit)
    events: list[Triple] = []
    try:
        for chunk in chunks:
            events += [(e.id, e.event, e.data) for e in decoder.feed(chunk)]
    except ProtocolError as error:
        events += [(e.id, e.event, e.data) for e in decoder.undelivered]
        return events, str(error)
    return events, ""


@settings(max_examples=400)
@given(streams, cuts, st.integers(1, 40) | st.integers(1, 400))
def test_limits_fail_at_the_same_event_however_the_stream_is_cut(
    stream: bytes, at: list[int], limit: int
) -> None:
    whole = outcome([stream], limit)
    assert outcome(pieces(stream, at), limit) == whole
    assert outcome([stream[i : i + 1] for i in range(len(stream))], limit) == whole
