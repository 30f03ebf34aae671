"""Step 2: print the answer as it arrives."""

import trio

from trio_mix import Mix


async def main() -> None:
    async with Mix() as mix, mix.open_session(title="Tutorial") as session:
        async with session.send("Which files are here?") as message:
            async for text in message.text_deltas():
                print(text, end="", flush=True)
        print("\nTools used:", [call.name for call in message.reply.tool_calls])


trio.run(main)
