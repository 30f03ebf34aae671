"""An editor's sessions: prompts, tools, permissions, cancels. Tests cite the agent's rules."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, get_args

import pytest
import trio
import trio.testing

from tests.cli.acp.conftest import Editor, open_editor
from trio_mix.cli.acp._peer import RPCError
from trio_mix.testing import (
    Api,
    AskPermission,
    CancelRequested,
    Drop,
    Fail,
    Hang,
    MessageRun,
    MixServer,
    NotificationAnswered,
    Notify,
    PermissionAnswered,
    Say,
    SubAgent,
    Think,
    Turn,
    UseTool,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock

PERMISSION = "session/request_permission"
FORM = "elicitation/create"


def selected(option: str) -> dict[str, Any]:
    return {"outcome": {"outcome": "selected", "optionId": option}}


@asynccontextmanager
async def session(
    *steps: Any, api: Api = "async", capabilities: dict[str, Any] | None = None
) -> AsyncIterator[tuple[Editor, str, MixServer]]:
    """An editor with a session whose agent performs the steps for the prompt "go"."""
    async with MixServer(api, listen=False, pace=0) as server:
        server.script("go", Turn(*steps))
        async with open_editor(server) as editor:
            yield editor, await editor.start(**(capabilities or {})), server


async def test_a_prompt_shows_text_thoughts_and_tools_and_ends(autojump_clock: MockClock) -> None:
    tool = UseTool("read_file", {"path": "/src/a.py"}, result="x = 1")
    for api in get_args(Api):
        async with session(Think("Hm."), Say("Let me see."), tool, Say("Done."), api=api) as scene:
            editor, session_id, _ = scene
            response = await editor.prompt(session_id, "go")
            assert response["stopReason"] == "end_turn"
            assert editor.text() == "Let me see.Done.", api  # rule 1: all arrived before it
            if api != "pipeline-oldest":
                assert editor.text("agent_thought_chunk") == "Hm."
            (call,) = editor.tools().values()
            assert (call["status"], call["kind"]) == ("completed", "read")
            assert call["rawInput"] == {"path": "/src/a.py"}
            assert call["locations"] == [{"path": "/src/a.py"}]


async def test_what_a_lost_connection_has_swallowed_is_shown_before_the_end(
    autojump_clock: MockClock,
) -> None:
    lost = (Say("one "), Drop("cut"), Say("two"))
    async with session(*lost) as (editor, session_id, _):
        assert (await editor.prompt(session_id, "go"))["stopReason"] == "end_turn"
        assert editor.text() == "one two"


async def test_what_sub_agents_write_is_not_the_reply(autojump_clock: MockClock) -> None:
    async with session(SubAgent(Say("inner")), Say("outer")) as (editor, session_id, _):
        await editor.prompt(session_id, "go")
        assert editor.text() == "outer"


async def test_only_the_option_to_allow_grants(autojump_clock: MockClock) -> None:
    answers = [
        (selected("allow"), True),
        (selected("reject"), False),
        (selected("always"), False),  # not offered for a shell
        (selected("unknown"), False),
        ({"outcome": {"outcome": "cancelled"}}, False),
        ({"outcome": "allow"}, False),
        (None, False),
    ]
    asks = AskPermission("bash", description="Delete all", params={"command": "rm -rf /"})
    for answer, granted in answers:
        async with session(asks, Say("end")) as (editor, session_id, server):
            editor.answers[PERMISSION] = answer
            await editor.prompt(session_id, "go")
            (asked,) = editor.asked[PERMISSION]
            assert asked["sessionId"] == session_id
            shown = str(asked["toolCall"])
            assert "Delete all" in shown
            assert "rm -rf /" in shown
            assert [each["kind"] for each in asked["options"]] == ["allow_once", "reject_once"]
            (decided,) = [each for each in server.log if isinstance(each, PermissionAnswered)]
            assert decided.answer == ("granted" if granted else "denied"), answer


async def test_always_covers_identical_requests_of_the_session_only(
    autojump_clock: MockClock,
) -> None:
    edit = AskPermission("edit", action="write", path="/a", then=[Say("edited")])
    other = AskPermission("edit", action="write", path="/b", then=[Say("edited")])
    async with session(edit, edit, other) as (editor, session_id, _):
        editor.answers[PERMISSION] = selected("always")
        await editor.prompt(session_id, "go")
        paths = [each["toolCall"]["locations"][0]["path"] for each in editor.asked[PERMISSION]]
        assert paths == ["/a", "/b"]
        second = (await editor.request("session/new", cwd="/x", mcpServers=[]))["sessionId"]
        await editor.prompt(second, "go")
        assert len(editor.asked[PERMISSION]) == 4


async def test_a_cancelled_prompt_is_cancelled_on_the_server_and_the_next_one_runs(
    autojump_clock: MockClock,
) -> None:
    for api in get_args(Api):
        async with session(UseTool("ls"), Hang(), api=api) as (editor, session_id, server):
            server.script("next", Turn(Say("the next")))
            responses: list[Any] = []

            async def prompt(text: str) -> None:
                responses.append(await editor.prompt(session_id, text))  # noqa: B023

            async with trio.open_nursery() as nursery:
                nursery.start_soon(prompt, "go")
                await editor.until("tool_call")
                with pytest.raises(RPCError, match="wait for its end, or cancel it"):  # rule 3
                    await editor.prompt(session_id, "again")
                await editor.peer.notify("session/cancel", {"sessionId": session_id})
            assert responses == [{"stopReason": "cancelled"}]  # rule 2
            assert [each for each in server.log if isinstance(each, CancelRequested)], api
            editor.updates.clear()
            await prompt("next")
            assert editor.text() == "the next", api


async def test_a_prompt_that_is_cancelled_at_once_never_runs(
    autojump_clock: MockClock,
) -> None:  # rule 2
    async with session(Say("never")) as (editor, session_id, server):
        responses: list[Any] = []

        async def prompt() -> None:
            responses.append(await editor.prompt(session_id, "go"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(prompt)
            nursery.start_soon(editor.peer.notify, "session/cancel", {"sessionId": session_id})
        assert responses[0]["stopReason"] in ("cancelled", "end_turn")  # as the two were ordered
        ran = [each for each in server.log if isinstance(each, MessageRun)]
        assert len(ran) <= 1


async def test_the_end_of_the_editor_cancels_its_prompts(autojump_clock: MockClock) -> None:
    async with MixServer("async", listen=False, pace=0) as server:
        server.script("go", Turn(AskPermission(), Hang()))
        async with open_editor(server) as editor, trio.open_nursery() as nursery:
            session_id = await editor.start()
            nursery.start_soon(editor.prompt, session_id, "go")
            await editor.until_asked(PERMISSION)
            nursery.cancel_scope.cancel()
        assert [each for each in server.log if isinstance(each, CancelRequested)]
        assert server.open_streams == 0


async def test_a_loaded_session_shows_its_history_and_goes_on(autojump_clock: MockClock) -> None:
    tool = UseTool("grep", {"pattern": "x"})
    async with MixServer("async", listen=False, pace=0) as server:
        server.script("go", Turn(Think("Hm."), tool, Say("The answer.")), Turn(Say("More.")))
        async with open_editor(server) as editor:
            session_id = await editor.start()
            await editor.prompt(session_id, "go")
        async with open_editor(server) as editor:  # the editor was started again
            await editor.start()
            listed = await editor.request("session/list", cwd="/some/folder")
            assert {"sessionId": session_id, "cwd": "/some/folder", "title": "project"} in listed[
                "sessions"
            ]
            await editor.request("session/load", sessionId=session_id, cwd="/", mcpServers=[])
            assert editor.text("user_message_chunk") == "go"
            assert editor.text("agent_thought_chunk") == "Hm."
            assert editor.text() == "The answer."
            assert [call["kind"] for call in editor.tools().values()] == ["search"]
            editor.updates.clear()
            await editor.request("session/resume", sessionId=session_id, cwd="/")
            assert editor.updates == []
            await editor.prompt(session_id, "go")
            assert editor.text() == "More."


async def test_closing_a_session_ends_its_prompt_and_deleting_removes_it(
    autojump_clock: MockClock,
) -> None:
    async with session(Say("begun"), Hang()) as (editor, session_id, server):
        responses: list[Any] = []

        async def prompt() -> None:
            responses.append(await editor.prompt(session_id, "go"))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(prompt)
            await editor.until("agent_message_chunk")
            await editor.request("session/close", sessionId=session_id)
        assert responses == [{"stopReason": "cancelled"}]
        assert server.open_streams == 0
        for _ in range(2):  # deleting a session that is gone succeeds
            await editor.request("session/delete", sessionId=session_id)
        with pytest.raises(RPCError) as raised:
            await editor.prompt(session_id, "go")
        assert raised.value.code == -32002


async def test_the_plan_mode_of_a_session_is_the_servers(autojump_clock: MockClock) -> None:
    async with session(Say("A plan.")) as (editor, session_id, server):
        await editor.request("session/set_mode", sessionId=session_id, modeId="plan")
        await editor.prompt(session_id, "go")
        with pytest.raises(RPCError, match="no such mode"):
            await editor.request("session/set_mode", sessionId=session_id, modeId="yolo")
        sent = [each for each in server.requests() if each.path.endswith("/messages")]
        assert [json.loads(each.body)["plan_mode"] for each in sent if each.body] == [True]


async def test_the_text_of_a_prompt_is_made_of_its_blocks(autojump_clock: MockClock) -> None:
    async with session(Say("Read.")) as (editor, session_id, server):
        blocks = [
            {"type": "text", "text": "Look at "},
            {"type": "resource_link", "uri": "file:///a.py", "name": "a.py"},
            {"type": "resource", "resource": {"uri": "file:///b.md", "text": "```\ncode\n```"}},
        ]
        await editor.request("session/prompt", sessionId=session_id, prompt=blocks)
        (run,) = [each for each in server.log if isinstance(each, MessageRun)]
        assert run.text == (
            "Look at [a.py](file:///a.py)\n\nfile:///b.md\n````\n```\ncode\n```\n````"
        )
        for refused in [
            [],
            [{"type": "text", "text": "  "}],
            [{"type": "image", "data": "x", "mimeType": "image/png"}],
            [{"type": "resource", "resource": {"uri": "file:///c", "blob": "AA=="}}],
            [{"type": "text", "text": 3}],
            [{"type": "text", "text": " !ls"}],
            "text",
        ]:
            with pytest.raises(RPCError) as raised:
                await editor.request("session/prompt", sessionId=session_id, prompt=refused)
            assert raised.value.code == -32602


async def test_failures_name_their_reason(autojump_clock: MockClock) -> None:
    async with session(Fail("The model is overloaded.")) as (editor, session_id, server):
        with pytest.raises(RPCError, match="overloaded") as raised:
            await editor.prompt(session_id, "go")
        assert raised.value.code == -32603
        with pytest.raises(RPCError, match="unknown") as raised:
            await editor.request("session/load", sessionId="unknown", cwd="/", mcpServers=[])
        assert raised.value.code == -32002
        assert "get_session" not in str(raised.value)
        assert "server_url" not in str(raised.value)
        async with open_editor(server) as second:
            with pytest.raises(RPCError, match="initialize"):
                await second.request("session/new", cwd="/", mcpServers=[])


async def test_notifications_reach_the_user(autojump_clock: MockClock) -> None:
    inform = Notify("Disk nearly full.", title="Disk", kind="warning")
    choose = Notify("Which?", title="Pick", response="choice", choices=("red", "blue"))
    name = Notify("Which name?", title="Name", response="text")
    steps = (inform, choose, name, Say("end"))
    form = {"action": "accept", "content": {"answer": "blue"}}
    rich: dict[str, Any] = {"elicitation": {"form": {}}, "session": {"notices": {}}}

    async with session(*steps, capabilities=rich) as (editor, session_id, server):
        editor.answers[FORM] = form
        await editor.prompt(session_id, "go")
        notice = await editor.until("notice")
        assert (notice["severity"], notice["title"]) == ("warning", "Disk")
        assert [each["message"] for each in editor.asked[FORM]] == ["Which?", "Which name?"]
        answered = [each for each in server.log if isinstance(each, NotificationAnswered)]
        assert [each.value for each in answered] == [None, "blue", "blue"]

    async with session(*steps) as (editor, session_id, server):  # an editor without forms
        editor.answers[PERMISSION] = selected("1")
        await editor.prompt(session_id, "go")
        assert "Disk nearly full." in editor.text()
        assert "Which name?" in editor.text()  # shown; the server's time limit ends it
        answered = [each for each in server.log if isinstance(each, NotificationAnswered)]
        assert [each.value for each in answered] == [None, "blue"]
