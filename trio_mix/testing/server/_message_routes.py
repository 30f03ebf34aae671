"""The routes that open a stream and send a message, for every generation."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import trio

from trio_mix.testing._records import Answered, MessageAccepted, MessageRun
from trio_mix.testing.server._agent import TurnRun
from trio_mix.testing.server._default_agent import slash_output
from trio_mix.testing.server._frames import ServerEvent, encode_frame
from trio_mix.testing.server._pipeline import NO_KEY, broadcast_message, work
from trio_mix.testing.server._routes import ApiRoute, Problem, RouteCall, RouteResponse, plain
from trio_mix.testing.server._stream import STREAM_HEADERS, ServerStream

if TYPE_CHECKING:
    from trio_mix.testing.server._backend import LiveSession

_LEVELS = (None, "off", "basic", "medium", "maximum")


async def stream_events(call: RouteCall) -> RouteResponse | None:
    """``GET /stream``."""
    backend, exchange = call.backend, call.exchange
    session_id = exchange.request.query.get("sessionId", "")
    live = backend.live.get(session_id)
    if not session_id and backend.traits.frame_fields:
        await trio.lowlevel.checkpoint()
        return RouteResponse(b"", 400)
    if live is None:
        if session_id and backend.settings.unknown_session == "404":
            raise Problem(404, f"session not found: {session_id}")
        why = backend.traits.unknown_session_text.format(session_id)
        await _refuse(call, why if session_id else "sessionId is required")
        return None
    request = exchange.request
    backend.log.add(Answered(method=request.method, path=request.path, status=200))
    backend.current_session = session_id
    stream = ServerStream(backend, live, exchange)
    if backend.traits.pipeline:
        backend.spawn(partial(work, backend, stream))
    await stream.serve()
    if backend.settings.cancel_on_disconnect and not live.streams and not backend.traits.pipeline:
        backend.cancel_all(live)
    return None


async def _refuse(call: RouteCall, why: str) -> None:
    fields = call.backend.traits.frame_fields
    frame = encode_frame(
        ServerEvent("error", {"error": why}), "1" if fields else None, retry=fields
    )
    request = call.exchange.request
    call.backend.log.add(Answered(method=request.method, path=request.path, status=200))
    if not call.backend.traits.rest:
        await call.exchange.respond(200, frame, headers=STREAM_HEADERS)
        return
    await call.exchange.start(200, STREAM_HEADERS)
    await call.exchange.write([(frame, False)])
    await call.exchange.finish()


async def send_streaming_message(call: RouteCall) -> RouteResponse:
    """``POST /stream/{id}/message``: 200, whether or not the message is run."""
    await trio.lowlevel.checkpoint()
    backend = call.backend
    if not backend.traits.pipeline:
        return plain(404, "404 page not found")
    try:
        body = json.loads(call.exchange.request.body)
    except (ValueError, RecursionError):
        return plain(400, "Invalid JSON")
    content = body.get("content") if isinstance(body, dict) else None
    if not isinstance(content, str) or not content:
        return plain(400, "content is required")
    session_id = call.params["id"]
    live = backend.live.get(session_id)
    if live is None and backend.settings.unknown_session == "404":
        raise Problem(404, f"session not found: {session_id}")
    if live is not None:
        backend.log.add(MessageAccepted(session_id=session_id, text=_text_of(content)))
        broadcast_message(backend, live, content)
    await trio.sleep(backend.settings.answer_delay)
    return RouteResponse({"status": "broadcasted", "sessionId": session_id})


def _text_of(content: str) -> str:
    try:
        return str(json.loads(content)["text"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return content


async def send_message(call: RouteCall) -> RouteResponse | None:
    """``POST /api/sessions/{id}/messages``: 202 at once, or 200 at the end of the turn."""
    await trio.lowlevel.checkpoint()
    backend, traits = call.backend, call.backend.traits
    if traits.pipeline and not backend.settings.rest_send:
        return plain(404, "404 page not found")
    live = backend.live.get(call.params["id"])
    if live is None:
        status = traits.unknown_session_status
        raise Problem(status, f"session not found: {call.params['id']}")
    text, plan_mode = _checked(call)
    if not backend.accounts.ready:
        data = {"error": NO_KEY, "type": "authentication_error"}
        backend.publish(live, ServerEvent("error", data))
        raise Problem(401, NO_KEY)
    session_id = live.row.id
    backend.log.add(MessageAccepted(session_id=session_id, text=text))
    if text.startswith("/"):
        return _slash(call, live, text)
    run = TurnRun(backend, live, text, plan_mode=plan_mode, silent=traits.pipeline)
    if traits.api == "async":
        backend.spawn(run.run)
        await trio.sleep(backend.settings.answer_delay)
        return RouteResponse({"status": "processing", "sessionId": session_id}, 202)
    if traits.pipeline and live.running:
        raise Problem(500, traits.busy_text)
    return await _blocking(call, run)


def _checked(call: RouteCall) -> tuple[str, bool]:
    traits = call.backend.traits
    known = ["text", "plan_mode"]
    if traits.api == "async":
        known += ["thinking_level", "max_steps"]
    elif traits.pipeline:
        known += ["media", "apps"]
    body = call.json(known)
    text = call.text(body, "text")
    if not text:
        raise Problem(400, "text is required")
    plan_mode = body.get("plan_mode", False)
    if not isinstance(plan_mode, bool):
        raise Problem(400, "Invalid JSON: plan_mode must be a boolean")
    if body.get("thinking_level") not in _LEVELS:
        raise Problem(400, "thinking_level must be off, basic, medium or maximum")
    steps = body.get("max_steps", 1)
    if not isinstance(steps, int) or steps < 1:
        raise Problem(400, "max_steps must be a positive integer")
    return text, plan_mode


def _slash(call: RouteCall, live: LiveSession, text: str) -> RouteResponse:
    output = slash_output(text[1:])
    if output is None:
        raise Problem(404, f"unknown command: {text.split()[0]}")
    backend = call.backend
    live.runs[text] += 1
    backend.log.add(MessageRun(session_id=live.row.id, text=text, times=live.runs[text]))
    message = {
        "id": f"cmd-{text[1:].split()[0]}",
        "sessionId": "",
        "role": "assistant",
        "userInput": text,
        "assistantResponse": output,
    }
    return RouteResponse(message)


async def _blocking(call: RouteCall, run: TurnRun) -> RouteResponse | None:
    done = trio.Event()

    async def run_it() -> None:
        try:
            await run.run()
        finally:
            done.set()

    async def wait() -> None:
        await done.wait()
        await trio.sleep(call.backend.settings.answer_delay)

    call.backend.spawn(run_it)
    await call.exchange.run_while_connected(wait)
    if call.exchange.gone.is_set():
        if call.backend.settings.cancel_on_disconnect:
            run.cancel()
        return None
    if run.ending != "complete" or run.row is None:
        raise Problem(500, run.error or "the turn ended without an answer")
    return RouteResponse(run.row.as_answer(run.text, run.calls))


ROUTES = (
    ApiRoute("GET", "/stream", stream_events, since=(0,)),
    ApiRoute("POST", "/stream", stream_events, since=(0,), until=(0, 6)),
    ApiRoute("POST", "/stream/{id}/message", send_streaming_message, since=(0,)),
    ApiRoute("POST", "/api/sessions/{id}/messages", send_message),
)
"""The routes of this module."""
