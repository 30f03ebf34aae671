"""Find out which generation of the API a server has, without sending a message."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from trio_mix import errors
from trio_mix._rest._options import RequestOptions, RetryConfig

if TYPE_CHECKING:
    from trio_mix._mix import Mix

Generation: TypeAlias = Literal["pipeline-oldest", "pipeline", "blocking", "async"]

_OPTIONS: Final = RequestOptions(timeout=5.0, retries=RetryConfig(strategy="none"))
_VERSION: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)")
_CATCH_ALL: Final = b"Mix HTTP JSON-RPC Server"


async def find_generation(mix: Mix) -> Generation:
    """Return the generation of a server.

    Raises:
      TransportError: the server cannot be reached.
      ProtocolError: what answers is no Mix server, or a proxy in front of one that is down.
    """
    try:
        health = await mix.request("GET", "/health", options=_OPTIONS)
    except errors.MixError as exc:
        kind, body = exc.headers.get("content-type", ""), exc.body.encode()
        # The router of servers that lack the operation answers in plain text.
        if exc.status_code not in (404, 405) or not kind.startswith("text/plain"):
            raise _not_mix(mix, exc.status_code, kind) from None
    else:
        kind, body = health.headers.get("content-type", ""), health.body
        if not (kind.startswith("application/json") or body.startswith(_CATCH_ALL)):
            raise _not_mix(mix, health.status, kind)
    if body.startswith(_CATCH_ALL):
        return "pipeline-oldest"  # noqa: ASYNC910 - the request was a checkpoint
    found = _VERSION.search(body.decode("utf-8", "replace"))
    if found is not None:
        number = tuple(int(part) for part in found.groups())
        if number >= (0, 7, 4):
            return "async"  # noqa: ASYNC910 - the request was a checkpoint
        return "blocking" if number >= (0, 7, 0) else "pipeline"  # noqa: ASYNC910 - the request was a checkpoint
    if not await _has_pipeline(mix):
        return "async"
    return "pipeline" if await _has_rest(mix) else "pipeline-oldest"


def _not_mix(mix: Mix, status: int, kind: str) -> errors.ProtocolError:
    return errors.ProtocolError(
        f"{mix.server_url} answered GET /health with HTTP {status} ({kind or 'no content type'}):"
        " it is not a Mix server, or a proxy in front of one that is down. Check the address."
    )


async def _has_pipeline(mix: Mix) -> bool:
    try:
        # Empty content is refused by a server that has the path, and sends nothing.
        await mix.request("POST", "/stream/-/message", json={"content": ""}, options=_OPTIONS)
    except errors.MixError as exc:
        return exc.status_code not in (404, 405)  # noqa: ASYNC910 - the request was a checkpoint
    return True


async def _has_rest(mix: Mix) -> bool:
    try:
        sessions = await mix.request("GET", "/api/sessions", options=_OPTIONS)
    except errors.MixError:
        return False  # noqa: ASYNC910 - the request was a checkpoint
    return sessions.body.lstrip().startswith(b"[")
