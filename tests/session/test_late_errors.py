"""Servers send the error of a failed turn twice, and the second time perhaps during the next turn.

In memory, with the autojump clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from trio_mix import Mix, errors
from trio_mix.testing import Do, Emit, Fail, MixServer, Pause, Say, Step, Turn, UseTool

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio.testing import MockClock

OVERLOADED = "the model is overloaded"
COPY = Emit("error", {"error": OVERLOADED})


def readings(server: MixServer) -> int:
    return len(server.requests("GET", "/api/sessions/s"))


async def test_a_late_second_copy_of_an_error_does_not_end_the_next_messages(
    autojump_clock: MockClock,
) -> None:
    turns: Sequence[Sequence[Step]] = (
        (COPY, Say("Here.")),
        (COPY, Pause(0.5), Say("Here.")),
        (COPY, Pause(200), Say("Here.")),  # it thinks, and shows nothing
        (Say("He"), COPY, Pause(2), Say("re.")),
        (UseTool("glob"), COPY, Pause(2), Say("Here.")),
        (Say("Here."), COPY),
    )
    for steps in turns:
        async with (
            MixServer("async", listen=False, pace=0.0) as server,
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(server.create_session(session_id="s")) as session,
        ):
            server.script("fail", Turn(Fail(OVERLOADED, times=1)))
            server.script("go", Turn(*steps))
            server.script("on", Turn(Say("And here.")))
            for _ in range(2):
                with pytest.raises(errors.AgentError, match="overloaded") as caught:
                    await session.ask("fail")
                assert caught.value.partial is not None
                assert not caught.value.partial.doubts
                for text, answer in (("go", "Here."), ("on", "And here.")):
                    reply = await session.ask(text)
                    assert (reply.text, reply.doubts) == (answer, ()), steps


async def test_messages_that_fail_alike_end_with_their_own_errors(
    autojump_clock: MockClock,
) -> None:
    """Also on a server that sends each error once: its stored messages show that the turn ended."""
    for times in (2, 1):
        async with (
            MixServer("async", listen=False, pace=0.0) as server,
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(server.create_session(session_id="s")) as session,
        ):
            fails = Fail(OVERLOADED, times=times)
            server.script("at once", Turn(fails))
            server.script("later", Turn(Say("I am"), UseTool("glob"), Pause(3), fails))
            before = readings(server)
            for text in ("at once", "at once", "later", "at once", "later", "later"):
                with pytest.raises(errors.AgentError, match="overloaded") as caught:
                    with trio.fail_after(30):  # of the autojump clock; not a settle_timeout
                        await session.ask(text)
                partial = caught.value.partial
                assert partial is not None
                assert partial.text == ("I am" if text == "later" else "")
                assert not partial.doubts
                assert server.runs(text) > 0
            if times == 2:
                assert readings(server) <= before + 1, "the second copies show whose they are"
            assert (await session.ask("And now?")).doubts == ()


async def test_the_error_of_a_refused_message_does_not_end_the_next_one(
    autojump_clock: MockClock,
) -> None:
    """A message without a provider's key is refused, and an error event says so as well."""
    async with (
        MixServer("async", listen=False, pace=0.0) as server,
        Mix(server.url, network=server.network) as mix,
        mix.open_stream(server.create_session(session_id="s")) as session,
    ):

        async def report() -> None:
            server.emit("s", "error", {"error": "no key", "type": "authentication_error"})
            await trio.lowlevel.checkpoint()

        server.script("go", Turn(Do(report), Pause(1), Say("He"), Do(report), Say("re.")))
        await session.ask("hello")
        server.answer_next("/api/sessions/s/messages", 401, body=b'{"error": "no key"}')
        with pytest.raises(errors.MessageRejected):
            await session.ask("go")
        reply = await session.ask("go")
        assert (reply.text, reply.doubts) == ("Here.", ())


async def test_an_error_is_marked_if_two_different_ones_may_be_the_messages_own(
    autojump_clock: MockClock,
) -> None:
    other = "the model has no such tool"
    for own, late in ((OVERLOADED, other), (other, OVERLOADED)):
        async with (
            MixServer("async", listen=False, pace=0.0) as server,
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(server.create_session(session_id="s")) as session,
        ):
            for text in (own, late):
                server.script(text, Turn(Fail(text, times=1)))
                with pytest.raises(errors.AgentError):
                    await session.ask(text)
            copy = Emit("error", {"error": late})
            server.script("go", Turn(copy, Fail(own, times=1)))
            with pytest.raises(errors.AgentError) as caught:
                await session.ask("go")
            assert caught.value.partial is not None
            assert caught.value.partial.doubts == ("shared",)
            server.script("on", Turn(Emit("error", {"error": own}), Say("Here.")))
            assert (await session.ask("on")).doubts == ()
