"""Tokens, what they allow, and files that change."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
from contextlib import suppress
from typing import TYPE_CHECKING

import jwt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_mix.errors import ConfigurationError
from trio_mix.relay._errors import Forbidden, SessionUnknown, Unauthorized
from trio_mix.relay._grants import EVERYTHING, VERBS, Auth, Grant, _parse_tokens, new_token

if TYPE_CHECKING:
    from pathlib import Path

KEY = "k" * 32


def digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def table(token: str, sessions: str = '"*"', may: str = '["read"]', subject: str = "bob") -> str:
    return (
        f'[[token]]\nsha256 = "{digest(token)}"\nsubject = "{subject}"\n'
        f"sessions = {sessions}\nmay = {may}\n"
    )


def test_a_token_of_the_file_is_found_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(table("one", '["s1", "s2"]', '["read", "send"]') + table("two", subject="eve"))
    auth = Auth.tokens(path)
    one = auth.check("one")
    assert one == Grant(
        subject="bob", sessions=frozenset({"s1", "s2"}), verbs=frozenset({"read", "send"})
    )
    assert auth.check("two").sessions is None
    for wrong in (None, "", "three", "one ", "o" * 100_000, "\ud800"):
        with pytest.raises(Unauthorized):
            auth.check(wrong)
    assert "one" not in repr(auth)


def test_a_grant_names_what_it_lacks() -> None:
    grant = Grant(sessions=frozenset({"s1"}), verbs=frozenset({"read"}))
    grant.check("read", "s1")
    with pytest.raises(Forbidden, match="--may send"):
        grant.check("send", "s1")
    with pytest.raises(SessionUnknown, match="no session 's2'"):
        grant.check("send", "s2")
    for verb in VERBS:
        EVERYTHING.check(verb, "any")


def test_the_file_is_read_again_when_it_changes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(table("one"))
    auth = Auth.tokens(path)
    auth.check("one")
    path.write_text(table("another"))
    auth.check("another")
    with pytest.raises(Unauthorized):
        auth.check("one")
    with caplog.at_level(logging.WARNING, "trio_mix.relay"):
        path.write_text("not TOML [")
        auth.check("another")
        auth.check("another")
    assert [record.getMessage()[:24] for record in caplog.records] == ["The tokens that were rea"]
    path.unlink()
    with pytest.raises(Unauthorized):
        auth.check("another")
    path.write_text(table("one"))
    auth.check("one")


INVALID = {
    "sha256 is too short": '[[token]]\nsha256 = "00"\nsessions = "*"\nmay = ["read"]\n',
    "no sessions": f'[[token]]\nsha256 = "{digest("x")}"\nmay = ["read"]\n',
    "sessions is a number": table("x", sessions="7"),
    "a session is a number": table("x", sessions="[7]"),
    "an unknown verb": table("x", may='["read", "fly"]'),
    "verbs as a text": table("x", may='"read"'),
    "a misspelt key": table("x") + 'session = "s1"\n',
    "the subject is a number": table("x").replace('"bob"', "7"),
    "token is no table": "token = 7\n",
    "not TOML": "[[token",
}


@pytest.mark.parametrize("name", INVALID)
def test_a_file_with_an_invalid_table_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text(INVALID[name])
    with pytest.raises(ConfigurationError, match="tokens.toml"):
        Auth.tokens(path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        Auth.tokens(tmp_path / "none")


def test_a_new_token_is_added_to_a_private_file_and_is_not_in_it(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    first = new_token(path, sessions=["s1"], verbs=["read", "send"], subject='"bob"\n')
    second = new_token(path, sessions=None, verbs=["manage"])
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
    assert first not in path.read_text()
    auth = Auth.tokens(path)
    assert auth.check(first).subject == '"bob"\n'
    assert auth.check(first).sessions == frozenset({"s1"})
    assert auth.check(second) == Grant(verbs=frozenset({"manage"}))
    with pytest.raises(ConfigurationError, match="at least one of"):
        new_token(path, sessions=None, verbs=[])
    with pytest.raises(ConfigurationError, match="every session"):
        new_token(path, sessions=["s1", "*"], verbs=["read"])
    path.write_text("[[token")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        new_token(path, sessions=None, verbs=["read"])


@given(st.text(st.characters(codec="utf-8"), max_size=30).filter(lambda text: text != "*"))
def test_any_subject_survives_the_file(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("tokens") / "t.toml"
    token = new_token(path, sessions=[text], verbs=["read"], subject=text)
    grant = Auth.tokens(path).check(token)
    assert grant == Grant(subject=text, sessions=frozenset({text}), verbs=frozenset({"read"}))


@given(st.text())
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with suppress(ValueError):  # a ConfigurationError, or TOML's own, is one
        _parse_tokens(text, "tokens.toml")


# -- JSON Web Tokens ---------------------------------------------------------------------------


def test_a_signed_token_has_its_sessions_verbs_and_end(tmp_path: Path) -> None:
    path = tmp_path / "key"
    path.write_text(KEY + "\n")
    auth = Auth.jwt(key_file=path)
    claims = {"sub": "eve", "exp": 4e9, "mix": {"sessions": ["s1"], "may": ["read"]}}
    assert auth.check(jwt.encode(claims, KEY)) == Grant(
        subject="eve",
        sessions=frozenset({"s1"}),
        verbs=frozenset({"read"}),
        expires_at=4e9,
    )


def test_a_signed_token_that_proves_nothing_is_refused() -> None:
    auth = Auth.jwt(key=KEY)
    good = {"mix": {"sessions": "*", "may": ["read"]}}
    auth.check(jwt.encode(good, KEY))
    for wrong in (
        jwt.encode(good, "x" * 32),
        jwt.encode({**good, "exp": 1.0}, KEY),
        jwt.encode({**good, "nbf": 4e9}, KEY),
        jwt.encode(good, KEY * 2, algorithm="HS512"),
        jwt.encode(good, "", algorithm="none"),
        jwt.encode({}, KEY),
        jwt.encode({"mix": {"sessions": 7, "may": ["read"]}}, KEY),
        jwt.encode({"mix": {"sessions": "*", "may": ["fly"]}}, KEY),
        jwt.encode({"mix": "*"}, KEY),
        "a.b.c",
    ):
        with pytest.raises(Unauthorized):
            auth.check(wrong)


def test_tokens_of_both_kinds_can_be_accepted(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    opaque = new_token(path, sessions=None, verbs=["send"])
    signed = jwt.encode({"mix": {"sessions": "*", "may": ["read"]}}, KEY)
    auth = Auth.any_of(Auth.tokens(path), Auth.jwt(key=KEY))
    assert [*auth.check(opaque).verbs, *auth.check(signed).verbs] == ["send", "read"]


def test_a_key_that_is_too_short_or_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="31 bytes: at least 32"):
        Auth.jwt(key="k" * 31)
    with pytest.raises(ConfigurationError, match="either key= or key_file="):
        Auth.jwt()
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        Auth.jwt(key_file=tmp_path / "none")


def test_a_file_that_could_not_be_opened_is_read_at_the_next_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tokens.toml"
    first = new_token(path, sessions=None, verbs=["read"])
    auth = Auth.tokens(path)
    auth.check(first)
    second = new_token(path, sessions=None, verbs=["read"])

    def no_descriptor(*_: object) -> None:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("builtins.open", no_descriptor)
        auth.check(first)
    auth.check(second)
