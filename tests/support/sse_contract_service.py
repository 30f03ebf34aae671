"""The service that LaunchDarkly's sse-contract-tests drive, over `trio_mix.sse`.

``python -m tests.support.sse_contract_service`` serves on port 8000 of loopback. Then run the
harness: ``sse-test-harness --url http://localhost:8000 --stop-service-at-end``. Its rules are in
``docs/service_spec.md`` of that project.
"""

from __future__ import annotations

from contextlib import asynccontextmanager
from itertools import count
from typing import TYPE_CHECKING, Any

import httpx
import hypercorn
import hypercorn.trio
import trio
from starlette.applications import Starlette
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from trio_mix import ReconnectPolicy, StreamState
from trio_mix.errors import TrioMixError
from trio_mix.sse import open_event_source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.requests import Request

_CAPABILITIES = ["bom", "comments", "headers", "last-event-id", "post", "read-timeout", "report"]
_CAPABILITIES += ["server-directed-shutdown-request"]


class Service:
    """Opens the streams that the harness asks for, and reports what they receive."""

    def __init__(self) -> None:
        self.stop = trio.Event()
        self._nursery: trio.Nursery
        self._streams: dict[str, trio.CancelScope] = {}
        self._numbers = count(1)

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        async with trio.open_nursery() as self._nursery:
            yield
            self._nursery.cancel_scope.cancel()

    async def status(self, _request: Request) -> Response:
        return JSONResponse({"capabilities": _CAPABILITIES})

    async def end(self, _request: Request) -> Response:
        self.stop.set()
        return Response(status_code=204)

    async def open(self, request: Request) -> Response:
        number = str(next(self._numbers))
        scope = self._streams[number] = trio.CancelScope()
        self._nursery.start_soon(self._run, await request.json(), scope)
        return Response(status_code=201, headers={"Location": f"/streams/{number}"})

    async def close(self, request: Request) -> Response:
        scope = self._streams.pop(request.path_params["number"], None)
        if scope is None:
            return Response(status_code=404)
        scope.cancel()
        return Response(status_code=204)

    async def _run(self, params: dict[str, Any], scope: trio.CancelScope) -> None:
        numbers = count(1)
        async with httpx.AsyncClient() as client:

            async def report(message: dict[str, object]) -> None:
                await client.post(f"{params['callbackUrl']}/{next(numbers)}", json=message)

            async def comment(text: str) -> None:
                await report({"kind": "comment", "comment": text})

            def lost(state: StreamState) -> None:
                if state is StreamState.RECONNECTING:
                    message: dict[str, object] = {"kind": "error", "comment": "the stream was lost"}
                    self._nursery.start_soon(report, message)

            delay = params.get("initialDelayMs")
            timeout = params.get("readTimeoutMs")
            body = params.get("body")
            with scope:
                try:
                    async with open_event_source(
                        params["streamUrl"],
                        method=params.get("method") or "GET",
                        headers=params.get("headers"),
                        content=None if body is None else body.encode(),
                        last_event_id=params.get("lastEventId"),
                        idle_timeout=None if timeout is None else timeout / 1000,
                        reconnect=ReconnectPolicy(
                            initial_interval=1.0 if delay is None else max(delay / 1000, 0.001)
                        ),
                        on_state=lost,
                        on_comment=comment,
                    ) as source:
                        async for event in source:
                            found = {"type": event.event, "data": event.data, "id": event.id}
                            await report({"kind": "event", "event": found})
                except TrioMixError as error:
                    await report({"kind": "error", "comment": str(error)})


async def main() -> None:
    service = Service()
    routes = [
        Route("/", service.status, methods=["GET"]),
        Route("/", service.open, methods=["POST"]),
        Route("/", service.end, methods=["DELETE"]),
        Route("/streams/{number}", service.close, methods=["DELETE"]),
    ]
    config = hypercorn.Config()
    config.bind = ["127.0.0.1:8000"]
    app: Any = Starlette(routes=routes, lifespan=service.lifespan)
    await hypercorn.trio.serve(app, config, shutdown_trigger=service.stop.wait)


if __name__ == "__main__":
    trio.run(main)
