"""The decoder against the rules of the HTML standard; the numbers are those of its module."""

from __future__ import annotations

import pytest

from trio_mix.errors import ConfigurationError, ProtocolError
from trio_mix.sse import ServerSentEvent, SSEDecoder

Triple = tuple[str, str, str]


def parts(events: list[ServerSentEvent]) -> list[Triple]:
    return [(e.id, e.event, e.data) for e in events]


def decode(*chunks: bytes, last_event_id: str = "") -> list[Triple]:
    decoder = SSEDecoder(last_event_id=last_event_id)
    return [part for chunk in chunks for part in parts(decoder.feed(chunk))]


def data_of(*chunks: bytes) -> list[str]:
    return [data for _, _, data in decode(*chunks)]


# Rule 1: line ends


def test_each_of_the_three_line_ends_ends_a_line() -> None:
    for end in (b"\n", b"\r", b"\r\n"):
        stream = b"id: 7|event: x|data: y|data: z||".replace(b"|", end)
        assert decode(stream) == [("7", "x", "y\nz")]
        assert decode(*(stream[i : i + 1] for i in range(len(stream)))) == [("7", "x", "y\nz")]


def test_line_ends_may_be_mixed() -> None:
    assert data_of(b"data: a\rdata: b\r\ndata: c\n\rdata: d\n\n") == ["a\nb\nc", "d"]


def test_cr_counts_at_once_without_waiting_for_the_next_chunk() -> None:
    assert data_of(b"data: a\r\r") == ["a"]


def test_lf_after_a_cr_is_swallowed_in_a_later_chunk_too() -> None:
    decoder = SSEDecoder()
    assert parts(decoder.feed(b"data: a\r")) == []
    assert parts(decoder.feed(b"")) == []
    assert parts(decoder.feed(b"\n")) == []
    assert parts(decoder.feed(b"data: b\r\n\r")) == [("", "message", "a\nb")]
    assert parts(decoder.feed(b"\ndata: c\n\n")) == [("", "message", "c")]


def test_only_one_lf_is_swallowed_after_a_cr() -> None:
    assert data_of(b"data: a\r", b"\n\n") == ["a"]
    assert data_of(b"data: a\r", b"\n", b"\n") == ["a"]


def test_nothing_else_ends_a_line() -> None:
    for character in "\x0b\x0c\x1c\x1e\x85\u2028\u2029":
        assert data_of(f"data: a{character}data: b\n\n".encode()) == [f"a{character}data: b"]


# Rule 2: byte order mark


def test_one_bom_at_the_start_is_dropped_even_when_split() -> None:
    stream = b"\xef\xbb\xbfdata: a\n\n"
    for cut in range(4):
        assert data_of(stream[:cut], stream[cut:]) == ["a"]
    assert data_of(*(stream[i : i + 1] for i in range(len(stream)))) == ["a"]


def test_a_second_bom_is_data() -> None:
    assert data_of(b"\xef\xbb\xbf\xef\xbb\xbfdata: a\n\ndata: b\n\n") == ["b"]
    assert data_of(b"data: \xef\xbb\xbfa\n\n") == ["\ufeffa"]


def test_a_beginning_that_only_resembles_a_bom_is_kept() -> None:
    assert data_of(b"\xef\xbb", b"\ndata: a\n\n") == ["a"]


# Rule 3: UTF-8


def test_characters_split_over_chunks_are_joined() -> None:
    stream = "data: Zürich 日本 🚲\n\n".encode()
    assert data_of(*(stream[i : i + 1] for i in range(len(stream)))) == ["Zürich 日本 🚲"]


def test_invalid_utf_8_becomes_the_replacement_character() -> None:
    assert data_of(b"data: a\xffb\xe6\x97\n\n") == ["a\ufffdb\ufffd"]
    assert data_of(b"data: \xed\xa0\x80\n\n") == ["\ufffd" * 3]


# Rule 4: lines


def test_only_one_leading_space_is_dropped() -> None:
    assert data_of(b"data:a\n\ndata: a\n\ndata:  a\n\ndata:\ta\n\n") == ["a", "a", " a", "\ta"]


def test_the_first_colon_divides_name_and_value() -> None:
    assert data_of(b"data: a: b:c\n\n") == ["a: b:c"]


def test_a_line_without_colon_is_a_name_with_an_empty_value() -> None:
    assert data_of(b"data\n\ndata\ndata\n\ndata:\n\n") == ["", "\n", ""]


def test_comments_are_ignored_wherever_they_stand() -> None:
    assert data_of(b": hello\n\n:\ndata: a\n:data: b\ndata: c\n\n") == ["a\nc"]


# Rule 5: fields


def test_field_names_are_case_sensitive_and_others_are_ignored() -> None:
    assert decode(b"Data: a\nDATA: b\n data: c\ndata : d\nfoo: e\ndata: f\n\n") == [
        ("", "message", "f")
    ]


def test_the_last_event_name_wins() -> None:
    assert decode(b"event: a\nevent: b\ndata: c\n\n") == [("", "b", "c")]


def test_an_id_with_nul_is_ignored() -> None:
    assert decode(b"id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n") == [
        ("1", "message", "a"),
        ("1", "message", "b"),
    ]


def test_an_empty_id_resets_it() -> None:
    assert decode(b"id: 1\ndata: a\n\nid:\ndata: b\n\nid: 2\ndata: c\n\nid\ndata: d\n\n") == [
        ("1", "message", "a"),
        ("", "message", "b"),
        ("2", "message", "c"),
        ("", "message", "d"),
    ]


RETRIES = [
    (b"1500", 1.5),
    (b"0", 0.0),
    (b"007", 0.007),
    (b"9" * 5000, float("inf")),
    (b"", None),
    (b"1.5", None),
    (b"-1", None),
    (b"+1", None),
    (b"1_0", None),
    (b"10 ", None),
    (" \N{ARABIC-INDIC DIGIT ONE}".encode(), None),
    ("\N{SUPERSCRIPT TWO}".encode(), None),
]


def test_retry_counts_only_when_it_is_ascii_digits() -> None:
    for frame in (b"retry: %b\n", b"id: 1\ndata: a\nretry: %b\n\n"):
        for value, seconds in RETRIES:
            decoder = SSEDecoder()
            decoder.feed(frame % value)
            assert decoder.retry == seconds, value


def test_retry_counts_at_once_and_the_last_one_wins() -> None:
    decoder = SSEDecoder()
    decoder.feed(b"data: a\nretry: 1000\n\ndata: b\nretry: 2000\n\nretry: 3000\n")
    assert decoder.retry == 3.0
    decoder.feed(b"\ndata: c\nretry: 2000\n\n")
    assert decoder.retry == 2.0


# Rule 6: blank lines


def test_the_id_persists_over_events() -> None:
    assert decode(b"id: 1\ndata: a\n\ndata: b\n\n") == [
        ("1", "message", "a"),
        ("1", "message", "b"),
    ]


def test_the_id_of_a_block_without_data_counts_and_nothing_is_dispatched() -> None:
    decoder = SSEDecoder()
    assert decoder.feed(b"id: 5\nevent: x\n\n") == []
    assert decoder.last_event_id == "5"
    assert parts(decoder.feed(b"data: a\n\n")) == [("5", "message", "a")]


def test_an_empty_event_name_means_message() -> None:
    assert decode(b"event:\ndata: a\n\nevent\ndata: b\n\nevent: \ndata: c\n\n") == [
        ("", "message", "a"),
        ("", "message", "b"),
        ("", "message", "c"),
    ]


def test_the_name_does_not_outlive_a_block_without_data() -> None:
    assert decode(b"event: x\n\ndata: a\n\n") == [("", "message", "a")]


def test_blank_lines_in_a_row_dispatch_nothing() -> None:
    assert decode(b"\n\n\ndata: a\n\n\n\n\ndata: b\n\n") == [
        ("", "message", "a"),
        ("", "message", "b"),
    ]


def test_an_inherited_id_is_that_of_events_until_the_stream_sets_one() -> None:
    assert decode(b"data: a\n\nid: 1\ndata: b\n\n", last_event_id="0") == [
        ("0", "message", "a"),
        ("1", "message", "b"),
    ]


# Rule 7: the unfinished end


def test_what_follows_the_last_blank_line_is_not_dispatched_and_its_id_does_not_count() -> None:
    decoder = SSEDecoder()
    assert parts(decoder.feed(b"id: 1\ndata: a\n\nid: 2\ndata: b\n")) == [("1", "message", "a")]
    assert decoder.last_event_id == "1"


# Rule 9: limits


def feed_in_steps(decoder: SSEDecoder, stream: bytes, step: int) -> None:
    for start in range(0, len(stream), step):
        decoder.feed(stream[start : start + step])


def test_a_line_over_the_limit_is_an_error_before_it_ends() -> None:
    for line in (b"data: %b", b": %b", b"id: %b", b"%b"):
        for step in (1, 7, 10_000):
            with pytest.raises(ProtocolError, match="max_event_size=100 bytes"):
                feed_in_steps(SSEDecoder(max_event_size=100), line % (b"x" * 200), step)


def test_a_line_of_exactly_the_limit_is_accepted() -> None:
    line = b"data: " + b"x" * 94
    assert len(SSEDecoder(max_event_size=100).feed(line + b"\n\n")) == 1
    with pytest.raises(ProtocolError):
        SSEDecoder(max_event_size=99).feed(line + b"\n\n")


def test_the_data_of_an_event_over_the_limit_is_an_error() -> None:
    stream = b"data: 123456789\n" * 10 + b"\n"  # ten lines of nine, joined by nine LF: 99
    assert len(SSEDecoder(max_event_size=99).feed(stream)) == 1
    for step in (1, 7, 10_000):
        with pytest.raises(ProtocolError, match="max_event_size=98 bytes"):
            feed_in_steps(SSEDecoder(max_event_size=98), stream, step)


def test_data_is_counted_in_bytes_as_decoded() -> None:
    stream = b"data:" + b"\xff" * 20 + b"\n\n"  # 60 bytes of U+FFFD
    assert len(SSEDecoder(max_event_size=60).feed(stream)) == 1
    with pytest.raises(ProtocolError):
        SSEDecoder(max_event_size=59).feed(stream)


def test_comments_without_end_do_not_add_up() -> None:
    decoder = SSEDecoder(max_event_size=100)
    for _ in range(1000):
        assert decoder.feed(b": keep-alive\nfoo: bar\n") == []


def test_events_ahead_of_a_fault_are_kept_and_the_decoder_is_unusable_after_it() -> None:
    decoder = SSEDecoder(max_event_size=100)
    with pytest.raises(ProtocolError, match="Raise max_event_size"):
        decoder.feed(b"data: a\n\n" + b"data: " + b"x" * 100 + b"\n\ndata: b\n\n")
    assert parts(decoder.undelivered) == [("", "message", "a")]
    for _ in range(2):
        with pytest.raises(ProtocolError, match=r"unusable.*max_event_size=100"):
            decoder.feed(b"data: c\n\n")


def test_a_limit_that_lets_nothing_through_is_refused() -> None:
    for size in (0, -1):
        with pytest.raises(ConfigurationError, match="max_event_size"):
            SSEDecoder(max_event_size=size)
