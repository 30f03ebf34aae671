"""A Redis or Valkey server in a process of its own, on a Unix socket in a temporary folder."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    import signal

__all__ = ["NO_REDIS", "RedisServer", "find_redis"]

NO_REDIS = "no redis-server on this machine: RedisLog was NOT tried against a real server"


def find_redis() -> str | None:
    """Return the program: ``TRIO_MIX_REDIS``, else redis-server or valkey-server, or None."""
    asked = os.environ.get("TRIO_MIX_REDIS")
    return asked or shutil.which("redis-server") or shutil.which("valkey-server")


class RedisServer:
    """A server. Use it as a context manager.

    Args:
      program: the program.
      port: a port of 127.0.0.1, as well as its Unix socket; 0: none.
      replica_of: the port of the primary, if it is a replica.
      options: further options, as ``("--appendonly", "yes")``.
    """

    def __init__(
        self,
        program: str,
        *,
        port: int = 0,
        replica_of: int | None = None,
        options: tuple[str, ...] = (),
    ) -> None:
        self._folder = tempfile.mkdtemp(prefix="trio-mix-redis-")
        self._program = program
        self._options = options
        self._replica_of = replica_of
        self.port = port
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"unix://{self._socket}"

    @property
    def tcp_url(self) -> str:
        return f"redis://127.0.0.1:{self.port}"

    @property
    def _socket(self) -> str:
        return f"{self._folder}/socket"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.kill()
        shutil.rmtree(self._folder, ignore_errors=True)

    def start(self) -> None:
        """Start it, with the data of the last run if it was made to keep them."""
        role: tuple[str, ...] = ()
        if self._replica_of is not None:
            role = ("--replicaof", "127.0.0.1", str(self._replica_of))
            role += ("--repl-diskless-sync-delay", "0")
        self.process = subprocess.Popen(  # noqa: S603 - the program that the tests found
            [
                self._program,
                *("--port", str(self.port), "--bind", "127.0.0.1"),
                *("--unixsocket", self._socket, "--dir", self._folder),
                *("--save", "", "--logfile", f"{self._folder}/log"),
                *role,
                *self._options,
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(3000):
            try:
                if self.command("PING").startswith(("+PONG", "-MASTERDOWN")):
                    return
            except OSError:
                pass
            if self.process.poll() is not None:
                raise OSError("the server has ended: " + Path(self._folder, "log").read_text())
            time.sleep(0.01)
        raise OSError("the server does not answer")

    def kill(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def notify(self, number: signal.Signals) -> None:
        """Send it a signal, as SIGSTOP."""
        assert self.process is not None
        self.process.send_signal(number)

    def command(self, *words: str) -> str:
        """Run a command and return the first line of its response, with its type."""
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(30)
            connection.connect(self._socket)
            request = b"*%d\r\n" % len(words)
            for word in words:
                request += b"$%d\r\n%b\r\n" % (len(word.encode()), word.encode())
            connection.sendall(request)
            answer = b""
            while b"\r\n" not in answer:
                data = connection.recv(65536)
                if not data:
                    raise OSError("the server has closed the connection")
                answer += data
        return answer.decode("utf-8", "replace")
