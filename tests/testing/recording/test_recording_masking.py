"""Secrets do not get into a recording, whatever form they come in."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_mix.testing.recording._masking import MASK, Masker

KEY = "Xk9-verysecret.value"


@pytest.mark.parametrize(
    "line",
    [
        f'{{"api_key":"{KEY}","provider":"anthropic"}}',
        f'{{"apiKey": "{KEY}"}}',
        f'{{"deep":[{{"refresh_token":"{KEY}"}}]}}',
        f'data: {{"cdpUrl":"ws://{KEY}"}}',
        json.dumps({"content": json.dumps({"text": "hi", "password": KEY})}),
        json.dumps({"a": json.dumps({"b": json.dumps({"client_secret": KEY})})}),
        f"/api/v1/tunnel?token={KEY}&x=1",
        f"grant_type=x&client_secret={KEY}",
        f"curl -H 'Authorization: Bearer {KEY}'",
        "sk-ant-api03-abcdefghijklmnop",
        "ghp_abcdefghijklmnopqrstuvwxyz012345",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    ],
)
def test_what_is_named_or_looks_like_a_secret_is_masked(line: str) -> None:
    masked = Masker().text(line)
    assert MASK in masked
    for secret in (KEY, "abcdefghijkl", "eyJ"):
        assert secret not in masked
    if line.startswith("{"):
        json.loads(masked)


@pytest.mark.parametrize(
    "line",
    [
        '{"maxTokens":4096,"promptTokens":12}',
        '{"text":"my token is what I say it is","tokenizer":"bpe"}',
        '{"code":"not_found","state":"idle"}',
        "GET /stream?sessionId=session-1",
        '{"secret":""}',
        "event: content",
    ],
)
def test_what_is_no_secret_stays(line: str) -> None:
    assert Masker().text(line) == line


def test_an_escaped_quote_does_not_end_a_secret() -> None:
    for value in ('ab"cdefghij', "ab\\", 'x\\"y"z' * 3):
        for text in (json.dumps({"token": value}), json.dumps(json.dumps({"token": value}))):
            masked = Masker().text(text)
            once = json.loads(masked)
            inner = once if isinstance(once, dict) else json.loads(once)
            assert inner == {"token": MASK}, (text, masked)


def test_a_login_has_more_names_that_mean_secrets() -> None:
    line = f'{{"code":"{KEY}","state":"{KEY}2"}}'
    assert Masker().text(line, login=True) == '{"code":"***","state":"***"}'


def test_a_secret_that_was_met_is_masked_wherever_it_comes_again() -> None:
    masker = Masker()
    assert masker.headers({"x-auth-token": f"Bearer {KEY}"}) == {"x-auth-token": MASK}
    assert masker.text(f'{{"error":"bad key {KEY}"}}') == '{"error":"bad key ***"}'
    masker.headers({"cookie": "a=1; sid=sesame-open-up; b=c"})
    assert masker.text("who is sesame-open-up?") == "who is ***?"
    masker.text('{"password":"with / and \\"quotes\\""}')
    assert "quotes" not in masker.text('it said: with / and \\"quotes\\"')


def test_only_harmless_headers_keep_their_values() -> None:
    headers = {"content-type": "text/plain", "x-anything": "at-all-secret", "retry-after": "3"}
    masked = {"content-type": "text/plain", "x-anything": MASK, "retry-after": "3"}
    assert Masker().headers(headers) == masked


def test_secrets_that_the_caller_knows_are_masked_even_if_short() -> None:
    assert Masker(["me", ""]).text("some message") == f"so{MASK} {MASK}ssage"


def test_a_function_of_the_callers_comes_last() -> None:
    masker = Masker(["acme"], lambda line: line.replace("***", "<hidden>").replace("Bob", "Eve"))
    assert masker.text("Bob of acme") == "Eve of <hidden>"


def test_a_secret_over_several_pieces_goes_whole_and_comes_with_its_last_piece() -> None:
    pieces = [b'a\ndata: {"to', b'ken":"sec', b'ret"}\nrest', b" of it\n"]
    kept = Masker().pieces(pieces)
    assert kept == [b"a\n", b"", b'data: {"token":"***"}\nrest', b" of it\n"]


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8))
def test_without_secrets_pieces_stay_byte_for_byte(data: bytes, cuts: list[int]) -> None:
    marks = sorted({0, len(data), *(cut for cut in cuts if cut <= len(data))})
    pieces = [data[a:b] for a, b in pairwise(marks)] or [b""]
    whole = data.decode("utf-8", "surrogateescape")
    if MASK not in Masker().text(whole):
        assert Masker().pieces(pieces) == pieces


@given(st.lists(st.integers(1, 90), max_size=12))
def test_wherever_the_pieces_are_cut_the_secret_is_gone(cuts: list[int]) -> None:
    data = f'event: x\ndata: {{"api_key":"{KEY}"}}\n\nevent: y\ndata: {{"n":1}}\n\n'.encode()
    marks = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    kept = Masker().pieces([data[a:b] for a, b in pairwise(marks)])
    assert b"".join(kept) == data.replace(KEY.encode(), b"***")
