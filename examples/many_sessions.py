"""Ask several agents at once, and follow all of them, over one WebSocket to a relay.

Run `trio-mix relay`, then `python examples/many_sessions.py`. Relay: MIX_SERVER_URL or port 8090.
"""

import os

import trio

from trio_mix import Mix
from trio_mix.events import CompleteEvent, PermissionEvent
from trio_mix.relay import RelayClient

URL = os.environ.get("MIX_SERVER_URL", "http://localhost:8090")


async def ask(client: RelayClient, session_id: str, text: str) -> None:
    """Send a message, and print its reply."""
    async with client.send(session_id, text) as message:
        reply = await message.wait()
    print(f"{session_id} answers: {reply.final_text}")


async def watch(client: RelayClient, session_id: str) -> None:
    """Deny what the agent asks for, and note the end of each turn, also of other clients."""
    async with client.subscribe(session_id, start="turn") as events:
        async for event in events:
            match event:
                case PermissionEvent():
                    await client.decide(session_id, event.permission_id, grant=False)
                case CompleteEvent(done=True):
                    print(f"{session_id} is done at position {events.last_event_id}")


async def main() -> None:
    async with Mix(URL) as mix:
        sessions = [await mix.sessions.create(title=f"Session {number}") for number in range(5)]
    async with RelayClient(URL, token=os.environ.get("RELAY_TOKEN")) as client:
        async with trio.open_nursery() as watching:
            for session in sessions:
                watching.start_soon(watch, client, session.id)
            async with trio.open_nursery() as asking:
                for session in sessions:
                    asking.start_soon(ask, client, session.id, "List the files here")
            watching.cancel_scope.cancel()
        print(client.statistics())


trio.run(main)
