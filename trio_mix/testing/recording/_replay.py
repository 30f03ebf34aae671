"""`replay`: a server that repeats the responses of a recording.

Rules:

1. A request gets the response that the same request got in the recording: the first such request
   the first response, and so on. Requests are the same if method, target and body are the same. A
   ``GET`` that was recorded fewer times gets the last response again, unless it is a stream.
2. What was sent after a request is never sent before the client has made that request. After the
   request it takes as long as it was recorded, on Trio's clock, divided by ``speed``.
3. A response ends as it was recorded. If the recorded client left, or the recorder was left, the
   response stays open.
4. A request that was not recorded is answered with 410 and listed in `Replay.unexpected`.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Final, Self

import trio

from trio_mix.errors import ConfigurationError
from trio_mix.testing._log import Log, Observed
from trio_mix.testing._records import Answered
from trio_mix.testing.net._guard import RequestGuard
from trio_mix.testing.net._http1 import serve_connection
from trio_mix.testing.net._listener import Listener
from trio_mix.testing.recording._format import load
from trio_mix.testing.recording._masking import Masker

if TYPE_CHECKING:
    import os
    from collections.abc import Collection, Sequence
    from types import TracebackType

    from trio_mix.testing.net._http1 import HttpExchange, ReceivedRequest
    from trio_mix.testing.net._memory import MemoryNetwork
    from trio_mix.testing.recording._format import Moment, RecordedExchange, Recording

MAX_BODY: Final = 64 * 2**20
MAX_UNEXPECTED: Final = 1000
_SHOWN: Final = 400
_OURS: Final = frozenset({"connection", "content-length", "keep-alive", "transfer-encoding"})


def replay(
    path: str | os.PathLike[str],
    *,
    speed: float = 1.0,
    ignore_bodies: bool = False,
    listen: bool = True,
    host: str = "127.0.0.1",
    port: int = 0,
    allowed_hosts: Collection[str] = (),
    allowed_origins: Collection[str] = (),
) -> Replay:
    """Return a server that repeats a recording; use it with ``async with``.

    It keeps the recording's order and timing, on Trio's clock: with ``autojump_clock``, and through
    ``server.network``, an hour passes at once. Only recorded requests are answered: others get 410,
    with a text that explains it.

    Args:
      path: a file that `record` wrote.
      speed: how many times faster than recorded; ``math.inf``: without any delay.
      ignore_bodies: whether requests are the same regardless of their bodies, for programs that
        send the time of day. A server may have repeated a body, which clients may compare.
      listen: whether to open a socket.
      host: the address to bind.
      port: the port to bind; 0: any free port.
      allowed_hosts: ``Host`` names to serve, as well as ``host``, ``localhost`` and IP addresses.
        Requests with another name are refused with 403: a web page makes them by DNS rebinding.
      allowed_origins: origins of web pages whose requests are served. Other pages are refused
        with 403.

    A request body over 64 MiB is refused with 413.

    Raises:
      OSError: the file cannot be read.
      RecordingError: the file is not a recording.
      ConfigurationError: the speed or port is out of range.
    """
    return Replay(
        load(path),
        speed=speed,
        ignore_bodies=ignore_bodies,
        listen=listen,
        host=host,
        port=port,
        guard=RequestGuard(host, allowed_hosts, allowed_origins),
    )


class Replay(Observed):
    """A server that repeats a recording, made by `replay`.

    Attributes:
      recording: the recording.
      unexpected: a line for each request that was not recorded, for a thousand of them at most.
    """

    def __init__(
        self,
        recording: Recording,
        *,
        speed: float,
        ignore_bodies: bool,
        listen: bool,
        host: str,
        port: int,
        guard: RequestGuard,
    ) -> None:
        if not speed > 0:
            raise ConfigurationError(f"speed must be positive, not {speed}")
        super().__init__(Log())
        self.recording = recording
        self.unexpected: list[str] = []
        self._speed = speed
        self._ignore_bodies = ignore_bodies
        self._listener = Listener(self._connection, host=host, port=port, listen=listen)
        self._guard = guard
        self._masker = Masker()
        self._left = list(recording.exchanges)
        self._received: dict[int, float] = {}
        self._changed = trio.lowlevel.ParkingLot()
        self._waiting: list[str] = []

    @property
    def url(self) -> str:
        """The server's address."""
        return self._listener.url

    @property
    def network(self) -> MemoryNetwork:
        """The network in memory that leads to it."""
        return self._listener.network

    @property
    def in_memory(self) -> bool:
        """Whether it opens no socket and is reachable through `network` only."""
        return not self._listener.listen

    @property
    def unused(self) -> Sequence[str]:
        """The recorded requests that were not made so far."""
        return [exchange.request for exchange in self._left]

    @property
    def waiting(self) -> Sequence[str]:
        """The recorded requests that a response waits for, because it was sent after them."""
        return list(self._waiting)

    async def __aenter__(self) -> Self:
        await self._listener.open()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._listener.close("the replay was left", exc)

    # --- inside ---------------------------------------------------------------------------------

    async def _connection(self, stream: trio.abc.Stream) -> None:
        await serve_connection(
            stream,
            self._exchange,
            max_body=MAX_BODY,
            guard=self._guard,
            refused=self._log.add_refused,
        )

    async def _exchange(self, exchange: HttpExchange) -> None:
        request = exchange.request
        self._log.add_request(request)
        if request.too_large:
            await self._refuse(exchange, 413, f"the request body is over {MAX_BODY} bytes")
            return
        recorded = self._find(request)
        if isinstance(recorded, str):
            await self._refuse(exchange, 410, recorded)
            return
        self._received[recorded.number] = trio.current_time()
        self._changed.unpark_all()
        await exchange.run_while_connected(partial(self._answer, exchange, recorded))

    async def _refuse(self, exchange: HttpExchange, status: int, why: str) -> None:
        if len(self.unexpected) < MAX_UNEXPECTED:
            self.unexpected.append(why)
        request = exchange.request
        self._log.add(Answered(method=request.method, path=request.path, status=status))
        await exchange.respond(status, f"{why}\n".encode(), "text/plain; charset=utf-8")

    def _find(self, request: ReceivedRequest) -> RecordedExchange | str:
        """Return the recorded exchange of a request, or why there is none."""
        login = "/auth" in request.path
        line = f"{request.method} {self._masker.target(request.target, login=login)}"
        body = self._masker.pieces([request.body], login=login)[0].decode("utf-8", "replace")
        candidates = [exchange for exchange in self._left if exchange.request == line]
        for exchange in candidates:
            if self._ignore_bodies or _same(exchange.body, body):
                self._left.remove(exchange)
                return exchange
        if candidates:
            wanted = _shown(candidates[0].body or "")
            return f"{_cut(line)}: in the recording the body is {wanted}, not {_shown(body)}"
        recorded = [each for each in self.recording.exchanges if each.request == line]
        if recorded and request.method == "GET" and not recorded[-1].is_stream:
            return recorded[-1]
        times = f"only {len(recorded)} times" if recorded else "not at all"
        return f"{_cut(line)}: the recording has this request {times}"

    async def _answer(self, exchange: HttpExchange, recorded: RecordedExchange) -> None:
        await trio.lowlevel.checkpoint()
        if recorded.status:
            await self._until(recorded.head)
            answered = Answered(
                method=recorded.method, path=exchange.request.path, status=recorded.status
            )
            headers = [(k, v) for k, v in recorded.headers.items() if k not in _OURS]
            if recorded.end == "complete" and not recorded.is_stream:
                await self._until(recorded.ended)
                self._log.add(answered)
                body = b"".join(data for _, data in recorded.chunks)
                await exchange.respond(recorded.status, body, headers=headers)
                return
            self._log.add(answered)
            await exchange.start(recorded.status, headers)
            for moment, data in recorded.chunks:
                await self._until(moment)
                await exchange.write([(data, False)])
        match recorded.end:
            case "client" | "stopped":
                await trio.sleep_forever()
            case "complete":
                await self._until(recorded.ended)
                await exchange.finish()
            case how:
                await self._until(recorded.ended)
                exchange.sever("reset" if how == "reset" else "cut")

    async def _until(self, moment: Moment) -> None:
        await trio.lowlevel.checkpoint()
        if moment.after not in self._received:
            request = next(e.request for e in self._left if e.number == moment.after)
            self._waiting.append(request)
            try:
                while moment.after not in self._received:
                    await self._changed.park()
            finally:
                self._waiting.remove(request)
        await trio.sleep_until(self._received[moment.after] + moment.delay / self._speed)


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _shown(body: str) -> str:
    return repr(_cut(body))


def _same(recorded: str | None, body: str) -> bool:
    if recorded is None or recorded == body:
        return True
    try:
        return bool(json.loads(recorded) == json.loads(body))
    except (ValueError, RecursionError):
        return False
