"""Messages: sent over REST, listed, cancelled."""

# ruff: noqa: A002  # ``id`` is the API's own name

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import attrs

from trio_mix._public import public
from trio_mix._rest._operation import LATEST, RpcMethod, body_param, query_param
from trio_mix.models import BackendMessage, CancelResult, SendResult, ThinkingLevel
from trio_mix.resources._base import Resource, operation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix._rest._options import RequestOptions


def _stored_message(row: object) -> object:
    """Convert a stored message of JSON-RPC, whose text is its ``content``, to that of REST.

    Only an answer to `Messages.send` has a ``response`` too; its ``content`` is the question.
    """
    if not isinstance(row, dict):
        return row
    of_user = "response" in row or row.get("role") == "user"
    shown: dict[object, object] = {"sessionId": "", "userInput": "", **row}
    shown["userInput" if of_user else "assistantResponse"] = row.get("content")
    if "response" in row:
        shown["assistantResponse"] = row["response"]
    return shown


@public("trio_mix.resources")
class Messages(Resource):
    """Messages: sent over REST, listed, cancelled."""

    @operation(
        "GET",
        "/api/messages/history",
        query_param("limit", "int", minimum=1, maximum=1000),
        query_param("offset", "int", minimum=0),
        operation_id="getMessageHistory",
        result=list[BackendMessage],
        errors=(401, 500),
        retry="safe",
        rpc=RpcMethod(
            "messages.history", {"limit": "limit", "offset": "offset"}, result=_stored_message
        ),
    )
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
        return await self._call(Messages.get_history, options, limit=limit, offset=offset)

    @operation(
        "GET",
        "/api/sessions/{id}/messages",
        operation_id="getSessionMessages",
        result=list[BackendMessage],
        errors=(404,),
        retry="safe",
        rpc=RpcMethod("messages.list", {"id": "sessionId"}, result=_stored_message),
    )
    async def get_session(
        self, *, id: str, options: RequestOptions | None = None
    ) -> list[BackendMessage]:
        """List the stored messages of a session.

        Args:
          id: the session.
          options: what differs for this call.
        """
        return await self._call(Messages.get_session, options, id=id)

    @operation(
        "POST",
        "/api/sessions/{id}/messages",
        body_param("text"),
        body_param("plan_mode", "bool", wire="plan_mode"),
        body_param(
            "thinking_level",
            wire="thinking_level",
            choices=get_args(ThinkingLevel),
            generations=LATEST,
        ),
        body_param("max_steps", "int", wire="max_steps", minimum=1, generations=LATEST),
        body_param("media", "texts", generations=("0.6.4",)),
        body_param("apps", "texts", generations=("0.6.4",)),
        operation_id="sendMessage",
        result=SendResult,
        answers=(200, 202),
        errors=(400, 404),
        retry="unsent",
        long=True,
        rpc=RpcMethod(
            "messages.send", {"id": "sessionId", "text": "content"}, result=_stored_message
        ),
    )
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
        """Send a message, without a stream of its events.

        Servers from 0.7.4 answer at once, older ones when the turn is over: there is no timeout
        unless ``options`` sets one. Arguments that are not given are not sent, because servers
        refuse fields that they do not know.

        Args:
          id: the session.
          text: the message. On pipeline servers text that begins with ``!`` runs as a shell
            command.
          plan_mode: whether the agent only plans.
          thinking_level: how much the model may reason (from 0.11).
          max_steps: how many rounds the agent may take (from 0.11).
          media: files to attach (0.6.4, which requires it, perhaps empty).
          apps: apps to attach (0.6.4, which requires it, perhaps empty).
          options: what differs for this call.
        """
        answer = await self._answer(
            Messages.send,
            options,
            id=id,
            text=text,
            plan_mode=plan_mode,
            thinking_level=thinking_level,
            max_steps=max_steps,
            media=media,
            apps=apps,
        )
        return attrs.evolve(answer.value, status_code=answer.status_code)

    @operation(
        "POST",
        "/api/sessions/{id}/cancel",
        operation_id="cancelSessionProcessing",
        result=CancelResult,
        errors=(404,),
        retry="safe",
        rpc=RpcMethod("agent.cancel", {"id": "sessionId"}),
    )
    async def cancel_processing(
        self, *, id: str, options: RequestOptions | None = None
    ) -> CancelResult:
        """Cancel the turn that a session is running.

        Args:
          id: the session.
          options: what differs for this call.
        """
        return await self._call(Messages.cancel_processing, options, id=id)
