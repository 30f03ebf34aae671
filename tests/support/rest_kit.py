"""Doubles for the REST tests: a server with scripted responses, and an HTTP layer in memory."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import httpx
import httpx2
import trio

from trio_mix._http import HttpResponse
from trio_mix._rest._core import MixCore
from trio_mix._rest._options import RetryConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

ONCE = RetryConfig(strategy="none")


@attrs.define
class Asked:
    """A request as it was on the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


def answer(
    status: int = 200,
    body: object = None,
    *,
    raw: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> bytes:
    """The bytes of an HTTP answer; the body is JSON unless it is given raw."""
    content = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
    fields = {"Content-Length": str(len(content)), **(headers or {})}
    if body is not None:
        fields.setdefault("Content-Type", "application/json")
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Said\r\n{head}\r\n".encode("latin-1") + content


def refusal(status: int, message: str = "no", kind: str = "bad_request") -> bytes:
    return answer(status, {"error": {"code": status, "message": message, "type": kind}})


@attrs.define
class Canned:
    """A server on a real socket with scripted responses."""

    url: str
    asked: list[Asked]
    answers: Callable[[Asked], bytes | None]

    def say(self, *answers: bytes) -> None:
        """Answer one after another; the last one again and again."""
        left = list(answers)
        self.answers = lambda _: left.pop(0) if len(left) > 1 else left[0]


async def _read_request(stream: trio.SocketStream) -> Asked | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = await stream.receive_some()
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        while not body.endswith(b"0\r\n\r\n"):
            body += await stream.receive_some()
        body = _unchunk(body)
    while len(body) < int(headers.get("content-length", 0)):
        more = await stream.receive_some()
        if not more:
            break
        body += more
    return Asked(method, target, headers, body)


def _unchunk(body: bytes) -> bytes:
    whole = b""
    while True:
        size, _, rest = body.partition(b"\r\n")
        length = int(size, 16)
        if not length:
            return whole
        whole += rest[:length]
        body = rest[length + 2 :]


@asynccontextmanager
async def canned_server(
    answers: Callable[[Asked], bytes | None] = lambda _: refusal(404),
) -> AsyncIterator[Canned]:
    server = Canned("", [], answers)

    async def serve(stream: trio.SocketStream) -> None:
        try:
            while (asked := await _read_request(stream)) is not None:
                server.asked.append(asked)
                said = server.answers(asked)
                if said is None:
                    return
                await stream.send_all(said)
                if b"Connection: close" in said or b"Content-Length" not in said:
                    return
        except trio.BrokenResourceError:
            pass

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        server.url = f"http://127.0.0.1:{port}"
        yield server
        nursery.cancel_scope.cancel()


@attrs.define
class FakeHttp:
    """An HTTP layer that returns or raises what is scripted, and records each request's time."""

    script: list[HttpResponse | Exception]
    times: list[float] = attrs.field(factory=list)
    headers: list[Mapping[str, str]] = attrs.field(factory=list)

    async def request(
        self, _method: str, _url: str, *, headers: Mapping[str, str], **_: object
    ) -> HttpResponse:
        self.times.append(trio.current_time())
        self.headers.append(headers)
        await trio.lowlevel.checkpoint()
        said = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(said, Exception):
            raise said
        return said

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def response(
    status: int,
    body: object = None,
    headers: Mapping[str, str] | None = None,
    *,
    truncated: bool = False,
) -> HttpResponse:
    return HttpResponse(
        status_code=status,
        headers=dict(headers or {}),
        body=b"" if body is None else json.dumps(body).encode(),
        truncated=truncated,
        url="http://mix.test",
    )


def their_client(kind: str) -> Any:
    """A caller's client of one of the kinds that fit, or ``None`` for our own connections."""
    return {"httpx": httpx.AsyncClient, "httpx2": httpx2.AsyncClient}.get(kind, lambda: None)()


def core_over(
    script: Sequence[HttpResponse | Exception], **settings: Any
) -> tuple[MixCore, FakeHttp]:
    """A client whose HTTP layer is in memory, so that the clock may jump."""
    core = MixCore("http://mix.test", **settings)
    fake = FakeHttp(list(script))
    core._caller.http = fake  # type: ignore[assignment]
    return core, fake
