"""What mypy and pyright report about the package, in programs as users write them."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import get_args

import pytest

from trio_mix import events

ROOT = Path(__file__).parents[2]
CLASSES = [each.__name__ for each in get_args(events.Event)]
LIMIT = 300
"""Seconds: the checkers read trio and httpx, possibly on a busy machine."""

pytestmark = pytest.mark.timeout(LIMIT)


def run(*command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a checker in a folder without configuration, with the package on its path."""
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


def run_mypy(folder: Path) -> dict[str, str]:
    """Return the errors that mypy reports for each file of a folder."""
    pytest.importorskip("mypy")
    options = ("--strict", "--no-error-summary", "--cache-dir", str(folder / "cache"))
    done = run("mypy", *options, *sorted(PROGRAMS), folder=folder)
    assert done.returncode in (0, 1), done.stderr
    found = dict.fromkeys(PROGRAMS, "")
    for line in done.stdout.splitlines():
        name = re.match(r"(\w+\.py):", line)
        assert name is not None, line
        found[name[1]] += f"{line}\n"
    return found


def run_pyright(folder: Path) -> dict[str, str]:
    """Return the errors that pyright reports for each file of a folder."""
    _needs_pyright()
    done = run("pyright", "--outputjson", *sorted(PROGRAMS), folder=folder)
    found = dict.fromkeys(PROGRAMS, "")
    for each in json.loads(done.stdout)["generalDiagnostics"]:
        if each["severity"] == "error":
            found[Path(each["file"]).name] += f"{each['message']}\n"
    return found


def _needs_pyright() -> None:
    pytest.importorskip("pyright")
    try:
        done = run("pyright", "--version", folder=ROOT)
    except subprocess.TimeoutExpired:
        pytest.skip("pyright cannot be downloaded here")
    if done.returncode:
        pytest.skip("pyright cannot be run here")


def program_that_matches(*classes: str) -> str:
    """Return a program with a case for each class, which asserts that these are all classes."""
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


# The packages with lazy names have a __getattr__, which type checkers must not see.
UNKNOWN_NAMES = "import trio_mix\nfrom trio_mix import models, resources, sse\n" + "".join(
    f"print({name}.Mixx)\n" for name in ("trio_mix", "models", "resources", "sse")
)

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
        async with mix.open_stream("s", on_permission=grants) as session:
            assert_type(session, SessionStream)
            async with session.send("hello") as message:
                assert_type(message, Message)
                async for event in message:
                    if isinstance(event, events.ContentEvent):
                        assert_type(event.content, str)
                assert_type(message.reply, Reply)
            assert_type(await session.ask("hello"), Reply)
        made = await mix.request("GET", "/api/new", params={"limit": 1, "ids": ["a", "b"]})
        assert_type(made, trio_mix.Response)
        assert_type(made.json(), models.JsonValue)
        match await funcs.sessions_get(mix, id="s"):
            case funcs.Ok(value=found):
                assert_type(found, models.SessionData)
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

PROGRAMS = {
    "all_events.py": program_that_matches(*CLASSES),
    "one_event_missing.py": program_that_matches(
        *(each for each in CLASSES if each != "PermissionEvent")
    ),
    "as_users_write.py": AS_USERS_WRITE,
    "unknown_names.py": UNKNOWN_NAMES,
}


@pytest.fixture(scope="module", params=[run_mypy, run_pyright], ids=["mypy", "pyright"])
def reported(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, str]:
    """Return the errors of one checker for each program; one run checks all programs."""
    folder = tmp_path_factory.mktemp("programs")
    for name, program in PROGRAMS.items():
        (folder / name).write_text(program)
    found: dict[str, str] = request.param(folder)
    return found


def test_a_match_over_all_events_is_exhaustive(reported: dict[str, str]) -> None:
    assert reported["all_events.py"] == ""


def test_a_match_without_one_of_the_events_is_an_error(reported: dict[str, str]) -> None:
    assert "assert_never" in reported["one_event_missing.py"]
    assert "PermissionEvent" in reported["one_event_missing.py"]


def test_a_program_as_users_write_it_has_the_asserted_types(reported: dict[str, str]) -> None:
    assert reported["as_users_write.py"] == ""


def test_names_that_do_not_exist_are_errors(reported: dict[str, str]) -> None:
    assert reported["unknown_names.py"].count('"Mixx"') == 4


def test_the_types_of_the_public_interface_are_complete(tmp_path: Path) -> None:
    _needs_pyright()
    done = run(
        "pyright", "--verifytypes", "trio_mix", "--ignoreexternal", "--outputjson", folder=tmp_path
    )
    found = json.loads(done.stdout)["typeCompleteness"]
    assert found["exportedSymbolCounts"]["withKnownType"] > 600
    problems = [
        f"{symbol['name']}: {each['message']}"
        for symbol in found["symbols"]
        for each in symbol["diagnostics"]
        if not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]
    ]
    assert (found["completenessScore"], problems) == (1, [])
