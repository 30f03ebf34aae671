"""The agent as others see it: the protocol's schema, and the reference client on Node."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastjsonschema
import pytest
import trio

from tests.cli.acp.conftest import open_editor
from tests.support.command_line import environment
from trio_mix.testing import (
    AskPermission,
    Hang,
    MixServer,
    Notify,
    Say,
    SubAgent,
    Think,
    Turn,
    UseTool,
)

if TYPE_CHECKING:
    from trio.testing import MockClock

SDK = "@agentclientprotocol/sdk@2"


@pytest.fixture(scope="module")
def sdk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the reference implementation, which has the schema."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("no Node or npm: the reference client of the protocol was NOT tried")
    folder = tmp_path_factory.mktemp("acp")
    command = ["npm", "install", "--silent", "--no-audit", "--prefix", str(folder), SDK]
    try:
        subprocess.run(  # noqa: S603 - a fixed command
            command, check=True, capture_output=True, timeout=60
        )
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
        pytest.skip(f"npm cannot install {SDK}: the reference client was NOT tried")
    return folder / "node_modules/@agentclientprotocol/sdk"


async def test_the_reference_client_prompts_grants_cancels_and_loads(sdk: Path) -> None:
    async with MixServer("async", pace=0) as server:
        allow = AskPermission("edit", then=[Say("Edited.")], action="write", path="/a")
        server.script("allowed", Turn(allow))
        server.script("hang", Turn(UseTool("ls"), Hang()))
        # Node looks for the SDK beside the script.
        script = shutil.copy(Path(__file__).parent / "reference_client.mjs", sdk.parents[2])
        agent = [sys.executable, "-W", "error", "-m", "trio_mix.cli", "acp", "--server", server.url]
        with trio.fail_after(90):
            done = await trio.run_process(
                ["node", str(script), *agent],
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env=environment(),
            )
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout) == {
        "version": 1,
        "allowed": "end_turn",
        "text": "Edited.",
        "cancelled": "cancelled",
        "loaded": "allowedhang: Edited.",
        "unknown": -32002,
        "asked": ["edit: write /a"],
        "exit": 0,
    }


async def test_all_that_the_agent_sends_matches_the_schema(
    sdk: Path, autojump_clock: MockClock
) -> None:
    schema = json.loads((sdk / "schema/v1/schema.json").read_text())

    def check(name: str, value: Any) -> None:
        validators.setdefault(name, _validator(schema, name))(value)

    validators: dict[str, Any] = {}
    ask = AskPermission("edit", then=[Say("Edited.")], path="/a", params={"content": "x"})
    steps = (Think("Hm."), UseTool("read", {"path": "/a"}, result="r"), ask, SubAgent(Say("in")))
    notices = (
        Notify("Full.", title="Disk"),
        Notify("Which?", title="Pick", response="choice", choices=("a", "b")),
    )
    rich: dict[str, Any] = {"elicitation": {"form": {}}, "session": {"notices": {}}}
    async with MixServer("async", listen=False, pace=0) as server:
        server.script("go", Turn(*steps, *notices, Say("end")))
        for capabilities in (rich, {}):
            async with open_editor(server) as editor:
                editor.answers["session/request_permission"] = {
                    "outcome": {"outcome": "selected", "optionId": "allow"}
                }
                editor.answers["elicitation/create"] = {"action": "cancel"}
                request = partial(_checked, editor, check)
                await request(
                    "Initialize", "initialize", protocolVersion=1, clientCapabilities=capabilities
                )
                new = await request("NewSession", "session/new", cwd="/x", mcpServers=[])
                session = {"sessionId": new["sessionId"]}
                prompt = [{"type": "text", "text": "go"}]
                await request("Prompt", "session/prompt", **session, prompt=prompt)
                await request("ListSessions", "session/list", cwd="/x")
                await request("LoadSession", "session/load", **session, cwd="/x", mcpServers=[])
                await request("ResumeSession", "session/resume", **session, cwd="/x")
                await request("SetSessionMode", "session/set_mode", **session, modeId="plan")
                await request("CloseSession", "session/close", **session)
                await request("DeleteSession", "session/delete", **session)
                for update in editor.updates:
                    check("SessionNotification", {**session, "update": update})
                for asked in editor.asked["session/request_permission"]:
                    check("RequestPermissionRequest", asked)
                for asked in editor.asked.get("elicitation/create", ()):
                    check("CreateElicitationRequest", asked)
                kinds = {update["sessionUpdate"] for update in editor.updates}
                assert ("notice" in kinds) is (capabilities == rich)


async def _checked(editor: Any, check: Any, name: str, method: str, **params: Any) -> Any:
    check(f"{name}Request", params)
    result = await editor.request(method, **params)
    check(f"{name}Response", result)
    return result


def _validator(schema: dict[str, Any], name: str) -> Any:
    """Compile the schema of one definition."""
    of_name = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$defs": schema["$defs"],
        "allOf": [{"$ref": f"#/$defs/{name}"}],
    }
    return fastjsonschema.compile(of_name, formats={}, use_formats=False)
