"""The set-up of the contract tests: a bundled server of each API version, clients of each kind."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import attrs
import httpx
import httpx2

from tests.support.rest_operations import OPERATIONS
from trio_mix import Mix, MixCore, RetryConfig, funcs
from trio_mix._rest._operation import GENERATIONS
from trio_mix.resources import EventStream
from trio_mix.testing import AskPermission, Hang, MixServer, Notify, Say, Think, Turn, UseTool
from trio_mix.testing import MessageFinished as Finished

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator, Sequence

    from trio_mix._http import Http, HttpClient, HttpResponse
    from trio_mix.testing import Api

How: TypeAlias = Literal["method", "function"]
Client: TypeAlias = Literal["own", "httpx", "httpx2"]

HOWS: Final[Sequence[How]] = ("method", "function")
CLIENTS: Final[Sequence[Client]] = ("own", "httpx", "httpx2")
ONCE: Final = RetryConfig(strategy="none")
MAX_UPLOAD: Final = 100_000

SERVERS: Final[dict[str, tuple[Api, str]]] = {
    "0.6.4": ("pipeline", "0.6.4"),
    "0.6.9": ("pipeline", "0.6.9"),
    "0.11.4": ("async", "0.11.4"),
    "0.7": ("blocking", "0.7.3"),
}
"""The server for each OpenAPI file, and for the generation that has no file."""

_PLAIN_CONTEXT = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # loading certificates takes 20 ms


@attrs.define
class World:
    """A server with one session, in which one message was answered."""

    server: MixServer
    generation: str
    session: str
    message: str
    """The id of the answer's row."""
    noted: dict[str, str] = attrs.field(factory=dict[str, str])
    """Values that the preparation of a case passes to its arguments."""


@asynccontextmanager
async def world_of(generation: str, **settings: Any) -> AsyncIterator[World]:
    api, version = SERVERS[generation]
    options: dict[str, Any] = {
        "version": version,
        "pace": 0.0,
        "unknown_session": "404",
        "max_upload": MAX_UPLOAD,
    }
    async with MixServer(api, **{**options, **settings}) as server:
        server.script(
            "hello",
            Turn(Think("A greeting."), UseTool("ReadText", {"path": "a"}), Say("Hello yourself.")),
        )
        server.script("hang", Turn(Hang()))
        server.script("ask", Turn(AskPermission("bash")))
        server.script("notify", Turn(Notify("Which?", response="choice", choices=["a", "b"])))
        session = server.create_session("Contract")
        server.run_message(session, "hello")
        await server.wait_for(Finished, text="hello")
        rows = server.stored(session)
        yield World(server, generation, session, str(rows[-1]["id"]))


@asynccontextmanager
async def caller_client(kind: Client) -> AsyncIterator[HttpClient | None]:
    """A caller's client, or ``None`` for the library's own connections."""
    if kind == "own":
        yield None
    elif kind == "httpx":
        async with httpx.AsyncClient(verify=_PLAIN_CONTEXT) as client:
            yield client
    else:
        async with httpx2.AsyncClient(verify=_PLAIN_CONTEXT) as client2:
            yield client2


class Recorder:
    """An HTTP layer that records the responses that pass through it."""

    def __init__(self, inner: Http) -> None:
        self.inner = inner
        self.answers: list[HttpResponse] = []

    async def request(self, *args: Any, **kwargs: Any) -> HttpResponse:
        answer = await self.inner.request(*args, **kwargs)
        self.answers.append(answer)
        return answer

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)


@attrs.define
class Caller:
    """Calls an operation as a method or as a function."""

    mix: Mix
    core: MixCore

    async def __call__(self, name: str, how: How, /, **args: Any) -> Any:
        """Return the operation's value or raise its error; of a stream, return the first event."""
        if how == "method":
            resource, _, method = name.partition(".")
            asked = getattr(getattr(self.mix, resource), method)(**args)
            value = await asked
        else:
            result = await getattr(funcs, name.replace(".", "_"))(self.core, **args)
            if isinstance(result, funcs.Err):
                raise result.error
            assert isinstance(result, funcs.Ok)
            value = result.value
        if isinstance(value, EventStream):
            async with value:
                return await anext(value)
        return value


@asynccontextmanager
async def caller_of(server: MixServer, kind: Client = "own") -> AsyncIterator[Caller]:
    async with (
        caller_client(kind) as client,
        Mix(server.url, retries=ONCE, http_client=client) as mix,
        MixCore(server.url, retries=ONCE, http_client=client) as core,
    ):
        yield Caller(mix, core)


def path_of(name: str) -> str:
    """The beginning of the operation's path, for which the server is given another answer."""
    return OPERATIONS[name].path.partition("{")[0]


GROUPS: Final = tuple(dict.fromkeys(name.partition(".")[0] for name in OPERATIONS))
"""The resources: a test of all operations is split by them."""


def have(group: str) -> Iterator[tuple[str, str]]:
    """Each operation of a resource, with each generation that has it."""
    for name, operation in OPERATIONS.items():
        if name.partition(".")[0] == group:
            for generation in operation.generations:
                yield name, generation


def lack(group: str) -> Iterator[tuple[str, str]]:
    """Each operation of a resource, with each generation that lacks it."""
    present = set(have(group))
    for name in dict.fromkeys(name for name, _ in present):
        for generation in GENERATIONS:
            if (name, generation) not in present:
                yield name, generation
