"""Sessions: made, listed, exported, rewound, deleted.

What it knows: the arguments of these operations. What it must never know: how a call is made.
"""

# ruff: noqa: A002  # ``id`` is the API's own name

from __future__ import annotations

from typing import TYPE_CHECKING

from trio_mix._public import public
from trio_mix._rest._tables import _sessions as op
from trio_mix.errors import MixError, ResponseValidationError
from trio_mix.resources._base import Resource, implements

if TYPE_CHECKING:
    import builtins
    from collections.abc import Sequence

    from trio_mix._rest._core import MixCore
    from trio_mix._rest._options import RequestOptions
    from trio_mix.models import (
        BrowserMode,
        Callback,
        ExportSession,
        PromptMode,
        SessionData,
        SessionType,
    )

__all__ = ["Sessions"]


@public("trio_mix.resources")
class Sessions(Resource):
    """Sessions: made, listed, exported, rewound, deleted."""

    def __init__(self, core: MixCore) -> None:
        super().__init__(core)
        self._mode: BrowserMode | None = None  # what this server did not create one without

    @implements(op.LIST_SESSIONS)
    async def list(
        self, *, include_subagents: bool | None = None, options: RequestOptions | None = None
    ) -> builtins.list[SessionData]:
        """List all sessions.

        Args:
          include_subagents: whether to list those that agents have started too (from 0.11).
          options: what differs for this call.
        """
        return await self._core.request(
            op.LIST_SESSIONS, {"include_subagents": include_subagents}, options
        )

    @implements(op.CREATE_SESSION)
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
          browser_mode: which browser the agent drives. Left out by default, because older servers
            refuse the field; ``local-browser-service`` when the server refuses for want of it, and
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
        try:
            return await self._core.request(
                op.CREATE_SESSION, values | {"browser_mode": mode}, options
            )
        except MixError as error:
            if browser_mode is not None or not _is_about_browser_mode(error):
                raise
        # Wanted where it was left out; or refused, by an older server that took this one's place.
        other: BrowserMode | None = "local-browser-service" if mode is None else None
        made = await self._core.request(
            op.CREATE_SESSION, values | {"browser_mode": other}, options
        )
        self._mode = other
        return made

    @implements(op.GET_SESSION)
    async def get(self, *, id: str, options: RequestOptions | None = None) -> SessionData:
        """Return a session.

        Args:
          id: the session.
          options: what differs for this call.
        """
        return await self._core.request(op.GET_SESSION, {"id": id}, options)

    @implements(op.DELETE_SESSION)
    async def delete(self, *, id: str, options: RequestOptions | None = None) -> None:
        """Delete a session with all that was said in it.

        When a first try's answer was lost, a second one may be told that there is none: 404.

        Args:
          id: the session.
          options: what differs for this call.
        """
        await self._core.request(op.DELETE_SESSION, {"id": id}, options)

    @implements(op.FORK_SESSION)
    async def fork(
        self,
        *,
        id: str,
        message_index: int,
        title: str | None = None,
        options: RequestOptions | None = None,
    ) -> SessionData:
        """Create a session from the beginning of another.

        Args:
          id: the session to copy from.
          message_index: up to which message, counted from 0.
          title: the new session's title.
          options: what differs for this call.
        """
        values = {"id": id, "message_index": message_index, "title": title}
        return await self._core.request(op.FORK_SESSION, values, options)

    @implements(op.EXPORT_SESSION)
    async def export_session(
        self, *, id: str, options: RequestOptions | None = None
    ) -> ExportSession:
        """Return a session with all that was said in it.

        Args:
          id: the session.
          options: what differs for this call.
        """
        return await self._core.request(op.EXPORT_SESSION, {"id": id}, options)

    @implements(op.REWIND_SESSION)
    async def rewind_session(
        self,
        *,
        id: str,
        message_id: str,
        cleanup_media: bool | None = None,
        options: RequestOptions | None = None,
    ) -> SessionData:
        """Delete all messages of a session after a certain one.

        Args:
          id: the session.
          message_id: the last message to keep.
          cleanup_media: whether files made since are deleted too; the server's default is yes.
          options: what differs for this call.
        """
        values = {"id": id, "message_id": message_id, "cleanup_media": cleanup_media}
        return await self._core.request(op.REWIND_SESSION, values, options)

    @implements(op.UPDATE_SESSION_CALLBACKS)
    async def update_session_callbacks(
        self, *, id: str, callbacks: Sequence[Callback], options: RequestOptions | None = None
    ) -> SessionData:
        """Replace a session's callbacks.

        Args:
          id: the session.
          callbacks: the new ones; an empty list removes all.
          options: what differs for this call.
        """
        values = {"id": id, "callbacks": callbacks}
        return await self._core.request(op.UPDATE_SESSION_CALLBACKS, values, options)


def _is_about_browser_mode(error: MixError) -> bool:
    if error.status_code != 400 or isinstance(error, ResponseValidationError):
        return False
    said = error.body.lower().replace("_", "").replace(" ", "").replace("-", "")
    return "browsermode" in said
