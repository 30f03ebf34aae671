"""Runs one asynchronous command and returns its exit code.

Rules:

1. A first SIGINT, SIGTERM or SIGHUP cancels the command, so that its scopes cancel the work on the
   server; a signal never raises an exception in the middle of the code. A command that ends by
   itself when it is asked to (`run_until_stopped`) is cancelled by the second one.
2. An error is one line on stderr; a traceback is printed only with ``--debug``.
3. A reader that exits early (``| head``) is no error, and is noticed without writing.
"""

from __future__ import annotations

import os
import signal
import stat
import sys
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, ParamSpec

import trio

from trio_mix.cli._errors import FAILED, HUNG_UP, report_error
from trio_mix.cli.ui._warnings import warnings_on_stderr

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from trio_mix.cli._options import Debug

P = ParamSpec("P")


def run_async(
    common: Debug, command: Callable[P, Awaitable[int]], *args: P.args, **kwargs: P.kwargs
) -> int:
    """Run the command under Trio and return its exit code."""
    return _run(common, partial(command, *args, **kwargs), None)


def run_until_stopped(
    common: Debug,
    stop: trio.Event,
    command: Callable[P, Awaitable[int]],
    *args: P.args,
    **kwargs: P.kwargs,
) -> int:
    """Run a command under Trio that ends when an event is set, and return its exit code.

    The first signal sets the event; the second one cancels the command.
    """
    return _run(common, partial(command, *args, **kwargs), stop)


def _run(common: Debug, command: Callable[[], Awaitable[int]], stop: trio.Event | None) -> int:
    try:
        with warnings_on_stderr():
            code = trio.run(_until_signal, command, stop)
    except SystemExit:
        raise
    except BaseException as error:  # noqa: BLE001 - reported below
        code = report_error(error, debug=common.debug)
    return code


async def _until_signal(command: Callable[[], Awaitable[int]], stop: trio.Event | None) -> int:
    signals = _stop_signals()
    terminal = _terminal() if HUNG_UP - 128 in signals else None
    code = FAILED
    stopped: int | None = None
    try:
        async with trio.open_nursery() as nursery:

            async def watch(task_status: trio.TaskStatus[None]) -> None:
                nonlocal stopped
                with receive_signals(*signals) as received:
                    task_status.started()
                    async for number in received:
                        if stop is not None and not stop.is_set():
                            stop.set()
                            continue
                        stopped = 128 + number
                        nursery.cancel_scope.cancel(reason="a signal stopped the program")

            await nursery.start(watch)
            code = await command()
            nursery.cancel_scope.cancel(reason="the command has ended")
    except* Exception:
        await trio.lowlevel.checkpoint()
        if stopped != HUNG_UP and not _is_gone(terminal):
            raise
    if _is_gone(terminal):  # a read or a write can notice it before SIGHUP arrives
        stopped = HUNG_UP
    return code if stopped is None else stopped


def _terminal() -> int | None:
    """Return the descriptor of stdin if that is a terminal."""
    return sys.stdin.fileno() if sys.stdin.isatty() else None


def _is_gone(terminal: int | None) -> bool:
    """Return whether the terminal was closed."""
    return terminal is not None and not os.isatty(terminal)


def _stop_signals() -> list[int]:
    """Return the signals that stop the command; ``nohup`` makes SIGHUP none of them."""
    numbers: list[int] = [signal.SIGINT, signal.SIGTERM]
    if sys.platform != "win32" and signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        numbers.append(signal.SIGHUP)
    return numbers


@contextmanager
def receive_signals(*numbers: int) -> Iterator[AsyncIterator[int]]:
    """Receive signals until the block is left; a thread other than the main one receives none."""
    if threading.current_thread() is threading.main_thread():
        with trio.open_signal_receiver(*numbers) as signals:
            yield signals
    else:
        never, signals = trio.open_memory_channel[int](0)
        with never:
            yield signals


async def end_with_reader() -> None:
    """Wait until no process reads stdout any more, and raise `BrokenPipeError`.

    For commands that may have nothing to write for a long time (``watch | head``). Waits forever
    if stdout is no pipe, or on systems without a way to notice the closed end.
    """
    descriptor = -1
    try:
        descriptor = sys.stdout.fileno()
        is_pipe = stat.S_ISFIFO(os.fstat(descriptor).st_mode)
    except (OSError, ValueError):
        is_pipe = False
    if not is_pipe or sys.platform != "linux":
        await trio.sleep_forever()
    # Nothing can be read from this end: only the close of the other end wakes it.
    await trio.lowlevel.wait_readable(descriptor)
    raise BrokenPipeError
