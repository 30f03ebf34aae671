"""Send messages with the operation that the server supports, which is detected once per client.

Rule 1  Detection never sends a message twice: the pipeline operation is tried with the message
        itself. If the response is the router's own 404 (without a JSON error body), nothing ran.
Rule 2  The detected API is kept for the lifetime of the client. A named API is not verified.
Rule 3  Blocking and async servers share a path. The version in ``/health`` distinguishes them;
        if it is missing, the first response does, and both are possible until then.
Rule 4  A relay adds turn ids, and is asked to answer a message before its turn is over. A message
        has an idempotency key: a relay that was killed may have it, although no row shows it.
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, Final, Literal
from uuid import uuid4

import attrs
import trio

from trio_mix import errors
from trio_mix._rest._options import ONE_TRY, RequestOptions
from trio_mix._rest._responses import from_router
from trio_mix._turns._stored_rows import stored_reply
from trio_mix._turns._wire_traits import WireTraits

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from trio_mix._rest._core import MixCore
    from trio_mix._rest._options import Api
    from trio_mix._turns._stored_rows import StoredReply
    from trio_mix.models import SendResult, ThinkingLevel
    from trio_mix.resources import Messages, Streaming, System

_HEALTH_TIMEOUT: Final = 5.0
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)")


@attrs.frozen(kw_only=True)
class MessageRequest:
    """A message to send; fields that are None are not sent."""

    text: str
    plan_mode: bool = False
    thinking_level: ThinkingLevel | None = None
    max_steps: int | None = None
    media: Sequence[str] = ()
    apps: Sequence[str] = ()
    key: str = attrs.field(factory=lambda: uuid4().hex, eq=False, repr=False)
    """Its idempotency key: a relay runs a message once, however often it is posted."""


def check_request(
    request: MessageRequest, method: str, session_id: str, *, allow_shell: bool
) -> None:
    """Check a message before anything is sent.

    Args:
      request: the message.
      method: the method that the caller has used, for errors.
      session_id: the session, for errors.
      allow_shell: whether the text may start with ``!``.

    Raises:
      MessageRejected: the text is empty, or starts with ``!`` without ``allow_shell``.
      ConfigurationError: ``thinking_level`` or ``max_steps`` is invalid.
    """
    if not request.text.strip():
        raise errors.MessageRejected(
            f"The message to session {session_id} was not sent, because its text is empty: pass a "
            "text.",
            session_id=session_id,
        )
    if request.text.lstrip().startswith("!") and not allow_shell:
        raise errors.MessageRejected(
            f"The message to session {session_id} was not sent: pipeline servers run a text that "
            "starts with '!' as a shell command. Pass allow_shell=True if that is intended, or put "
            "another character before it.",
            session_id=session_id,
        )
    if request.thinking_level not in (None, "off", "basic", "medium", "maximum"):
        raise errors.ConfigurationError(
            f"{method}(thinking_level={request.thinking_level!r}): use 'off', 'basic', 'medium' or "
            "'maximum'."
        )
    if request.max_steps is not None and request.max_steps < 1:
        raise errors.ConfigurationError(
            f"{method}(max_steps={request.max_steps}): it must be at least 1."
        )


TRAITS: Final[Mapping[str, WireTraits]] = {
    "pipeline": WireTraits(ids=False, rate_limit_ends=True, answers=False),
    "blocking": WireTraits(answers=True),
    "async": WireTraits(ids=True, answers=False),
    "auto": WireTraits(rate_limit_ends=None, answers=None),
    "rest": WireTraits(answers=None),
}
"""How the events of a server relate to its messages, by `SendApi.api`."""


@attrs.frozen
class Posted:
    """The server's response to a message."""

    answer: StoredReply | None = None
    """The finished reply, if the HTTP response contains it."""
    turn_id: str | None = None
    """The id of the turn, if a relay has given it one."""


class SendApi:
    """Sends messages with the operation that the server supports."""

    def __init__(
        self, core: MixCore, streaming: Streaming, messages: Messages, system: System, api: Api
    ) -> None:
        self._streaming = streaming
        self._messages = messages
        self._system = system
        self._named = api != "auto"
        timeout = core._caller.timeout
        # The operation has no limit by default: a blocking server answers when the turn is over.
        self._soon: Final = attrs.evolve(ONE_TRY, timeout=timeout or math.inf)
        self.api: Api | Literal["rest"] = api
        """The API as far as it is known: "rest" is blocking or async."""
        self.relayed: bool = False
        """Whether a relay stands in front of the server: it gives each turn an id, and answers
        before the turn is over (rule 4)."""

    async def post(
        self, session_id: str, request: MessageRequest, on_sending: Callable[[], None]
    ) -> Posted:
        """Send one message and return the server's response.

        Args:
          session_id: the session.
          request: the message.
          on_sending: called just before the first byte may be sent.

        Raises:
          MixError: the server refused the message.
          TransportError: no response; ``sent`` is whether the message may have arrived.
        """
        if self.api == "auto":
            try:
                return await self._post_pipeline(session_id, request, on_sending)
            except errors.MixDefaultError as exc:
                if not from_router(exc):
                    raise
            self.api = await self._detect_by_version()
            return await self._post_rest(session_id, request, on_sending)
        pipeline = self.api == "pipeline"
        first, second = self._post_rest, self._post_pipeline
        if pipeline:
            first, second = second, first
        try:
            return await first(session_id, request, on_sending)
        except errors.MixDefaultError as exc:
            if self._named or not from_router(exc):
                raise
            refusal = exc
        # The server may have been upgraded: nothing has run, for its router has no such path.
        before, self.api = self.api, "rest" if pipeline else "pipeline"
        try:
            posted = await second(session_id, request, on_sending)
        except BaseException as exc:
            self.api = before
            if not isinstance(exc, errors.MixDefaultError) or not from_router(exc):
                raise
            raise errors.MessageRejected(
                f"The message to session {session_id} was refused and did not run: the server has "
                f"neither of the paths for messages ({refusal.request}; {exc.request}). Check that "
                "server_url points at a Mix server.",
                session_id=session_id,
            ) from exc
        return posted

    async def _post_pipeline(
        self, session_id: str, request: MessageRequest, on_sending: Callable[[], None]
    ) -> Posted:
        if request.thinking_level is not None or request.max_steps is not None:
            if self.api == "pipeline":
                raise errors.MessageRejected(
                    f"The message to session {session_id} was not sent: servers with the pipeline "
                    "API support neither thinking_level nor max_steps. Omit these arguments.",
                    session_id=session_id,
                )
            # A pipeline server would silently ignore them, so the path is tried without a message.
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
        answer = await self._streaming.send_streaming_message(
            id=session_id, content=content, options=self._options(request)
        )
        self.api = "pipeline"
        return Posted(turn_id=answer.turn_id)

    async def _probe_then_rest(
        self, session_id: str, request: MessageRequest, on_sending: Callable[[], None]
    ) -> Posted:
        try:
            await self._streaming.send_streaming_message(id=session_id, content="", options=ONE_TRY)
        except errors.MixDefaultError as exc:
            if from_router(exc):
                self.api = await self._detect_by_version()
                return await self._post_rest(session_id, request, on_sending)
        except errors.ErrorResponse:
            pass
        self.api = "pipeline"
        return await self._post_pipeline(session_id, request, on_sending)

    async def _post_rest(
        self, session_id: str, request: MessageRequest, on_sending: Callable[[], None]
    ) -> Posted:
        on_sending()
        # An async server responds at once, a blocking server when the turn is over.
        options = self._options(request, self._soon if self.api == "async" else ONE_TRY)
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
        if result.status_code == 202 and self.relayed:
            return Posted(turn_id=result.turn_id)  # noqa: ASYNC910 - the request was a checkpoint
        if result.status_code == 202:
            self.api = "async"
        elif self.api == "rest" and not request.text.startswith("/"):
            self.api = "blocking"
        if result.message is None:
            return Posted()
        return Posted(stored_reply([result.message]))

    def _options(
        self, request: MessageRequest, options: RequestOptions = ONE_TRY
    ) -> RequestOptions:
        """Return the options of a POST; to a relay, with the headers of rule 4."""
        if not self.relayed:
            return options
        headers = {"Prefer": "respond-async", "Idempotency-Key": request.key}
        return attrs.evolve(options, headers=headers)

    async def _detect_by_version(self) -> Api | Literal["rest"]:
        version = ""
        with trio.move_on_after(_HEALTH_TIMEOUT):  # noqa: ASYNC912 - the request is a checkpoint
            try:
                health = await self._system.health_check(options=ONE_TRY)
                version = health.version or ""
            except (errors.MixError, errors.TransportError):
                pass
        found = _VERSION.search(version)
        if found is None:
            return "rest"  # noqa: ASYNC910 - the request was a checkpoint
        numbers = tuple(int(part) for part in found.groups())
        if (0, 7, 0) <= numbers < (0, 7, 4):
            return "blocking"  # noqa: ASYNC910 - as above
        return "async" if numbers >= (0, 7, 4) else "rest"  # noqa: ASYNC910 - as above
