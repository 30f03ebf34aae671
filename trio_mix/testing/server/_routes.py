"""Dispatches requests to handlers, and renders errors.

Rules:

1. A route names the versions that have it. For other versions the response is the router's own, in
   plain text, as on real servers.
2. The oldest servers answer every other path with 200 and plain text.
3. A handler returns a `RouteResponse` or raises `Problem`; a handler that streams responds itself
   and returns None.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Collection, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import unquote

import attrs

from trio_mix.testing._records import Answered
from trio_mix.testing.server._frames import to_json

if TYPE_CHECKING:
    from trio_mix.testing.net._http1 import HttpExchange
    from trio_mix.testing.server._backend import Backend, LiveSession

_TYPES = {400: "bad_request", 401: "unauthorized", 404: "not_found", 413: "validation_error"}


class Problem(Exception):
    """A response with the API's error object."""

    def __init__(self, status: int, message: str, type_: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.type = _TYPES.get(status, "internal_error") if type_ is None else type_


@attrs.frozen
class RouteResponse:
    """The response of a handler."""

    body: object = None
    """A value to encode as JSON, or bytes to send unchanged."""
    status: int = 200
    """The status; a 204 has no body."""
    content_type: str = "application/json"
    """The body's content type."""
    headers: Sequence[tuple[str, str]] = ()
    """Further headers."""


@attrs.frozen
class RouteCall:
    """One request, as a handler receives it."""

    backend: Backend
    exchange: HttpExchange
    params: dict[str, str]
    """The path's parameters, decoded."""

    def session(self) -> LiveSession:
        """Return the session that the path names.

        Raises:
          Problem: the session does not exist.
        """
        live = self.backend.live.get(self.params["id"])
        if live is None:
            raise Problem(404, f"session not found: {self.params['id']}")
        return live

    def json(self, known: Collection[str], required: Collection[str] = ()) -> dict[str, object]:
        """Return the JSON object of the body.

        Args:
          known: the allowed fields.
          required: the required fields.

        Raises:
          Problem: the body is not an object, a field is unknown, or a field is missing.
        """
        try:
            body = json.loads(self.exchange.request.body)
        except (ValueError, RecursionError):
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
        """Return a field that must be a string.

        Raises:
          Problem: the field is not a string.
        """
        value = body.get(name, default)
        if not isinstance(value, str):
            raise Problem(400, f"Invalid JSON: {name} must be a string")
        return value


Handler = Callable[[RouteCall], RouteResponse | Awaitable[RouteResponse | None]]


@attrs.frozen
class ApiRoute:
    """A method and path, its handler, and the versions that have it."""

    method: str
    path: str
    handler: Handler
    since: tuple[int, ...] = (0, 6)
    until: tuple[int, ...] = (99,)
    """The first version that no longer has the route."""

    def match(self, segments: Sequence[str]) -> dict[str, str] | None:
        """Return the path's parameters, or None if the path does not match."""
        patterns = self.path.split("/")
        if len(patterns) != len(segments):
            return None
        params = {}
        for pattern, segment in zip(patterns, segments, strict=True):
            if pattern.startswith("{"):
                params[pattern[1:-1]] = unquote(segment)
            elif pattern != segment:
                return None
        return params


async def dispatch(backend: Backend, routes: Sequence[ApiRoute], exchange: HttpExchange) -> None:  # noqa: ASYNC910 - it responds, or the handler does
    """Respond to one request."""
    request = exchange.request
    backend.log.add_request(request)
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
        _add_answered(backend, exchange, answer.status)
        await exchange.respond(answer.status, body, content_type, answer.headers)


def _add_answered(backend: Backend, exchange: HttpExchange, status: int) -> None:
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
    backend: Backend, routes: Sequence[ApiRoute], exchange: HttpExchange
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
    if not backend.traits.rest:
        return catch_all(exchange)  # noqa: ASYNC910 - see below
    # No checkpoint: a handler's change and its record belong together; `dispatch` responds next.
    return plain(405, "Method Not Allowed") if other_method else plain(404, "404 page not found")  # noqa: ASYNC910


def catch_all(exchange: HttpExchange) -> RouteResponse:
    """Return the response of the oldest servers to a path that they do not know."""
    target = f"Path: {exchange.request.path}\nMethod: {exchange.request.method}"
    return plain(200, f"Mix HTTP JSON-RPC Server\n{target}", "text/plain")


def plain(status: int, text: str, content_type: str = "text/plain; charset=utf-8") -> RouteResponse:
    """Return a plain text response, as the router of real servers sends it."""
    return RouteResponse(f"{text}\n".encode(), status, content_type)
