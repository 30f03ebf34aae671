"""Messages: sent over REST, listed, cancelled.

What it knows: the arguments of these operations. What it must never know: how a call is made.
"""

# ruff: noqa: A002  # ``id`` is the API's own name

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from trio_mix._public import public
from trio_mix._rest._tables import _messages as op
from trio_mix.resources._base import Resource, implements

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix._rest._options import RequestOptions
    from trio_mix.models import BackendMessage, CancelResult, SendResult, ThinkingLevel

__all__ = ["Messages"]


@public("trio_mix.resources")
class Messages(Resource):
    """Messages: sent over REST, listed, cancelled."""

    @implements(op.GET_HISTORY)
    async def get_history(
        self,
        *,
        limit: int | None = None,
        offset: int | None = None,
        options: RequestOptions | None = None,
    ) -> list[BackendMessage]:
        """List the stored messages of all sessions.

        Args:
          limit: how many at most, from 1 to 1000; the server's default is 50.
          offset: how many to skip.
          options: what differs for this call.
        """
        values = {"limit": limit, "offset": offset}
        return await self._core.request(op.GET_HISTORY, values, options)

    @implements(op.GET_SESSION_MESSAGES)
    async def get_session(
        self, *, id: str, options: RequestOptions | None = None
    ) -> list[BackendMessage]:
        """List the stored messages of a session.

        Args:
          id: the session.
          options: what differs for this call.
        """
        return await self._core.request(op.GET_SESSION_MESSAGES, {"id": id}, options)

    @implements(op.SEND_MESSAGE)
    async def send(
        self,
        *,
        id: str,
        text: str,
        plan_mode: bool | None = None,
        thinking_level: ThinkingLevel | None = None,
        max_steps: int | None = None,
        media: Sequence[str] | None = None,
        apps: Sequence[str] | None = None,
        options: RequestOptions | None = None,
    ) -> SendResult:
        """Send a message, without a stream to see what comes of it.

        Servers from 0.7.4 answer at once; older ones when the turn is over, so that there is no
        time limit unless ``options`` sets one. Arguments that are not given are not sent: servers
        refuse fields that they do not know.

        Args:
          id: the session.
          text: the message. On pipeline servers text that begins with ``!`` runs as a shell
            command.
          plan_mode: whether the agent only plans.
          thinking_level: how much the model may reason (from 0.11).
          max_steps: how many rounds the agent may take (from 0.11).
          media: files that go with it (0.6.4, which requires it, perhaps empty).
          apps: apps that go with it (0.6.4, which requires it, perhaps empty).
          options: what differs for this call.
        """
        values = {
            "id": id,
            "text": text,
            "plan_mode": plan_mode,
            "thinking_level": thinking_level,
            "max_steps": max_steps,
            "media": media,
            "apps": apps,
        }
        answer = await self._core.call(op.SEND_MESSAGE, values, options)
        return attrs.evolve(answer.value, status_code=answer.status_code)

    @implements(op.CANCEL_PROCESSING)
    async def cancel_processing(
        self, *, id: str, options: RequestOptions | None = None
    ) -> CancelResult:
        """Stop what a session is doing.

        Args:
          id: the session.
          options: what differs for this call.
        """
        return await self._core.request(op.CANCEL_PROCESSING, {"id": id}, options)
