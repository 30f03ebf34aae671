"""The requests of the doctor, each without effect on the server.

Rules:

1. No request runs the agent: the messages are empty, or slash commands that do not exist.
2. Every request ends with a response or an error within the time limit.
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
    """Sends the requests to one server."""

    mix: Mix
    server: str
    wait: float

    @property
    def options(self) -> RequestOptions:
        """Options for one attempt within the time limit."""
        return RequestOptions(timeout=self.wait, retries=RetryConfig(strategy="none"))

    @asynccontextmanager
    async def stream(
        self, session_id: str, last_event_id: str | None = None
    ) -> AsyncIterator[EventSource]:
        """Open a session's stream on one connection, without reconnecting."""
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
        """Return the events that arrive within a time in seconds, or until they are enough."""
        await trio.lowlevel.checkpoint()
        got: list[ServerSentEvent] = []
        with trio.move_on_after(seconds):  # noqa: ASYNC912 - reading an event waits
            while not got or not enough(got):
                got.append(await anext(source))
        return got

    async def speaks_sse(self) -> ServerSentEvent | int | None:
        """Open the stream of a session that does not exist, which all Mix servers recognise.

        Returns:
          The first event; the HTTP status if refused; or None if neither arrived.
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
        """Return the generation, by the responses to empty messages, which do not run.

        Only pipeline servers have ``/stream/{id}/message``. Only async servers know the field
        ``thinking_level``: the others reject the field instead of the empty text.
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
            body = refused.body.lower()
            if refused.status_code == 400:
                return (
                    "blocking" if "thinking_level" in body or "unknown field" in body else "async"
                )
        return None

    async def cancel(self, session_id: str) -> str | None:
        """Cancel in an idle session; return the form of the response, None if cancelling failed."""
        await trio.lowlevel.checkpoint()
        try:
            answer = await self.mix.messages.cancel_processing(id=session_id, options=self.options)
        except errors.MixError:
            return None
        return "status" if answer.status is not None else "cancelled"

    async def nudge(
        self, session_id: str, generation: ServerGeneration | None, *, command: bool
    ) -> str:
        """Make the server send events: create and delete a session, or send a command.

        Returns:
          A text that the last of these events contains, "" if unknown.
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
        """Delete a session, also when cancelled; return whether it was deleted."""
        with trio.move_on_after(self.wait, shield=True):
            try:
                await self.mix.sessions.delete(id=session_id, options=self.options)
            except errors.TrioMixError:
                await trio.lowlevel.checkpoint()
                return False
            return True
        return False
