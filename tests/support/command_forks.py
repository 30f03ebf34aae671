"""Start the command line, and Python programs, by a fork of a process that has imported trio_mix.

A fork takes milliseconds where a new interpreter takes a third of a second, and each command still
has its own process, streams and signals.

``python -W error -m tests.support.command_forks FD`` is the server. Each request on its socket is a
JSON object with four descriptors: the standard streams, and the status to which a monitor writes
the command's process id and its exit code.
"""

from __future__ import annotations

import fcntl
import gc
import io
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
import termios
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import trio

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

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


class ForkedProgram:
    """A running program, with the interface of `trio.Process`."""

    def __init__(self, command: ForkedCommand, stdin: int, stdout: int) -> None:
        self.stdin: trio.lowlevel.FdStream | None = trio.lowlevel.FdStream(stdin)
        self.stdout: trio.lowlevel.FdStream | None = trio.lowlevel.FdStream(stdout)
        self.send_signal = command.send_signal
        self.kill = command.kill
        self.wait = command.wait
        self._command = command

    @property
    def returncode(self) -> int | None:
        return self._command.returncode


class ForkServer:
    """The connection to the server, in the process of the tests."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    async def start(
        self, args: tuple[str, ...], env: Mapping[str, str], terminal: int
    ) -> ForkedCommand:
        """Start a command in the terminal, which becomes its controlling terminal."""
        return await self._start({"args": args}, env, Path.cwd(), [terminal] * 3)

    async def start_program(
        self, command: Sequence[str | Path], env: Mapping[str, str], cwd: Path
    ) -> ForkedProgram:
        """Start ``python COMMAND`` with pipes; its stderr is on stdout, which has no buffer."""
        stdin, ours_in = os.pipe()
        ours_out, stdout = os.pipe()
        request = {"program": [str(each) for each in command]}
        try:
            forked = await self._start(request, env, cwd, [stdin, stdout, stdout])
        except BaseException:
            os.close(ours_in)
            os.close(ours_out)
            raise
        finally:
            os.close(stdin)
            os.close(stdout)
        return ForkedProgram(forked, ours_in, ours_out)

    async def _start(
        self, request: dict[str, Any], env: Mapping[str, str], cwd: Path, streams: list[int]
    ) -> ForkedCommand:
        read, write = os.pipe()
        request |= {"env": dict(env), "cwd": str(cwd)}
        socket.send_fds(self._channel, [json.dumps(request).encode()], [*streams, write])
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
        for descriptor in set(streams):
            os.close(descriptor)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request["env"])
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
        if "program" in request:
            _run_program(request["program"])
            code = 0
        else:
            code = _run_command(request["args"])
    except SystemExit as end:
        code = end.code
        if isinstance(code, str):
            print(code, file=sys.stderr)
    except KeyboardInterrupt:
        traceback.print_exc()
        sys.stderr.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # the exit status is that of the signal
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
    gc.collect()  # objects that were not closed warn
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):  # the terminal may be closed: the command has seen to that
            stream.flush()
    os._exit(0 if code is None else code if isinstance(code, int) else 1)


def _run_command(args: list[str]) -> object:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    sys.stdout = open(1, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", buffering=1, closefd=False)  # noqa: SIM115
    from trio_mix.cli import main

    return main(args)


def _run_program(command: list[str]) -> None:
    for number, name in ((1, "stdout"), (2, "stderr")):
        raw = open(number, "wb", buffering=0, closefd=False)  # noqa: SIM115
        setattr(sys, name, io.TextIOWrapper(raw, "utf-8", write_through=True))
    if command[0] == "-m":
        sys.argv = command[1:]
        sys.path[0] = os.getcwd()
        runpy.run_module(command[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = command
        sys.path[0] = os.path.dirname(os.path.abspath(command[0]))
        runpy.run_path(command[0], run_name="__main__")


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
