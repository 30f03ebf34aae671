"""The settings file: profiles, tokens, and what ``config`` shows."""

from __future__ import annotations

import json
import sys
from types import ModuleType
from typing import TYPE_CHECKING

from trio_mix.testing import MixServer, RequestReceived

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from tests.support.command_line import RunCommand

TOKEN = "tok-4711-secret"


def _settings(tmp_path: Path, text: str) -> dict[str, str]:
    file = tmp_path / "config.toml"
    file.write_text(text, encoding="utf-8")
    file.chmod(0o600)
    return {"TRIO_MIX_CONFIG": str(file)}


def _tokens(server: MixServer) -> set[str | None]:
    received = [each for each in server.log if isinstance(each, RequestReceived)]
    return {each.headers.get("authorization") for each in received}


async def test_a_profile_names_the_server_its_token_and_headers(
    run_command: RunCommand, tmp_path: Path
) -> None:
    command = json.dumps([sys.executable, "-c", f"print({TOKEN!r})"])
    async with MixServer(pace=0) as work, MixServer(pace=0) as home:
        env = _settings(
            tmp_path,
            f"""
            profile = "home"
            [profiles.home]
            server = "{home.url.removeprefix("http://")}"
            [profiles.work]
            server = "{work.url}"
            token-command = {command}
            headers = {{ X-Team = "red" }}
            """,
        )
        assert (await run_command("ask", "Hi", **env)).code == 0
        assert home.runs("Hi") == 1
        for choice in (["--profile", "work"], []):
            variable = {} if choice else {"TRIO_MIX_PROFILE": "work"}
            assert (await run_command("ask", "Ho", *choice, **env, **variable)).code == 0
        assert work.runs("Ho") == 2
        assert _tokens(work) == {f"Bearer {TOKEN}"}
        teams = {
            each.headers.get("x-team") for each in work.log if isinstance(each, RequestReceived)
        }
        assert teams == {"red"}
        # Another server gets neither the token nor the headers.
        for args, variable in (
            (["--profile", "work", "--server", home.url], {}),
            ([], {"TRIO_MIX_PROFILE": "work", "MIX_SERVER_URL": home.url}),
        ):
            assert (await run_command("sessions", "list", *args, **env, **variable)).code == 0
        assert _tokens(home) == {None}
        # An explicit profile wins over the variable.
        elsewhere = {"MIX_SERVER_URL": home.url}
        await run_command("ask", "Hu", "--profile", "work", **env, **elsewhere)
        assert work.runs("Hu") == 1


async def test_a_token_comes_from_the_keyring(
    run_command: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keyring = ModuleType("keyring")
    stored = {("trio-mix", "known"): TOKEN}
    monkeypatch.setattr(keyring, "get_password", lambda *key: stored.get(key), raising=False)
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    async with MixServer(pace=0) as server:
        for name, code in (("known", 0), ("unknown", 2)):
            env = _settings(
                tmp_path,
                f"""
                [profiles.work]
                server = "{server.url}"
                token-keyring = "{name}"
                token-header = "X-Api-Key"
                """,
            )
            done = await run_command("sessions", "list", "--profile", "work", **env)
            assert done.code == code, done.err
            assert ("keyring set trio-mix unknown" in done.err) is (name == "unknown")
        sent = [
            each.headers.get("x-api-key")
            for each in server.log
            if isinstance(each, RequestReceived)
        ]
        assert set(sent) == {TOKEN}


async def test_a_missing_token_is_one_line(run_command: RunCommand, tmp_path: Path) -> None:
    async with MixServer(pace=0) as server:
        for code, problem in (
            ("import sys; sys.exit(3)", "exit code 3"),
            ("pass", "printed no token"),
            ("print('one\\ntwo')", "must be one line"),
        ):
            command = json.dumps([sys.executable, "-c", code])
            env = _settings(
                tmp_path,
                f'[profiles.w]\nserver = "{server.url}"\ntoken-command = {command}',
            )
            done = await run_command("ask", "Hi", "--profile", "w", **env)
            assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
            assert problem in done.err
        assert not [each for each in server.log if isinstance(each, RequestReceived)]


async def test_an_invalid_settings_file_is_one_line_that_names_it(
    run_command: RunCommand, tmp_path: Path
) -> None:
    for text, problem in (
        ("[profiles.w", "not valid TOML"),
        ("profil = 'w'", "profil is no setting"),
        ("profile = 'w'", "has no profile 'w'"),
        ("profile = 'w'\n[profiles.w]\nservr = 'x'", "servr is no setting"),
        (f"[profiles.w]\ntoken = '{TOKEN}'", "use token-command"),
        (f"[profiles.w]\nserver = 'http://:{TOKEN}@mix.example'", "has credentials"),
        (f"[profiles.w.headers]\nX-Api-Key = '{TOKEN}'", "may be a secret"),
        ("[profiles.w]\ntoken-command = 'pass show'", "must be a list of words"),
        ("[profiles.w]\ntoken-command = ['pass']", "server is missing"),
        ("[profiles.w]\ntimeout = 'long'", "positive number of seconds"),
    ):
        done = await run_command("config", **_settings(tmp_path, text))
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1), done.err
        assert "config.toml" in done.err
        assert problem in done.err
        assert TOKEN not in done.err
    env = _settings(tmp_path, "")
    (tmp_path / "config.toml").chmod(0o666)
    assert "chmod o-w" in (await run_command("config", **env)).err
    missing = await run_command("config", TRIO_MIX_CONFIG=str(tmp_path / "none"))
    assert missing.code == 2


async def test_config_shows_each_value_and_its_source_and_no_secret(
    run_command: RunCommand, tmp_path: Path
) -> None:
    env = _settings(
        tmp_path,
        """
        profile = "work"
        [profiles.work]
        server = "mix.example"
        token-command = ["does-not-exist", "tok-4711-secret"]
        model = "openai/gpt"
        timeout = 30
        """,
    )
    done = await run_command("config", **env)
    assert done.code == 0
    lines = [tuple(line.split("\t")) for line in done.lines]
    for line in (
        ("profile", "work", "the settings file"),
        ("server", "https://mix.example", "profile 'work'"),
        ("token", "*** (from does-not-exist)", "profile 'work'"),
        ("model", "openai/gpt", "profile 'work'"),
        ("timeout", "30", "profile 'work'"),
    ):
        assert line in lines
    assert TOKEN not in done.out
    url = {"MIX_SERVER_URL": f"http://ada:{TOKEN}@other.example"}
    other = await run_command("config", "--jsonl", **env, **url)
    shown = {each["setting"]: each["value"] for each in map(json.loads, other.lines)}
    assert shown["token"].startswith("not sent")
    assert "other.example" in shown["server"]
    assert TOKEN not in other.out
    assert (await run_command("config")).code == 0
