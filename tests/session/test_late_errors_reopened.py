"""The error of a turn comes a second time on a stream that was opened after the turn had ended.

In memory, with the autojump clock.
"""

from __future__ import annotations

import itertools
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest
import trio

from trio_mix import Hooks, Mix, errors
from trio_mix.testing import Emit, Fail, Hang, MixServer, Pause, Say, Step, Turn, UseTool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio.testing import MockClock

    from trio_mix import SessionStream
    from trio_mix.hooks import BeforeRequestContext

OVERLOADED = "the model is overloaded"
CANCELLED = "request cancelled by user"
BEFORE = ("leave", "fail")
"""The first message: what its sender or its turn does."""


async def begin_again(
    stack: AsyncExitStack, server: MixServer, before: str, *, new_mix: bool
) -> tuple[Mix, SessionStream]:
    """Return a client and a stream; on an earlier stream, a message was left or has failed."""
    server.script("leave", Turn(Say("It begins. "), Hang()))
    server.script("fail", Turn(Fail(OVERLOADED, times=1)))
    server.script("on", Turn(Say("And here.")))
    mix = await stack.enter_async_context(Mix(server.url, network=server.network))
    async with mix.open_stream(server.create_session(session_id="s")) as session:
        if before == "fail":
            with pytest.raises(errors.AgentError):
                await session.ask("fail")
        else:
            async with session.send("leave") as message:
                async for _ in message:
                    break
    if new_mix:
        mix = await stack.enter_async_context(Mix(server.url, network=server.network))
    return mix, await stack.enter_async_context(mix.open_stream("s"))


@pytest.mark.parametrize("new_mix", [False, True])
@pytest.mark.parametrize("before", BEFORE)
async def test_a_late_second_copy_does_not_end_the_first_message_of_the_next_stream(
    before: str, new_mix: bool, autojump_clock: MockClock
) -> None:
    copy = Emit("error", {"error": OVERLOADED if before == "fail" else CANCELLED})
    turns: Sequence[Sequence[Step]] = (
        (copy, Say("Here.")),
        (copy, Pause(0.5), Say("Here.")),
        (copy, Pause(200), Say("Here.")),  # it thinks, and shows nothing
        (copy, copy, Pause(2), Say("Here.")),
        (Say("He"), copy, Pause(2), Say("re.")),
        (UseTool("glob"), copy, Pause(2), Say("Here.")),
        (Say("Here."), copy),
    )
    for steps in turns:
        async with (
            MixServer("async", listen=False, pace=0.0, cancel_latency=0.1) as server,
            AsyncExitStack() as stack,
        ):
            server.script("go", Turn(*steps))
            _, session = await begin_again(stack, server, before, new_mix=new_mix)
            for text, answer in (("go", "Here."), ("on", "And here.")):
                reply = await session.ask(text)
                assert (reply.text, reply.doubts) == (answer, ()), steps


@pytest.mark.parametrize("new_mix", [False, True])
async def test_the_next_streams_messages_end_with_their_own_errors(
    new_mix: bool, autojump_clock: MockClock
) -> None:
    """Soon, also if the late second copy of another error comes before, or an equal one."""
    for before, late, times in itertools.product(BEFORE, (None, CANCELLED, OVERLOADED), (1, 2)):
        async with (
            MixServer("async", listen=False, pace=0.0, cancel_latency=0.1) as server,
            AsyncExitStack() as stack,
        ):
            copies = () if late is None else (Emit("error", {"error": late}),)
            fails = Fail(OVERLOADED, times=times)
            server.script("go", Turn(*copies, Say("He"), Pause(2), fails))
            server.script("stop", Turn(*copies, Say("He"), Hang()))
            mix, session = await begin_again(stack, server, before, new_mix=new_mix)
            with pytest.raises(errors.AgentError, match="overloaded") as caught:
                with trio.fail_after(10):  # of the autojump clock; not a settle_timeout
                    await session.ask("go")
            assert caught.value.partial is not None
            assert caught.value.partial.text == "He"
            async with session.send("stop") as message:
                await trio.sleep(1)
                await mix.messages.cancel_processing(id="s")
                with trio.fail_after(10), pytest.raises(errors.AgentError, match="cancelled"):
                    await message.wait()
            assert (await session.ask("on")).text == "And here."


async def test_a_late_second_copy_does_not_end_a_message_while_the_api_is_found_out(
    autojump_clock: MockClock,
) -> None:
    """A new client tries the path of older servers first, and asks for the version."""
    for slow in ("streaming.send_streaming_message", "system.health_check", "messages.send"):
        async with (
            MixServer("async", listen=False, pace=0.0, cancel_latency=0.1) as server,
            AsyncExitStack() as stack,
        ):

            async def copy_meanwhile(
                ctx: BeforeRequestContext, slow: str = slow, server: MixServer = server
            ) -> None:
                if ctx.operation == slow and server.runs("fail"):
                    server.emit("s", "error", {"error": OVERLOADED})
                await trio.sleep(0.1)

            server.script("go", Turn(Pause(3), Say("Here.")))
            await begin_again(stack, server, "fail", new_mix=False)
            await stack.aclose()
            hooks = Hooks(before_request=copy_meanwhile)
            mix = Mix(server.url, network=server.network, hooks=hooks)
            async with mix, mix.open_stream("s") as session:
                reply = await session.ask("go")
                assert (reply.text, reply.doubts) == ("Here.", ()), slow
