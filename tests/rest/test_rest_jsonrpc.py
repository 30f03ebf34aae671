"""How a client finds out that a server speaks JSON-RPC, and what it makes of the responses."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from tests.support.rest_kit import ONCE, answer, canned_server, refusal
from tests.support.rest_samples import SESSION
from trio_mix import Mix, MixCore, RequestOptions, errors, funcs
from trio_mix.resources import Authentication, Files, Sessions, System
from trio_mix.testing import MixServer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from trio.testing import MockClock

    from tests.support.rest_kit import Asked, Canned

PLAIN = {"Content-Type": "text/plain"}


def catch_all(asked: Asked) -> bytes:
    text = f"Mix HTTP JSON-RPC Server\nPath: {asked.target}\nMethod: {asked.method}\n"
    return answer(raw=text.encode(), headers=PLAIN)


def oldest(**results: object) -> Callable[[Asked], bytes]:
    """Answer as an oldest server: results of JSON-RPC by method, and a text for all else."""

    def answers(asked: Asked) -> bytes:
        if asked.target != "/rpc":
            return catch_all(asked)
        result = results.get(asked.json["method"].replace(".", "_"), [])
        key = "error" if isinstance(result, dict) and "code" in result else "result"
        return answer(200, {key: result, "id": asked.json["id"]})

    return answers


def targets(server: Canned) -> list[str]:
    return [asked.target for asked in server.asked]


async def test_the_answer_to_the_first_call_is_the_evidence_and_is_remembered(
    server: Canned, core: MixCore
) -> None:
    server.answers = oldest(commands_get={"name": "help"})
    assert await Sessions(core).list() == []
    assert (await System(core).get_command(name="help")).name == "help"
    assert targets(server) == ["/api/sessions", "/rpc", "/rpc"]
    for asked in server.asked[1:]:
        assert asked.method == "POST"
        assert asked.headers["content-type"] == "application/json"
    assert server.asked[2].json == {"method": "commands.get", "params": {"name": "help"}, "id": 1}


async def test_an_operation_that_must_not_be_repeated_is_called_once(
    server: Canned, core: MixCore
) -> None:
    refused = {"code": -32000, "message": "Failed to create session: disk full"}
    server.answers = oldest(sessions_create=refused)
    with pytest.raises(errors.ErrorResponse, match="disk full"):
        await Sessions(core).create(title="New")
    assert targets(server) == ["/api/sessions", "/rpc"]


async def test_a_server_that_was_upgraded_is_called_by_rest_again(
    server: Canned, core: MixCore
) -> None:
    server.answers = oldest()
    assert await Sessions(core).list() == []
    server.answers = lambda asked: (
        answer(404, raw=b"404 page not found\n", headers=PLAIN)
        if asked.target == "/rpc"
        else answer(200, [])
    )
    assert await Sessions(core).list() == []
    assert await Sessions(core).list() == []
    assert targets(server)[2:] == ["/rpc", "/api/sessions", "/api/sessions"]


async def test_another_server_says_nothing_about_the_clients_own(
    server: Canned, core: MixCore
) -> None:
    async with canned_server(oldest()) as other:
        elsewhere = RequestOptions(server_url=other.url)
        assert await Sessions(core).list(options=elsewhere) == []
        assert targets(other) == ["/api/sessions", "/rpc"]
    server.say(answer(200, []))
    assert await Sessions(core).list() == []
    assert targets(server) == ["/api/sessions"]


async def test_the_current_session_of_another_server_can_be_deleted(core: MixCore) -> None:
    current = "s1"

    def answers(asked: Asked) -> bytes:
        nonlocal current
        method = asked.json["method"] if asked.target == "/rpc" and asked.json else None
        if method == "sessions.delete" and asked.json["params"]["id"] == current:
            refused = {"code": -32000, "message": "Cannot delete the currently active session"}
            return answer(200, {"error": refused, "id": 1})
        if method == "sessions.select":
            current = asked.json["params"]["id"]
        return oldest(sessions_list=[SESSION, {**SESSION, "id": "s2"}])(asked)

    async with canned_server(answers) as other:
        await Sessions(core).delete(id="s1", options=RequestOptions(server_url=other.url))
        assert current == "s2"
        assert other.asked[-1].json["method"] == "sessions.delete"


async def test_an_argument_that_json_rpc_lacks_is_never_dropped(
    server: Canned, core: MixCore
) -> None:
    server.answers = oldest()
    with pytest.raises(errors.NoSuchOperation, match=r"custom_system_prompt must be left out"):
        await Sessions(core).create(title="New", custom_system_prompt="Be kind")
    store = Authentication(core).store_api_key
    with pytest.raises(errors.NoSuchOperation, match=r"provider must be 'anthropic'"):
        await store(api_key="sk-other", provider="openai")
    assert targets(server) == ["/api/sessions"]  # what is known beforehand is not sent


async def test_each_error_of_json_rpc_has_the_status_that_rest_has_for_it(
    server: Canned, core: MixCore
) -> None:
    for code, message, status, kind in (
        (-32700, "Parse error", 400, "bad_request"),
        (-32602, "Missing required parameter: id", 400, "bad_request"),
        (-32603, "Internal error: disk full", 500, "internal_error"),
        (-32000, "Failed to get session: sql: no rows in result set", 404, "not_found"),
        (-32000, "Cannot delete the currently active session", 400, "bad_request"),
        ("odd", "Cannot", 400, "bad_request"),
    ):
        server.answers = oldest(sessions_get={"code": code, "message": message})
        with pytest.raises(errors.ErrorResponse) as caught:
            await Sessions(core).get(id="s1")
        error = caught.value
        assert (error.status_code, error.error.code) == (status, status)
        assert (error.error.type, error.error.message) == (kind, message)
        assert f"code is {code}" in str(error)
        result = await funcs.sessions_get(core, id="s1")
        assert isinstance(result, funcs.Err)
    server.answers = oldest(sessions_get={"code": -32601, "message": "Method not found"})
    with pytest.raises(errors.NoSuchOperation, match=r"no method 'sessions\.get'"):
        await Sessions(core).get(id="s1")


async def test_only_a_failure_inside_the_server_is_retried(autojump_clock: MockClock) -> None:
    async with (
        MixServer("pipeline-oldest", listen=False) as server,
        Mix(server.url, network=server.network) as mix,
    ):
        assert await mix.sessions.list() == []
        for code, tries in ((-32603, 3), (-32000, 1), (-32601, 1)):
            error = {"error": {"code": code, "message": "no"}, "id": 1}
            server.answer_next("/rpc", 200, body=json.dumps(error).encode(), times=2)
            before = len(server.requests("POST", "/rpc"))
            if tries > 1:
                assert await mix.sessions.list() == []
            else:
                with pytest.raises(errors.MixError):
                    await mix.sessions.list()
                with pytest.raises(errors.MixError):
                    await mix.sessions.list()
            assert len(server.requests("POST", "/rpc")) - before == max(tries, 2)
        with pytest.raises(errors.NoSuchOperation):
            await mix.sessions.export_session(id="s1")
        assert len(server.requests("GET", "/api/sessions/s1/export")) == 1


async def test_what_is_no_response_of_json_rpc_is_refused(server: Canned, core: MixCore) -> None:
    for body, path in (([], "$"), ({"ok": 1}, "$"), ({"error": "no"}, "$.error"), ("x", "$")):
        server.answers = lambda asked, body=body: (  # type: ignore[misc]
            catch_all(asked) if asked.target != "/rpc" else answer(200, body)
        )
        with pytest.raises(errors.ResponseValidationError) as caught:
            await Sessions(core).list()
        assert caught.value.path == path
    server.answers = oldest(sessions_list=[{"id": 5}])
    with pytest.raises(errors.ResponseValidationError):
        await Sessions(core).list()


async def test_a_text_is_no_success_of_an_operation_without_a_result(
    server: Canned, core: MixCore
) -> None:
    for text in (b"OK", b"Server v2\nPath: /\n", b"<html>"):
        server.say(answer(raw=text, headers=PLAIN))
        with pytest.raises(errors.ResponseValidationError):
            await Sessions(core).delete(id="s1")
    for body in (b"", b"\n", b'{"status": "deleted"}'):
        server.say(answer(raw=body))
        await Sessions(core).delete(id="s1")


async def test_the_key_is_in_no_error_of_json_rpc(server: Canned, core: MixCore) -> None:
    refused = {"code": -32000, "message": "the key sk-planted is invalid"}
    server.answers = oldest(auth_apikey=refused)
    with pytest.raises(errors.ErrorResponse) as caught:
        await Authentication(core).store_api_key(api_key="sk-planted", provider="anthropic")
    shown = [str(caught.value), caught.value.body, repr(caught.value.error)]
    assert "is invalid" in shown[0]
    assert not any("sk-planted" in text for text in shown)


async def test_the_text_is_no_file_and_no_response(
    server: Canned, core: MixCore, tmp_path: Path
) -> None:
    server.answers = catch_all
    files = Files(core)
    with pytest.raises(errors.NoSuchOperation):
        await files.get(id="s1", filename="a.txt")
    with pytest.raises(errors.NoSuchOperation):
        await files.download(id="s1", filename="a.txt", to=tmp_path / "a.txt")
    assert os.listdir(tmp_path) == []
    with pytest.raises(errors.NoSuchOperation):
        await core.request("GET", "/api/anything")
    for text in (b"Mix HTTP", b"Mix HTTP JSON", b"", b"M", b"A text"):
        server.say(answer(raw=text, headers=PLAIN))
        assert await files.get(id="s1", filename="a.txt") == text


async def test_a_key_that_is_cut_where_the_text_was_read_to_is_masked(server: Canned) -> None:
    server.say(answer(raw=b"Mix HTTP JSON-RPC Server sk-plan", headers=PLAIN))
    async with MixCore(server.url, headers={"x-key": "sk-planted-key"}, retries=ONCE) as core:
        with pytest.raises(errors.NoSuchOperation) as caught:
            await Files(core).get(id="s1", filename="a.txt")
    assert caught.value.body == "Mix HTTP JSON-RPC Server ***"


async def test_the_arguments_are_checked_before_any_request(server: Canned) -> None:
    server.answers = oldest()
    async with Mix(server.url, retries=ONCE) as mix:
        await mix.sessions.list()
        with pytest.raises(errors.ConfigurationError, match="message_index"):
            await mix.sessions.fork(id="s1", message_index=-1)
        with pytest.raises(errors.ConfigurationError):
            await mix.sessions.get(id="")
    assert len(server.asked) == 2
    assert json.loads(server.asked[1].body)["params"] == {}
    server.say(refusal(404))
