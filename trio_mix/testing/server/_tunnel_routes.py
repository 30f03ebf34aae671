"""The operations on browser tunnels: one is opened, they are listed, a command is sent through one.

What it knows: the requests and their answers.
What it must never know: WebSockets, beyond that a request becomes one; browsers; the client.

Rule: a tunnel needs a session and a token that is not empty.
"""

from __future__ import annotations

import trio
from wsproto.utilities import ProtocolError

from trio_mix.testing.server._routes import Endpoint, Problem, RouteCall, RouteResponse
from trio_mix.testing.server._tunnel import COMMAND_TIMEOUT, BrowserTunnel

__all__ = ["ROUTES"]


async def open_tunnel(call: RouteCall) -> RouteResponse | None:
    """``GET /api/v1/tunnel/cdp/session/{id}``: becomes a WebSocket."""
    request = call.exchange.request
    if not request.query.get("token"):
        raise Problem(401, "token is required")
    session_id = call.session().row.id
    if "websocket" not in request.headers.get("upgrade", "").lower():
        raise Problem(426, "this is a WebSocket's endpoint", "bad_request")
    stream, early = call.exchange.take_over()
    tunnel = BrowserTunnel(session_id, stream, call.backend.log)
    tunnels = call.backend.tunnels
    headers = [(name.encode(), value.encode("latin-1")) for name, value in request.headers.items()]
    tunnels.add(tunnel)
    try:
        await tunnel.run(headers, request.path, early)
    except ProtocolError:
        raise Problem(400, "that is no WebSocket's handshake") from None
    finally:
        tunnels.remove(tunnel)
        tunnel.finished()
    return None


def active(call: RouteCall) -> RouteResponse:
    """``GET /api/v1/tunnel/active``."""
    sessions = list(call.backend.tunnels)
    return RouteResponse({"active_tunnels": sessions, "count": len(sessions)})


async def send_test_command(call: RouteCall) -> RouteResponse:
    """``POST /api/v1/tunnel/test-command/{id}``: one command through the tunnel."""
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
        raise Problem(504, f"{method} was not answered within {COMMAND_TIMEOUT:g} s") from None
    except trio.BrokenResourceError:
        raise Problem(502, "the tunnel has ended") from None


_SINCE = (0, 7, 4)

ROUTES = (
    Endpoint("GET", "/api/v1/tunnel/cdp/session/{id}", open_tunnel, since=_SINCE),
    Endpoint("GET", "/api/v1/tunnel/active", active, since=_SINCE),
    Endpoint("POST", "/api/v1/tunnel/test-command/{id}", send_test_command, since=_SINCE),
)
"""The table."""
