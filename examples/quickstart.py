"""Ask the agent something and print its answer as it comes. Server: MIX_SERVER_URL or port 8088."""

import trio

from trio_mix import Mix


async def main() -> None:
    async with Mix() as mix, mix.open_session(title="Quickstart") as stream:
        async with stream.send("List the files here") as message:
            async for text in message.text_deltas():
                print(text, end="", flush=True)
        print("\nTools used:", [call.name for call in message.reply.tool_calls])


trio.run(main)
