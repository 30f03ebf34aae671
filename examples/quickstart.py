"""Ask the agent something and print its answer as it comes. Server: MIX_SERVER_URL or port 8088."""

import trio

from trio_mix import Mix


async def main() -> None:
    async with Mix() as mix, mix.open_session(title="Quickstart") as session:
        async with session.send("List the files here") as message:
            async for text in message.text_deltas():
                print(text, end="", flush=True)
    print()


trio.run(main)
