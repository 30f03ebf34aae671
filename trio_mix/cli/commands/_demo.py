"""``demo``: what trio_mix does, shown in a few seconds against the bundled server.

What it knows: the acts, in order, and what each of them must have shown.
What it must never know: how it is drawn.

Rules:

1. The exit code tells whether everything happened that the demo is for; nothing is taken for
   granted.
2. Each act is a function of its own and leaves the stream usable for the next one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs
import trio

from trio_mix import Mix, ReconnectPolicy
from trio_mix.cli._errors import FAILED, OK
from trio_mix.cli.commands._show_message import grant_all, show_message
from trio_mix.cli.ui._panels import open_panels
from trio_mix.cli.ui._text import excerpt, print_error
from trio_mix.events import ConnectedEvent, PermissionEvent
from trio_mix.testing import Drop, MixServer, Say, Think, Turn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix import Reply, SessionStream
    from trio_mix.cli.ui._panels import Panels
    from trio_mix.cli.ui._screen import Screen

DemoApi: TypeAlias = Literal["async", "blocking", "pipeline"]

_TIMEOUT = 60.0
_IMPATIENT = ReconnectPolicy(initial_interval=0.1)
"""There is one client, so nothing speaks for spreading its reconnects in time."""
_FILES = "List the files here"
_SHELL = "Run a command that tells which system this is"
_AGAIN = "Hello again"
_STORY = "Tell me a story"
_BEFORE = "Once upon a time a connection was cut "
_AFTER = "and nobody missed a word."


@attrs.define
class _DemoReply:
    """What came of one message."""

    text: str
    reply: Reply
    asked: int
    seconds: float


@attrs.define
class _Demo:
    panels: Panels
    server: MixServer
    stream: SessionStream
    results: list[_DemoReply] = attrs.field(factory=list, init=False)

    async def two_at_once(self) -> None:
        """Send two messages from two tasks; each gets its own events."""
        self.panels.note("two tasks send at once; each message gets its own events")
        await self._send(_FILES, _SHELL)

    async def lost_between_messages(self) -> None:
        """Lose the connection while nothing runs, and go on."""
        async with self.stream.subscribe() as everything:
            await self.server.drop_streams(self.stream.session_id)
            self.panels.note("the server dropped the connection between two messages")
            async for event in everything:
                if isinstance(event, ConnectedEvent):
                    break
        self.panels.note("connected again; the next message goes on as if nothing had been")
        await self._send(_AGAIN)

    async def lost_in_mid_turn(self) -> None:
        """Lose the connection while the agent speaks, and complete the reply all the same."""
        self.panels.note("now the connection is cut in the middle of an answer")
        self.server.script(
            _STORY, Turn(Think("One sentence will do."), Say(_BEFORE), Drop(), Say(_AFTER))
        )
        await self._send(_STORY)
        await self.stream.wait_connected()
        self.panels.note("the answer is complete all the same: the server had stored the rest")

    async def _send(self, *texts: str) -> None:
        with self.panels.act(texts) as screens:
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
        asked = 0

        async def decide(event: PermissionEvent) -> bool:
            nonlocal asked
            asked += 1
            return await grant_all(event)

        began = trio.current_time()
        task_status.started()
        async with self.stream.send(text) as message:
            reply = await show_message(message, screen, decide)
        self.results.append(_DemoReply(text, reply, asked, trio.current_time() - began))

    def show(self) -> None:
        """Show what happened."""
        columns = ("message", "tool calls", "permissions", "recovered", "last words")
        self.panels.table(
            columns,
            [
                (
                    excerpt(result.text, 30),
                    ", ".join(call.name for call in result.reply.tool_calls) or "-",
                    str(result.asked),
                    "yes" if result.reply.recovered else "no",
                    excerpt(result.reply.final_text, 40),
                )
                for result in self.results
            ],
        )

    def missing(self) -> list[str]:
        """Say what should have happened and did not (rule 1)."""
        replies = {result.text: result for result in self.results}
        files, shell, story = replies[_FILES], replies[_SHELL], replies[_STORY]
        numbers = self.stream.statistics()
        facts = {
            "every message got a text": all(result.reply.text for result in self.results),
            "the first message used a tool": bool(files.reply.tool_calls),
            "the second message asked for permission": shell.asked > 0,
            "no message got the other's tool calls": not (_calls(files) & _calls(shell)),
            # After a turn that was cut the stream may make its connection anew on its own account.
            "the stream reconnected twice": numbers.losses == 2 and numbers.reconnects >= 2,
            "the answer that was cut is complete": story.reply.text == _BEFORE + _AFTER,
            # A blocking server answers on the POST's own connection, which was not cut.
            "its end was recovered": story.reply.recovered or self.server.api == "blocking",
            "no message ran twice": all(self.server.runs(text) == 1 for text in replies),
        }
        return [fact for fact, happened in facts.items() if not happened]


def _calls(result: _DemoReply) -> set[str]:
    return {call.tool_call_id for call in result.reply.tool_calls}


async def demo(api: DemoApi) -> int:
    """Run all acts and return 0 if they showed what they are for."""
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
            mix.open_session(title="Demo", reconnect=_IMPATIENT) as stream,
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
        screen.note("all as it should be; the session is deleted, the server stopped")
    return FAILED if missing else OK
