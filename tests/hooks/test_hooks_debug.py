"""``MIX_DEBUG=1`` logs what happens, and never a secret or a text."""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.support.cases import case
from tests.support.hooks_kit import SECRET
from trio_mix import Mix, MixCore, RequestOptions, RetryConfig, errors
from trio_mix._http import sanitize_url
from trio_mix._rest._debug_log import _text_of, debug_hooks
from trio_mix.testing import MixServer, Say, Turn

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def logger() -> Iterator[logging.Logger]:
    """Give the logger back as it was."""
    logger = logging.getLogger("trio_mix")
    handlers, level = list(logger.handlers), logger.level
    yield logger
    logger.handlers[:] = handlers
    logger.setLevel(level)


async def _work(server: MixServer) -> None:
    server.script(f"{SECRET} text", Turn(Say(f"{SECRET} reply")))
    url = server.url.replace("//", f"//user:{SECRET}@")
    headers = {"Authorization": f"Bearer {SECRET}", "X-Other": SECRET}
    once = RequestOptions(retries=RetryConfig(strategy="none"))
    async with Mix(url, headers=headers, network=server.network) as mix:
        await mix.system.health_check()
        server.answer_next("/api/sessions", 400, body=f"{SECRET}: {url}/x?token={SECRET}".encode())
        with pytest.raises(errors.MixDefaultError):
            await mix.sessions.list(options=once)
        await mix.authentication.store_api_key(provider="anthropic", api_key=f"sk-{SECRET}")
        async with mix.open_stream(server.create_session()) as session:
            await session.ask(f"{SECRET} text")
            await server.drop_streams()
            await trio.testing.wait_all_tasks_blocked()
            await session.wait_connected()
            with pytest.raises(errors.MessageRejected):
                server.answer_next(f"/api/sessions/{session.session_id}/message", 400)
                await session.ask("refused")


async def test_requests_streams_and_messages_are_logged_without_secrets(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MIX_DEBUG", "1")
    async with MixServer(listen=False, pace=0.0) as server:
        with trio.fail_after(10):
            await _work(server)
    records = [record for record in caplog.records if record.name == "trio_mix"]
    assert {record.levelno for record in records} == {logging.DEBUG}
    text = caplog.text
    for piece in (
        "system.health_check: GET http://",
        "HTTP 200 after",
        "MixDefaultError",
        "connected after",
        "lost after",
        "connecting in",
        "closed after",
        "message to",
        "complete after",
        "rejected after",
    ):
        assert piece in text, piece
    assert SECRET not in text


async def test_nothing_is_logged_unless_the_environment_asks_for_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "trio_mix")
    for value in (None, "", "0", "false"):
        if value is None:
            monkeypatch.delenv("MIX_DEBUG", raising=False)
        else:
            monkeypatch.setenv("MIX_DEBUG", value)
        core = MixCore("http://mix.example")
        assert core._caller.hooks == ()
        await core.aclose()
    async with MixServer(listen=False, pace=0.0) as server:
        await _work(server)
    assert not caplog.records


_PROGRAM = """
import logging, sys, trio
from trio_mix import MixCore, RequestOptions, RetryConfig, errors, funcs
if len(sys.argv) > 1:
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="mine %(message)s")
async def main():
    for _ in range(2):
        async with MixCore("http://user:pass@127.0.0.1:1", retries=RetryConfig("none")) as core:
            await funcs.sessions_list(core)
trio.run(main)
"""


@pytest.mark.parametrize("configured", [False, True])
async def test_lines_go_to_stderr_where_logging_is_not_configured(configured: bool) -> None:
    with trio.fail_after(60):
        done = await trio.run_process(
            [sys.executable, "-W", "error", "-c", _PROGRAM, *["x"][: int(configured)]],
            capture_stdout=True,
            capture_stderr=True,
            env={"MIX_DEBUG": "1"},
        )
    out, err = done.stdout.decode(), done.stderr.decode()
    if configured:
        assert (err, out.count("mine sessions.list: GET http://127.0.0.1:1/")) == ("", 2)
    else:
        assert (out, err.count("DEBUG sessions.list: GET http://127.0.0.1:1/")) == ("", 2)
    assert "pass@" not in out + err


def test_several_clients_add_one_handler(
    monkeypatch: pytest.MonkeyPatch, logger: logging.Logger
) -> None:
    monkeypatch.setenv("MIX_DEBUG", "1")
    monkeypatch.setattr(logger, "propagate", False)
    assert debug_hooks() == debug_hooks()
    assert len(logger.handlers) == 1


def test_values_of_a_query_that_look_like_secrets_are_masked() -> None:
    for url, shown in [
        ("http://x/a?token=abc&b=1", "http://x/a?token=***&b=1"),
        ("http://x/a?sessionId=1&api_key=abc#f", "http://x/a?sessionId=1&api_key=***#f"),
        ("http://x/a?X-Amz-Signature=abc", "http://x/a?X-Amz-Signature=***"),
        ("http://x/a?Access_Token=a=b", "http://x/a?Access_Token=***"),
        ("http://x/token=1?q=key", "http://x/token=1?q=key"),
    ]:
        with case(url):
            assert sanitize_url(url) == shown


def test_urls_in_an_errors_text_are_masked() -> None:
    error = ValueError("look at\nhttp://user:pass@x/y?token=abc&b=1, please")
    assert _text_of(error) == "ValueError: look at http://x/y?token=***&b=1, please"
    assert _text_of(ValueError()) == "ValueError"
