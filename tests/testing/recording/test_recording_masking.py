"""Masking the secrets of a recording."""

from __future__ import annotations

import json
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from trio_mix._redact import MASK
from trio_mix.testing.recording._masking import Masker

KEY = "Xk9-verysecret.value"


SECRETS = [
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
]
HARMLESS = [
    '{"maxTokens":4096,"promptTokens":12}',
    '{"text":"my token is what I say it is","tokenizer":"bpe"}',
    '{"code":"not_found","state":"idle"}',
    "GET /stream?sessionId=session-1",
    '{"secret":""}',
    "event: content",
]


def test_named_and_recognizable_secrets_are_masked() -> None:
    for line in SECRETS:
        masked = Masker().text(line)
        assert MASK in masked, line
        assert not any(secret in masked for secret in (KEY, "abcdefghijkl", "eyJ")), line
        if line.startswith("{"):
            json.loads(masked)


def test_text_without_secrets_is_unchanged() -> None:
    assert [line for line in HARMLESS if Masker().text(line) != line] == []


def test_an_escaped_quote_does_not_end_a_secret() -> None:
    for value in ('ab"cdefghij', "ab\\", 'x\\"y"z' * 3):
        for text in (json.dumps({"token": value}), json.dumps(json.dumps({"token": value}))):
            masked = Masker().text(text)
            once = json.loads(masked)
            inner = once if isinstance(once, dict) else json.loads(once)
            assert inner == {"token": MASK}, (text, masked)


def test_backslashes_before_no_quote_are_looked_at_once() -> None:
    said = '{"token": "x' + "\\" * 2_000_000  # looked at from each, they take ten minutes
    assert Masker().text(said) == '{"token": "***'


def test_more_names_denote_secrets_in_a_login() -> None:
    line = f'{{"code":"{KEY}","state":"{KEY}2"}}'
    assert Masker().text(line, login=True) == '{"code":"***","state":"***"}'


def test_a_known_secret_is_masked_everywhere() -> None:
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


def test_secrets_given_by_the_caller_are_masked_even_if_short() -> None:
    assert Masker(["me", ""]).text("some message") == f"so{MASK} {MASK}ssage"


def test_the_mask_function_is_called_last() -> None:
    masker = Masker(["acme"], lambda line: line.replace("***", "<hidden>").replace("Bob", "Eve"))
    assert masker.text("Bob of acme") == "Eve of <hidden>"


def test_a_secret_over_several_pieces_is_masked_in_its_last_piece() -> None:
    pieces = [b'a\ndata: {"to', b'ken":"sec', b'ret"}\nrest', b" of it\n"]
    kept = Masker().pieces(pieces)
    assert kept == [b"a\n", b"", b'data: {"token":"***"}\nrest', b" of it\n"]


@given(st.binary(max_size=200), st.lists(st.integers(0, 200), max_size=8))
def test_pieces_without_secrets_are_unchanged(data: bytes, cuts: list[int]) -> None:
    marks = sorted({0, len(data), *(cut for cut in cuts if cut <= len(data))})
    pieces = [data[a:b] for a, b in pairwise(marks)] or [b""]
    whole = data.decode("utf-8", "surrogateescape")
    if MASK not in Masker().text(whole):
        assert Masker().pieces(pieces) == pieces


@given(st.lists(st.integers(1, 90), max_size=12))
def test_a_secret_is_masked_however_the_body_is_split(cuts: list[int]) -> None:
    data = f'event: x\ndata: {{"api_key":"{KEY}"}}\n\nevent: y\ndata: {{"n":1}}\n\n'.encode()
    marks = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    kept = Masker().pieces([data[a:b] for a, b in pairwise(marks)])
    assert b"".join(kept) == data.replace(KEY.encode(), b"***")
