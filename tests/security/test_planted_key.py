"""The search for the planted key can fail: it sees a key in each of the places where it looks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
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
def test_error_that_nobody_shows():
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


def _run(folder: Path, program: str) -> str:
    (folder / "test_inner.py").write_text(program)
    (folder / "conftest.py").write_text(_CONFTEST)
    path = ":".join(str(each) for each in (_TESTS.parent, folder))
    command = (sys.executable, "-m", "pytest", "-W", "error", "-o", "trio_mode=true")
    done = subprocess.run(  # noqa: S603 - our own
        [*command, "-v", "-p", "no:randomly", "-p", "no:cacheprovider", str(folder)],
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


def test_every_test_that_puts_a_key_out_fails(tmp_path: Path) -> None:
    output = _run(tmp_path, _INNER)
    (tmp_path / "test_inner.py").unlink()  # it is searched as well
    names = [line.split("(")[0] for line in _INNER.replace("async def", "def").split("def ")[1:]]
    assert len(names) == 12
    unseen = [name for name in names if f"test_inner.py::{name} ERROR" not in output]
    assert unseen == []
    assert f" {len(names)} errors in " in output


def test_clients_without_headers_send_the_key_in_some_tests_and_in_others_not(
    tmp_path: Path,
) -> None:
    output = _run(tmp_path, _CLEAN)
    assert "6 passed" in output
    assert "error" not in output
    assert set((tmp_path / "test_inner.py.sent").read_text().split()) == {"yes", "no"}
