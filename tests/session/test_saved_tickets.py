"""When the ticket of a message is saved, and what happens if saving fails or takes long.

In memory, with the autojump clock.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, get_args

import pytest
import trio
import trio.testing

from tests.support.processes import Machine
from trio_mix import Mix, Ticket
from trio_mix.testing import (
    Api,
    FaultPlan,
    FaultProxy,
    Hang,
    MessageAccepted,
    MixServer,
    Pause,
    Refuse,
    Rule,
    Say,
    Turn,
)

if TYPE_CHECKING:
    from trio.testing import MockClock


@pytest.mark.parametrize("api", get_args(Api))
async def test_a_ticket_is_saved_before_its_message_is_sent_and_when_more_is_known(
    api: Api, autojump_clock: MockClock
) -> None:
    async with MixServer(api, listen=False, pace=0.0) as server:
        server.script("go", Turn(Say("Done"), Pause(1), Say(".")))
        async with (
            Machine(server, server.create_session()) as machine,
            machine.process() as session,
        ):
            ticket = await session.prepare("go")
            assert ticket.recoverable
            assert not server.runs()

            async def save(ticket: Ticket) -> None:
                await machine.save(ticket)
                if ticket.state == "posting":
                    assert not [each for each in server.log if isinstance(each, MessageAccepted)]

            async with session.resume(ticket, save=save) as message:
                assert (await message.wait()).text == "Done."
            assert machine.states == ["posting", "running", "finished"]
            assert message.ticket == machine.ticket
            assert (machine.ticket.user_message_id is not None) == (api == "async")
        assert server.runs("go") == 1


async def test_without_a_function_that_saves_it_a_ticket_is_sent_at_once_only_the_first_time(
    autojump_clock: MockClock,
) -> None:
    async with MixServer("async", listen=False, pace=0.0) as server:
        async with Machine(server, server.create_session()) as machine:
            async with machine.process() as session:
                ticket = await session.prepare("go")
                async with session.resume(ticket) as message:
                    first = await message.wait()
                async with session.resume(ticket) as message:
                    assert (await message.wait()).text == first.text
                assert message.ticket is not None
                assert message.ticket.state == "finished"
                assert ticket.state == "prepared"
        assert server.runs("go") == 1


async def test_a_ticket_that_cannot_be_saved_is_not_sent(autojump_clock: MockClock) -> None:
    class FullDisk(Exception):
        pass

    def save(ticket: Ticket) -> None:
        raise FullDisk

    async with MixServer("async", listen=False, pace=0.0) as server:
        async with (
            Machine(server, server.create_session()) as machine,
            machine.process() as session,
        ):
            ticket = await session.prepare("go")
            with pytest.raises(FullDisk):
                async with session.resume(ticket, save=save):
                    pass
            assert not server.runs("go")
            async with session.resume(ticket, save=machine.save) as message:
                await message.wait()
        assert server.runs("go") == 1


async def test_a_later_state_that_cannot_be_saved_is_logged_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    def save(ticket: Ticket) -> None:
        if ticket.state != "posting":
            raise OSError("No space left on /secret/path")

    async with MixServer("async", listen=False, pace=0.0) as server:
        server.script("go", Turn(Say("One"), Pause(1), Say(".")))
        async with (
            Machine(server, server.create_session()) as machine,
            machine.process() as session,
        ):
            async with session.resume(await session.prepare("go"), save=save) as message:
                assert (await message.wait()).text == "One."
    (record,) = [each for each in caplog.records if "could not be saved" in each.getMessage()]
    assert "OSError" in record.getMessage()
    assert "/secret" not in record.getMessage()


@pytest.mark.parametrize("hanging", ["posting", "running", "finished"])
async def test_a_save_that_hangs_delays_leaving_and_stops_no_later_message(
    hanging: str, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def save(ticket: Ticket) -> None:
        if ticket.state == hanging:
            await trio.sleep_forever()

    async with MixServer("async", listen=False, pace=0.0) as server:
        server.script("go", Turn(Say("One"), *([] if hanging == "finished" else [Hang()])))
        async with (
            Machine(server, server.create_session()) as machine,
            machine.process() as session,
        ):
            ticket = await session.prepare("go")
            with trio.move_on_after(5):
                async with session.resume(ticket, save=save) as message:
                    await message.wait()
            with trio.fail_after(60):
                assert (await session.ask("next")).text
        assert server.runs("go") == (0 if hanging == "posting" else 1)
    warned = [each for each in caplog.records if "could not be saved" in each.getMessage()]
    assert len(warned) == (0 if hanging == "posting" else 1)


async def test_a_connection_that_is_lost_while_the_ticket_is_saved_costs_no_text(
    autojump_clock: MockClock,
) -> None:
    """The message is sent once the stream is connected again."""
    async with MixServer(listen=False, pace=0.0) as server:
        server.script("go", Turn(Say("Done "), Pause(30), Say("well.")))
        refused = [Rule(Refuse(), path="/stream", method="GET", connections=[2, 3])]
        async with (
            FaultProxy(server, FaultPlan(*refused)) as proxy,
            Mix("http://mix.test", network=proxy.network) as mix,
            mix.open_stream(server.create_session()) as session,
        ):

            async def save(ticket: Ticket) -> None:
                if ticket.state == "posting":
                    await proxy.drop()
                    await trio.testing.wait_all_tasks_blocked()

            async with session.resume(await session.prepare("go"), save=save) as message:
                deltas = [delta async for delta in message.text_deltas()]
                reply = await message.wait()
        assert "".join(deltas) == reply.text == "Done well."
        assert (reply.incomplete, reply.doubts, reply.recovered) == (False, (), False)
        assert server.runs("go") == 1
