"""The routes of browser tunnels: open one, list them, send a test command."""

from __future__ import annotations

import trio
from wsproto.utilities import ProtocolError

from trio_mix.testing.server._routes import ApiRoute, Problem, RouteCall, RouteResponse
from trio_mix.testing.server._tunnel import COMMAND_TIMEOUT, BrowserTunnel


async def open_tunnel(call: RouteCall) -> RouteResponse | None:
    """``GET /api/v1/tunnel/cdp/session/{id}``: upgrade to a WebSocket."""
    request = call.exchange.request
    if not request.query.get("token"):
        raise Problem(401, "token is required")
    session_id = call.session().row.id
    if "websocket" not in request.headers.get("upgrade", "").lower():
        raise Problem(426, "this endpoint is a WebSocket: upgrade the connection", "bad_request")
    stream, early = call.exchange.take_over()
    tunnel = BrowserTunnel(session_id, stream, call.backend.log)
    tunnels = call.backend.tunnels
    headers = [(name.encode(), value.encode("latin-1")) for name, value in request.headers.items()]
    tunnels.add(tunnel)
    try:
        await tunnel.run(headers, request.path, early)
    except ProtocolError:
        raise Problem(400, "invalid WebSocket handshake") from None
    finally:
        tunnels.remove(tunnel)
        tunnel.finished()
    return None


def active(call: RouteCall) -> RouteResponse:
    """``GET /api/v1/tunnel/active``."""
    sessions = list(call.backend.tunnels)
    return RouteResponse({"active_tunnels": sessions, "count": len(sessions)})


async def send_test_command(call: RouteCall) -> RouteResponse:
    """``POST /api/v1/tunnel/test-command/{id}``: send one command through the tunnel."""
    body = call.json(("id", "method", "params"), ("method",))
    method, params = call.text(body, "method"), body.get("params")
    if params is not None and not isinstance(params, dict):
        raise Problem(400, "Invalid JSON: params must be an object")
    if call.params["id"] not in call.backend.tunnels:
        raise Problem(404, f"no active tunnel for session: {call.params['id']}")
    tunnel = call.backend.tunnels[call.params["id"]]
    try:
        return RouteResponse(await tunnel.command(method, params, id=body.get("id")))
    except trio.TooSlowError:
        raise Problem(504, f"no answer to {method} within {COMMAND_TIMEOUT:g} s") from None
    except trio.BrokenResourceError:
        raise Problem(502, "the tunnel was closed") from None


_SINCE = (0, 7, 4)

ROUTES = (
    ApiRoute("GET", "/api/v1/tunnel/cdp/session/{id}", open_tunnel, since=_SINCE),
    ApiRoute("GET", "/api/v1/tunnel/active", active, since=_SINCE),
    ApiRoute("POST", "/api/v1/tunnel/test-command/{id}", send_test_command, since=_SINCE),
)
"""The routes of this module."""
