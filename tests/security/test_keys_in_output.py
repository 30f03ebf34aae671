"""No output contains a credential, wherever it was passed and however a call fails.

Output means: texts, reprs, attributes and tracebacks of errors and of their causes; the reprs of
the library's objects in their frames, which a traceback with locals shows; reprs of clients and
options; the contexts of hooks; spans; the lines of ``MIX_DEBUG``; logging at DEBUG.
"""

from __future__ import annotations

import base64
import logging
import traceback
from typing import TYPE_CHECKING, Any, Final

import attrs
import pytest
import trio
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.support.callers_clients import callers_client
from tests.support.hooks_kit import HookCalls
from tests.support.planted import KEY, found_in
from tests.support.raw_server import SSE_HEAD, Peer, RawServer, chunk, serve
from trio_mix import Mix, ReconnectPolicy, RequestOptions, RetryConfig, errors
from trio_mix.hooks import BeforeRequestContext, Hooks
from trio_mix.otel import instrument
from trio_mix.sse import open_event_source

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

BASIC: Final = base64.b64encode(f"user:{KEY}".encode()).decode()
BEARER: Final = {"Authorization": f"Bearer {KEY}", "Cookie": f"sid={KEY}", "X-Api-Key": KEY}
ONCE: Final = RetryConfig(strategy="none")
IMPATIENT: Final = ReconnectPolicy(max_elapsed_time=0.0)


# -- where keys can be -----------------------------------------------------------------------


async def _later() -> Mapping[str, str]:
    await trio.lowlevel.checkpoint()
    return BEARER


def _add_key(context: BeforeRequestContext) -> None:
    context.headers["X-Trace-Key"] = KEY
    context.headers["Authorization"] = f"Bearer {KEY}"


made: Final[list[Any]] = []
"""HTTP clients that the tests pass, and close."""


def _client(kind: str) -> Any:
    client = callers_client(kind)
    made.append(client)
    client.headers.update(BEARER)
    client.auth = ("user", KEY)
    return client


PLACES: Final[Mapping[str, Callable[[str, list[Hooks]], Mix]]] = {
    "headers": lambda url, hooks: Mix(url, headers=BEARER, hooks=hooks, retries=ONCE),
    "a function": lambda url, hooks: Mix(url, headers=lambda: BEARER, hooks=hooks, retries=ONCE),
    "an async function": lambda url, hooks: Mix(url, headers=_later, hooks=hooks, retries=ONCE),
    "the address": lambda url, hooks: Mix(
        url.replace("//", f"//user:{KEY}@"), hooks=hooks, retries=ONCE
    ),
    "a hook": lambda url, hooks: Mix(
        url, hooks=[Hooks(before_request=_add_key), *hooks], retries=ONCE
    ),
    "httpx": lambda url, hooks: Mix(url, http_client=_client("httpx"), hooks=hooks, retries=ONCE),
    "httpx2": lambda url, hooks: Mix(url, http_client=_client("httpx2"), hooks=hooks, retries=ONCE),
}


# -- how a call can fail ----------------------------------------------------------------------


def _head(status: str, length: int, *more: str) -> bytes:
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {length}", *more, "", ""]
    return "\r\n".join(lines).encode("latin-1")


def _failing(kind: str) -> Callable[[Peer], Awaitable[None]]:
    """Return a server that fails in one way, and echoes everything that it received."""

    async def handler(peer: Peer) -> None:
        while (request := await peer.request()) is not None:
            echo = f"{request.method} {request.target} {request.headers} {request.body!r}".encode()
            sent = request.headers.get("authorization", "none")
            match kind:
                case "401" | "500" | "404 in plain words":
                    await peer.send(_head(f"{kind[:3]} No", len(echo), f"X-Echo: {sent}") + echo)
                case "400 in the API's shape":
                    body = b'{"error":{"code":400,"message":"%b","type":"x"}}' % echo.replace(
                        b'"', b"'"
                    ).replace(b"\\", b"/")
                    kinds = "Content-Type: application/json"
                    await peer.send(_head("400 No", len(body), kinds) + body)
                case "redirect":
                    there = f"Location: http://elsewhere.test/?again={sent.split()[-1]}"
                    await peer.send(_head("307 Go", len(echo), there) + echo)
                case "garbage":
                    await peer.send(b"SSH-2.0 " + sent.encode() + b"\r\n\r\n" + echo)
                    return
                case "bad header":
                    await peer.send(b"HTTP/1.1 200 OK\r\nX Y" + sent.encode() + b"\r\n\r\n")
                    return
                case "cut":
                    await peer.send(_head("200 OK", len(echo) + 100) + echo)
                    return
                case "a page":
                    await peer.send(_head("200 OK", len(echo), "Content-Type: text/html") + echo)
                case "odd JSON":
                    body = b'{"id": ["%b"], "valid": "%b"}' % (sent.encode(), sent.encode())
                    kinds = f"Content-Type: application/json\r\nX-Echo: {sent}"
                    await peer.send(_head("200 OK", len(body), kinds) + body)
                case "an error event":  # the text of events is content, and is not masked
                    frame = b'event: error\ndata: {"error":"no such session"}\n\n'
                    await peer.send(SSE_HEAD + chunk(frame))
                    return
                case _:
                    return

    return handler


FAILURES: Final = (
    *("401", "500", "404 in plain words", "400 in the API's shape", "redirect", "garbage"),
    *("bad header", "cut", "a page", "odd JSON", "an error event", "hung up", "refused"),
)


# -- output that is searched -----------------------------------------------------------------


@attrs.define
class Seen:
    """All output."""

    texts: list[tuple[str, str]] = attrs.field(factory=list)

    def add(self, where: str, *things: object) -> None:
        for thing in things:
            self.texts.append((where, thing if isinstance(thing, str) else _repr(thing)))

    def add_error(self, error: BaseException) -> None:
        shown = traceback.TracebackException.from_exception(error)
        self.add("traceback", "".join(shown.format()))
        for each in _chain(error):
            self.add(f"{type(each).__name__}", str(each), each, vars(each))
            for name, value in _our_locals(each):
                self.add(f"the local {name} in a traceback", value)

    def leaks(self) -> list[str]:
        found = {(where, found_in(text.replace(BASIC, KEY))) for where, text in self.texts}
        return sorted(f"{where}: {excerpt}" for where, excerpt in found if excerpt is not None)


def _repr(thing: object) -> str:
    try:
        return repr(thing)
    except AttributeError:  # its __init__ has not finished
        return ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: list[BaseException] = []
    todo = [error]
    while todo:
        each = todo.pop()
        if each in seen:
            continue
        seen.append(each)
        yield each
        todo += [other for other in (each.__cause__, each.__context__) if other is not None]
        todo += each.exceptions if isinstance(each, BaseExceptionGroup) else ()


def _our_locals(error: BaseException) -> Iterator[tuple[str, object]]:
    """Return the library's objects in a traceback with locals; plain mappings cannot be masked."""
    for frame, _ in traceback.walk_tb(error.__traceback__):
        for name, value in frame.f_locals.items():
            if type(value).__module__.startswith("trio_mix"):
                yield f"{frame.f_code.co_qualname}.{name}", value


async def _fail(mix: Mix, url: str, options: RequestOptions) -> list[BaseException]:
    """Call operations that fail in different ways; return the exceptions."""

    async def stream() -> None:
        async with mix.open_stream("s", reconnect=IMPATIENT, connect_timeout=2.0) as session:
            await session.ask("hello")

    async def events() -> None:
        async with mix.streaming.stream_events(session_id="s", options=options) as events:
            async for _ in events:
                pass

    async def source() -> None:
        address = url.replace("//", f"//user:{KEY}@") + f"/any?token={KEY}"
        async with open_event_source(address, headers=BEARER, reconnect=IMPATIENT) as events:
            async for _ in events:
                pass

    calls: list[Callable[[], Awaitable[object]]] = [
        lambda: mix.sessions.list(options=options),
        lambda: mix.sessions.get(id="s"),
        lambda: mix.authentication.store_api_key(api_key=f"sk-{KEY}", provider="openai"),
        lambda: mix.authentication.handle_oauth_callback(code=KEY, provider="x", state=KEY),
        lambda: mix.files.upload(id="s", file=b"x" * 70_000, filename="x", options=options),
        lambda: mix.messages.send(id="s", text="hello", options=options),
        stream,
        events,
        source,
    ]
    raised: list[BaseException] = []
    for call in calls:
        try:
            await call()
        except errors.TrioMixError as error:
            raised.append(error)
    return raised


@pytest.fixture
def spans() -> tuple[InMemorySpanExporter, TracerProvider]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return exporter, provider


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("place", PLACES)
async def test_no_output_contains_a_key_after_any_failure(
    place: str,
    failure: str,
    nursery: trio.Nursery,
    spans: tuple[InMemorySpanExporter, TracerProvider],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("MIX_DEBUG", "1")
    caplog.set_level(logging.DEBUG)
    caplog.set_level(logging.DEBUG, "trio_mix")
    server = await serve(nursery, _failing(failure))
    url = await _unused_address(server) if failure == "refused" else server.url
    calls, seen = HookCalls(), Seen()
    options = RequestOptions(headers={"X-Own": KEY}, server_url=url, timeout=5.0)
    hooks = [calls.hooks(), instrument(tracer_provider=spans[1])]
    with trio.fail_after(20):
        async with PLACES[place](url, hooks) as mix:
            raised = await _fail(mix, url, options)
            seen.add("the client", mix, mix._caller.http, str(mix))
        while made:
            await made.pop().aclose()
    assert len(raised) >= 7, "the calls failed"
    seen.add("options", options, mix.sessions, ONCE)
    for error in raised:
        seen.add_error(error)
    for name, context in calls.all:
        seen.add(f"the context of the hook {name}", context)
    for span in spans[0].get_finished_spans():
        seen.add("a span", span.to_json())
    assert any(record.name == "trio_mix" for record in caplog.records)
    for record in caplog.records:
        if record.name.startswith(("trio_mix", "httpx", "asyncio")):
            seen.add(f"the log of {record.name}", record.getMessage(), record.exc_text or "")
    caplog.clear()
    if failure != "refused":
        sent = [f"{r.target} {r.headers} {r.body!r}" for r in server.requests]
        assert all(KEY in each or BASIC in each for each in sent[:4]), "the keys were sent"
    assert seen.leaks() == []


async def _unused_address(server: RawServer) -> str:
    """Return an address without a server."""
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    await listener.aclose()
    assert port != server.port
    return f"http://127.0.0.1:{port}"


def test_the_search_finds_a_key(tmp_path: Path) -> None:
    seen = Seen()
    request = errors.RequestInfo("GET", f"http://user:{KEY}@x/")
    try:
        raise ValueError(f"refused: {request}")
    except ValueError as error:
        seen.add_error(error)
    seen.add("base64", f"Basic {BASIC}")
    places = {leak.partition(":")[0] for leak in seen.leaks()}
    assert {"traceback", "ValueError", "base64"} <= places
    assert any(
        place.endswith("test_the_search_finds_a_key.request in a traceback") for place in places
    )


@pytest.mark.parametrize(
    "address",
    [
        f"http://user:{KEY}@host:port/",
        f"http://user:{KEY}@/",
        f"ftp://user:{KEY}@host/",
        f"http://user:{KEY}@[::1/",
        f"http://user:{KEY}@host/\n",
        f"http://host/?token={KEY}",
        f"http://host/#{KEY}",
    ],
    ids=["port", "no host", "scheme", "bracket", "line end", "query", "fragment"],
)
@pytest.mark.parametrize("where", ["argument", "environment"])
def test_an_invalid_address_is_refused_without_its_password(
    address: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if where == "environment":
        monkeypatch.setenv("MIX_SERVER_URL", address)
    seen = Seen()
    try:
        seen.add("the client", Mix(address if where == "argument" else None))
    except errors.ConfigurationError as error:
        seen.add_error(error)
    assert seen.texts
    assert seen.leaks() == []


async def test_no_output_contains_the_password_of_a_proxy(
    nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(peer: Peer) -> None:
        request = await peer.request()
        assert request is not None
        proxied.append(request.headers.get("proxy-authorization", ""))
        body = f"who is {request.headers}?".encode()
        await peer.send(_head("407 Who", len(body), "Connection: close") + body)

    proxied: list[str] = []
    proxy = await serve(nursery, refuse)
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, proxy.url.replace("//", f"//user:{KEY}@"))
    seen = Seen()
    with trio.fail_after(20):
        async with Mix("http://mix.test", retries=ONCE) as mix:
            seen.add("the client", mix, mix._caller.http)
            for error in await _fail(mix, "http://mix.test", RequestOptions(timeout=5.0)):
                seen.add_error(error)
    assert f"Basic {BASIC}" in proxied
    assert seen.leaks() == []
