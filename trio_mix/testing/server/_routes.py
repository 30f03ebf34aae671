"""From a request to a handler: the table's machinery, and the errors' shape.

What it knows: paths, methods, versions, the API's error object.
What it must never know: what the operations do.

Rules:

1. A route says from and up to which version it is there; where it is not, the answer is the
   router's own, plain text, as real servers give it.
2. A handler returns its answer or raises `Problem`; only those that stream answer by themselves.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import unquote

import attrs

from trio_mix.testing._records import Answered, RequestReceived
from trio_mix.testing.server._frames import to_json

if TYPE_CHECKING:
    from trio_mix.testing.net._http1 import HttpExchange
    from trio_mix.testing.server._backend import Backend, LiveSession

__all__ = ["Endpoint", "Problem", "RouteCall", "RouteResponse", "dispatch"]

_TYPES = {400: "bad_request", 401: "unauthorized", 404: "not_found", 413: "validation_error"}


class Problem(Exception):
    """An answer in the API's error shape."""

    def __init__(self, status: int, message: str, type_: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = _TYPES.get(status, "internal_error") if type_ is None else type_


@attrs.frozen
class RouteResponse:
    """What a handler answers."""

    body: object = None
    """JSON, or bytes to send as they are."""
    status: int = 200
    """The status; with 204 there is no body."""
    content_type: str = "application/json"
    """The body's type."""
    headers: Sequence[tuple[str, str]] = ()
    """Further headers."""


@attrs.frozen
class RouteCall:
    """One request on its way to a handler."""

    backend: Backend
    exchange: HttpExchange
    params: dict[str, str]
    """The path's parameters, decoded."""

    def session(self) -> LiveSession:
        """Return the session that the path names.

        Raises:
          Problem: there is none.
        """
        live = self.backend.live.get(self.params["id"])
        if live is None:
            raise Problem(404, f"session not found: {self.params['id']}")
        return live

    def json(self, known: Collection[str], required: Collection[str] = ()) -> dict[str, object]:
        """Return the body's object.

        Args:
          known: the fields that may be there.
          required: those that must be.

        Raises:
          Problem: the body is no object, a field is unknown, or one is missing.
        """
        try:
            body = json.loads(self.exchange.request.body)
        except ValueError:
            raise Problem(400, "Invalid JSON") from None
        if not isinstance(body, dict):
            raise Problem(400, "Invalid JSON: an object is expected")
        for name in body:
            if name not in known:
                raise Problem(400, f'Invalid JSON: unknown field "{name}"')
        for name in required:
            if name not in body:
                raise Problem(400, f"{name} is required")
        return body

    def text(self, body: dict[str, object], name: str, default: str = "") -> str:
        """Return a field that must be text.

        Raises:
          Problem: it is something else.
        """
        value = body.get(name, default)
        if not isinstance(value, str):
            raise Problem(400, f"Invalid JSON: {name} must be a string")
        return value


Handler = Callable[[RouteCall], RouteResponse | Awaitable[RouteResponse | None]]


@attrs.frozen
class Endpoint:
    """One line of the table."""

    method: str
    path: str
    handler: Handler
    since: tuple[int, ...] = (0, 6)
    until: tuple[int, ...] = (99,)
    """The first version that no longer has it."""

    def match(self, segments: Sequence[str]) -> dict[str, str] | None:
        """Return the path's parameters, or None where it does not fit."""
        mine = self.path.split("/")
        if len(mine) != len(segments):
            return None
        params = {}
        for pattern, segment in zip(mine, segments, strict=True):
            if pattern.startswith("{"):
                params[pattern[1:-1]] = unquote(segment)
            elif pattern != segment:
                return None
        return params


async def dispatch(backend: Backend, routes: Sequence[Endpoint], exchange: HttpExchange) -> None:  # noqa: ASYNC910 - it responds, or its handler did
    """RouteResponse one request."""
    request = exchange.request
    backend.log.add(
        RequestReceived(
            method=request.method,
            path=request.path,
            query=request.query,
            headers=request.headers,
            body=request.body,
        )
    )
    try:
        if request.too_large:
            raise Problem(413, f"the body is over {backend.settings.max_upload} bytes")
        answer = _canned(backend, exchange) or await _answer(backend, routes, exchange)
    except Problem as problem:
        error = {"code": problem.status, "message": problem.message, "type": problem.type}
        answer = RouteResponse({"error": error}, problem.status)
    if answer is not None:
        body = b"" if answer.status == HTTPStatus.NO_CONTENT else _encode(answer.body)
        content_type = answer.content_type if body else None
        _note(backend, exchange, answer.status)
        await exchange.respond(answer.status, body, content_type, answer.headers)


def _note(backend: Backend, exchange: HttpExchange, status: int) -> None:
    request = exchange.request
    backend.log.add(Answered(method=request.method, path=request.path, status=status))


def _encode(body: object) -> bytes:
    if isinstance(body, bytes):
        return body
    return (to_json(body) + "\n").encode("utf-8", "surrogatepass")


def _canned(backend: Backend, exchange: HttpExchange) -> RouteResponse | None:
    for canned in backend.canned:
        if exchange.request.path.startswith(canned.path):
            canned.times -= 1
            if canned.times <= 0:
                backend.canned.remove(canned)
            return RouteResponse(canned.body, canned.status, "text/plain", canned.headers)
    return None


async def _answer(
    backend: Backend, routes: Sequence[Endpoint], exchange: HttpExchange
) -> RouteResponse | None:
    segments = exchange.request.path.split("/")
    other_method = False
    for route in routes:
        if not route.since <= backend.traits.number < route.until:
            continue
        params = route.match(segments)
        if params is None:
            continue
        if route.method != exchange.request.method:
            other_method = True
            continue
        answer = route.handler(RouteCall(backend, exchange, params))
        return answer if isinstance(answer, RouteResponse) else await answer  # noqa: ASYNC910 - see below
    # No checkpoint: what a handler has changed and its record stand together, and `dispatch`
    # responds next.
    return plain(405, "Method Not Allowed") if other_method else plain(404, "404 page not found")  # noqa: ASYNC910


def plain(status: int, text: str) -> RouteResponse:
    """Return an answer as the servers' router gives it."""
    return RouteResponse(f"{text}\n".encode(), status, "text/plain; charset=utf-8")
