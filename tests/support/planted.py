"""Plant a key in the tests' clients, and search everything that the suite outputs for it.

Rules:

1. In every second test (chosen by its name, so that it is always the same tests) each client that
   is created without headers sends the key.
2. Output means: captured stdout, stderr and log lines, also those that a test has read with
   ``capsys``; log records; warnings; the texts, reprs and attributes of all of trio_mix's
   exceptions, caught or not; pytest's reports of skipped and failed tests; the timelines of
   `mix_server`; files in ``tmp_path``, such as recordings; finished spans.
3. A test whose output contains the key fails. The report does not contain the key.
"""

from __future__ import annotations

import functools
import logging
import sys
import zlib
from typing import TYPE_CHECKING, Any, Final

import pytest

from trio_mix import errors
from trio_mix._pytest_plugin import _SERVERS
from trio_mix._rest._core import MixCore

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence
    from pathlib import Path

__all__ = ["KEY", "KEYS", "Search", "found_in"]

KEY: Final = "planted-7c1e0fd5"
"""A part of each planted secret, which occurs nowhere else."""

_OF_TESTS: Final = (
    *("tok-12345", "key-67890", "sk-secret", "s3cr3t@pw", "s3cr3t%40pw", "planted-secret-key"),
)
KEYS: Final = (KEY, *_OF_TESTS)
"""The planted key, and those that tests pass to their clients."""
_LARGEST_FILE: Final = 2**20


def found_in(text: str) -> str | None:
    """Return the text around a key, without the key; None if there is no key."""
    for key in KEYS:
        at = text.find(key)
        if at >= 0:
            before, after = text[max(0, at - 60) : at], text[at + len(key) :][:20]
            return f"…{before}[KEY]{after}…"
    return None


class Search:
    """Searches the output of a test."""

    def __init__(self) -> None:
        self.found: list[str] = []
        self.planting = False
        self._undo: list[Callable[[], None]] = []

    def look(self, where: str, text: str) -> None:
        """Note a key in some output."""
        if (excerpt := found_in(text)) is not None:
            self.found.append(f"{where}: {excerpt}")

    # -- output during a test --------------------------------------------------------------

    def watch(self) -> None:
        """Search the output of this process until `unwatch`."""
        self._plant()
        for name in errors.__all__:
            cls = getattr(errors, name)
            if issubclass(cls, errors.TrioMixError) and (
                "__init__" in vars(cls) or cls is errors.TrioMixError
            ):
                self._watch_errors(cls)
        self._watch_capture()
        handler = _Handler(self)
        logging.getLogger().addHandler(handler)
        self._undo.append(lambda: logging.getLogger().removeHandler(handler))

    def unwatch(self) -> None:
        """Restore everything."""
        for undo in reversed(self._undo):
            undo()
        self._undo.clear()

    def _replace(self, owner: Any, name: str, value: object) -> None:
        own = vars(owner).get(name)
        setattr(owner, name, value)
        self._undo.append(
            functools.partial(delattr, owner, name)
            if own is None
            else functools.partial(setattr, owner, name, own)
        )

    def _plant(self) -> None:
        made = MixCore.__init__

        @functools.wraps(made)
        def planted(core: MixCore, /, server_url: str | None = None, **options: Any) -> None:
            has_others = options.get("headers") is not None or "@" in (server_url or "")
            if self.planting and not has_others:
                options["headers"] = {"Authorization": f"Bearer {KEY}"}
            made(core, server_url, **options)

        self._replace(MixCore, "__init__", planted)

    def _watch_errors(self, cls: type[errors.TrioMixError]) -> None:
        made: Callable[..., None] = cls.__init__

        @functools.wraps(made)
        def watched(made_now: errors.TrioMixError, /, *args: object, **options: object) -> None:
            made(made_now, *args, **options)
            name = type(made_now).__name__
            self.look(f"{name}'s text", f"{made_now} {made_now!r} {vars(made_now)!r}")

        self._replace(cls, "__init__", watched)

    def _watch_capture(self) -> None:
        read = pytest.CaptureFixture.readouterr

        @functools.wraps(read)
        def watched(fixture: pytest.CaptureFixture[Any]) -> Any:
            taken = read(fixture)
            self.look("the output read with capsys", f"{taken.out}{taken.err}")
            return taken

        self._replace(pytest.CaptureFixture, "readouterr", watched)

    def watch_spans(self) -> None:
        """Search finished spans, if OpenTelemetry's exporter has been imported."""
        module = sys.modules.get("opentelemetry.sdk.trace.export.in_memory_span_exporter")
        if module is None or hasattr(module, "_planted"):
            return
        module._planted = True  # type: ignore[attr-defined]
        exporter = module.InMemorySpanExporter
        export = exporter.export

        @functools.wraps(export)
        def watched(self_: object, spans: Sequence[Any]) -> Any:
            for span in spans:
                self.look("a span", span.to_json())
            return export(self_, spans)

        self._replace(exporter, "export", watched)

    # -- output after a test ---------------------------------------------------------------

    def look_at_report(self, report: pytest.TestReport) -> None:
        """Search the report of one phase of a test."""
        for title, text in report.sections:
            self.look(title, text)
        if report.longrepr is not None:
            self.look("the report", report.longreprtext)

    def look_at_rest(self, item: pytest.Item) -> None:
        """Search the timelines and files of a test."""
        for server in item.stash.get(_SERVERS, []):
            self.look("the server's timeline", server.timeline)
        folder: Path | None = getattr(item, "funcargs", {}).get("tmp_path")
        if folder is not None and folder.is_dir():
            for path in folder.rglob("*"):
                if path.is_file() and path.stat().st_size < _LARGEST_FILE:
                    self.look(f"the file {path.name}", path.read_bytes().decode("utf-8", "replace"))


class _Handler(logging.Handler):
    """Searches every log record, with its traceback."""

    def __init__(self, search: Search) -> None:
        super().__init__()
        self._search = search

    def emit(self, record: logging.LogRecord) -> None:
        self._search.look(f"a line of the logger {record.name}", self.format(record))


class Plugin:
    """The pytest plugin, which tests/conftest.py registers."""

    def __init__(self) -> None:
        self.search = Search()

    def pytest_sessionstart(self) -> None:
        self.search.watch()

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        self.search.unwatch()
        if self.search.found:  # a warning is reported with the last report of its test
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for found in self.search.found:
            terminalreporter.write_line(f"The output contains a planted key: {found}")

    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self.search.planting = zlib.crc32(item.nodeid.encode()) % 2 == 0
        self.search.watch_spans()

    def pytest_warning_recorded(self, warning_message: Any) -> None:
        self.search.look("a warning", str(warning_message.message))

    @pytest.hookimpl(hookwrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Generator[None, Any, None]:
        outcome = yield
        report: pytest.TestReport = outcome.get_result()
        search = self.search
        search.look_at_report(report)
        if report.when != "teardown":
            return
        search.look_at_rest(item)
        search.planting = False
        found, search.found = search.found, []
        if found:
            report.outcome = "failed"
            report.longrepr = "The output contains a planted key:\n" + "\n".join(
                f"  {each}" for each in found
            )
