"""Step 6: watch the newest session of a server from a second terminal."""

import trio

from trio_mix import Mix
from trio_mix.events import CompleteEvent, ContentEvent, PermissionEvent


async def main() -> None:
    async with Mix() as mix:
        newest = max(await mix.sessions.list(), key=lambda session: session.created_at)
        async with mix.open_stream(newest.id) as session, session.subscribe() as events:
            print(f"watching {newest.title!r}; Ctrl-C ends", flush=True)
            async for event in events:
                match event:
                    case ContentEvent(content=text, parent_tool_call_id=None):
                        print(text, end="", flush=True)
                    case PermissionEvent(tool_name=tool):
                        print(f"\n[{tool} asks for permission]", flush=True)
                    case CompleteEvent(parent_tool_call_id=None):
                        print(flush=True)


trio.run(main)
