"""Runs one asynchronous command to its exit code.

What it knows: signals, exceptions, the standard streams.
What it must never know: what the command does.

Rules:

1. A first SIGINT or SIGTERM cancels the command, so that its scopes tell the server; it is
   never an exception somewhere in the middle of things.
2. An error is one line on stderr; only a defect of this program shows a traceback.
3. A reader that has gone (``| head``) is no error worth words.
"""

from __future__ import annotations

import io
import os
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING, ParamSpec

import trio

from trio_mix.cli._errors import ERROR, INTERRUPTED, leaves, told

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

P = ParamSpec("P")


def run_async(command: Callable[P, Awaitable[int]], *args: P.args, **kwargs: P.kwargs) -> int:
    """Run the command under Trio and return its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        code = trio.run(_until_signal, partial(command, *args, **kwargs))
        sys.stdout.flush()
    except BaseException as error:
        known = told(error)
        if known is None:
            raise
        code = known
        _give_up_stdout(error)
    return code


def _give_up_stdout(error: BaseException) -> None:
    """Keep the interpreter's last flush from complaining about a pipe that is gone."""
    if any(isinstance(leaf, BrokenPipeError) for leaf in leaves(error)):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


async def _until_signal(command: Callable[[], Awaitable[int]]) -> int:
    code = ERROR
    async with trio.open_nursery() as nursery:

        async def watch(task_status: trio.TaskStatus[None]) -> None:
            nonlocal code
            with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                task_status.started()
                async for number in signals:
                    code = INTERRUPTED if number == signal.SIGINT else 128 + number
                    nursery.cancel_scope.cancel(reason="a signal asked the program to stop")

        await nursery.start(watch)
        code = await command()
        nursery.cancel_scope.cancel(reason="the command is done")
    return code
