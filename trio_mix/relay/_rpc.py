"""The JSON-RPC of the oldest servers: sends, cancels and decisions go the relay's way."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final, cast

import trio

from trio_mix._json import NotJSON, parse
from trio_mix.relay._errors import RelayError
from trio_mix.relay._guard import check_json
from trio_mix.relay._problem import Problem
from trio_mix.relay._records import SendRequest
from trio_mix.relay._sends import finished_answer, idempotency_key

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trio_mix.relay._exchange import Exchange
    from trio_mix.relay._grants import Grant
    from trio_mix.relay._hub import Hub
    from trio_mix.relay._passthrough import Upstream

RPC_PATH: Final = "rpc"
_BAD_PARAMETER: Final = -32602
_APPLICATION: Final = -32000


async def serve_rpc(
    exchange: Exchange,
    grant: Grant,
    hub: Hub,
    upstream: Upstream,
    check_request: Callable[[str, Grant], Awaitable[None]],
) -> None:
    """Answer a call, or pass it on.

    Args:
      exchange: the request.
      grant: what the client may do; a call that is passed on needs ``manage``.
      hub: the sessions.
      upstream: passes calls on.
      check_request: checks that the client may decide about a permission request.
    """
    check_json(exchange.head.headers)
    body = await exchange.read_body()
    call = _decode(body)
    method, params = call.get("method"), call.get("params")
    fields = cast("dict[str, object]", params) if isinstance(params, dict) else {}
    try:
        if method == "messages.send":
            result = await _send(exchange, grant, hub, fields)
        elif method == "agent.cancel":
            result = await _cancel(grant, hub, fields)
        elif method in ("permission.grant", "permission.deny"):
            request_id = _text(fields, "id")
            await check_request(request_id, grant)
            granted = method == "permission.grant"
            answer = await hub.decide(request_id, grant=granted, subject=grant.subject)
            result = _decode(answer.body) or {"status": answer.status}
        else:
            grant.check("manage")
            await upstream.forward(exchange, body)
            return
    except RelayError as error:
        if error.status in (401, 403):
            raise
        await _respond(exchange, call, error=(_APPLICATION, str(error)))
    except Problem as problem:
        if exchange.responded:
            raise  # the response was passed on in part
        code = _BAD_PARAMETER if problem.status == 400 else _APPLICATION
        await _respond(exchange, call, error=(code, problem.message))
    else:
        if "error" in result or "result" in result:  # the server's own response
            await exchange.respond(200, (json.dumps({**result, "id": call.get("id")})).encode())
        else:
            await _respond(exchange, call, result=result)


async def _send(
    exchange: Exchange, grant: Grant, hub: Hub, fields: dict[str, object]
) -> dict[str, object]:
    session_id, text = _text(fields, "sessionId"), _text(fields, "content")
    grant.check("send", session_id)
    key = idempotency_key(exchange.head)
    async with hub.session(session_id) as feed:
        canonical = json.dumps({"text": text})
        sent = await feed.send(
            SendRequest(text=text), body=canonical, key=key, subject=grant.subject
        )
        turn = sent.turn
        if sent.answer is not None:
            return _decode(sent.answer.body) or {"status": sent.answer.status}
        if not turn.state.over:
            turn_id = turn.turn_id
            finished = await exchange.run_while_connected(lambda: feed.wait_turn(turn_id))
            if finished is None:
                raise trio.BrokenResourceError("the client has left; its turn goes on")
            turn = finished
    _, answer = finished_answer(turn)
    row = _decode(answer)
    return {**row, "role": "assistant", "content": row.get("assistantResponse", "")}


async def _cancel(grant: Grant, hub: Hub, fields: dict[str, object]) -> dict[str, object]:
    session_id = _text(fields, "sessionId")
    grant.check("cancel", session_id)
    async with hub.session(session_id) as feed:
        answer = await feed.cancel_running()
    return _decode(answer.body) or {"status": answer.status}


async def _respond(
    exchange: Exchange,
    call: dict[str, object],
    *,
    result: object = None,
    error: tuple[int, str] | None = None,
) -> None:
    fields: dict[str, object] = {"id": call.get("id")}
    if error is None:
        fields["result"] = result
    else:
        fields["error"] = {"code": error[0], "message": error[1]}
    await exchange.respond(200, (json.dumps(fields) + "\n").encode())


def _decode(body: bytes) -> dict[str, object]:
    """Return a JSON object; an empty one for any other text."""
    try:
        value = parse(body)
    except NotJSON:
        return {}
    return cast("dict[str, object]", value) if isinstance(value, dict) else {}


def _text(fields: dict[str, object], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise Problem(400, f"the call needs a text in {name}")
    return value
