"""What mypy and pyright make of the package: run for real, over programs as users write them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias, get_args

import pytest

from trio_mix import events

if TYPE_CHECKING:
    from collections.abc import Callable

    Checker: TypeAlias = Callable[[str, Path], str]

ROOT = Path(__file__).parents[2]
CLASSES = [each.__name__ for each in get_args(events.Event)]
LIMIT = 300
"""Seconds: the checkers read trio and httpx, on a machine that may be busy."""


def run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a checker where no configuration of ours is, with the package on its path."""
    paths = [str(ROOT), sysconfig.get_path("purelib")]
    return subprocess.run(  # noqa: S603 - the checkers' own commands
        [sys.executable, "-m", *command],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT,
    )


def mypy(program: str, folder: Path) -> str:
    """Return what mypy says, ``""`` where it is content."""
    pytest.importorskip("mypy")
    (folder / "program.py").write_text(program)
    # The first of the tests has it read trio and httpx; the others find that done.
    cache = ("--cache-dir", str(folder.parent / "mypy"))
    done = run("mypy", "--strict", "--no-error-summary", *cache, "program.py", folder=folder)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def pyright(program: str, folder: Path) -> str:
    """Return what pyright says, ``""`` where it is content."""
    _needs_pyright()
    (folder / "program.py").write_text(program)
    done = run("pyright", "--outputjson", "program.py", folder=folder)
    found = json.loads(done.stdout)["generalDiagnostics"]
    return "\n".join(each["message"] for each in found if each["severity"] == "error")


def _needs_pyright() -> None:
    pytest.importorskip("pyright")
    try:
        done = run("pyright", "--version", folder=ROOT)
    except subprocess.TimeoutExpired:
        pytest.skip("pyright cannot be fetched here")
    if done.returncode:
        pytest.skip("pyright cannot be run here")


CHECKERS = [pytest.param(mypy, id="mypy"), pytest.param(pyright, id="pyright")]


def program_that_matches(*classes: str) -> str:
    """Return a program that has a case for each of the classes, and says that these are all."""
    cases = "\n".join(
        f"        case events.{each}():\n            return {each!r}" for each in classes
    )
    return (
        "from typing import assert_never\n\n"
        "from trio_mix import events\n\n\n"
        "def describe(event: events.Event) -> str:\n"
        f"    match event:\n{cases}\n"
        "        case _:\n            assert_never(event)\n"
    )


@pytest.mark.timeout(LIMIT)
@pytest.mark.parametrize("check", CHECKERS)
def test_a_match_over_all_events_is_known_to_be_complete(check: Checker, tmp_path: Path) -> None:
    assert check(program_that_matches(*CLASSES), tmp_path) == ""


@pytest.mark.timeout(LIMIT)
@pytest.mark.parametrize("check", CHECKERS)
def test_a_match_that_leaves_one_event_out_is_an_error(check: Checker, tmp_path: Path) -> None:
    left = [each for each in CLASSES if each != "PermissionEvent"]
    said = check(program_that_matches(*left), tmp_path)
    assert "assert_never" in said
    assert "PermissionEvent" in said


AS_USERS_WRITE = """
from typing import assert_type

import trio
import trio_mix
from trio_mix import Message, Mix, Reply, SessionStream, errors, events, funcs, models, sse


async def grants(request: events.PermissionEvent, message: Message) -> bool:
    return request.tool_name == "Bash"


async def main() -> None:
    async with Mix("http://localhost:8088", retries=trio_mix.RetryConfig(strategy="none")) as mix:
        assert_type(await mix.sessions.create(title="t"), models.SessionData)
        assert_type(await mix.sessions.list(), list[models.SessionData])
        assert_type(await mix.files.get(id="s", filename="f"), bytes)
        async with mix.streaming.stream_events(session_id="s") as raw:
            async for event in raw:
                assert_type(event, events.Event)
        async with mix.open_stream("s", on_permission=grants) as stream:
            assert_type(stream, SessionStream)
            async with stream.send("hello") as message:
                assert_type(message, Message)
                async for event in message:
                    if isinstance(event, events.ContentEvent):
                        assert_type(event.content, str)
                assert_type(message.reply, Reply)
            assert_type(await stream.ask("hello"), Reply)
        match await funcs.sessions_get(mix, id="s"):
            case funcs.Ok(value=session):
                assert_type(session, models.SessionData)
            case funcs.Err(error=error):
                print(error)
    async with sse.open_event_source("http://localhost/", idle_timeout=30) as source:
        async for frame in source:
            assert_type(frame.data, str)
    try:
        await trio.sleep(0)
    except errors.AgentError as failed:
        print(failed)
"""


@pytest.mark.timeout(LIMIT)
@pytest.mark.parametrize("check", CHECKERS)
def test_a_program_as_users_write_it_has_the_types_that_it_says(
    check: Checker, tmp_path: Path
) -> None:
    assert check(AS_USERS_WRITE, tmp_path) == ""


@pytest.mark.timeout(LIMIT)
@pytest.mark.parametrize("check", CHECKERS)
def test_names_that_are_not_there_are_errors(check: Checker, tmp_path: Path) -> None:
    # The packages whose names are loaded late have a __getattr__, which checkers must not see.
    program = "import trio_mix\nfrom trio_mix import models, resources, sse\n" + "".join(
        f"print({name}.Mixx)\n" for name in ("trio_mix", "models", "resources", "sse")
    )
    assert check(program, tmp_path).count('"Mixx"') == 4


@pytest.mark.timeout(LIMIT)
def test_the_types_of_the_public_interface_are_complete(tmp_path: Path) -> None:
    _needs_pyright()
    done = run(
        "pyright", "--verifytypes", "trio_mix", "--ignoreexternal", "--outputjson", folder=tmp_path
    )
    found = json.loads(done.stdout)["typeCompleteness"]
    assert found["exportedSymbolCounts"]["withKnownType"] > 600
    said = [
        f"{symbol['name']}: {each['message']}"
        for symbol in found["symbols"]
        for each in symbol["diagnostics"]
        if not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]
    ]
    assert (found["completenessScore"], said) == (1, [])
