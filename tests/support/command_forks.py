"""Starts the command line by a fork of a process that has imported it.

A fork takes milliseconds where a new interpreter takes a third of a second, and the command still
has a process, a terminal and signals of its own.

``python -W error -m tests.support.command_forks FD`` is the server. Each request on its socket is a
JSON object with four descriptors: the standard streams, and the status to which a monitor writes
the command's process id and its exit code.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import socket
import subprocess
import sys
import termios
import traceback
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_ROOT = Path(__file__).parents[2]
_LONGEST = 1 << 20


class ForkedCommand:
    """A running command; it is the child of the server, which reports its end."""

    def __init__(self, pid: int, status: trio.lowlevel.FdStream) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._status = status

    def send_signal(self, number: int) -> None:
        if self.returncode is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        if self.returncode is None:
            report = b""
            async for data in self._status:
                report += data
            self.returncode = int(report)
            await self._status.aclose()
        return self.returncode


class ForkServer:
    """The server's other end, in the process of the tests."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    async def start(
        self, args: tuple[str, ...], env: Mapping[str, str], terminal: int
    ) -> ForkedCommand:
        """Start a command in the terminal, which becomes its controlling terminal."""
        read, write = os.pipe()
        request = {"args": args, "env": dict(env), "cwd": str(Path.cwd())}
        descriptors = [terminal, terminal, terminal, write]
        socket.send_fds(self._channel, [json.dumps(request).encode()], descriptors)
        os.close(write)
        status = trio.lowlevel.FdStream(read)
        pid = b""
        while not pid.endswith(b"\n"):
            pid += await status.receive_some(1)
        return ForkedCommand(int(pid), status)


@contextmanager
def fork_server() -> Iterator[ForkServer]:
    """Run a server of forks until the block is left."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-W", "error", "-m", __name__, str(theirs.fileno())]
    with (
        ours,
        subprocess.Popen(command, pass_fds=[theirs.fileno()], cwd=_ROOT) as process,  # noqa: S603
    ):
        theirs.close()
        yield ForkServer(ours)
        ours.close()
        process.wait()


def _serve(channel: socket.socket) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the monitors
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        data, descriptors, *_ = socket.recv_fds(channel, _LONGEST, 4)
        if not data:
            return
        if os.fork() == 0:
            channel.close()
            _monitor(json.loads(data), descriptors)
        for descriptor in descriptors:
            os.close(descriptor)


def _monitor(request: dict[str, Any], descriptors: list[int]) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *streams, status = descriptors
    pid = os.fork()
    if pid == 0:
        os.close(status)
        _run(request, streams)
    for descriptor in streams:
        os.close(descriptor)
    os.write(status, f"{pid}\n".encode())
    _, ended = os.waitpid(pid, 0)
    os.write(status, str(os.waitstatus_to_exitcode(ended)).encode())
    os._exit(0)


def _run(request: dict[str, Any], streams: list[int]) -> NoReturn:
    code: object = 1
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        os.setsid()
        for number, descriptor in enumerate(streams):
            os.dup2(descriptor, number)
        for descriptor in streams:
            os.close(descriptor)
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stdout = open(1, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
        from trio_mix.cli import main

        code = main(request["args"])
        sys.stdout.flush()
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
    os._exit(code if isinstance(code, int) else 1)


def _preload() -> None:
    """Import what the commands import late."""
    import rich.live
    import rich.progress

    import trio_mix
    import trio_mix.cli._app
    import trio_mix.cli.commands._chat
    import trio_mix.cli.commands._demo
    import trio_mix.cli.commands._record
    import trio_mix.cli.commands._serve
    import trio_mix.cli.doctor._examination
    import trio_mix.cli.ui._editor
    import trio_mix.cli.ui._history
    from trio_mix import Mix

    del rich, trio_mix, Mix


if __name__ == "__main__":
    _preload()
    with socket.socket(fileno=int(sys.argv[1])) as given:
        _serve(given)
