"""Step 3: keep asking, with questions from the keyboard."""

import trio

from trio_mix import Mix, SessionStream


async def ask(session: SessionStream, line: str) -> None:
    async with session.send(line) as message:
        async for text in message.text_deltas():
            print(text, end="", flush=True)
    print()


async def main() -> None:
    async with Mix() as mix, mix.open_session(title="Tutorial") as session:
        while True:
            try:
                line = await trio.to_thread.run_sync(input, "you> ", abandon_on_cancel=True)
            except EOFError:  # Ctrl-D
                break
            if line.strip():
                await ask(session, line)
    print("Bye.")


trio.run(main)
