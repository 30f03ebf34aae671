"""The chunked framing is decoded the same in bulk and bit by bit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_mix._http._body import BodyError, ChunkedBody

sizes = st.sampled_from([b"%x", b"%X", b"00%x", b"%x ", b"%x;a=b", b"%x;a=1\t"])
contents = st.one_of(
    st.sampled_from([b"data: a\n\n", b"\r\n", b"a\r\nb", b"5\r\n", b"0\r\n\r\n", b"x" * 300]),
    st.binary(min_size=1, max_size=40),
)
cuts = st.lists(st.integers(0, 4000), max_size=20)


def whole(chunks: list[tuple[bytes, bytes]], ending: bytes) -> bytes:
    framed = (size % len(piece) + b"\r\n" + piece + b"\r\n" for size, piece in chunks)
    return b"".join(framed) + ending


def read(stream: bytes, at: list[int]) -> tuple[bytes, bool, bool, str]:
    body = ChunkedBody()
    marks = sorted({min(mark, len(stream)) for mark in at} | {0, len(stream)})
    came = b""
    try:
        for begin, end in zip(marks, [*marks[1:], len(stream)], strict=True):
            came += body.feed(stream[begin:end])
    except BodyError as error:
        return b"", False, False, str(error)
    return came, body.finished, body.excess, ""


@given(
    st.lists(st.tuples(sizes, contents), max_size=30),
    st.sampled_from([b"", b"0\r\n\r\n", b"0\r\nA: b\r\n\r\n", b"0\r\n\r\nmore", b"5\r\nab"]),
    cuts,
)
def test_chunks_are_decoded_the_same_however_the_stream_is_cut(
    chunks: list[tuple[bytes, bytes]], ending: bytes, at: list[int]
) -> None:
    stream = whole(chunks, ending)
    content = b"".join(piece for _, piece in chunks) + (b"ab" if ending == b"5\r\nab" else b"")
    wanted = (content, ending.startswith(b"0"), ending.endswith(b"more"), "")
    assert read(stream, []) == wanted
    assert read(stream, at) == wanted
    assert read(stream, list(range(len(stream)))) == wanted


@given(st.binary(max_size=60) | st.text("0123\r\n;a- ", max_size=60).map(str.encode), cuts)
def test_invalid_framing_has_the_same_result_however_it_is_cut(
    stream: bytes, at: list[int]
) -> None:
    bit_by_bit = read(stream, list(range(len(stream))))
    assert read(stream, []) == bit_by_bit
    assert read(stream, at) == bit_by_bit


def test_sizes_that_python_parses_and_http_forbids_are_errors() -> None:
    for size in [b"-1", b"+1", b"0x1", b"1_0", b" 1", b"", b"g", b"\xb2", b"1" * 17]:
        with pytest.raises(BodyError):
            ChunkedBody().feed(b"1\r\na\r\n" + size + b"\r\n" + b"a" * 16 + b"\r\n")


def test_the_cache_of_chunk_sizes_is_bounded() -> None:
    from trio_mix._http import _body

    body = ChunkedBody()
    for size in range(1, 6000):
        assert body.feed(b"%x\r\n%b\r\n" % (size, b"x" * size)) == b"x" * size
    assert len(_body._sizes) <= 4096


def test_lines_with_extensions_are_not_kept() -> None:
    from trio_mix._http import _body

    body = ChunkedBody()
    _body._sizes.clear()
    for number in range(200):
        line = b"1;%d=%b" % (number, b"x" * 10_000)
        assert body.feed(b"%b\r\na\r\n" % line) == b"a"
    assert sum(map(len, _body._sizes)) < 1000
