"""The search for the planted key finds a key in every kind of output that it searches."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_TESTS = Path(__file__).parents[1]
_CONFTEST = """
from tests.support.planted import Plugin

def pytest_configure(config):
    config.pluginmanager.register(Plugin(), "planted-key")
"""
_INNER = """
import json, logging, sys, warnings
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from tests.support.planted import KEY
from trio_mix import Mix, errors
from trio_mix.testing import MixServer

def test_stdout(): print("x", KEY)
def test_stderr(): print(KEY, file=sys.stderr)
def test_taken(capsys):
    print(KEY)
    assert capsys.readouterr().out
def test_logged(): logging.getLogger("any").warning("token %s", KEY)
def test_logged_with_its_traceback():
    try:
        raise ValueError(KEY)
    except ValueError:
        logging.getLogger("any").exception("so it is")
def test_warned(): warnings.warn(KEY)
def test_error_that_is_not_shown():
    with pytest.raises(errors.UsageError):
        raise errors.UsageError(f"not so, {KEY}")
def test_error_with_an_attribute():
    request = errors.RequestInfo("GET", f"http://x/?{KEY}")
    with pytest.raises(errors.MixError):
        raise errors.MixDefaultError(status_code=400, headers={}, body=KEY, request=request)
def test_skipped(): pytest.skip(KEY)
def test_file(tmp_path): (tmp_path / "recording").write_text(KEY)
def test_span():
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(InMemorySpanExporter()))
    with provider.get_tracer("x").start_as_current_span("call") as span:
        span.set_attribute("url", KEY)
async def test_timeline(mix_server, mix):
    await mix.sessions.create(title=KEY)
    await mix.sessions.get(id=KEY)
"""
_CLEAN = """
import pytest
from tests.support.planted import KEY
from trio_mix import Mix
from trio_mix.testing import MixServer

@pytest.mark.parametrize("number", range(6))
async def test_keys_are_sent_and_not_shown(mix_server, mix, number):
    sent = []
    await mix.sessions.list()
    request = mix_server.requests()[0]
    with open(__file__ + ".sent", "a") as file:
        file.write("yes " if KEY in request.headers.get("authorization", "") else "no ")
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("planted")


@pytest.fixture(scope="module")
def output(folder: Path) -> str:
    """Run the two modules above in a process, and return its output."""
    (folder / "test_inner.py").write_text(_INNER)
    (folder / "test_clean.py").write_text(_CLEAN)
    (folder / "conftest.py").write_text(_CONFTEST)
    path = ":".join(str(each) for each in (_TESTS.parent, folder))
    command = (sys.executable, "-m", "pytest", "-W", "error", "-o", "trio_mode=true", "-v")
    plugins = ("randomly", "cacheprovider", "xdist", "hypothesispytest")
    done = subprocess.run(  # noqa: S603 - a fixed command
        [*command, *(f"-pno:{name}" for name in plugins), str(folder)],
        cwd=folder,
        env={"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    return done.stdout + done.stderr


def test_this_suite_is_searched(request: pytest.FixtureRequest) -> None:
    assert request.config.pluginmanager.has_plugin("planted-key")


def test_every_test_that_outputs_a_key_fails(output: str) -> None:
    names = [line.split("(")[0] for line in _INNER.replace("async def", "def").split("def ")[1:]]
    assert len(names) == 12
    missed = [name for name in names if f"test_inner.py::{name} ERROR" not in output]
    assert missed == []
    assert f" {len(names)} errors in " in output


def test_clients_without_headers_send_the_key_in_some_of_the_tests(
    output: str, folder: Path
) -> None:
    assert output.count("test_clean.py::test_keys_are_sent_and_not_shown") == 6
    assert output.count("] PASSED") == 6
    assert set((folder / "test_clean.py.sent").read_text().split()) == {"yes", "no"}
