"""The decoder's work grows with the number of bytes, not with the number of cuts (rule 8).

Work is counted, not timed: bytes that report each search, slice and concatenation, and the text
that is passed to each of the decoder's stages. A join is counted by the text that it becomes.
"""

from __future__ import annotations

from typing import Any

import pytest

from trio_mix.sse import SSEDecoder


class Metered(bytes):
    """Bytes that add to a common counter whatever is done to them."""

    work = 0

    def _spend(self, size: int) -> None:
        Metered.work += size

    def __add__(self, other: Any) -> Metered:
        self._spend(len(self) + len(other))
        return Metered(bytes(self) + bytes(other))

    def __radd__(self, other: Any) -> Metered:
        self._spend(len(self) + len(other))
        return Metered(bytes(other) + bytes(self))

    def __getitem__(self, key: Any) -> Any:
        result = super().__getitem__(key)
        if isinstance(result, int):
            return result
        self._spend(len(result))
        return Metered(result)

    def __contains__(self, item: Any) -> bool:
        self._spend(len(self))
        return super().__contains__(item)

    def rfind(self, *args: Any) -> int:
        self._spend(len(self))
        return super().rfind(*args)

    def find(self, *args: Any) -> int:
        self._spend(len(self))
        return super().find(*args)

    def replace(self, *args: Any) -> Metered:
        self._spend(len(self))
        return Metered(super().replace(*args))

    def removeprefix(self, prefix: Any) -> Metered:
        return Metered(super().removeprefix(prefix))


def count(stream: bytes, step: int, monkeypatch: pytest.MonkeyPatch) -> int:
    def metered(stage: Any) -> Any:
        def wrapper(self: SSEDecoder, text: Any, *rest: Any) -> Any:
            Metered.work += len(text)
            return stage(self, text, *rest)

        return wrapper

    with monkeypatch.context() as patch:
        for name in ("_decode", "_decode_checked", "_decode_lines", "_decode_frames"):
            patch.setattr(SSEDecoder, name, metered(getattr(SSEDecoder, name)))
        decoder = SSEDecoder()
        Metered.work = 0
        for start in range(0, len(stream), step):
            decoder.feed(Metered(stream[start : start + step]))
    return Metered.work


SIZE = 2**17
STREAMS = {
    "one long line": b"data: " + b"x" * SIZE + b"\n\n",
    "one long line that never ends": b"data: " + b"x" * SIZE,
    "one event of many lines": b"data: xxxxxxxxx\n" * (SIZE // 16) + b"\n",
    "one event of empty lines": b"data\n" * (SIZE // 5) + b"\n",
    "many small frames": b"id: 1\nevent: e\ndata: xxxxxxxx\n\n" * (SIZE // 32),
    "frames in another order": b"data: xxxxxxxx\nevent: e\nid: 1\n\n" * (SIZE // 32),
    "line ends only": b"\n" * SIZE,
    "carriage returns only": b"\r" * SIZE,
    "CRLF": b"data: xxxxxx\r\n\r\n" * (SIZE // 16),
    "comments": b": xxxxx\n" * (SIZE // 8),
}


@pytest.mark.parametrize("step", [1, 7, 1024, SIZE * 2])
def test_no_byte_is_handled_more_than_a_fixed_number_of_times(
    step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, stream in STREAMS.items():
        assert count(stream, step, monkeypatch) <= 8 * len(stream), name


def test_the_meter_would_notice_a_buffer_that_is_searched_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def feed(self: SSEDecoder, data: bytes) -> list[Any]:
        buffers[0] = buffers[0] + data
        assert b"\n\n" not in buffers[0][:-1]
        return []

    buffers = [b""]
    monkeypatch.setattr(SSEDecoder, "feed", feed)
    stream = STREAMS["one long line"]
    assert count(stream, 1024, monkeypatch) > 30 * len(stream)
