"""Causes of errors, one line each, that the page does not list."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import trio

from tests.support.error_stage import cause
from trio_mix import (
    BackoffStrategy,
    Hooks,
    Mix,
    ReconnectPolicy,
    RequestOptions,
    RetryConfig,
    browser,
    errors,
    sse,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.error_stage import Stage


def odd(value: object) -> Any:
    """Hide the type of an invalid argument from the type checkers."""
    return value


def wrong(name: str, *, operation: str, target: str, remedy: str, call: Callable[[], Any]) -> None:
    """Register a call that raises `ConfigurationError`."""

    async def run(_: Stage) -> None:
        await trio.lowlevel.checkpoint()
        call()

    run.__name__ = name
    cause(errors.ConfigurationError, "", operation=operation, target=target, remedy=remedy)(run)


def message(
    name: str, *, target: str, remedy: str, error: type[Exception], text: str = "Hi", **send: Any
) -> None:
    """Register a message that is refused before it is sent."""

    async def run(stage: Stage) -> None:
        async with stage.mix.open_stream(stage.session_id) as session:
            await session.ask(text, **send)

    run.__name__ = name
    operation = "send(" if error is errors.ConfigurationError else "The message to session"
    cause(error, "", operation=operation, target=target, remedy=remedy)(run)


ODD: dict[str, Any] = {"X-Odd": "\u20ac"}
wrong("odd_header", operation="headers", target="'X-Odd'", remedy="encode it",
      call=lambda: Mix(headers=ODD))  # fmt: skip
NAMELESS: dict[str, Any] = {"X Y": "1"}
wrong("header_name", operation="headers", target="'X…'", remedy="use letters",
      call=lambda: Mix(headers=NAMELESS))  # fmt: skip
NUMBER: dict[str, Any] = {"X": 1}
wrong("header_value", operation="headers", target="'X'", remedy="it must be a str",
      call=lambda: Mix(headers=NUMBER))  # fmt: skip
wrong("no_port", operation="server_url=...", target="'http://host:99999'",
      remedy="use one from 1 to 65535", call=lambda: Mix("http://host:99999"))  # fmt: skip
wrong("query", operation="server_url=...", target="'http://host/'", remedy="remove it",
      call=lambda: Mix("http://host/?x=1"))  # fmt: skip
wrong("retries", operation="retries=...", target="'none'", remedy="must be a RetryConfig",
      call=lambda: Mix(retries=odd("none")))  # fmt: skip
wrong("http_client", operation="http_client", target="not object", remedy="must be an httpx",
      call=lambda: Mix(http_client=odd(object())))  # fmt: skip
wrong("api", operation="api=", target="'newest'", remedy="Use one of",
      call=lambda: Mix(api=odd("newest")))  # fmt: skip
wrong("hook", operation="Hooks(", target="after_error=", remedy="pass a function",
      call=lambda: Hooks(after_error=odd(1)))  # fmt: skip
wrong("hooks", operation="hooks", target="not int", remedy="must be a trio_mix.Hooks",
      call=lambda: Mix(hooks=odd(7)))  # fmt: skip
wrong("policy", operation="ReconnectPolicy(", target="exponent=0.5", remedy="must be a number",
      call=lambda: ReconnectPolicy(exponent=0.5))  # fmt: skip
wrong("backoff", operation="BackoffStrategy(", target="exponent=", remedy="must be a number",
      call=lambda: BackoffStrategy(exponent=0.5))  # fmt: skip
wrong("strategy", operation="RetryConfig(", target="'never'", remedy='must be "backoff" or "none"',
      call=lambda: RetryConfig(strategy=odd("never")))  # fmt: skip
wrong("codes", operation="RequestOptions(", target="'oops'", remedy='takes codes as "503"',
      call=lambda: RequestOptions(retry_codes=("oops",)))  # fmt: skip
wrong("timeout", operation="timeout", target="-1", remedy="must be a positive number of seconds",
      call=lambda: RequestOptions(timeout=-1))  # fmt: skip
wrong("buffer", operation="open_stream(", target="message_buffer=0", remedy="at least 1",
      call=lambda: Mix().open_stream("s", message_buffer=0))  # fmt: skip
wrong("event_size", operation="open_stream(", target="max_event_size=0", remedy="at least 1",
      call=lambda: Mix().open_stream("s", max_event_size=0))  # fmt: skip
wrong("event_id", operation="open_stream(", target="last_event_id=", remedy="the id of an event",
      call=lambda: Mix().open_stream("s", last_event_id="7\n"))  # fmt: skip
wrong("decoder", operation="max_event_size", target="is 0", remedy="it must be at least 1",
      call=lambda: sse.SSEDecoder(max_event_size=0))  # fmt: skip
wrong("start", operation="launch_chromium(", target="start_timeout=0", remedy="must be a positive",
      call=lambda: browser.launch_chromium(start_timeout=0))  # fmt: skip
wrong("devtools", operation="open_tunnel(", target="'ftp'", remedy="must begin with ws://",
      call=lambda: browser.open_tunnel(Mix(), "s", token="t", cdp_url="ftp://x"))  # fmt: skip
wrong("ping", operation="open_tunnel(", target="ping_timeout=nan", remedy="must be a positive",
      call=lambda: browser.open_tunnel(Mix(), "s", token="t", cdp_url="ws://x",
                                       ping_timeout=math.nan))  # fmt: skip

message("empty", error=errors.MessageRejected, text=" ", target="session-1",
        remedy="pass a text")  # fmt: skip
message("thinking", error=errors.ConfigurationError, thinking_level="hard",
        target="thinking_level='hard'", remedy="use 'off'")  # fmt: skip
message("steps", error=errors.ConfigurationError, max_steps=0, target="max_steps=0",
        remedy="it must be at least 1")  # fmt: skip


@cause(errors.StreamClosed, "", operation="streaming.stream_events",
       target="http://mix.test/stream?sessionId=session-1",
       remedy="not to connect again")  # fmt: skip
async def raw_no_content(stage: Stage) -> None:
    stage.server.answer_next("/stream", 204)
    async with stage.mix.streaming.stream_events(session_id=stage.session_id):
        pass


@cause(errors.ProtocolError, "", operation="streaming.stream_events",
       target="http://mix.test/stream?sessionId=session-1",
       remedy="Check the URL")  # fmt: skip
async def raw_web_page(stage: Stage) -> None:
    html = {"Content-Type": "text/html"}
    stage.server.answer_next("/stream", 200, headers=html, body=b"<h1>Welcome</h1>")
    async with stage.mix.streaming.stream_events(session_id=stage.session_id):
        pass


@cause(errors.ConfigurationError, "", operation="files.upload(", target="/missing.txt",
       remedy="cannot be read", real_clock=True)  # fmt: skip
async def missing_file(stage: Stage) -> None:
    await stage.mix.files.upload(id=stage.session_id, file=stage.folder / "missing.txt")


@cause(errors.ConfigurationError, "", operation="files.download(", target="missing",
       remedy="must name a file in a folder that exists", real_clock=True)  # fmt: skip
async def missing_folder(stage: Stage) -> None:
    to = stage.folder / "missing" / "a.txt"
    await stage.mix.files.download(id=stage.session_id, filename="a.txt", to=to)


@cause(errors.UsageError, "", operation="stream", target="session-1",
       remedy="make a new one")  # fmt: skip
async def entered_twice(stage: Stage) -> None:
    async with stage.mix.open_stream(stage.session_id) as session:
        pass
    async with session:
        pass
