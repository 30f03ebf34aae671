"""Step 1: ask one question, and print the answer."""

import trio

from trio_mix import Mix


async def main() -> None:
    async with Mix() as mix, mix.open_session(title="Tutorial") as session:
        reply = await session.ask("Hello, who are you?")
    print(reply.text)


trio.run(main)
