"""Tickets: a message that is sent by one process, and whose outcome another one finds out.

In memory, with the autojump clock.
"""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.support.processes import Machine
from trio_mix import Mix, Ticket, errors
from trio_mix import events as ev
from trio_mix.testing import (
    Fail,
    Hang,
    MessageFinished,
    MessageRun,
    MixServer,
    Pause,
    Say,
    Turn,
    WaitFor,
)

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trio_mix import SessionStream
    from trio_mix.testing import Api

ALL: tuple[Api, ...] = ("async", "blocking", "pipeline", "pipeline-oldest")


async def _send(machine: Machine, session: SessionStream, text: str = "go") -> str:
    """What a program does that keeps a ticket."""
    await machine.save(await session.prepare(text))
    async with session.resume(machine.ticket, save=machine.save) as message:
        return (await message.wait()).text


@pytest.mark.parametrize("api", ALL)
async def test_a_message_that_was_never_sent_is_sent_by_the_next_process(
    api: Api, autojump_clock: MockClock
) -> None:
    async with MixServer(api, listen=False, pace=0.0) as server:
        server.script("go", Turn(Say("Done.")))
        async with Machine(server, server.create_session()) as machine:
            async with machine.process() as session:
                await machine.save(await session.prepare("go"))
            began = trio.current_time()
            assert await machine.resume() == "Done."
            assert trio.current_time() - began < 1  # on the fake clock: absence is not awaited
        assert server.runs("go") == 1


@pytest.mark.parametrize("api", ALL)
async def test_a_finished_message_has_its_reply_in_every_later_process(
    api: Api, autojump_clock: MockClock
) -> None:
    async with MixServer(api, listen=False, pace=0.0) as server:
        server.script("go", Turn(Say("Done "), Pause(5), Say("well.")))
        async with Machine(server, server.create_session()) as machine:
            await machine.run_killed(
                partial(_send, machine), partial(server.wait_for, MessageRun, text="go")
            )
            if api != "pipeline":  # there, the turn ends with its stream
                await server.wait_for(MessageFinished)
            assert await machine.resume() == "Done well."
            async with machine.process() as session:
                async with session.resume(machine.ticket, save=machine.save) as message:
                    reply = await message.wait()
                assert reply.text == "Done well."
                assert reply.recovered
                assert not reply.incomplete  # the ticket says that it has finished
                outcome = await session.look_up(machine.ticket)
            assert outcome.state == "finished"
            assert outcome.reply is not None
            assert outcome.reply.text == "Done well."
        assert server.runs("go") == 1


@pytest.mark.parametrize("api", ["async", "blocking"])
async def test_a_message_that_still_runs_is_followed_after_a_gap(
    api: Api, autojump_clock: MockClock
) -> None:
    async with MixServer(api, listen=False, pace=0.0) as server:
        more = trio.Event()
        server.script("go", Turn(Say("One, "), WaitFor(more), Say("two.")))
        async with Machine(server, server.create_session()) as machine:
            await machine.run_killed(
                partial(_send, machine), partial(server.wait_for, MessageRun, text="go")
            )
            async with machine.process() as session:
                outcome = await session.look_up(machine.ticket)
                assert outcome.state == "running"
                async with session.resume(machine.ticket, save=machine.save) as message:
                    more.set()
                    seen = [event async for event in message]
                assert isinstance(seen[0], ev.StreamGapEvent)
                assert [e.content for e in seen if isinstance(e, ev.ContentEvent)] == ["two."]
                assert message.reply.text == "One, two."
                assert not message.reply.incomplete
        assert server.runs("go") == 1


@pytest.mark.parametrize("api", ALL)
async def test_a_message_that_never_arrived_is_sent_again_once(
    api: Api, autojump_clock: MockClock
) -> None:
    async with MixServer(api, listen=False, pace=0.0) as server:
        server.script("go", Turn(Say("Done.")))
        async with Machine(server, server.create_session()) as machine:
            async with machine.process() as session:
                await session.ask("hello")
                await machine.save(await session.prepare("go"))
            died = json.loads(machine.saved[-1]) | {"state": "posting"}
            await machine.save(Ticket.from_json(json.dumps(died)))
            async with machine.process() as session:
                assert (await session.look_up(machine.ticket)).state == "absent"
                with pytest.raises(errors.MessageInterrupted) as caught:
                    async with session.resume(machine.ticket, resend=False):
                        pass
                assert caught.value.outcome == "unknown"
                async with session.resume(machine.ticket, save=machine.save) as message:
                    reply = await message.wait()
            assert reply.text == "Done."
            assert reply.resent
        assert server.runs("go") == 1


async def test_a_failed_message_stays_failed(autojump_clock: MockClock) -> None:
    async with MixServer("async", listen=False, pace=0.0) as server:
        server.script("go", Turn(Say("I will"), Fail("out of money")))
        async with Machine(server, server.create_session()) as machine:
            async with machine.process() as session:
                with pytest.raises(errors.AgentError):
                    await _send(machine, session)
                assert machine.states[-1] == "failed"
                assert (await session.look_up(machine.ticket)).state == "failed"
            with pytest.raises(errors.MessageInterrupted, match="failed") as caught:
                await machine.resume()
            assert caught.value.outcome == "gone"
        assert server.runs("go") == 1


@pytest.mark.parametrize("api", ALL)
async def test_an_equal_text_that_was_stored_before_is_another_message(
    api: Api, autojump_clock: MockClock
) -> None:
    async with MixServer(api, listen=False, pace=0.0) as server:
        server.script("go", Turn(Say("First.")), Turn(Say("Second.")))
        async with Machine(server, server.create_session()) as machine:
            async with machine.process() as session:
                assert await _send(machine, session) == "First."
                first = machine.ticket
                await machine.save(await session.prepare("go"))
            await machine.save(_marked(machine.ticket, "posting"))
            assert await machine.resume() == "Second."
            second = machine.ticket
            for ticket, reply in ((first, "First."), (second, "Second.")):
                await machine.save(ticket)
                assert await machine.resume() == reply
        assert server.runs("go") == 2


@pytest.mark.parametrize("api", ALL)
async def test_an_equal_text_that_was_outstanding_makes_the_outcome_unknown(
    api: Api, autojump_clock: MockClock
) -> None:
    """The only stored row may be that of either ticket: neither is sent again."""
    async with MixServer(api, listen=False, pace=0.0) as server:
        server.script("go", Turn(Say("First.")))
        async with Machine(server, server.create_session()) as machine:
            async with machine.process() as session:
                first = await session.prepare("go")
                second = await session.prepare("go")
                async with session.resume(first) as message:  # without a function that saves it
                    await message.wait()
            await machine.save(_marked(second, "posting"))
            async with machine.process() as session:
                assert (await session.look_up(machine.ticket)).state == "unknown"
            with pytest.raises(errors.MessageInterrupted, match="same text") as caught:
                await machine.resume()
            assert caught.value.outcome == "unknown"
        assert server.runs("go") == 1


async def test_a_message_of_a_session_that_was_rewound_is_unknown(
    autojump_clock: MockClock,
) -> None:
    async with MixServer("async", listen=False, pace=0.0) as server:
        session_id = server.create_session()
        async with Machine(server, session_id) as machine:
            async with machine.process() as session:
                reply = await session.ask("hello")
                await session.ask("hello again")
                assert await _send(machine, session)
            finished = machine.ticket
            posting = [Ticket.from_json(each) for each in machine.saved if "posting" in each][-1]
            async with Mix(server.url, network=server.network) as mix:
                assert reply.message_id is not None
                await mix.sessions.rewind_session(id=session_id, message_id=reply.message_id)
            for ticket in (posting, _marked(finished, "running"), finished):
                await machine.save(ticket)
                with pytest.raises(errors.MessageInterrupted) as caught:
                    await machine.resume()
                assert caught.value.outcome == "unknown"
        assert server.runs("go") == 1


async def test_a_message_that_is_known_to_have_arrived_is_never_sent_again(
    autojump_clock: MockClock,
) -> None:
    async with MixServer("pipeline", listen=False, pace=0.0) as server:
        async with Machine(server, server.create_session()) as machine:
            async with machine.process() as session:
                tickets = [
                    _marked(await session.prepare("go"), "running"),
                    _marked(await session.prepare("/help"), "posting"),  # may not be stored
                ]
            for ticket in tickets:
                await machine.save(ticket)
                async with machine.process() as session:
                    assert (await session.look_up(ticket)).state == "unknown"
                with pytest.raises(errors.MessageInterrupted) as caught:
                    await machine.resume()
                assert caught.value.outcome == "unknown"
        assert server.runs() == 0


async def test_where_nothing_is_stored_a_message_that_was_posted_is_unknown_at_once(
    autojump_clock: MockClock,
) -> None:
    async with MixServer("pipeline", listen=False, pace=0.0) as server:
        session_id = server.create_session()
        for name in ("export", "messages"):
            server.answer_next(f"/api/sessions/{session_id}/{name}", 404, times=1000)
        async with Machine(server, session_id) as machine:
            async with machine.process() as session:
                ticket = await session.prepare("go")
                assert not ticket.recoverable
                await machine.save(_marked(ticket, "posting"))
                assert (await session.look_up(machine.ticket)).state == "unknown"
            with pytest.raises(errors.MessageInterrupted, match="stores no messages") as caught:
                await machine.resume()
            assert caught.value.outcome == "unknown"
            await machine.save(ticket)
            assert await machine.resume()
        assert server.runs("go") == 1


async def test_misuse_of_tickets_is_refused(autojump_clock: MockClock) -> None:
    async with MixServer("async", listen=False, pace=0.0) as server:
        server.script("go", Turn(Hang()))
        async with (
            Machine(server, server.create_session()) as machine,
            machine.process() as session,
            Mix(server.url, network=server.network) as mix,
        ):
            ticket = await session.prepare("go")
            copy = Ticket.from_json(ticket.to_json().encode())
            assert copy == ticket
            async with session.resume(ticket, save=machine.save):
                with pytest.raises(errors.UsageError, match="being resumed already"):
                    async with session.resume(copy):
                        pass
            async with mix.open_stream(server.create_session()) as other:
                for method in (other.resume, other.look_up):
                    with pytest.raises(errors.UsageError, match="of session"):
                        result = method(ticket)
                        if method == other.look_up:
                            await result  # type: ignore[misc]
            with pytest.raises(errors.ConfigurationError, match="save"):
                session.resume(ticket, save=lambda: None)  # type: ignore[misc, arg-type]
            with pytest.raises(errors.ConfigurationError, match="8 KiB"):
                await session.prepare("go", apps=["an app with a long name"] * 400)
            with pytest.raises(errors.MessageRejected, match="empty"):
                await session.prepare(" ")
            with pytest.raises(errors.MessageRejected, match="shell"):
                await session.prepare("!ls")


async def test_prepare_raises_if_the_stored_messages_cannot_be_read_now(
    autojump_clock: MockClock,
) -> None:
    async with MixServer("async", listen=False, pace=0.0) as server:
        async with (
            Machine(server, server.create_session()) as machine,
            machine.process() as session,
        ):
            server.answer_next(f"/api/sessions/{session.session_id}/export", 503)
            with pytest.raises(errors.MixDefaultError):
                await session.prepare("go")
            assert (await session.prepare("go")).recoverable


def _marked(ticket: Ticket, state: str) -> Ticket:
    return Ticket.from_json(json.dumps(json.loads(ticket.to_json()) | {"state": state}))


@pytest.mark.parametrize("api", ALL)
async def test_a_resumed_message_can_be_left_before_its_outcome_is_known(
    api: Api, autojump_clock: MockClock
) -> None:
    async with MixServer(api, listen=False, pace=0.0) as server:
        async with (
            Machine(server, server.create_session()) as machine,
            machine.process() as session,
        ):
            ticket = _marked(await session.prepare("go"), "posting")
            with trio.move_on_after(1) as scope:
                async with session.resume(ticket, save=machine.save):
                    pass
            assert scope.cancelled_caught
            assert not machine.saved
            assert (await session.ask("And now?")).text
            async with session.resume(ticket, save=machine.save) as message:
                await message.wait()
        assert server.runs("go") == 1


@pytest.mark.parametrize("api", ["async", "blocking"])
async def test_a_message_that_is_absent_is_sent_again_when_another_turn_of_the_session_is_over(
    api: Api, autojump_clock: MockClock
) -> None:
    async with MixServer(api, listen=False, pace=0.0) as server:
        server.script("theirs", Turn(Say("Long "), Pause(200), Say("work.")))
        session_id = server.create_session()
        async with Machine(server, session_id) as machine, machine.process() as session:
            ticket = _marked(await session.prepare("go"), "posting")
            server.run_message(session_id, "theirs")
            async with session.resume(ticket, save=machine.save) as message:
                reply = await message.wait()
            assert reply.resent
            assert "Long" not in reply.text
        assert server.runs("go") == 1
