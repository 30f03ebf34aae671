"""Relays in processes of their own on one Redis, with a link to it for each that can be cut."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL, Signals
from typing import TYPE_CHECKING, Final

import attrs
import httpx
import trio

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Consumed", "Link", "RelayProcess", "consume", "free_port", "owner_of", "send"]

ROOT = Path(__file__).parents[2]
_PIECE: Final = 65536
_RETRY: Final = 0.1


def free_port() -> int:
    """Return a port that nothing uses at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Link:
    """A way to a server that can be cut: connections through it stay open, and nothing passes.

    Attributes:
      port: where it listens.
      target: the port that it leads to.
    """

    def __init__(self, target: int) -> None:
        self.port = 0
        self.target = target
        self._passes = {"up": trio.Event(), "down": trio.Event()}
        self._scopes: set[trio.CancelScope] = set()
        self.restore()

    def cut(self, *directions: str) -> None:
        """Let nothing pass: ``up`` to the server, ``down`` from it."""
        for direction in directions:
            self._passes[direction] = trio.Event()

    def restore(self) -> None:
        """Let everything pass again, also what has waited."""
        for event in self._passes.values():
            event.set()

    def drop(self) -> None:
        """Break all connections."""
        for scope in self._scopes:
            scope.cancel(reason="the link was dropped")

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        task_status.started()
        await trio.serve_listeners(self._serve, [listener])

    async def _serve(self, near: trio.SocketStream) -> None:
        try:
            far = await trio.open_tcp_stream("127.0.0.1", self.target)
        except OSError:
            return
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                async with near, far, trio.open_nursery() as nursery:
                    nursery.start_soon(self._copy, near, far, "up", scope)
                    nursery.start_soon(self._copy, far, near, "down", scope)
            finally:
                self._scopes.discard(scope)

    async def _copy(
        self,
        source: trio.SocketStream,
        target: trio.SocketStream,
        direction: str,
        scope: trio.CancelScope,
    ) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            while data := await source.receive_some(_PIECE):
                await self._passes[direction].wait()
                await target.send_all(data)
        scope.cancel(reason="one end has closed")


@attrs.define(eq=False)
class RelayProcess:
    """One relay, which can be killed and started again on the same port."""

    upstream: str
    redis: str
    folder: Path
    settings: str = ""
    port: int = attrs.field(factory=free_port)
    process: trio.Process | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Start it, and return when it is ready."""
        config = self.folder / f"relay-{self.port}.toml"
        config.write_text(
            f'upstream = "{self.upstream}"\nlog = "{self.redis}"\n'
            f'listen = "127.0.0.1:{self.port}"\n{self.settings}'
        )
        await self._launch(config)
        async with httpx.AsyncClient() as client:
            while True:
                with suppress(httpx.TransportError):
                    response = await client.get(f"{self.url}/relay/health/ready")
                    if response.status_code == 200:
                        return
                if self.process is None or self.process.poll() is not None:
                    await self._launch(
                        config
                    )  # as a service manager does: Redis may have been away
                await trio.sleep(_RETRY)

    async def _launch(self, config: Path) -> None:
        with (self.folder / f"relay-{self.port}.log").open("ab") as log:
            self.process = await trio.lowlevel.open_process(
                [sys.executable, "-m", "trio_mix.cli", "relay", "--config", str(config)],
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def notify(self, number: Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    async def end(self, number: Signals = SIGKILL) -> None:
        """End it with a signal, and wait."""
        if self.process is not None:
            with suppress(ProcessLookupError):
                self.process.send_signal(number)
            await self.process.wait()
            self.process = None


@attrs.define
class Consumed:
    """What one consumer received, over all its connections."""

    session: str
    first: int | None = None
    ids: list[int] = attrs.field(factory=list[int])
    gaps: int = 0
    connects: int = 0


async def consume(consumed: Consumed, relays: Sequence[RelayProcess], start: int) -> None:
    """Receive a session's events until cancelled, from another relay after each connection."""
    number = start
    async with httpx.AsyncClient(timeout=3.0) as client:
        while True:
            position = consumed.ids[-1] if consumed.ids else consumed.first
            headers = {} if position is None else {"Last-Event-ID": str(position)}
            url = f"{relays[number % len(relays)].url}/stream?sessionId={consumed.session}"
            with suppress(httpx.TransportError):
                async with client.stream("GET", url, headers=headers) as response:
                    if response.status_code == 200:
                        consumed.connects += 1
                        await _receive(consumed, response)
            number += 1
            await trio.sleep(_RETRY)


async def _receive(consumed: Consumed, response: httpx.Response) -> None:
    event_id, name = 0, ""
    async for line in response.aiter_lines():
        if line.startswith("id: "):
            event_id = int(line[4:])
        elif line.startswith("event: "):
            name = line[7:]
        elif line.startswith("data: ") and name == "connected":
            consumed.gaps += '"gap"' in line
            if consumed.first is None:
                consumed.first = event_id
        elif line.startswith("data: ") and name not in ("heartbeat", "permission"):
            consumed.ids.append(event_id)


async def send(relays: Sequence[RelayProcess], session: str, text: str, start: int = 0) -> str:
    """Send a message with a key to one relay after the other until it is accepted."""
    number = start
    async with httpx.AsyncClient(timeout=5.0) as client:
        while True:
            with suppress(httpx.TransportError):
                response = await client.post(
                    f"{relays[number % len(relays)].url}/api/sessions/{session}/messages",
                    json={"text": text},
                    headers={"Idempotency-Key": text},
                )
                if response.status_code < 300:
                    turn_id: str = response.json()["turnId"]
                    return turn_id
                if response.status_code not in (429, 503):
                    raise AssertionError(f"{response.status_code}: {response.text}")
            number += 1
            await trio.sleep(_RETRY)


async def owner_of(relays: Sequence[RelayProcess]) -> RelayProcess:
    """Return the relay that owns a session; there is one at most."""
    async with httpx.AsyncClient() as client:
        for relay in relays:
            text = (await client.get(f"{relay.url}/relay/metrics")).text
            if "\ntrio_mix_relay_sessions_owned 1" in text:
                return relay
    raise AssertionError("no relay owns a session")
