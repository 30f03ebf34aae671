"""Runs the messages of a pipeline server, which its open streams run themselves.

Rules:

1. Each open stream runs each message, one after another. The session runs one at a time: the second
   stream reports the conflict to its client.
2. A stream that closes cancels the turn that another stream of the session runs. During its own
   turn it does not notice the close; messages queued behind may still run, undelivered.
3. Content that is not a JSON object with a text ends the stream without an event.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import trio

from trio_mix.testing._records import MessageLost, MessageRun
from trio_mix.testing.server._agent import TurnRun
from trio_mix.testing.server._default_agent import shell_output, slash_output
from trio_mix.testing.server._frames import ServerEvent
from trio_mix.testing.server._traits import BUSY

if TYPE_CHECKING:
    from trio_mix.testing.server._backend import Backend, LiveSession
    from trio_mix.testing.server._stream import ServerStream

NO_KEY = "Authentication required: no API key is stored for the preferred provider"


def broadcast_message(backend: Backend, live: LiveSession, content: str) -> None:
    """Queue a message on each open stream; without an open stream it is lost."""
    if not live.streams:
        _add_lost(backend, live, content, "no stream was open")
    for stream in live.streams:
        if len(stream.messages) >= backend.settings.queue_size:
            _add_lost(backend, live, content, "the queue was full")
        else:
            stream.messages.append(content)
            stream.changed.unpark_all()


async def work(backend: Backend, stream: ServerStream) -> None:
    """Run the messages of a stream until it is closed and its queue is empty."""
    live = stream.live
    while True:
        while not stream.messages:
            if stream.closed:
                backend.cancel(live)
                return
            await stream.changed.park()
        content = stream.messages.popleft()
        if stream.closed and not backend.settings.ghost_runs:
            _add_lost(backend, live, content, "the stream was closed")
            continue
        stream.working = True
        try:
            await _run(backend, stream, content)
        finally:
            stream.working = False


async def _run(backend: Backend, stream: ServerStream, content: str) -> None:
    await trio.lowlevel.checkpoint()
    live = stream.live
    try:
        message = json.loads(content)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict) or not isinstance(message.get("text", ""), str | None):
        _add_lost(backend, live, content, "the content is not JSON")
        stream.end("close")
        return
    text = str(message.get("text") or "")
    if not backend.accounts.ready:
        data = {"error": NO_KEY, "type": "authentication_error"}
        _publish(backend, stream, ServerEvent("error", data))
    elif text.startswith(("!", "/")):
        live.runs[text] += 1
        times = live.runs[text]
        backend.log.add(MessageRun(session_id=live.row.id, text=text, times=times))
        _publish(backend, stream, _command(text))
    elif live.running:
        _add_lost(backend, live, text, BUSY)
        _publish(backend, stream, ServerEvent("error", {"error": backend.traits.busy_text}))
    else:
        plan_mode = message.get("plan_mode") is True
        await TurnRun(backend, live, text, plan_mode=plan_mode, stream=stream).run()


def _command(text: str) -> ServerEvent:
    output = shell_output(text[1:]) if text.startswith("!") else slash_output(text[1:])
    if output is None:
        return ServerEvent("error", {"error": f"unknown command: {text.split()[0]}"})
    return ServerEvent("complete", {"type": "complete", "content": output, "done": True})


def _publish(backend: Backend, stream: ServerStream, event: ServerEvent) -> None:
    backend.publish(stream.live, event, stream)


def _add_lost(backend: Backend, live: LiveSession, text: str, why: str) -> None:
    backend.log.add(MessageLost(session_id=live.row.id, text=text, why=why))
