"""Step 4: show what the agent does, and let the user decide what it may do."""

import trio

from trio_mix import Message, Mix, SessionStream
from trio_mix.events import ContentEvent, PermissionEvent, ToolExecutionStartEvent


async def keyboard(prompt: str) -> str:
    return await trio.to_thread.run_sync(input, prompt, abandon_on_cancel=True)


async def allowed(request: PermissionEvent, message: Message) -> bool:
    answer = await keyboard(f"\n[{request.tool_name}: {request.description}] allow? [y/N] ")
    return answer.strip().lower() in ("y", "yes")


async def ask(session: SessionStream, line: str) -> None:
    async with session.send(line) as message:
        async for event in message:
            match event:
                case ContentEvent(content=text, parent_tool_call_id=None):
                    print(text, end="", flush=True)
                case ToolExecutionStartEvent(tool_name=tool):
                    print(f"\n[{tool} runs]")
    print()


async def main() -> None:
    async with (
        Mix() as mix,
        mix.open_session(title="Tutorial", on_permission=allowed) as session,
    ):
        while True:
            try:
                line = await keyboard("you> ")
            except EOFError:  # Ctrl-D
                break
            if line.strip():
                await ask(session, line)
    print("Bye.")


trio.run(main)
