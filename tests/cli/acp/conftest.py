"""The editor's side of the Agent Client Protocol, in memory."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import trio
import trio.testing

from trio_mix import Mix
from trio_mix.cli.acp._agent import Agent
from trio_mix.cli.acp._peer import Peer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio_mix.testing import MixServer


@attrs.define(eq=False)
class Editor:
    """An editor that answers what it is asked, and keeps what it receives.

    Attributes:
      updates: the updates of all sessions, in their order.
      asked: the parameters of the agent's requests, by method.
      answers: the result of each of the agent's requests, by method; without one, it waits.
    """

    updates: list[dict[str, Any]] = attrs.field(factory=list[dict[str, Any]])
    asked: dict[str, list[Any]] = attrs.field(factory=dict[str, "list[Any]"])
    answers: dict[str, Any] = attrs.field(factory=dict[str, Any])
    peer: Peer = attrs.field(init=False)
    changed: trio.Event = attrs.field(factory=trio.Event)

    def update(self, params: Any) -> None:
        self.updates.append(params["update"])
        self._notice()

    async def answer(self, method: str, params: Any) -> object:
        self.asked.setdefault(method, []).append(params)
        self._notice()
        if method not in self.answers:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()
        return self.answers[method]

    async def request(self, method: str, **params: Any) -> Any:
        with trio.fail_after(300):
            return await self.peer.request(method, params)

    async def start(self, **capabilities: Any) -> str:
        """Initialize, and return the id of a new session."""
        await self.request("initialize", protocolVersion=1, clientCapabilities=capabilities)
        new = await self.request("session/new", cwd="/srv/project", mcpServers=[])
        return str(new["sessionId"])

    async def prompt(self, session: str, text: str) -> Any:
        blocks = [{"type": "text", "text": text}]
        return await self.request("session/prompt", sessionId=session, prompt=blocks)

    async def until(self, kind: str) -> dict[str, Any]:
        """Wait for an update of a kind and return the first."""
        with trio.fail_after(300):
            while True:
                for update in self.updates:
                    if update["sessionUpdate"] == kind:
                        return update
                await self.changed.wait()

    async def until_asked(self, method: str) -> None:
        with trio.fail_after(300):
            while method not in self.asked:
                await self.changed.wait()

    def text(self, kind: str = "agent_message_chunk") -> str:
        """Return the text of all chunks of a kind."""
        chunks = [each for each in self.updates if each["sessionUpdate"] == kind]
        return "".join(each["content"]["text"] for each in chunks)

    def tools(self) -> dict[str, dict[str, Any]]:
        """Return each tool call with all its updates applied."""
        found: dict[str, dict[str, Any]] = {}
        for update in self.updates:
            if update["sessionUpdate"] in ("tool_call", "tool_call_update"):
                found.setdefault(update["toolCallId"], {}).update(update)
        return found

    def _notice(self) -> None:
        self.changed.set()
        self.changed = trio.Event()


@asynccontextmanager
async def open_editor(server: MixServer) -> AsyncIterator[Editor]:
    """Connect an editor to an agent whose sessions are those of a bundled server in memory."""
    editor = Editor()
    ours, theirs = trio.testing.memory_stream_pair()
    questions = ("session/request_permission", "elicitation/create")
    editor.peer = Peer(
        ours,
        ours,
        {name: partial(editor.answer, name) for name in questions},
        {"session/update": editor.update},
    )
    async with Mix(server.url, network=server.network) as mix, trio.open_nursery() as nursery:
        ended = trio.Event()

        async def run_agent() -> None:
            await Agent(mix, theirs, theirs).run()
            ended.set()

        nursery.start_soon(run_agent)
        async with trio.open_nursery() as of_editor:
            of_editor.start_soon(editor.peer.run)
            yield editor
            of_editor.cancel_scope.cancel()
        await ours.send_stream.aclose()
        with trio.fail_after(300):
            await ended.wait()
        nursery.cancel_scope.cancel()
