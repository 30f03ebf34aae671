"""The lines of a byte stream, however it is cut."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from trio_mix.cli.acp._lines import LineSplitter, LineTooLong

LINES = st.lists(st.binary(max_size=30).map(lambda line: line.replace(b"\n", b"")), max_size=8)


@given(LINES, st.lists(st.integers(0, 300), max_size=10))
def test_lines_do_not_depend_on_how_the_bytes_are_cut(lines: list[bytes], cuts: list[int]) -> None:
    data = b"".join(line + b"\n" for line in lines) + b"rest"
    bounds = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    splitter = LineSplitter()
    pieces = [data[start:end] for start, end in itertools.pairwise(bounds)]
    found = [line for piece in pieces for line in splitter.feed(piece)]
    assert found == [line.removesuffix(b"\r") for line in lines]


def test_a_long_line_is_dropped_to_its_end_and_the_next_one_is_read() -> None:
    splitter = LineSplitter(limit=10)
    found = [
        line for piece in [b"12345", b"67890", b"1\nshort", b"\n"] for line in splitter.feed(piece)
    ]
    assert isinstance(found[0], LineTooLong)
    assert found[1:] == [b"short"]
    assert not splitter._pieces
