"""Decides about each request of a client, and answers it.

Rules (tests cite the numbers):

1. Every request passes the same checks in the same order: origin, path, token, verb, session.
2. The relay itself answers what concerns its log and its queue: streams, sends, cancels,
   decisions and its own paths below ``/relay``. Everything else is passed on.
3. A send that the relay cannot represent exactly is passed on as it is; what the server answers is
   the answer.
4. Where the server's generation blocks until the turn is over, the relay does, unless the client
   prefers not to wait (``Prefer: respond-async``). A client that leaves cancels nothing.
"""

from __future__ import annotations

import math
from contextlib import AsyncExitStack
from functools import partial
from typing import TYPE_CHECKING, Final, final

import trio

from trio_mix.relay._access import access_of, segments_of, token_of
from trio_mix.relay._errors import RelayError, Unauthorized
from trio_mix.relay._grants import EVERYTHING
from trio_mix.relay._guard import check_json
from trio_mix.relay._health import METRICS_TYPE, metrics_text, readiness
from trio_mix.relay._page import PAGE_PATH
from trio_mix.relay._problem import Problem
from trio_mix.relay._rpc import RPC_PATH, serve_rpc
from trio_mix.relay._sends import (
    accepted_answer,
    finished_answer,
    idempotency_key,
    is_slash_command,
    json_body,
    parse_send,
    wants_async,
)
from trio_mix.relay._sse import StreamRequest
from trio_mix.relay._upgrade import forward_upgrade, is_upgrade

if TYPE_CHECKING:
    from trio_mix._mix import Mix
    from trio_mix.relay._exchange import Exchange, Takeover
    from trio_mix.relay._feed import SessionFeed
    from trio_mix.relay._grants import Auth, Grant, Verb
    from trio_mix.relay._guard import OriginGuard
    from trio_mix.relay._health import ServerState
    from trio_mix.relay._hub import Hub
    from trio_mix.relay._page import Page
    from trio_mix.relay._passthrough import Upstream
    from trio_mix.relay._records import Answer, TurnRecord
    from trio_mix.relay._sends import SendPath
    from trio_mix.relay._sse import Streams
    from trio_mix.relay._ws import Sockets

_RETRY_AFTER: Final = 2
_MARK: Final = (("Mix-Relay", "1"),)
_JSON: Final = "application/json"


@final
class Routes:
    """Answers the requests of one relay.

    Attributes:
      state: its counters, and whether it is shutting down.
    """

    def __init__(
        self,
        *,
        hub: Hub,
        mix: Mix,
        upstream: Upstream,
        streams: Streams,
        sockets: Sockets,
        guard: OriginGuard,
        auth: Auth | None,
        state: ServerState,
        loopback: bool,
        page: Page | None = None,
    ) -> None:
        self.hub = hub
        self.upstream = upstream
        self._mix = mix
        self._streams = streams
        self._sockets = sockets
        self._guard = guard
        self._auth = auth
        self.state = state
        self._loopback = loopback
        self._page = page

    async def handle(self, exchange: Exchange) -> Takeover | None:
        """Answer a request, or return what serves its connection from now on."""
        self.state.requests += 1
        exchange.added_headers += _MARK
        try:
            return await self._checked(exchange)
        except RelayError as error:
            problem = _problem_of(error)
        except Problem as error:
            problem = error
        self.state.refused += problem.status in (401, 403, 429)
        self.state.failed += problem.status >= 500
        raise problem

    async def _checked(self, exchange: Exchange) -> Takeover | None:
        head = exchange.head
        if "mix-relay-upstream" in head.headers:
            raise Problem(
                400,
                "this is a relay, and the request comes from another one: name the Mix server"
                " itself as its upstream",
            )
        cors = self._guard.check(head)
        exchange.added_headers += cors
        if head.method == "OPTIONS":
            if not cors:
                raise Problem(403, "web pages of other origins are not allowed (--origin)")
            await exchange.respond(204, headers=self._guard.preflight())
            return None
        segments = segments_of(head.path)
        if segments == ["relay", "health", "live"]:
            await exchange.respond(200, b'{"status":"live"}\n')
            return None
        if self._page is not None:
            if segments[:2] == ["relay", "page"]:
                await self._page.respond(exchange, segments[2:])
                return None
            if segments == [""] and "text/html" in head.headers.get("accept", ""):
                await exchange.respond(307, headers=[("Location", PAGE_PATH)])
                return None
        if segments[0] == "relay":
            return await self._own(exchange, segments[1:])
        grant = self.grant_of(exchange)
        if self.hub.generation is None:
            raise Problem(
                503,
                "the relay has not reached the Mix server yet",
                headers=[("Retry-After", str(_RETRY_AFTER))],
            )
        return await self._api(exchange, segments, grant)

    def grant_of(self, exchange: Exchange) -> Grant:
        """Return what the client may do.

        Raises:
          Unauthorized: it has no token, or an invalid one.
        """
        if self._auth is None:
            return EVERYTHING
        return self._auth.check(token_of(exchange.head))

    async def _own(self, exchange: Exchange, segments: list[str]) -> Takeover | None:
        """Answer a request below ``/relay``."""
        match exchange.head.method, segments:
            case "GET", ["ws"]:
                return await self._socket(exchange)
            case "GET" | "HEAD", ["health", "ready"]:
                self._check_monitor(exchange)
                status, body = readiness(self.hub, draining=self.state.draining)
                await exchange.respond(status, body)
            case "GET" | "HEAD", ["metrics"]:
                self._check_monitor(exchange)
                text = metrics_text(
                    self.hub, self._streams, self._sockets, self.upstream, self.state
                )
                await exchange.respond(200, text, METRICS_TYPE)
            case "GET" | "HEAD", ["turns", turn_id]:
                turn = await self._turn(exchange, turn_id, "read")
                await exchange.respond(200, json_body(turn.to_json()))
            case "POST", ["turns", turn_id, "cancel"]:
                await self._turn(exchange, turn_id, "cancel")
                turn = await self.hub.cancel(turn_id)
                await exchange.respond(200, json_body(turn.to_json()))
            case "GET" | "HEAD", ["sessions"]:
                grant = self.grant_of(exchange)
                grant.check("read")
                rows = [row for row in self.hub.activity() if grant.covers(row.session_id)]
                found = {"sessions": [row.to_json() for row in rows]}
                await exchange.respond(200, json_body(found))
            case "GET" | "HEAD", ["sessions", session_id, "presence"]:
                self.grant_of(exchange).check("read", session_id)
                consumers = self._streams.consumers_of(session_id)
                await exchange.respond(200, json_body({"consumers": consumers}))
            case _:
                self.grant_of(exchange)
                raise Problem(404, "the relay has no such path or method")
        return None

    async def _socket(self, exchange: Exchange) -> Takeover:
        auth, token = self._auth, token_of(exchange.head)
        grant = self.grant_of(exchange)
        self._check_draining()
        authorize = partial(auth.check, token) if auth is not None else lambda: EVERYTHING
        return await self._sockets.open(exchange, authorize, grant)

    def _check_draining(self) -> None:
        if self.state.draining:
            raise Problem(
                503, "the relay is shutting down", headers=[("Retry-After", str(_RETRY_AFTER))]
            )

    def _check_monitor(self, exchange: Exchange) -> None:
        if not self._loopback:
            self.grant_of(exchange)

    async def _turn(self, exchange: Exchange, turn_id: str, verb: Verb) -> TurnRecord:
        grant = self.grant_of(exchange)
        turn = await self.hub.turn(turn_id)
        if turn is None or not grant.covers(turn.session_id):
            raise Problem(404, f"there is no turn {turn_id}")
        grant.check(verb, turn.session_id)
        return turn

    async def _api(self, exchange: Exchange, segments: list[str], grant: Grant) -> Takeover | None:
        """Answer a request of the API, or pass it on."""
        head, oldest = exchange.head, self.hub.generation == "pipeline-oldest"
        method = head.method
        if segments == ["stream"] and (method in ("GET", "HEAD") or (oldest and method == "POST")):
            return await self._stream(exchange, grant)
        if oldest and segments == [RPC_PATH] and method == "POST":
            await serve_rpc(exchange, grant, self.hub, self.upstream, self.check_request)
            return None
        access = access_of(method, segments)
        if access.verb is not None:
            grant.check(access.verb, access.session_id)
        match method, segments:
            case "POST", ["stream", session_id, "message"]:
                await self._send(exchange, session_id, grant, "pipeline")
            case "POST", ["api", "sessions", session_id, "messages"]:
                await self._send(exchange, session_id, grant, "rest")
            case "POST", ["api", "sessions", session_id, "cancel"]:
                await self._cancel(exchange, session_id)
            case "POST", ["api", "permissions", permission_id, "grant" | "deny" as answer]:
                await exchange.read_body()
                await self.check_request(permission_id, grant)
                decided = await self.hub.decide(
                    permission_id, grant=answer == "grant", subject=grant.subject
                )
                await _pass_on(exchange, decided)
            case "POST", ["api", "notifications", notification_id, _]:
                await self.check_request(notification_id, grant)
                await self.upstream.forward(exchange)
            case "GET", ["api", "sessions"]:
                await self.upstream.forward(exchange, grant=grant)
            case "GET", ["api", "v1", "tunnel", *_] if is_upgrade(head):
                return await forward_upgrade(exchange, self._mix)
            case _:
                await self.upstream.forward(exchange)
        return None

    async def check_request(self, request_id: str, grant: Grant) -> None:
        """Check that a token may answer a permission request or a notification.

        Raises:
          Forbidden: it lacks the verb.
          Problem: the request belongs to a session that the token does not cover, or to none that
            is known.
        """
        session_id = await self.hub.session_of_request(request_id)
        if session_id is not None and grant.covers(session_id):
            grant.check("decide", session_id)
        elif grant.sessions is not None:
            raise Problem(404, f"there is no request {request_id}")

    async def _stream(self, exchange: Exchange, grant: Grant) -> Takeover | None:
        request = StreamRequest.of(exchange.head)
        grant.check("read", request.session_id)
        self._check_draining()
        async with AsyncExitStack() as stack:
            feed = await stack.enter_async_context(self.hub.session(request.session_id))
            if exchange.head.method == "HEAD":
                await exchange.respond(200)
                return None
            return await self._streams.open(exchange, feed, request, grant, stack.pop_all())

    async def _send(
        self, exchange: Exchange, session_id: str, grant: Grant, path: SendPath
    ) -> None:
        check_json(exchange.head.headers)
        key = idempotency_key(exchange.head)
        body = await exchange.read_body()
        generation = self.hub.generation or ""
        pipeline = generation.startswith("pipeline")
        if (path == "pipeline") != pipeline and not (
            pipeline and await self.upstream.sends_over_rest(session_id)
        ):
            await self.upstream.forward(exchange, body)  # its generation lacks this path
            return
        send = parse_send(body, path, generation)
        async with self.hub.session(session_id) as feed:
            if send is None:
                await self.upstream.forward(exchange, body)
                return
            sent = await feed.send(
                send.request, body=send.canonical, key=key, subject=grant.subject
            )
            turn = sent.turn
            if sent.answer is not None:
                await _pass_on(exchange, sent.answer)
                return
            blocks = generation != "async" and path == "rest"
            prompt = wants_async(exchange.head)
            command = is_slash_command(turn.request.text) and turn.state.over
            if (blocks and not prompt) or (command and path == "rest"):
                await self._answer_finished(exchange, feed, turn)
                return
        status, answer = accepted_answer(turn, path)
        headers = [("Location", f"/relay/turns/{turn.turn_id}")]
        if prompt and blocks:
            headers.append(("Preference-Applied", "respond-async"))
        await exchange.respond(status, answer, headers=headers)

    async def _answer_finished(
        self, exchange: Exchange, feed: SessionFeed, turn: TurnRecord
    ) -> None:
        """Wait for the end of a turn and answer with its reply (rule 4)."""
        finished: TurnRecord | None = turn
        if not turn.state.over:
            finished = await exchange.run_while_connected(lambda: feed.wait_turn(turn.turn_id))
        if finished is None:
            raise trio.BrokenResourceError("the client has left; its turn goes on")
        status, answer = finished_answer(finished)
        await exchange.respond(status, answer)

    async def _cancel(self, exchange: Exchange, session_id: str) -> None:
        await exchange.read_body()
        async with self.hub.session(session_id) as feed:
            if exchange.head.parameter("queued") == "1":
                await feed.cancel_waiting()
            answer = await feed.cancel_running()
        await _pass_on(exchange, answer)


async def _pass_on(exchange: Exchange, answer: Answer) -> None:
    await exchange.respond(answer.status, answer.body, answer.content_type or _JSON)


def _problem_of(error: RelayError) -> Problem:
    headers = []
    if error.retry_after is not None:
        headers.append(("Retry-After", str(max(1, math.ceil(error.retry_after)))))
    if isinstance(error, Unauthorized):
        headers.append(("WWW-Authenticate", 'Bearer realm="mix-relay"'))
    return Problem(error.status, str(error), headers=headers)
