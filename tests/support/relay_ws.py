"""A client of the relay's WebSocket that checks every message against the published schema."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fastjsonschema
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_client_stream

from tests.support.wire_client import Target, connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

__all__ = ["PATH", "PROTOCOL", "TestSocket", "open_socket"]

PROTOCOL = "mix.relay.v1"
PATH = "/relay/ws"
SCHEMA = Path(__file__).parents[2] / "docs" / "reference" / "mix.relay.v1.schema.json"

_schema = json.loads(SCHEMA.read_text())


def _validator(kind: str) -> Any:
    return fastjsonschema.compile({**_schema, "anyOf": [{"$ref": f"#/definitions/{kind}"}]})


check_client, check_relay = _validator("client"), _validator("relay")


class TestSocket:
    """One WebSocket."""

    __test__ = False

    def __init__(self, connection: WebSocketConnection) -> None:
        self.connection = connection
        self._events: list[dict[str, str]] = []

    async def send(self, type_: str, **fields: Any) -> None:
        message = {"type": type_, **fields}
        check_client(message)
        await self.connection.send_message(json.dumps(message))

    async def next(self, *types: str) -> dict[str, Any]:
        """Return the next message of one of these types; any without types."""
        while True:
            text = await self.connection.get_message()
            assert isinstance(text, str)
            message: dict[str, Any] = json.loads(text)
            check_relay(message)
            if not types or message["type"] in types:
                return message

    async def subscribe(self, session_id: str, **fields: Any) -> dict[str, Any]:
        await self.send("subscribe", sessionId=session_id, **fields)
        return await self.next("subscribed", "closed")

    async def event(self, *names: str) -> dict[str, str]:
        """Return the next event, of one of these names."""
        while True:
            while not self._events:
                self._events = (await self.next("events"))["events"]
            event = self._events.pop(0)
            if event["event"] in names or (not names and event["event"] != "presence"):
                return event

    async def closed(self) -> tuple[int, str]:
        """Wait until the relay closes the socket; return the code and the reason."""
        try:
            while True:
                await self.connection.get_message()
        except ConnectionClosed as closed:
            reason = closed.reason
            return (0, "") if reason is None else (reason.code, reason.reason or "")


@asynccontextmanager
async def open_socket(
    relay: Target,
    headers: Mapping[str, str] | None = None,
    *,
    path: str = PATH,
    protocols: tuple[str, ...] = (PROTOCOL,),
) -> AsyncIterator[TestSocket]:
    stream = await connect(relay)
    async with trio.open_nursery() as nursery:
        connection = await wrap_client_stream(
            nursery,
            stream,  # type: ignore[arg-type]
            "localhost",
            path,
            subprotocols=protocols,
            extra_headers=[(k.encode(), v.encode()) for k, v in (headers or {}).items()],
            max_message_size=2**26,
        )
        try:
            yield TestSocket(connection)
        finally:
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)
