"""The command line's small parts: screens, the keyboard, errors, signals."""

from __future__ import annotations

import io
import logging
import os
import signal
import socket
import ssl
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing
from rich.console import Console

import trio_mix.cli
from trio_mix.cli._errors import DEFECT, FAILED, INTERRUPTED, NO_SERVER, USAGE, report_error
from trio_mix.cli._options import NO_DEBUG
from trio_mix.cli._run import run_async
from trio_mix.cli.commands import _demo, _serve
from trio_mix.cli.ui._line_reader import LineReader
from trio_mix.cli.ui._live_screen import LiveScreen
from trio_mix.cli.ui._permission_prompt import PermissionPrompt
from trio_mix.cli.ui._screen import PipeScreen, TerminalScreen
from trio_mix.cli.ui._transcript import Piece
from trio_mix.errors import (
    ConnectionFailed,
    RequestInfo,
    SessionNotFound,
    StreamClosed,
    TrioMixError,
)
from trio_mix.events import PermissionEvent
from trio_mix.testing import MixServer, Pause

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

STREAMED = [
    Piece("thinking", "Hm"),
    Piece("text", "Two "),
    Piece("text", "files", fresh=False),
    Piece("tool", "glob"),
    Piece("text", "sub", depth=1),
    Piece("text", "[b]done\n"),
    Piece("done", "complete"),
]


def test_a_pipe_gets_the_text_only_and_stderr_the_rest() -> None:
    out, err = io.StringIO(), io.StringIO()
    screen = PipeScreen(out, err)
    screen.show(STREAMED)
    screen.finish()
    assert out.getvalue() == "Two files\n[b]done\n"
    assert err.getvalue() == "thinking: Hm\ntool: glob\n  text: sub\ndone: complete\n"


def test_a_terminal_shows_text_as_it_arrives_and_labels_the_rest() -> None:
    out = io.StringIO()
    console = Console(file=out, force_terminal=True, color_system=None, width=20)
    screen = TerminalScreen(console)
    screen.show(STREAMED[:2])
    assert out.getvalue() == "Hm\nTwo"  # a space is written with the word after it
    screen.show(STREAMED[2:])
    screen.finish()
    assert out.getvalue() == "Hm\nTwo files\ntool: glob\n  sub\n[b]done\ndone: complete\n"


def test_a_terminal_gets_text_wrapped_at_words() -> None:
    for text, lines in (
        ("word " * 9, ["word word word word", "word word word word", "word"]),
        ("1234567890123456789 0 1", ["1234567890123456789", "0 1"]),
        ("one \n  two three four five", ["one", "  two three four", "five"]),
        ("a " + "x" * 45, ["a", "x" * 45]),  # the terminal breaks what is wider than itself
        ("a\u4f60\u597d" * 5, ["a\u4f60\u597d" * 4, "a\u4f60\u597d"]),
    ):
        for size in (1, 3, len(text)):
            out = io.StringIO()
            console = Console(file=out, force_terminal=True, color_system=None, width=20)
            screen = TerminalScreen(console)
            for at in range(0, len(text), size):
                screen.show([Piece("text", text[at : at + size], fresh=not at)])
            screen.finish()
            assert out.getvalue().splitlines() == lines, (text, size)


@pytest.fixture
def keyboard() -> Iterator[tuple[int, TextIO]]:
    read, write = os.pipe()
    # The write end is the test's to close: that is the end of the input.
    with os.fdopen(read, encoding="utf-8") as stream:
        yield write, stream


async def test_the_line_of_a_cancelled_wait_is_read_by_the_next(
    keyboard: tuple[int, TextIO],
) -> None:
    write, stream = keyboard
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            reader = LineReader(nursery, stream)
            with trio.CancelScope() as scope:
                nursery.start_soon(_cancel_when_waiting, scope)
                await reader.line()
            assert scope.cancelled_caught
            os.write(write, b"one\ntwo\n")
            assert await reader.line() == "one"
            assert await reader.line() == "two"
            os.close(write)
            assert await reader.line() is None
            assert await reader.line() is None
            nursery.cancel_scope.cancel()


async def _cancel_when_waiting(scope: trio.CancelScope) -> None:
    await trio.testing.wait_all_tasks_blocked()
    scope.cancel()


def test_an_error_is_one_line_and_a_group_of_the_same_error_too(
    capsys: pytest.CaptureFixture[str],
) -> None:
    lost = StreamClosed("the stream\nis gone\x1b[2J")
    assert report_error(ExceptionGroup("x", [lost, ExceptionGroup("y", [lost])])) == FAILED
    assert capsys.readouterr().err == "trio-mix: the stream is gone\\x1b[2J\n"


def test_an_unknown_host_name_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    request = RequestInfo("GET", "http://nowhere.example:1/health")
    error = ConnectionFailed("[Errno -2] and much more", request=request)
    error.__cause__ = socket.gaierror(-2, "Name or service not known")
    assert report_error(error) == NO_SERVER
    assert "example:1: the host name cannot be resolved" in capsys.readouterr().err


def test_a_connection_failure_without_a_known_reason_has_the_message_of_the_library(
    capsys: pytest.CaptureFixture[str],
) -> None:
    request = RequestInfo("GET", "http://nowhere.example/health")
    for cause in (None, ssl.SSLCertVerificationError(1, "self-signed")):
        error = ConnectionFailed("it is complicated", request=request)
        error.__cause__ = cause
        assert report_error(error) == NO_SERVER
        assert "failed: it is complicated" in capsys.readouterr().err


def test_of_two_equal_errors_the_longer_is_reported(
    capsys: pytest.CaptureFixture[str],
) -> None:
    stream, message = SessionNotFound("It is gone."), SessionNotFound("It is gone. And unsent.")
    for both in ([stream, message], [message, stream]):
        assert report_error(ExceptionGroup("x", both)) == FAILED
        text = capsys.readouterr().err
        assert text.count("\n") == 1
        assert "It is gone. And unsent." in text


def test_an_unexpected_exception_is_reported_as_a_bug(capsys: pytest.CaptureFixture[str]) -> None:
    assert report_error(ZeroDivisionError("by zero")) == DEFECT
    assert "a bug in trio-mix" in capsys.readouterr().err
    assert report_error(ExceptionGroup("x", [TrioMixError("a"), ZeroDivisionError()])) == DEFECT


def test_an_interrupt_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    assert report_error(BaseExceptionGroup("x", [KeyboardInterrupt()])) == INTERRUPTED
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_cancels_the_command_and_its_cleanup_still_runs(
    number: signal.Signals, code: int
) -> None:
    done: list[str] = []

    async def command() -> int:
        try:
            signal.raise_signal(number)
            await trio.sleep_forever()
        finally:
            with trio.CancelScope(shield=True):
                await trio.lowlevel.checkpoint()
                done.append("cleaned up")

    assert run_async(NO_DEBUG, command) == code
    assert done == ["cleaned up"]


def test_the_exit_code_of_a_command_is_returned() -> None:
    async def command(code: int) -> int:
        await trio.lowlevel.checkpoint()
        return code

    assert run_async(NO_DEBUG, command, 1) == 1


def test_an_error_of_a_command_is_reported_not_raised(capsys: pytest.CaptureFixture[str]) -> None:
    async def command() -> int:
        await trio.lowlevel.checkpoint()
        raise StreamClosed("the stream is gone")

    assert run_async(NO_DEBUG, command) == FAILED
    assert capsys.readouterr().err == "trio-mix: the stream is gone\n"


def test_a_missing_extra_is_one_line_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("trio_mix.cli.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cyclopts", None)
    assert trio_mix.cli.main(["demo"]) == USAGE
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert "pip install '.[cli]' in a clone" in error


def test_the_package_does_not_import_the_dependencies_of_the_command_line() -> None:
    program = "import sys, trio_mix; print([n for n in ('cyclopts', 'rich') if n in sys.modules])"
    done = subprocess.run(  # noqa: S603 - the interpreter that runs this test
        [sys.executable, "-c", program], capture_output=True, check=True
    )
    assert done.stdout == b"[]\n"


async def test_a_demo_that_shows_too_little_fails_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(_demo, "Drop", lambda: Pause(0))
    with trio.fail_after(30):
        assert await _demo.demo("async") == FAILED
    errors = capsys.readouterr().err
    assert "the stream reconnected twice" in errors
    assert "the end of the reply was recovered" in errors
    assert errors.count("\n") == 2


def test_a_warning_is_one_line_on_stderr_and_not_shown_beside_a_status_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logger = logging.getLogger("trio_mix")
    before = list(logger.handlers)
    live = LiveScreen(Console(file=io.StringIO(), force_terminal=True, width=40), lambda: "at it")

    async def command() -> int:
        await trio.lowlevel.checkpoint()
        logger.info("Nothing to see.")
        logger.warning("The server\nis \x1b[2Jaway: %s.", "gone")
        with live.running():
            logger.warning("It is reconnecting.")
        return 0

    assert run_async(NO_DEBUG, command) == 0
    assert capsys.readouterr().err == "trio-mix: The server is \\x1b[2Jaway: gone.\n"
    assert logger.handlers == before


def test_a_warning_is_not_repeated_if_the_log_is_shown(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MIX_DEBUG", "1")

    async def command() -> int:
        await trio.lowlevel.checkpoint()
        logging.getLogger("trio_mix").warning("The server is away.")
        return 0

    assert run_async(NO_DEBUG, command) == 0
    assert "trio-mix:" not in capsys.readouterr().err


async def test_a_restarted_server_has_other_session_ids(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    servers: list[MixServer] = []

    def kept(*args: object, **options: object) -> MixServer:
        servers.append(MixServer(*args, **options))  # type: ignore[arg-type]
        return servers[-1]

    monkeypatch.setattr(_serve, "MixServer", kept)
    ids = []
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: _serve.serve("127.0.0.1", 0, "async", pace=0))
            await trio.testing.wait_all_tasks_blocked()
            ids.append(servers[-1].create_session())
            nursery.cancel_scope.cancel()
    assert ids[0] != ids[1]


async def test_a_permission_request_that_nobody_can_read_is_denied(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with open(os.devnull, encoding="utf-8") as nothing:  # noqa: ASYNC230
        monkeypatch.setattr(sys, "stdin", nothing)
        screen = io.StringIO()
        prompt = PermissionPrompt(screen)
        request = PermissionEvent(
            permission_id="p",
            session_id="s",
            tool_name="Bash",
            description="",
            action="run",
            params={"a": "x" * 100_000},
        )
        assert await prompt.ask(request, offer_always=True) == "no"
    assert "cannot be read: denied" in screen.getvalue()
    assert len(screen.getvalue()) < 200
