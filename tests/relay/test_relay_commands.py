"""The commands of the relay: settings, tokens, the log of a session, a drained process."""

from __future__ import annotations

import hashlib
import json
import signal
import tomllib
from typing import TYPE_CHECKING

import pytest
import trio

from tests.support.relay_command import relay_of
from trio_mix import Mix
from trio_mix.cli._errors import CommandUsageError
from trio_mix.cli.commands._relay_settings import RelaySettings, parse_listen, read_settings
from trio_mix.relay import Auth, SqliteLog
from trio_mix.testing import MixServer, Say, Turn

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support.command_line import RunCommand, StartCommand


def test_options_come_before_the_file_and_paths_are_relative_to_it(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    file.write_text(
        'upstream = "http://a"\nlisten = ":1"\norigins = ["http://x"]\ntoken_file = "t.toml"\n'
        "heartbeat = 5\nring = 10\n[retention]\nevents = 7\nage = 1.5\n"
    )
    given = RelaySettings(listen=":2", origins=("http://y",))
    settings = given.over(read_settings(file))
    assert (settings.upstream, settings.listen) == ("http://a", ":2")
    assert settings.origins == ("http://y", "http://x")
    assert settings.token_file == tmp_path / "t.toml"
    assert settings.numbers("heartbeat", "ring", "idle_close") == {"heartbeat": 5, "ring": 10}
    assert settings.retention == {"events": 7, "age": 1.5}


BAD_FILES = {
    "upstream = 5": "upstream must be a text",
    "ring = 1.5": "ring must be a whole number",
    "heartbeat = true": "heartbeat must be a number of seconds",
    "origins = 'x'": "origins must be a list of texts",
    "token_file = 1": "token_file must be a path",
    "page = 1": "page must be true or false",
    "unknown = 1": "there is no setting 'unknown'",
    "[retention]\nyears = 1": "no setting 'years'",
    "[retention]\nevents = 'x'": "events must be a number",
    "= torn": "is not TOML",
}


def test_a_wrong_setting_is_an_error_that_names_it(tmp_path: Path) -> None:
    file = tmp_path / "relay.toml"
    for text, problem in BAD_FILES.items():
        file.write_text(text)
        with pytest.raises(CommandUsageError, match=problem):
            read_settings(file)
    with pytest.raises(CommandUsageError, match="cannot be read"):
        read_settings(tmp_path / "missing.toml")


def test_listen_takes_a_host_and_a_port() -> None:
    assert parse_listen("127.0.0.1:80") == ("127.0.0.1", 80)
    assert parse_listen("[::1]:80") == ("::1", 80)
    assert parse_listen(":80") == ("127.0.0.1", 80)
    for text in ("80", "host", "::1:80", "host:x", "host:99999", "host:"):
        with pytest.raises(CommandUsageError, match="--listen"):
            parse_listen(text)


async def test_a_token_is_printed_once_and_only_its_digest_is_stored(
    run_command: RunCommand, tmp_path: Path
) -> None:
    file = tmp_path / "tokens.toml"
    made = await run_command(
        "relay", "token", "--token-file", str(file), "--session", "s", "--may", "read,send"
    )
    assert made.code == 0
    token = made.out.strip()
    [stored] = tomllib.loads(file.read_text())["token"]
    assert stored["sha256"] == hashlib.sha256(token.encode()).hexdigest()
    assert token not in file.read_text() + made.err
    assert file.stat().st_mode & 0o777 == 0o600
    grant = Auth.tokens(file).check(token)
    assert grant.sessions == frozenset({"s"})
    assert grant.verbs == frozenset({"read", "send"})
    wrong = await run_command("relay", "token", "--token-file", str(file), "--may", "fly")
    assert (wrong.code, wrong.out) == (2, "")
    assert "--may" in wrong.err


async def test_what_cannot_work_is_one_line_and_nothing_is_served(
    run_command: RunCommand, tmp_path: Path
) -> None:
    log = f"sqlite:{tmp_path}/relay.db"
    (tmp_path / "other.db").write_text("this is no database, but a text that is long enough")
    for arguments, words in (
        (("--listen", "0.0.0.0:0", "--log", log), "without authentication"),
        (("--log", "mysql://x"), "--log takes sqlite:PATH"),
        (("--log", f"sqlite:{tmp_path}/other.db"), "no SQLite database"),
        (("--upstream", "http://user:secret@x"), "credentials"),
        (("--token-file", str(tmp_path / "none")), "cannot be read"),
        (("--host", "http://x", "--log", log), "allow"),
    ):
        ended = await run_command("relay", *arguments)
        assert ended.code in (1, 2), arguments
        assert words in ended.err
        assert len(ended.err.splitlines()) == 1
        assert "secret" not in ended.err


async def test_a_second_relay_on_one_log_ends_with_a_clear_message(
    run_command: RunCommand, tmp_path: Path
) -> None:
    async with SqliteLog(tmp_path / "relay.db"):
        log = f"sqlite:{tmp_path}/relay.db"
        ended = await run_command("relay", "--listen", ":0", "--log", log)
    assert ended.code == 1
    assert "another relay" in ended.err


async def test_sigterm_drains_and_what_was_stored_is_there_at_the_next_start(
    start_command: StartCommand, run_command: RunCommand, tmp_path: Path
) -> None:
    log = f"sqlite:{tmp_path}/relay.db"
    async with MixServer("async") as server:
        server.script("go", Turn(Say("done")))
        session_id = server.create_session()
        async with relay_of(server, tmp_path, start_command) as (process, url):
            async with Mix(url) as mix, mix.open_stream(session_id) as session:
                assert (await session.ask("go")).text == "done"
                seen = await run_command("relay", "inspect", session_id, "--log", log, "--json")
                process.send_signal(signal.SIGTERM)
                with trio.fail_after(30):
                    assert await process.wait() == 0
        found = json.loads(seen.out)
        assert found["turns"][0]["state"] == "done"
        assert found["events"] > 0
        listed = await run_command("relay", "inspect", "--log", log)
        assert listed.lines == [session_id]
        text = await run_command("relay", "inspect", session_id, "--log", log)
        assert f"newest\t{found['newest']}" in text.lines
        for name in ("nobody", "\udcff"):  # the latter is an argument that is not UTF-8
            missing = await run_command("relay", "inspect", name, "--log", log)
            assert (missing.code, missing.out) == (1, "")
        async with relay_of(server, tmp_path, start_command) as (process, url):
            async with (
                Mix(url) as mix,
                mix.streaming.stream_events(
                    session_id=session_id, last_event_id=str(found["oldest"])
                ) as events,
            ):
                names = []
                async for event in events:
                    names.append(type(event).__name__)
                    if names[-1] == "CompleteEvent":
                        break
        assert names[0] == "ConnectedEvent"
        assert "ContentEvent" in names
        assert server.runs("go") == 1


@pytest.mark.parametrize("api", ["async", "blocking", "pipeline"])
async def test_the_demo_shows_a_relay_that_is_killed(run_command: RunCommand, api: str) -> None:
    done = await run_command("demo", "--relay", "--api", api)
    assert done.code == 0, done.err
    assert any("killed in the middle" in line for line in done.lines)
    whole = "Once upon a time a relay was killed and not a word was missing."
    table = [line for line in done.lines if line.startswith(("session stream", "any SSE client"))]
    assert len(table) == 2
    assert all(line.endswith(whole) for line in table)


async def test_the_doctor_examines_a_relay(
    start_command: StartCommand, run_command: RunCommand, tmp_path: Path
) -> None:
    async with MixServer("async") as server:
        async with relay_of(server, tmp_path, start_command) as (_, url):
            done = await run_command("doctor", "--relay", "--json", "--server", url)
            async with Mix(url) as mix:
                assert await mix.sessions.list() == []
        found = {each["check"]: each["verdict"] for each in json.loads(done.out)["findings"]}
        assert done.code == 0, done.out
        assert found == {
            "relay": "ok",
            "origin": "ok",
            "token": "note",
            "ready": "ok",
            "stream": "ok",
            "resume": "ok",
            "gap": "ok",
        }
        other = await run_command("doctor", "--relay", "--server", server.url)
        assert other.code == 3
        assert "it is no relay" in other.out
    nothing = await run_command("doctor", "--relay", "--server", "http://127.0.0.1:9")
    assert nothing.code == 3
