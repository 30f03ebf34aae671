"""The web application: one page, its events, and the actions of its buttons.

Pages of other origins must not reach the agent through the user's browser. Therefore a POST has to
be JSON, which such a page cannot send without permission, and the ``Host`` header is checked.
"""

from __future__ import annotations

import json
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import FileResponse, Response, StreamingResponse
from starlette.routing import Route

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.requests import Request

    from .history import History
    from .relay import Relay

__all__ = ["make_app"]

_LARGEST_BODY = 256 * 1024
_PAGE = Path(__file__).with_name("page.html")


def make_app(relay: Relay, history: History, hosts: Sequence[str]) -> Starlette:
    """Return the application for a relay."""

    async def page(_: Request) -> Response:
        return FileResponse(_PAGE, headers={"Content-Security-Policy": "frame-ancestors 'none'"})

    async def events(request: Request) -> Response:
        reader = history.read(request.headers.get("last-event-id"))
        headers = {"Cache-Control": "no-cache"}
        return StreamingResponse(reader, media_type="text/event-stream", headers=headers)

    async def send(request: Request) -> Response:
        text = (await _body(request)).get("text")
        if not isinstance(text, str) or not text.strip():
            return Response("the text is missing", HTTPStatus.BAD_REQUEST)
        relay.send(text)
        return Response(status_code=HTTPStatus.ACCEPTED)

    async def cancel(request: Request) -> Response:
        await _body(request)
        relay.cancel()
        return Response(status_code=HTTPStatus.ACCEPTED)

    async def permission(request: Request) -> Response:
        answer = await _body(request)
        known = await relay.decide(str(answer.get("id")), grant=answer.get("grant") is True)
        return Response(status_code=HTTPStatus.OK if known else HTTPStatus.GONE)

    return Starlette(
        routes=[
            Route("/", page),
            Route("/events", events),
            Route("/send", send, methods=["POST"]),
            Route("/cancel", cancel, methods=["POST"]),
            Route("/permission", permission, methods=["POST"]),
        ],
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=list(hosts))],
        exception_handlers={_NotJson: _refuse},
    )


class _NotJson(Exception):
    """A request whose body is not a JSON object, or is too large."""


async def _refuse(_: Request, error: Exception) -> Response:
    return Response(str(error), HTTPStatus.UNSUPPORTED_MEDIA_TYPE)


async def _body(request: Request) -> dict[str, object]:
    if request.headers.get("content-type") != "application/json":
        raise _NotJson("send JSON")
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _LARGEST_BODY:
            raise _NotJson(f"send at most {_LARGEST_BODY} bytes")
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise _NotJson("send a JSON object")
    return value
