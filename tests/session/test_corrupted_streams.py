"""Changed bytes and torn frames: text is never lost without ``reply.incomplete``.

In memory, with the autojump clock.
"""

from __future__ import annotations

import os
import random
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_mix import Mix, Reply, errors
from trio_mix import events as ev
from trio_mix.testing import (
    Api,
    AskPermission,
    Corrupt,
    Cut,
    FaultPlan,
    FaultProxy,
    MixServer,
    Pause,
    Raw,
    Rule,
    Say,
    Turn,
    UseTool,
)

TEXT = "One two three four. Here is more of it."


async def _corrupted(api: Api, fault: Corrupt) -> tuple[str, Reply | None, int]:
    """Return the joined deltas, the reply, and the number of losses of a corrupted stream."""
    rule = Rule(fault, path="/stream", method="GET", connections=[1])
    async with (
        MixServer(api, listen=False, pace=0.0) as server,
        FaultProxy(server, FaultPlan(rule)) as proxy,
        Mix(proxy.url, network=proxy.network) as mix,
    ):
        session_id = server.create_session(session_id="s")
        server.script("go", Turn(Say(TEXT), UseTool("glob"), Say("The end.")))
        with trio.fail_after(5000):
            async with mix.open_stream(session_id) as session:
                try:
                    async with session.send("go") as message:
                        joined = "".join([delta async for delta in message.text_deltas()])
                except errors.MessageError:
                    return "", None, session.statistics().losses
                return joined, message.reply, session.statistics().losses


async def _framing(api: Api) -> list[int]:
    """Return the positions of chunk sizes and their line breaks in a stream's response."""
    seen = bytearray()
    async with MixServer(api, listen=False, pace=0.0) as server:
        session_id = server.create_session(session_id="s")
        server.script("go", Turn(Say(TEXT), UseTool("glob"), Say("The end.")))
        connection = await server.network.connect_tcp("mix.test", 80)
        await connection.write(b"GET /stream?sessionId=s HTTP/1.1\r\nHost: mix.test\r\n\r\n")
        while b"connected" not in seen:
            seen += await connection.read(65536)
        server.run_message(session_id, "go")
        while b"complete\n" not in seen or not seen.endswith(b"\n\n\r\n"):
            seen += await connection.read(65536)
        await connection.aclose()
    places: list[int] = []
    at = seen.index(b"\r\n\r\n") + 4
    while at < len(seen):
        end = seen.index(b"\r\n", at) + 2
        places += range(at, end)
        at = end + int(seen[at:end], 16) + 2
        places += [at - 2, at - 1]
    return places


MASKS = (0x01, 0x04, 0x10, 0x80)


@pytest.mark.parametrize("api", ["pipeline", "async"])
def test_corrupted_framing_never_loses_text_silently(api: Api) -> None:
    """Each byte of the framing is changed by one of the masks, or with the variable by each."""
    places = trio.run(_framing, api)[8:]  # the first frame is `connected`
    every = "TRIO_MIX_EVERY_BYTE" in os.environ
    first = random.randrange(len(MASKS))
    lost = runs = 0
    for number, at in enumerate(places, first):
        for mask in MASKS if every else (MASKS[number % len(MASKS)],):
            clock = MockClock(autojump_threshold=0)
            joined, reply, losses = trio.run(_corrupted, api, Corrupt(at, 1, mask), clock=clock)
            lost, runs = lost + losses, runs + 1
            if reply is not None and not reply.incomplete:
                assert joined == reply.text == TEXT + "The end.", (at, mask)
    assert lost > runs // 4


@pytest.mark.parametrize("api", ["async", "blocking", "pipeline"])
async def test_the_text_of_a_torn_frame_is_read_from_the_stored_messages(
    api: Api, autojump_clock: MockClock
) -> None:
    async with (
        MixServer(api, listen=False, pace=0.0) as server,
        Mix(server.url, network=server.network) as mix,
        mix.open_stream(server.create_session()) as session,
    ):
        torn = Raw(b'event: content\ndata: {"type":"conte\n\n')
        server.script("go", Turn(Say("One "), torn, UseTool("glob"), Say("two.")))
        with trio.fail_after(100):
            async with session.send("go") as message:
                seen = [event async for event in message]
            assert any(isinstance(event, ev.StreamGapEvent) for event in seen)
            assert (message.reply.text, message.reply.incomplete) == ("One two.", False)
            async with session.send("go") as message:
                joined = "".join([delta async for delta in message.text_deltas()])
        assert joined == message.reply.text == "One two."


@pytest.mark.parametrize("api", ["async", "pipeline"])
async def test_a_torn_terminal_event_is_recovered_at_once(
    api: Api, autojump_clock: MockClock
) -> None:
    async with (
        MixServer(api, listen=False, pace=0.0) as server,
        Mix(server.url, network=server.network) as mix,
        mix.open_stream(server.create_session()) as session,
    ):
        await session.ask("hello")
        torn = Raw(b'event: complete\ndata: {"type":"compl\n\n')
        server.script("go", Turn(Say("One two."), torn))
        server.lose_events("complete", 1)
        began = trio.current_time()
        with trio.fail_after(1000):
            reply = await session.ask("go")
        assert (reply.text, reply.recovered, reply.incomplete) == ("One two.", True, False)
        assert trio.current_time() - began < 10


async def test_a_torn_permission_request_is_denied_and_the_turn_continues(
    autojump_clock: MockClock,
) -> None:
    async with (
        MixServer("pipeline", listen=False, pace=0.0) as server,
        Mix(server.url, network=server.network) as mix,
        mix.open_stream(server.create_session()) as session,
    ):
        server.script("go", Turn(Say("One "), AskPermission(torn=True, otherwise=[Say("two.")])))
        with trio.fail_after(100):
            reply = await session.ask("go")
        assert reply.text == "One two."


PATTERN = "*" * 60
PARAMETERS = f'{{"pattern":"{PATTERN}"}}'


async def _cut_in_parameters(api: Api, at: int, options: dict[str, Any], blind: bool) -> Reply:
    rule = Rule(Cut(at), path="/stream", method="GET", connections=[1])
    async with (
        MixServer(api, listen=False, pace=0.0, **options) as server,
        FaultProxy(server, FaultPlan(rule)) as proxy,
        Mix(proxy.url, network=proxy.network) as mix,
        mix.open_stream(server.create_session(session_id="s")) as session,
    ):
        steps = [Pause(0.5)]  # the stream is up again before the tool has run
        server.script("go", Turn(UseTool("glob", PARAMETERS, steps=steps), Say("Done.")))
        with trio.fail_after(1000):
            async with session.send("go") as message:
                if blind:
                    server.answer_next("/api/sessions/s/export", 503, times=1000)
                return await message.wait()


@pytest.mark.parametrize("blind", [False, True])
@pytest.mark.parametrize(
    ("api", "options"), [("async", {}), ("async", {"replay": True}), ("pipeline", {})]
)
def test_tool_parameters_cut_at_any_byte_are_complete_or_marked_as_incomplete(
    api: Api, options: dict[str, Any], blind: bool
) -> None:
    known = unsure = 0
    for at in range(250, 1500, 35):
        clock = MockClock(autojump_threshold=0)
        try:
            reply = trio.run(_cut_in_parameters, api, at, options, blind, clock=clock)
        except errors.MessageInterrupted as interrupted:
            reply = interrupted.partial or Reply()
        for call in reply.tool_calls:
            known, unsure = known + call.input_complete, unsure + (not call.input_complete)
            if call.input_complete:
                assert call.input == PARAMETERS
            else:
                assert blind
                assert PARAMETERS.startswith(call.input)
        if not blind:
            assert len(reply.tool_calls) == 1
    assert known + unsure > 20
    assert known if blind else not unsure
