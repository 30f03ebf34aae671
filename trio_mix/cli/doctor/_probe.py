"""What the doctor asks a server, one harmless question each.

What it knows: the client's operations, and which answer tells what.
What it must never know: findings, verdicts, the screen.

Rules:

1. No question makes the agent work: messages that are sent are empty, or slash commands that do
   not exist.
2. Every question ends, in an answer or a typed error, within the time it is given.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from urllib.parse import quote

import attrs
import trio

from trio_mix import ReconnectPolicy, RequestOptions, RetryConfig, errors
from trio_mix.sse import open_event_source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from trio_mix import Mix
    from trio_mix.sse import EventSource, ServerSentEvent

ServerGeneration: TypeAlias = Literal["async", "blocking", "pipeline", "pipeline-oldest"]

MISSING_SESSION: Final = "trio-mix-doctor-knows-no-such-session"
MISSING_COMMAND: Final = "/trio-mix-doctor"


@attrs.frozen
class Probe:
    """One server, and the patience to question it with."""

    mix: Mix
    server: str
    wait: float

    @property
    def options(self) -> RequestOptions:
        """One try, no longer than the user wants to wait."""
        return RequestOptions(timeout=self.wait, retries=RetryConfig(strategy="none"))

    @asynccontextmanager
    async def stream(
        self, session_id: str, last_event_id: str | None = None
    ) -> AsyncIterator[EventSource]:
        """Open a session's stream as it is: one connection, frames as they come."""
        async with open_event_source(
            f"{self.server}/stream?sessionId={quote(session_id, safe='')}",
            headers={"Cache-Control": "no-cache"},
            last_event_id=last_event_id,
            reconnect=ReconnectPolicy(max_elapsed_time=0.001),
            connect_timeout=self.wait,
        ) as source:
            yield source

    async def frames(
        self,
        source: EventSource,
        seconds: float,
        enough: Callable[[list[ServerSentEvent]], bool] = lambda _: False,
    ) -> list[ServerSentEvent]:
        """Return what comes within a time, or until it is enough."""
        await trio.lowlevel.checkpoint()
        got: list[ServerSentEvent] = []
        with trio.move_on_after(seconds):  # noqa: ASYNC912 - reading a frame waits
            while not got or not enough(got):
                got.append(await anext(source))
        return got

    async def speaks_sse(self) -> ServerSentEvent | int | None:
        """Ask for the stream of no session: what a server without ``/health`` can be told by.

        Returns:
          The first event; the status of a refusal; or None where neither came.
        """
        await trio.lowlevel.checkpoint()
        try:
            async with self.stream(MISSING_SESSION) as source:
                first = await self.frames(source, self.wait, bool)
                return first[0] if first else None
        except errors.MixError as refused:
            return refused.status_code
        except errors.TrioMixError:
            return None

    async def generation(self, session_id: str) -> ServerGeneration | None:
        """Tell the generation by what the server says to empty messages; nothing runs.

        Pipeline servers alone have ``/stream/{id}/message``. Async ones alone know the field
        ``thinking_level``, so that others complain of it instead of the empty text.
        """
        await trio.lowlevel.checkpoint()
        try:
            await self.mix.streaming.send_streaming_message(
                id=session_id, content="", options=self.options
            )
        except errors.MixError as refused:
            if refused.status_code not in (404, 405):
                return "pipeline"
        else:
            return "pipeline"
        try:
            await self.mix.messages.send(
                id=session_id, text="", thinking_level="off", options=self.options
            )
        except errors.MixError as refused:
            said = refused.body.lower()
            if refused.status_code == 400:
                return (
                    "blocking" if "thinking_level" in said or "unknown field" in said else "async"
                )
        return None

    async def cancel(self, session_id: str) -> str | None:
        """Cancel where nothing runs; return the answer's shape, None if that is not known."""
        await trio.lowlevel.checkpoint()
        try:
            answer = await self.mix.messages.cancel_processing(id=session_id, options=self.options)
        except errors.MixError:
            return None
        return "status" if answer.status is not None else "cancelled"

    async def nudge(
        self, session_id: str, generation: ServerGeneration | None, *, command: bool
    ) -> str:
        """Make the server say something on a stream: a session that comes and goes, or a command.

        Returns:
          What the last event that this causes must contain, "" if that is not known.
        """
        await trio.lowlevel.checkpoint()
        if command:
            content = f'{{"text": "{MISSING_COMMAND}"}}'
            if generation in ("pipeline", "pipeline-oldest"):
                await self.mix.streaming.send_streaming_message(
                    id=session_id, content=content, options=self.options
                )
            return ""
        scratch = await self.mix.sessions.create(
            title="trio-mix doctor: scratch", options=self.options
        )
        await self.delete(scratch.id)
        return scratch.id

    async def delete(self, session_id: str) -> bool:
        """Delete a session whatever happens; return whether it is gone."""
        with trio.move_on_after(self.wait, shield=True):
            try:
                await self.mix.sessions.delete(id=session_id, options=self.options)
            except errors.TrioMixError:
                await trio.lowlevel.checkpoint()
                return False
            return True
        return False
