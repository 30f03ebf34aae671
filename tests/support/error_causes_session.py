"""Causes of errors of session streams and messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from tests.support.error_stage import HALF_A_MINUTE, cause
from trio_mix import errors
from trio_mix.testing import Drop, Emit, Fail, Hang, MessageRun, RateLimit, Say, Turn

if TYPE_CHECKING:
    from tests.support.error_stage import Stage

# Streams


@cause(
    errors.StreamClosed,
    "a stream is used after its block",
    operation="The SessionStream of",
    target="session-1",
    remedy="open a new one",
)
async def stream_left(stage: Stage) -> None:
    async with stage.mix.open_stream(stage.session_id) as session:
        pass
    await session.ask("Hi")


@cause(
    errors.StreamClosed,
    "the server asks clients not to connect again (HTTP 204)",
    operation="was answered HTTP 204",
    target="http://mix.test/stream?sessionId=session-1",
    remedy="asks clients not to connect again",
)
async def no_content(stage: Stage) -> None:
    stage.server.answer_next("/stream", 204)
    async with stage.mix.open_stream(stage.session_id):
        pass


@cause(
    errors.StreamAlreadyOpen,
    "a second stream of a session is opened on the same client",
    operation="already has an open stream on this client",
    target="'session-1'",
    remedy="Share that one",
)
async def second_stream(stage: Stage) -> None:
    async with stage.mix.open_stream(stage.session_id), stage.mix.open_stream(stage.session_id):
        pass


@cause(
    errors.SessionNotFound,
    "the session was never created, or was deleted; real servers send an `error` event",
    operation="cannot be streamed from",
    target="http://mix.test/stream?sessionId=session-9",
    remedy="Create the session first, or check its id",
)
async def unknown_session(stage: Stage) -> None:
    async with stage.mix.open_stream("session-9"):
        pass


@cause(
    errors.SessionNotFound,
    "the same, on a server that responds according to the specification",
    operation="does not exist",
    target="http://mix.test/stream?sessionId=session-9",
    remedy="Create the session first, or check its id",
    server={"unknown_session": "404"},
)
async def unknown_session_by_the_specification(stage: Stage) -> None:
    async with stage.mix.open_stream("session-9"):
        pass


@cause(
    errors.SessionNotFound,
    "the server lost the session in a restart",
    operation="cannot be streamed from",
    target="http://mix.test/stream?sessionId=session-1",
    remedy="Open a new one",
)
async def session_lost_with_its_server(stage: Stage) -> None:
    stage.server.script("Hi", Turn(Say("Let me"), Hang()))
    async with (
        stage.mix.open_stream(stage.session_id) as session,
        session.send("Hi") as message,
    ):
        await stage.server.wait_for(MessageRun)
        await stage.server.restart(keep_sessions=False)
        await message.wait()


@cause(
    errors.ReconnectFailed,
    "the server is not available for longer than the policy allows",
    operation="The event stream",
    target="http://mix.test/stream?sessionId=session-1",
    remedy="Check the server, or allow more time in ReconnectPolicy",
)
async def server_unavailable(stage: Stage) -> None:
    async with stage.mix.open_stream(stage.session_id, reconnect=HALF_A_MINUTE) as session:
        await stage.server.stop()
        await session.ask("Hi")


@cause(
    errors.ProtocolError,
    "the address is that of a web page",
    operation="did not return an event stream",
    target="http://mix.test/stream?sessionId=session-1",
    remedy="Check the URL",
)
async def web_page(stage: Stage) -> None:
    html = {"Content-Type": "text/html"}
    stage.server.answer_next("/stream", 200, headers=html, body=b"<h1>Welcome</h1>")
    async with stage.mix.open_stream(stage.session_id):
        pass


@cause(
    errors.ProtocolError,
    "an event is larger than 16 MiB",
    operation="of the event stream",
    target="http://mix.test/stream?sessionId=session-1",
    remedy="Raise max_event_size",
)
async def event_too_large(stage: Stage) -> None:
    stage.server.script("Hi", Turn(Emit("huge", {"text": "x" * 2**24})))
    async with stage.mix.open_stream(stage.session_id) as session:
        await session.ask("Hi")


# Messages


@cause(
    errors.AgentError,
    "the agent fails",
    operation="The agent gave up the message",
    target="session-1",
    remedy="Check the server's log, or send the message again",
)
async def agent_fails(stage: Stage) -> None:
    stage.server.script("Hi", Turn(Say("Let me"), Fail("failed to process events: overloaded")))
    async with stage.mix.open_stream(stage.session_id) as session:
        await session.ask("Hi")


@cause(
    errors.AgentError,
    "the server's key for the model is not valid",
    operation="The agent gave up the message",
    target="session-1",
    remedy="Store a valid API key for the provider on the server",
)
async def agent_without_key(stage: Stage) -> None:
    failure = Fail("Authentication required for the provider", type="authentication_error")
    stage.server.script("Hi", Turn(failure))
    async with stage.mix.open_stream(stage.session_id) as session:
        await session.ask("Hi")


@cause(
    errors.AgentError,
    "the model's provider limits the request rate, on a pipeline server",
    operation="The agent gave up the message",
    target="session-1",
    remedy="The model's provider limits the request rate: send it again in 60 s",
    server={"api": "pipeline"},
)
async def rate_limit(stage: Stage) -> None:
    stage.server.script("Hi", Turn(RateLimit()))
    async with stage.mix.open_stream(stage.session_id) as session:
        await session.ask("Hi")


@cause(
    errors.AgentError,
    "the message was cancelled, by leaving its block or by another client",
    operation="The agent gave up the message",
    target="session-1",
    remedy="send it again if it is still wanted",
)
async def cancelled(stage: Stage) -> None:
    stage.server.script("Hi", Turn(Say("Let me"), Hang()))
    async with stage.mix.open_stream(stage.session_id) as session, session.send("Hi") as message:
        await message.cancel()
        await message.wait()


@cause(
    errors.MessageInterrupted,
    "the connection was lost, and the server stores no messages that show the outcome",
    operation="was cut: the connection was lost",
    target="session-1",
    remedy="It may have run, or may still be running: check the session's messages",
    server={"api": "pipeline-oldest", "jsonrpc": False},
)
async def cut_for_good(stage: Stage) -> None:
    stage.server.script("Hi", Turn(Drop(), Hang()))
    async with stage.mix.open_stream(stage.session_id) as session:
        await session.ask("Hi")


@cause(
    errors.MessageInterrupted,
    "the server was restarted during the message",
    operation="was cut: the connection was lost",
    target="session-1",
    remedy="It is not running any more: send it again if it is still wanted",
)
async def server_restarted(stage: Stage) -> None:
    stage.server.script("Hi", Turn(Say("Let me"), Hang()))
    async with (
        stage.mix.open_stream(stage.session_id) as session,
        session.send("Hi") as message,
    ):
        await stage.server.wait_for(MessageRun)
        await stage.server.restart()
        await message.wait()


@cause(
    errors.MessageInterrupted,
    "its block was left early, the server did not cancel it, and the reply is read",
    operation="was left before its turn was over",
    target="session-1",
    remedy="Stay in the block until the end to get the whole reply",
    server={"cancel_endpoint": False},
)
async def left_early(stage: Stage) -> None:
    stage.server.script("Hi", Turn(Say("Let me"), Hang()))
    async with stage.mix.open_stream(stage.session_id) as session:
        async with session.send("Hi") as message:
            pass
        _ = message.reply


@cause(
    errors.MessageRejected,
    "the server would run the text as a shell command",
    operation="The message to session",
    target="session-1",
    remedy="Pass allow_shell=True if that is intended",
)
async def shell_command(stage: Stage) -> None:
    async with stage.mix.open_stream(stage.session_id) as session:
        await session.ask("!ls")


@cause(
    errors.MessageRejected,
    "the command does not exist",
    operation="The message to session",
    target="session-1",
    remedy="Use a command that mix.system.list_commands() names",
)
async def no_such_command(stage: Stage) -> None:
    async with stage.mix.open_stream(stage.session_id) as session:
        await session.ask("/nonsense")


@cause(
    errors.MessageRejected,
    "the server refuses the message",
    operation="The message to session",
    target="http://mix.test/api/sessions/session-1/messages",
    remedy="Check the credentials: store the provider's key on the server",
    client={"api": "async"},
)
async def refused(stage: Stage) -> None:
    body = b'{"error": {"code": 403, "message": "this session is read-only", "type": "forbidden"}}'
    json = {"Content-Type": "application/json"}
    async with stage.mix.open_stream(stage.session_id) as session:
        stage.server.answer_next("/api/sessions/", 403, headers=json, body=body, times=9)
        await session.ask("Hi")


@cause(
    errors.MessageNotFinished,
    "the reply is read too early",
    operation="The message on session",
    target="session-1",
    remedy="Iterate it to its end, or `await message.wait()`",
)
async def too_early(stage: Stage) -> None:
    async with (
        stage.mix.open_stream(stage.session_id) as session,
        session.send("Hi") as message,
    ):
        _ = message.reply


@cause(
    errors.ConsumerTooSlow,
    "no task iterates a message with many events",
    operation="was aborted",
    target="session-1",
    remedy="Iterate it in its own task, or raise message_buffer",
)
async def not_iterated(stage: Stage) -> None:
    stage.server.script("Hi", Turn(*[Emit("status", {"n": n}) for n in range(100)]))
    async with (
        stage.mix.open_stream(stage.session_id, message_buffer=1) as session,
        session.send("Hi") as message,
    ):
        await trio.sleep(1)
        await message.wait()


@cause(
    errors.ReplyTooLarge,
    "a reply without end",
    operation="The reply on session",
    target="session-1",
    remedy="Raise open_stream(max_reply_size=...)",
)
async def reply_without_end(stage: Stage) -> None:
    stage.server.script("Hi", Turn(Say("x" * 2_000, deltas=1)))
    async with stage.mix.open_stream(stage.session_id, max_reply_size=1_000) as session:
        await session.ask("Hi")
