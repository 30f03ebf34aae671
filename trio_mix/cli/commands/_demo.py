"""``demo``: a demonstration of trio_mix against the bundled server, in a few seconds.

Rules:

1. The exit code tells whether everything that the demo is to show has happened.
2. Each part is a method and leaves the stream usable for the next one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs
import trio

from trio_mix import Mix, ReconnectPolicy
from trio_mix.cli._errors import FAILED, OK
from trio_mix.cli.commands._permissions import PermissionDecisions
from trio_mix.cli.commands._show_message import show_message
from trio_mix.cli.ui._panels import open_panels
from trio_mix.cli.ui._text import excerpt, print_error
from trio_mix.events import ConnectedEvent
from trio_mix.testing import Drop, MixServer, Say, Think, Turn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix import Reply, SessionStream
    from trio_mix.cli.ui._panels import Panels
    from trio_mix.cli.ui._screen import Screen
    from trio_mix.events import PermissionEvent

DemoApi: TypeAlias = Literal["async", "blocking", "pipeline"]

_TIMEOUT = 60.0
_RECONNECT = ReconnectPolicy(initial_interval=0.1)
"""There is one client only, so its reconnects need not be spread in time."""
_FILES = "List the files here"
_SHELL = "Run a command that prints the name of this system"
_AGAIN = "Hello again"
_STORY = "Tell me a story"
_BEFORE = "Once upon a time a connection was cut "
_AFTER = "and not a word was missing."


@attrs.define
class _DemoReply:
    """The reply to one message."""

    text: str
    reply: Reply
    permissions: int
    seconds: float


@attrs.define
class _GrantAll(PermissionDecisions):
    """Grants and counts the permission requests of one message."""

    count: int = 0

    async def decide(self, event: PermissionEvent) -> bool | None:
        """Grant the request."""
        self.count += 1
        return await super().decide(event)


@attrs.define
class _Demo:
    panels: Panels
    server: MixServer
    stream: SessionStream
    results: list[_DemoReply] = attrs.field(factory=list, init=False)

    async def two_at_once(self) -> None:
        """Send two messages from two tasks; each receives its own events."""
        self.panels.note("two tasks send at once; each message receives its own events")
        await self._send(_FILES, _SHELL)

    async def lost_between_messages(self) -> None:
        """Lose the connection while no message runs, and continue."""
        async with self.stream.subscribe() as everything:
            await self.server.drop_streams(self.stream.session_id)
            self.panels.note("the server dropped the connection between two messages")
            async for event in everything:
                if isinstance(event, ConnectedEvent):
                    break
        self.panels.note("connected again; the next message runs as usual")
        await self._send(_AGAIN)

    async def lost_in_mid_turn(self) -> None:
        """Lose the connection in the middle of a reply, and complete the reply."""
        self.panels.note("now the connection is cut in the middle of a reply")
        self.server.script(
            _STORY, Turn(Think("One sentence will do."), Say(_BEFORE), Drop(), Say(_AFTER))
        )
        await self._send(_STORY)
        await self.stream.wait_connected()
        self.panels.note("the reply is complete: the server had stored the rest")

    async def _send(self, *texts: str) -> None:
        with self.panels.messages(texts) as screens:
            async with trio.open_nursery() as nursery:
                for text, screen in zip(texts, screens, strict=True):
                    # Queued in this order, so that the lines are the same on every run.
                    await nursery.start(self._message, text, screen)

    async def _message(
        self,
        text: str,
        screen: Screen,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        permissions = _GrantAll(None, everything=True)
        began = trio.current_time()
        task_status.started()
        async with self.stream.send(text) as message:
            reply = await show_message(message, screen, permissions)
        self.results.append(_DemoReply(text, reply, permissions.count, trio.current_time() - began))

    def show(self) -> None:
        """Show a table of the replies."""
        columns = ("message", "tool calls", "permissions", "recovered", "end of the reply")
        self.panels.table(
            columns,
            [
                (
                    excerpt(result.text, 30),
                    ", ".join(call.name for call in result.reply.tool_calls) or "-",
                    str(result.permissions),
                    "yes" if result.reply.recovered else "no",
                    excerpt(result.reply.final_text, 40),
                )
                for result in self.results
            ],
        )

    def missing(self) -> list[str]:
        """Return what should have happened and did not (rule 1)."""
        replies = {result.text: result for result in self.results}
        files, shell, story = replies[_FILES], replies[_SHELL], replies[_STORY]
        numbers = self.stream.statistics()
        facts = {
            "every message got a text": all(result.reply.text for result in self.results),
            "the first message used a tool": bool(files.reply.tool_calls),
            "the second message asked for permission": shell.permissions > 0,
            "no message got the other's tool calls": not (_calls(files) & _calls(shell)),
            # After an interrupted turn the stream may reconnect once more by itself.
            "the stream reconnected twice": numbers.losses == 2 and numbers.reconnects >= 2,
            "the interrupted reply is complete": story.reply.text == _BEFORE + _AFTER,
            # A blocking server replies on the connection of the POST, which was not cut.
            "the end of the reply was recovered": story.reply.recovered
            or self.server.api == "blocking",
            "no message ran twice": all(self.server.runs(text) == 1 for text in replies),
        }
        return [fact for fact, happened in facts.items() if not happened]


def _calls(result: _DemoReply) -> set[str]:
    return {call.tool_call_id for call in result.reply.tool_calls}


async def demo(api: DemoApi) -> int:
    """Run all parts and return 0 if they showed what they should."""
    streams: list[SessionStream] = []

    def status() -> str:
        if not streams:
            return ""
        numbers = streams[0].statistics()
        state = streams[0].state.value
        return f"stream {state}, {numbers.connects} connects, {numbers.events} events"

    screen = open_panels(status)
    missing: Sequence[str] = ("everything ended in time",)
    with trio.move_on_after(_TIMEOUT):
        async with (
            MixServer(api=api) as server,
            Mix(server.url) as mix,
            mix.open_session(title="Demo", reconnect=_RECONNECT) as stream,
        ):
            screen.note(f"a bundled server (API generation: {api}), a session, one stream")
            streams.append(stream)
            show = _Demo(screen, server, stream)
            await show.two_at_once()
            await show.lost_between_messages()
            await show.lost_in_mid_turn()
            show.show()
            missing = show.missing()
    for fact in missing:
        print_error(f"the demo failed: it is not true that {fact}")
    if not missing:
        screen.note("everything worked; the session is deleted, the server stopped")
    return FAILED if missing else OK
