"""Settings of all tests: seeds, no time limits for examples, a planted key.

pytest-randomly prints its seed in the header, which ``-q`` hides: it is in the summary too.
Hypothesis fails a test whose examples take long, which on a busy machine says nothing about the
code. ``support/planted.py`` searches all output for a planted key. The random delays of
streams and of messages to busy servers are seeded by the test, so that one on the fake clock takes
the same time in each run; the campaign varies them.
"""

from __future__ import annotations

import random
import signal

import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings

from tests.support.planted import Plugin as PlantedKey
from trio_mix.sse import _reconnect

hypothesis_settings.register_profile(
    "trio_mix", deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
hypothesis_settings.load_profile("trio_mix")


def _restore_signals() -> None:
    """Undo what a parent has ignored: the programs under test inherit it.

    A shell starts background jobs with SIGINT ignored, and ``nohup`` ignores SIGHUP.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    hang_up = getattr(signal, "SIGHUP", None)  # not on Windows
    if hang_up is not None and signal.getsignal(hang_up) is signal.SIG_IGN:
        signal.signal(hang_up, signal.SIG_DFL)


def pytest_configure(config: pytest.Config) -> None:
    _restore_signals()
    config.pluginmanager.register(PlantedKey(), "planted-key")


@pytest.fixture(autouse=True)
def _seeded_jitter(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_reconnect, "_jitter", random.Random(request.node.nodeid))


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    if (seed := config.getoption("randomly_seed", None)) is not None:
        terminalreporter.write_line(f"repeat this order with --randomly-seed={seed}")
