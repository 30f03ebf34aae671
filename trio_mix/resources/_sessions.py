"""Sessions: created, listed, exported, rewound, deleted."""

# ruff: noqa: A002  # ``id`` is the API's own name

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast, get_args

from trio_mix._public import public
from trio_mix._rest._operation import (
    LATEST,
    SINCE_069,
    UNTIL_069,
    Operation,
    RpcMethod,
    body_param,
    query_param,
)
from trio_mix.errors import ErrorResponse, MixError, ResponseValidationError
from trio_mix.models import (
    BrowserMode,
    Callback,
    ExportSession,
    PromptMode,
    SessionData,
    SessionType,
)
from trio_mix.resources._base import Resource, operation

if TYPE_CHECKING:
    import builtins
    from collections.abc import Sequence

    from trio_mix._rest._core import MixCore
    from trio_mix._rest._options import RequestOptions


def _count_of_messages(params: dict[str, object]) -> dict[str, object]:
    """Return the parameters of a fork in JSON-RPC, where the index is the number of messages."""
    return params | {"messageIndex": cast("int", params["messageIndex"]) + 1}


@public("trio_mix.resources")
class Sessions(Resource):
    """Sessions: created, listed, exported, rewound, deleted."""

    def __init__(self, core: MixCore) -> None:
        super().__init__(core)
        self._mode: BrowserMode | None = None  # the mode that this server requires

    @operation(
        "GET",
        "/api/sessions",
        query_param("include_subagents", "bool", generations=LATEST),
        operation_id="listSessions",
        result=list[SessionData],
        errors=(401, 500),
        retry="safe",
        rpc=RpcMethod("sessions.list"),
    )
    async def list(
        self, *, include_subagents: bool | None = None, options: RequestOptions | None = None
    ) -> builtins.list[SessionData]:
        """List all sessions.

        Args:
          include_subagents: whether to list the sessions of sub-agents too (from 0.11).
          options: what differs for this call.
        """
        return await self._call(Sessions.list, options, include_subagents=include_subagents)

    @operation(
        "POST",
        "/api/sessions",
        body_param("title"),
        body_param("browser_mode", choices=get_args(BrowserMode), generations=LATEST),
        body_param("callbacks", "callbacks", generations=LATEST),
        body_param("cdp_url", secret=True, generations=LATEST),
        body_param("custom_system_prompt"),
        body_param("model_id", generations=LATEST),
        body_param("prompt_mode", choices=get_args(PromptMode)),
        body_param("provider", generations=LATEST),
        body_param("session_type", choices=get_args(SessionType), generations=LATEST),
        body_param("subagent_type", generations=LATEST),
        operation_id="createSession",
        result=SessionData,
        answers=(201,),
        errors=(400,),
        retry="unsent",
        rpc=RpcMethod("sessions.create", {"title": "title"}),
    )
    async def create(
        self,
        *,
        title: str,
        browser_mode: BrowserMode | None = None,
        callbacks: Sequence[Callback] | None = None,
        cdp_url: str | None = None,
        custom_system_prompt: str | None = None,
        model_id: str | None = None,
        prompt_mode: PromptMode | None = None,
        provider: str | None = None,
        session_type: SessionType | None = None,
        subagent_type: str | None = None,
        options: RequestOptions | None = None,
    ) -> SessionData:
        """Create a session.

        Args:
          title: the title.
          browser_mode: which browser the agent drives. Not sent by default, because older servers
            refuse the field; if the server requires it, ``local-browser-service`` is sent, then and
            from then on.
          callbacks: what the server does after tools have run (from 0.7.4).
          cdp_url: the browser's DevTools address, for ``remote-cdp-websocket``.
          custom_system_prompt: a system prompt.
          model_id: the model.
          prompt_mode: how the custom prompt joins the server's own.
          provider: the model's provider.
          session_type: what kind of session.
          subagent_type: which sub-agent.
          options: what differs for this call.
        """
        values: dict[str, object] = {
            "title": title,
            "callbacks": callbacks,
            "cdp_url": cdp_url,
            "custom_system_prompt": custom_system_prompt,
            "model_id": model_id,
            "prompt_mode": prompt_mode,
            "provider": provider,
            "session_type": session_type,
            "subagent_type": subagent_type,
        }
        mode = browser_mode or self._mode
        created = None
        try:
            created = await self._call(Sessions.create, options, browser_mode=mode, **values)
        except MixError as error:
            if browser_mode is not None or not _is_about_browser_mode(error):
                raise
        if created is None:
            # It requires the field that was left out, or an older server replaced one that did.
            other: BrowserMode | None = "local-browser-service" if mode is None else None
            created = await self._call(Sessions.create, options, browser_mode=other, **values)
            self._mode = other
        self._caller.created(created.id)
        return created  # noqa: ASYNC910 - the request was a checkpoint

    @operation(
        "GET",
        "/api/sessions/{id}",
        operation_id="getSession",
        result=SessionData,
        errors=(404,),
        retry="safe",
        rpc=RpcMethod("sessions.get", {"id": "id"}),
    )
    async def get(self, *, id: str, options: RequestOptions | None = None) -> SessionData:
        """Return a session.

        Args:
          id: the session.
          options: what differs for this call.
        """
        return await self._call(Sessions.get, options, id=id)

    @operation(
        "DELETE",
        "/api/sessions/{id}",
        operation_id="deleteSession",
        result=type(None),
        answers=(204,),
        errors=(404,),
        retry="safe",
        rpc=RpcMethod("sessions.delete", {"id": "id"}),
    )
    async def delete(self, *, id: str, options: RequestOptions | None = None) -> None:
        """Delete a session with its messages.

        If the response to a first try was lost, the retry may be answered 404: already deleted.

        The oldest servers do not delete their current session, which is that of the last stream or
        message: another session is made the current one first, if there is one.

        Args:
          id: the session.
          options: what differs for this call.
        """
        try:
            return await self._call(Sessions.delete, options, id=id)
        except ErrorResponse as error:
            if not _is_about_current_session(error):
                raise
            refusal = error
        others = [each.id for each in await self.list(options=options) if each.id != id]
        if not others:
            raise refusal
        await self._caller.call_jsonrpc(_SELECT, _SELECT_METHOD, {"id": others[-1]}, options)
        return await self._call(Sessions.delete, options, id=id)

    @operation(
        "POST",
        "/api/sessions/{id}/fork",
        body_param("message_index", "int", minimum=0),
        body_param("title"),
        operation_id="forkSession",
        result=SessionData,
        answers=(201,),
        errors=(400, 404),
        generations=UNTIL_069,
        retry="unsent",
        rpc=RpcMethod(
            "sessions.fork",
            {"id": "sourceSessionId", "message_index": "messageIndex", "title": "title"},
            request=_count_of_messages,
        ),
    )
    async def fork(
        self,
        *,
        id: str,
        message_index: int,
        title: str | None = None,
        options: RequestOptions | None = None,
    ) -> SessionData:
        """Create a session that begins with messages of another.

        Args:
          id: the session to copy from.
          message_index: the last message to copy, counted from 0.
          title: the new session's title.
          options: what differs for this call.
        """
        return await self._call(
            Sessions.fork, options, id=id, message_index=message_index, title=title
        )

    @operation(
        "GET",
        "/api/sessions/{id}/export",
        operation_id="exportSession",
        result=ExportSession,
        errors=(404, 500),
        generations=SINCE_069,
        retry="safe",
    )
    async def export_session(
        self, *, id: str, options: RequestOptions | None = None
    ) -> ExportSession:
        """Return a session with its messages.

        Args:
          id: the session.
          options: what differs for this call.
        """
        return await self._call(Sessions.export_session, options, id=id)

    @operation(
        "POST",
        "/api/sessions/{id}/rewind",
        body_param("message_id"),
        body_param("cleanup_media", "bool"),
        operation_id="rewindSession",
        result=SessionData,
        errors=(400, 404),
        generations=SINCE_069,
        retry="safe",
    )
    async def rewind_session(
        self,
        *,
        id: str,
        message_id: str,
        cleanup_media: bool | None = None,
        options: RequestOptions | None = None,
    ) -> SessionData:
        """Delete the messages of a session after a given one.

        Args:
          id: the session.
          message_id: the last message to keep.
          cleanup_media: whether to delete the files made since then too; the server's default is
            yes.
          options: what differs for this call.
        """
        return await self._call(
            Sessions.rewind_session,
            options,
            id=id,
            message_id=message_id,
            cleanup_media=cleanup_media,
        )

    @operation(
        "PATCH",
        "/api/sessions/{id}/callbacks",
        body_param("callbacks", "callbacks"),
        operation_id="updateSessionCallbacks",
        result=SessionData,
        errors=(400, 404),
        generations=LATEST,
        retry="safe",
    )
    async def update_session_callbacks(
        self, *, id: str, callbacks: Sequence[Callback], options: RequestOptions | None = None
    ) -> SessionData:
        """Replace a session's callbacks.

        Args:
          id: the session.
          callbacks: the new ones; an empty list removes all.
          options: what differs for this call.
        """
        return await self._call(
            Sessions.update_session_callbacks, options, id=id, callbacks=callbacks
        )


_SELECT: Final = Operation(
    name="sessions.select",
    operation_id="",
    method="POST",
    path="/rpc",
    params=(body_param("id", required=True),),
    result=type(None),
    answers=(200,),
    errors=(),
    retry="safe",
)
"""Makes a session the current one; only the oldest servers have one, and the operation."""
_SELECT_METHOD: Final = RpcMethod("sessions.select", {"id": "id"})


def _is_about_current_session(error: ErrorResponse) -> bool:
    return error.request.url.endswith("/rpc") and "currently active" in error.error.message


def _is_about_browser_mode(error: MixError) -> bool:
    if error.status_code != 400 or isinstance(error, ResponseValidationError):
        return False
    said = error.body.lower().replace("_", "").replace(" ", "").replace("-", "")
    return "browsermode" in said
