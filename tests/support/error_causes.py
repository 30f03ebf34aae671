"""Causes of errors of arguments, of the order of use and of operations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx

from tests.support.error_stage import cause
from trio_mix import Mix, RequestOptions, errors

if TYPE_CHECKING:
    from tests.support.error_stage import Stage

# Arguments and order of use


@cause(
    errors.ConfigurationError,
    "the address has no `http://`",
    operation="server_url=...",
    target="'localhost:8088'",
    remedy="it must begin with http:// or https://",
)
async def address_without_scheme(_: Stage) -> None:
    Mix("localhost:8088")


@cause(
    errors.ConfigurationError,
    "a duration that is not positive",
    operation="open_stream(",
    target="connect_timeout=0",
    remedy="it must be a positive number of seconds",
)
async def no_time(stage: Stage) -> None:
    stage.mix.open_stream(stage.session_id, connect_timeout=0)


@cause(
    errors.ConfigurationError,
    "an invalid argument of an operation",
    operation="sessions.get(",
    target="id=",
    remedy="must be",
)
async def empty_id(stage: Stage) -> None:
    await stage.mix.sessions.get(id="")


@cause(
    errors.ConfigurationError,
    "the value of a header ends with a line break, for example a token that was read from a file",
    operation="headers",
    target="'Authorization'",
    remedy="remove it",
)
async def header_with_line_break(stage: Stage) -> None:
    Mix(stage.server.url, headers={"Authorization": "Bearer secret\n"})


@cause(
    errors.UsageError,
    "the `http_client` that was passed is closed",
    operation="GET",
    target="/api/sessions",
    remedy="Keep it open",
)
async def closed_client(stage: Stage) -> None:
    async with httpx.AsyncClient() as client:
        mix = Mix(stage.server.url, http_client=client)
    await mix.sessions.list()


@cause(
    errors.UsageError,
    "a message is used before it is entered",
    operation="session.send(...)",
    target="session-1",
    remedy="use it as `async with session.send(...) as message`",
)
async def message_not_entered(stage: Stage) -> None:
    async with stage.mix.open_stream(stage.session_id) as session:
        await session.send("Hi").wait()


@cause(
    errors.UsageError,
    "a stream is used before it is entered",
    operation="open_stream(...)",
    target="session-1",
    remedy="use it as `async with mix.open_stream(...) as session`",
)
async def stream_not_entered(stage: Stage) -> None:
    await stage.mix.open_stream(stage.session_id).ask("Hi")


# Responses


@cause(
    errors.ErrorResponse,
    "the session does not exist",
    operation="sessions.get",
    target="http://mix.test/api/sessions/session-9",
    remedy="Check the id",
)
async def no_such_session(stage: Stage) -> None:
    await stage.mix.sessions.get(id="session-9")


@cause(
    errors.MixDefaultError,
    "a proxy cannot reach the server",
    operation="sessions.list",
    target="http://mix.test/api/sessions",
    remedy="The server failed: check its log",
)
async def bad_gateway(stage: Stage) -> None:
    stage.server.answer_next("/api/sessions", 502, body=b"<h1>Bad Gateway</h1>")
    await stage.mix.sessions.list()


@cause(
    errors.MixDefaultError,
    "the server is too old for the operation",
    operation="notifications.respond",
    target="http://mix.test/api/notifications/1/respond",
    remedy="The operation is part of API 0.11.4",
    server={"api": "pipeline"},
)
async def older_server(stage: Stage) -> None:
    await stage.mix.notifications.respond(id="1", type="acknowledge")


@cause(
    errors.NoSuchOperation,
    "the server is one of the oldest, which have JSON-RPC instead of REST",
    operation="files.list",
    target="http://mix.test/api/sessions/session-1/files",
    remedy="Nothing has changed on the server",
    server={"api": "pipeline-oldest"},
)
async def oldest_server(stage: Stage) -> None:
    await stage.mix.files.list(id=stage.session_id)


@cause(
    errors.NoSuchOperation,
    "JSON-RPC has the operation without this argument",
    operation="sessions.create",
    target="http://mix.test/rpc",
    remedy="custom_system_prompt must be left out",
    server={"api": "pipeline-oldest"},
)
async def argument_of_newer_servers(stage: Stage) -> None:
    await stage.mix.sessions.create(title="New", custom_system_prompt="Be brief")


@cause(
    errors.ResponseValidationError,
    "the URL is not that of a Mix server",
    operation="sessions.get",
    target="http://mix.test/api/sessions/session-1",
    remedy="Check that the URL is that of a Mix server",
)
async def something_else(stage: Stage) -> None:
    body = b'{"id": "session-1", "title": 7}'
    json = {"Content-Type": "application/json"}
    stage.server.answer_next("/api/sessions", 200, headers=json, body=body)
    await stage.mix.sessions.get(id=stage.session_id)


@cause(
    errors.ResponseValidationError,
    "one record of a list is invalid",
    operation="messages.get_session",
    target="$[1].id",
    remedy="in `.items`",
)
async def odd_record(stage: Stage) -> None:
    row = b'{"id": "m1", "sessionId": "s", "role": "user", "userInput": "hi"}'
    odd = row.replace(b'"m1"', b"1")
    json = {"Content-Type": "application/json"}
    stage.server.answer_next("/api/sessions", 200, headers=json, body=b"[%b, %b]" % (row, odd))
    await stage.mix.messages.get_session(id=stage.session_id)


@cause(
    errors.ResponseTooLarge,
    "a file, or a list, is larger than may be held in memory",
    operation="files.get",
    target="http://mix.test/api/sessions/session-1/files/a.bin",
    remedy="RequestOptions(max_body_size=...)",
)
async def large_file(stage: Stage) -> None:
    options = RequestOptions(max_body_size=1000)
    stage.server.answer_next("/api/sessions", 200, body=b"x" * 2000)
    await stage.mix.files.get(id=stage.session_id, filename="a.bin", options=options)


@cause(
    errors.ConnectionFailed,
    "no server is running at the address",
    operation="sessions.list",
    target="http://mix.test/api/sessions",
    remedy="Check that a Mix server is running at that address",
)
async def no_server(stage: Stage) -> None:
    await stage.server.stop()
    await stage.mix.sessions.list()


@cause(
    errors.RequestTimeout,
    "the server accepts the request and does not respond",
    operation="sessions.list",
    target="http://mix.test/api/sessions",
    remedy="Raise RequestOptions(timeout=...)",
)
async def silent_server(stage: Stage) -> None:
    async with stage.silent() as mix:
        await mix.sessions.list(options=RequestOptions(timeout=5))


@cause(
    errors.RequestTimeout,
    "the first `connected` of a stream does not arrive within `connect_timeout`",
    operation="streaming.stream_events",
    target="http://mix.test/stream?sessionId=session-1",
    remedy="Raise",
)
async def silent_stream(stage: Stage) -> None:
    async with stage.silent() as mix, mix.open_stream(stage.session_id, connect_timeout=5):
        pass
