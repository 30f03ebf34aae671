"""How a message is put on its way on this server's generation, found out once for a client.

What it knows: which operation sends on which generation, and what its answer means. What it must
never know: streams, turns, tasks.

Rule 1  Nothing is sent twice to find out: the pipeline operation is tried with the message itself,
        and where the answer is the router's own 404 (no JSON error body), nothing has run.
Rule 2  What is found out holds for the client's life. A named generation is believed.
Rule 3  Blocking and async servers share a path. The version of ``/health`` tells them apart; where
        it does not, the first answer does, and until then both are reckoned with.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Final, Literal

import attrs
import trio

from trio_mix import errors
from trio_mix._rest._options import RequestOptions, RetryConfig
from trio_mix._turns._router import WireTraits
from trio_mix._turns._stored_turn import stored_reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix._rest._core import MixCore
    from trio_mix._rest._options import Api
    from trio_mix._session._request import MessageRequest
    from trio_mix._turns._reply_builder import StoredReply
    from trio_mix.models import SendResult
    from trio_mix.resources import Messages, Streaming, System

__all__ = ["Posted", "SendApi"]

_HEALTH_TIMEOUT: Final = 5.0
_ONCE: Final = RetryConfig(strategy="none")
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


@attrs.frozen
class Posted:
    """What the server answered to a message."""

    answer: StoredReply | None = None
    """The finished reply, where the HTTP response holds it."""


class SendApi:
    """Sends messages by the operation that this server has for it."""

    def __init__(
        self, core: MixCore, streaming: Streaming, messages: Messages, system: System, api: Api
    ) -> None:
        self._core = core
        self._streaming = streaming
        self._messages = messages
        self._system = system
        self.api: Api | Literal["rest"] = api
        """What is known: "rest" is blocking or async, and not known which."""

    def traits(self) -> WireTraits:
        """Return what is known of how the server's events relate to its messages."""
        match self.api:
            case "pipeline":
                return WireTraits(ids=False, rate_limit_ends=True, answers=False)
            case "blocking":
                return WireTraits(answers=True)
            case "async":
                return WireTraits(ids=True, answers=False)
            case "auto":
                return WireTraits(rate_limit_ends=None, answers=None)
            case _:
                return WireTraits(answers=None)

    async def post(
        self, session_id: str, request: MessageRequest, on_sending: Callable[[], None]
    ) -> Posted:
        """Send one message; returns with the server's answer to it.

        Args:
          session_id: the session.
          request: the message.
          on_sending: called just before its first byte may go out.

        Raises:
          MixError: the server refused it.
          TransportError: no answer; ``sent`` says whether it may have arrived.
        """
        if self.api in ("auto", "pipeline"):
            try:
                return await self._post_pipeline(session_id, request, on_sending)
            except errors.MixDefaultError as exc:
                if self.api == "pipeline" or exc.status_code not in (404, 405):
                    raise
            self.api = await self._tell_by_version()
        return await self._post_rest(session_id, request, on_sending)

    async def _post_pipeline(
        self, session_id: str, request: MessageRequest, on_sending: Callable[[], None]
    ) -> Posted:
        if request.thinking_level is not None or request.max_steps is not None:
            if self.api == "pipeline":
                raise errors.MessageRejected(
                    f"The message to session {session_id} was not sent: this server's generation "
                    "(pipeline) takes neither thinking_level nor max_steps. Leave them out.",
                    session_id=session_id,
                )
            # Sent to a pipeline server they would be ignored silently, so the path is tried empty.
            return await self._probe_then_rest(session_id, request, on_sending)
        content = json.dumps(
            {
                "text": request.text,
                "media": list(request.media),
                "apps": list(request.apps),
                "plan_mode": request.plan_mode,
            }
        )
        on_sending()
        await self._streaming.send_streaming_message(
            id=session_id, content=content, options=RequestOptions(retries=_ONCE)
        )
        self.api = "pipeline"
        return Posted()

    async def _probe_then_rest(
        self, session_id: str, request: MessageRequest, on_sending: Callable[[], None]
    ) -> Posted:
        try:
            await self._streaming.send_streaming_message(
                id=session_id, content="", options=RequestOptions(retries=_ONCE)
            )
        except errors.MixDefaultError as exc:
            if exc.status_code in (404, 405):
                self.api = await self._tell_by_version()
                return await self._post_rest(session_id, request, on_sending)
        except errors.ErrorResponse:
            pass
        self.api = "pipeline"
        return await self._post_pipeline(session_id, request, on_sending)

    async def _post_rest(
        self, session_id: str, request: MessageRequest, on_sending: Callable[[], None]
    ) -> Posted:
        on_sending()
        # An async server answers at once; a blocking one when the turn is over, however late.
        limit = self._core._caller.timeout if self.api == "async" else None
        options = RequestOptions(retries=_ONCE, timeout=math.inf if limit is None else limit)
        result: SendResult = await self._messages.send(
            id=session_id,
            text=request.text,
            plan_mode=request.plan_mode or None,
            thinking_level=request.thinking_level,
            max_steps=request.max_steps,
            media=list(request.media) or None,
            apps=list(request.apps) or None,
            options=options,
        )
        if result.status_code == 202:
            self.api = "async"
        elif self.api == "rest" and not request.text.startswith("/"):
            self.api = "blocking"
        if result.message is None:
            return Posted()
        return Posted(stored_reply([result.message]))

    async def _tell_by_version(self) -> Api | Literal["rest"]:
        version = ""
        with trio.move_on_after(_HEALTH_TIMEOUT):  # noqa: ASYNC912 - it makes a request
            try:
                health = await self._system.health_check(options=RequestOptions(retries=_ONCE))
                version = health.version or ""
            except (errors.MixError, errors.TransportError):
                pass
        found = _VERSION.search(version)
        if found is None:
            return "rest"  # noqa: ASYNC910 - the request was one
        numbers = tuple(int(part) for part in found.groups())
        if (0, 7, 0) <= numbers < (0, 7, 4):
            return "blocking"  # noqa: ASYNC910 - as above
        return "async" if numbers >= (0, 7, 4) else "rest"  # noqa: ASYNC910 - as above
