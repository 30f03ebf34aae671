"""Passes a request on to the server and its response back, both as they arrive.

Rules (tests cite the numbers):

1. A JSON body is read first, up to the limit; any other body is passed on as it arrives.
2. Credentials for the relay, cookies and the relay's own parameters are not passed on. The server's
   cookies and CORS headers are not passed back: the relay is the server's client, and decides about
   web pages itself. A browser shows a response, such as a file of the agent, as a page without
   rights: it runs no script in it.
3. A response that breaks off breaks off for the client as well: it is never ended as if complete.
4. A list of sessions has only those that the token covers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, final
from urllib.parse import quote

import msgspec
import trio

from trio_mix._rest._options import ONE_TRY
from trio_mix.errors import ConnectionFailed, MixError, RequestTimeout, TransportError
from trio_mix.relay._access import upstream_target
from trio_mix.relay._problem import Problem

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Self

    from trio_mix._http import ResponseStream
    from trio_mix._mix import Mix
    from trio_mix.relay._exchange import Exchange, RequestHead
    from trio_mix.relay._grants import Grant

_HOP_BY_HOP: Final = frozenset(
    (
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)
_NOT_FORTH: Final = _HOP_BY_HOP | {
    "accept-encoding",
    "authorization",
    "content-length",
    "cookie",
    "expect",
    "host",
    "idempotency-key",
    "mix-relay",
    "mix-relay-upstream",
    "origin",
    "prefer",
    "referer",
    "user-agent",  # the server's client is the relay, not a browser
}
_NOT_BACK: Final = _HOP_BY_HOP | {
    "content-security-policy",
    "mix-relay",
    "set-cookie",
    "vary",
    "x-content-type-options",
}
_NO_PAGE: Final = (
    ("Content-Security-Policy", "sandbox"),
    ("X-Content-Type-Options", "nosniff"),
)
_TIMEOUT: Final = 600.0
_LIST_LIMIT: Final = 64 * 2**20
_ROWS: Final = 500
_RETRY_AFTER: Final = 2


class _Row(msgspec.Struct, gc=False):
    id: str = ""


@final
class _Upload:
    """The body of a client's request, as it arrives."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        if piece := await self._exchange.receive_piece():
            return piece
        raise StopAsyncIteration


def passed_headers(head: RequestHead) -> dict[str, str]:
    """Return the headers of a client's request that are passed on (rule 2)."""
    named = {name.strip() for name in head.headers.get("connection", "").lower().split(",")}
    return {
        name: value
        for name, value in head.headers.items()
        if name not in _NOT_FORTH and name not in named and not name.startswith("sec-")
    }


@final
class Upstream:
    """Passes requests on to a server.

    Args:
      mix: the relay's client.

    Attributes:
      requests: how many requests were passed on.
      failures: how many of them got no response.
    """

    def __init__(self, mix: Mix) -> None:
        self.requests = 0
        self.failures = 0
        self._mix = mix
        self._sends_over_rest: bool | None = None

    async def sends_over_rest(self, session_id: str) -> bool:
        """Return whether a pipeline server has the path of REST for messages, too.

        An empty message, which no server runs, shows it.

        Raises:
          Problem: the server did not respond.
        """
        await trio.lowlevel.checkpoint()
        if self._sends_over_rest is None:
            path = f"/api/sessions/{quote(session_id, safe='')}/messages"
            try:
                await self._mix.request("POST", path, json={"text": ""}, options=ONE_TRY)
            except MixError as error:
                kind = error.headers.get("content-type", "")
                self._sends_over_rest = kind.startswith("application/json")
            except TransportError as error:
                raise _unreachable(error) from error
            else:
                self._sends_over_rest = False  # the oldest servers answer every path
        return self._sends_over_rest

    async def forward(
        self, exchange: Exchange, body: bytes | None = None, grant: Grant | None = None
    ) -> None:
        """Pass a request on and its response back.

        Args:
          exchange: the request.
          body: its body, if it was read already.
          grant: of a list of sessions, only those that it covers are passed back; None: all.

        Raises:
          Problem: the server did not respond.
        """
        self.requests += 1
        head = exchange.head
        headers = passed_headers(head)
        content: bytes | _Upload | None = body
        if body is None:
            content = await self._content(exchange, headers)
        try:
            if isinstance(content, _Upload):
                stream = await self._open(head, headers, content)
            else:
                opened = await exchange.run_while_connected(
                    lambda: self._open(head, headers, content)
                )
                if opened is None:
                    raise trio.BrokenResourceError("the client has left")
                stream = opened
            try:
                await self._pass_back(exchange, stream, grant)
            finally:
                await stream.aclose()
        except TransportError as error:
            self.failures += 1
            raise _unreachable(error) from error

    async def _content(self, exchange: Exchange, headers: dict[str, str]) -> bytes | _Upload | None:
        sent = exchange.head.headers
        length, kind = sent.get("content-length"), sent.get("content-type", "")
        if length is None and "transfer-encoding" not in sent:
            await trio.lowlevel.checkpoint()
            return None
        if kind.partition(";")[0].strip().lower() == "application/json" or length == "0":
            return await exchange.read_body()
        if length is not None:
            headers["content-length"] = length
        await trio.lowlevel.checkpoint()
        return _Upload(exchange)

    async def _open(
        self, head: RequestHead, headers: dict[str, str], content: bytes | _Upload | None
    ) -> ResponseStream:
        caller = self._mix._caller
        url = caller.defaults.url_for(upstream_target(head))
        every = {**headers, **(await caller.defaults.headers_for())}
        return await caller.http.open(
            head.method, url, headers=every, content=content, connect_timeout=_TIMEOUT
        )

    async def _pass_back(
        self, exchange: Exchange, stream: ResponseStream, grant: Grant | None
    ) -> None:
        headers = _returned_headers(stream.headers)
        if stream.encoding_problem:
            raise Problem(502, f"the server's response cannot be read: {stream.encoding_problem}")
        if grant is not None and grant.sessions is not None and stream.status_code == 200:
            body = await _covered_sessions(stream, grant)
            kept = [pair for pair in headers if pair[0] not in ("content-length", "content-type")]
            await exchange.respond(200, body, headers=kept)
            return
        await exchange.start(stream.status_code, headers)
        while piece := await stream.receive(_TIMEOUT):
            await exchange.write(piece)
        await exchange.finish()


def _returned_headers(headers: Mapping[str, str]) -> list[tuple[str, str]]:
    kept = [
        (name, value)
        for name, value in headers.items()
        if name not in _NOT_BACK and not name.startswith("access-control-")
    ]
    return [*kept, *_NO_PAGE]


async def _covered_sessions(stream: ResponseStream, grant: Grant) -> bytes:
    """Return the rows of a list of sessions that a token covers (rule 4)."""
    body, truncated = await stream.read_all(_LIST_LIMIT)
    if truncated:
        raise Problem(502, f"the server's list of sessions is over {_LIST_LIMIT / 2**20:g} MiB")
    try:
        rows = msgspec.json.decode(body, type=list[msgspec.Raw])
    except (ValueError, RecursionError):
        raise Problem(502, "the server's list of sessions is not a JSON array") from None
    kept: list[bytes] = []
    for number, row in enumerate(rows):
        if number % _ROWS == 0:
            await trio.lowlevel.checkpoint()
        try:
            session_id = msgspec.json.decode(row, type=_Row).id
        except (ValueError, RecursionError):
            continue
        if session_id and grant.covers(session_id):
            kept.append(bytes(row))
    return b"[" + b",".join(kept) + b"]\n"


def _unreachable(error: TransportError) -> Problem:
    after = [("Retry-After", str(_RETRY_AFTER))]
    if isinstance(error, RequestTimeout):
        return Problem(504, "the Mix server did not respond in time")
    if isinstance(error, ConnectionFailed) and not error.sent:
        return Problem(503, "the Mix server cannot be reached", headers=after)
    return Problem(502, "the connection to the Mix server broke before its response was complete")
