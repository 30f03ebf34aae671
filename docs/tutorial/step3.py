"""Step 3: keep asking what the keyboard says."""

import trio

from trio_mix import Mix, SessionStream


async def ask(stream: SessionStream, line: str) -> None:
    async with stream.send(line) as message:
        async for text in message.text_deltas():
            print(text, end="", flush=True)
    print()


async def main() -> None:
    async with Mix() as mix, mix.open_session(title="Tutorial") as stream:
        while True:
            try:
                line = await trio.to_thread.run_sync(input, "you> ", abandon_on_cancel=True)
            except EOFError:  # Ctrl-D
                break
            if line.strip():
                await ask(stream, line)
    print("Bye.")


trio.run(main)
