"""Chat with the agent in a terminal.

python examples/terminal_chat.py --demo    with the bundled server, in this process
python examples/terminal_chat.py           with the server at MIX_SERVER_URL, or port 8088

Ctrl-C cancels the running message and keeps the conversation; at the prompt, it leaves.
"""

import contextlib
import signal
import sys
from collections.abc import AsyncIterable

import attrs
import trio

from trio_mix import Message, Mix, RetryConfig, SessionStream, events
from trio_mix.errors import MessageError, MixError, TransportError, TrioMixError
from trio_mix.testing import MixServer


def show(text: str, *, dim: bool = False) -> None:
    """Print a text from outside without its control characters."""
    text = "".join(char for char in text if char.isprintable() or char in "\n\t")
    print(f"\033[2m{text}\033[0m" if dim and sys.stdout.isatty() else text, end="", flush=True)


async def read_keyboard(lines: trio.MemorySendChannel[str]) -> None:
    """Send the typed lines; at the end the thread that waits for another one is abandoned."""
    # Not sys.stdin: the interpreter would wait for it when it exits.
    keyboard = open(0, encoding="utf-8", errors="replace", closefd=False)  # noqa: ASYNC230, SIM115
    async with lines:
        while line := await trio.to_thread.run_sync(keyboard.readline, abandon_on_cancel=True):
            await lines.send(line.strip())


@attrs.define
class Chat:
    """One conversation: sends the lines that are typed, and shows what the agent does."""

    session: SessionStream
    lines: trio.MemoryReceiveChannel[str]
    running: trio.CancelScope | None = None

    async def run(self) -> None:
        show("you> ")
        async for line in self.lines:
            if line:
                with trio.CancelScope() as self.running:
                    await self.send(line)
                show("\n(cancelled)\n" if self.running.cancelled_caught else "")
                self.running = None
            show("you> ")

    async def send(self, line: str) -> None:
        try:
            async with self.session.send(line) as message:
                await self.follow(message)
        except (MessageError, MixError, TransportError) as error:  # the stream still works
            show(f"\n{error}\n")

    async def follow(self, message: Message) -> None:
        shown = ""
        async for event in message:
            match event:
                case events.ContentEvent(content=text, parent_tool_call_id=None):
                    show(text if shown else "\n" + text)
                    shown += text
                case events.ThinkingEvent(content=text, parent_tool_call_id=None):
                    show(text, dim=True)
                case events.ToolExecutionStartEvent(tool_name=tool):
                    show(f"\n[{tool} ", dim=True)
                case events.ToolExecutionCompleteEvent(success=success):
                    show(f"{'done' if success else 'failed'}]\n", dim=True)
                case events.PermissionEvent(tool_name=tool, description=text):
                    answer = await self.ask(f"\nAllow {tool}? {text} [y/N] ")
                    decide = message.grant if answer.lower() in ("y", "yes") else message.deny
                    with contextlib.suppress(MixError):  # too late: decided already
                        await decide(event)
                case events.NotificationEvent(title=title, message=text):
                    await message.respond(event, await self.ask(f"\n{title}: {text} "))
                case events.StreamGapEvent(reason=reason):
                    show(f"\n({reason})\n", dim=True)
        # Text without events: from servers without deltas, and after a lost connection.
        show(message.reply.text.removeprefix(shown) + "\n")

    async def ask(self, question: str) -> str:
        show(question)
        return await anext(self.lines, "")

    async def handle_ctrl_c(self, ctrl_c: AsyncIterable[int], everything: trio.CancelScope) -> None:
        async for _ in ctrl_c:
            (self.running or everything).cancel(reason="Ctrl-C")


async def chat(url: str | None) -> None:
    once = RetryConfig(strategy="none")  # a person can try again
    async with Mix(url, retries=once) as mix, mix.open_session(title="Chat") as session:
        send, lines = trio.open_memory_channel[str](0)
        conversation = Chat(session, lines)
        with trio.open_signal_receiver(signal.SIGINT) as ctrl_c:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(read_keyboard, send)
                nursery.start_soon(conversation.handle_ctrl_c, ctrl_c, nursery.cancel_scope)
                await conversation.run()
                nursery.cancel_scope.cancel(reason="the conversation is over")
    show("\n")


async def main() -> None:
    try:
        async with MixServer(listen="--demo" in sys.argv) as server:
            await chat(server.url if "--demo" in sys.argv else None)
    except* TrioMixError as errors:  # a group, because chat() has a nursery of its own
        sys.exit(f"\n{errors.exceptions[0]}")


if __name__ == "__main__":
    trio.run(main)
