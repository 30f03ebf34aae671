"""Step 1: ask one question, and print the answer."""

import trio

from trio_mix import Mix


async def main() -> None:
    async with Mix() as mix, mix.open_session(title="Tutorial") as stream:
        reply = await stream.ask("Hello, who are you?")
    print(reply.text)


trio.run(main)
