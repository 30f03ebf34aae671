"""Step 5: stop one answer with Ctrl-C, and survive failures."""

import signal
from collections.abc import AsyncIterable

import trio

from trio_mix import Message, Mix, ReconnectPolicy, SessionStream
from trio_mix.errors import MessageError, MixError, StreamError, TransportError
from trio_mix.events import ContentEvent, PermissionEvent, StreamGapEvent, ToolExecutionStartEvent


class Chat:
    """One conversation at one keyboard."""

    def __init__(self, lines: trio.MemoryReceiveChannel[str]) -> None:
        self.lines = lines
        self.running: trio.CancelScope | None = None

    async def allowed(self, request: PermissionEvent, message: Message) -> bool:
        print(f"\n[{request.tool_name}: {request.description}] allow? [y/N] ", end="", flush=True)
        return (await self.lines.receive()).lower() in ("y", "yes")

    async def run(self, session: SessionStream) -> None:
        print("you> ", end="", flush=True)
        async for line in self.lines:
            if line:
                with trio.CancelScope() as self.running:
                    try:
                        await self.ask(session, line)
                    except (MessageError, MixError, TransportError) as error:
                        print(f"\n[{error}]")  # this message failed; the stream works
                    except StreamError as error:
                        print(f"\n[{error}]")  # the stream has ended: end the chat
                        return
                self.running = None
            print("you> ", end="", flush=True)

    async def ask(self, session: SessionStream, line: str) -> None:
        async with session.send(line) as message:
            async for event in message:
                match event:
                    case ContentEvent(content=text, parent_tool_call_id=None):
                        print(text, end="", flush=True)
                    case ToolExecutionStartEvent(tool_name=tool):
                        print(f"\n[{tool} runs]")
                    case StreamGapEvent():
                        print("\n[the connection was lost for a moment]")
        if message.reply.recovered:
            print(message.reply.text, end="")
        print()

    async def handle_ctrl_c(self, signals: AsyncIterable[int]) -> None:
        async for _ in signals:
            if self.running is None:
                print("\n[Ctrl-D leaves]\nyou> ", end="", flush=True)
            else:
                print("\n[stopped]")
                self.running.cancel()


async def read_keyboard(lines: trio.MemorySendChannel[str]) -> None:
    # Not sys.stdin, and never closed: both would wait for the thread that reads the next line.
    keyboard = open(0, closefd=False)  # noqa: ASYNC230, SIM115
    async with lines:
        while line := await trio.to_thread.run_sync(keyboard.readline, abandon_on_cancel=True):
            await lines.send(line.strip())


async def main() -> None:
    send_lines, lines = trio.open_memory_channel[str](0)
    chat = Chat(lines)
    with trio.open_signal_receiver(signal.SIGINT) as signals:
        async with (
            Mix() as mix,
            mix.open_session(
                title="Tutorial",
                on_permission=chat.allowed,
                reconnect=ReconnectPolicy(max_elapsed_time=None),
            ) as session,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(read_keyboard, send_lines)
            nursery.start_soon(chat.handle_ctrl_c, signals)
            await chat.run(session)
            nursery.cancel_scope.cancel()
    print("Bye.")


trio.run(main)
