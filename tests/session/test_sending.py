"""Messages, events and replies, on servers of every generation, over sockets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from trio_mix import errors
from trio_mix import events as ev
from trio_mix.testing import (
    AskPermission,
    Fail,
    Hang,
    MessageFinished,
    MessageRun,
    Say,
    Think,
    Turn,
    UseTool,
)

if TYPE_CHECKING:
    from trio_mix import Message, Mix
    from trio_mix.events import Event
    from trio_mix.testing import MixServer


async def test_a_message_receives_its_events_and_a_reply(server: MixServer, mix: Mix) -> None:
    server.script(
        "Look",
        Turn(
            Think("Let me see."),
            Say("I look around. "),
            UseTool("glob", {"pattern": "*"}, result="a.txt"),
            Say("There is one file."),
        ),
    )
    session_id = server.create_session()
    seen: list[Event] = []
    with trio.fail_after(60):
        async with mix.open_stream(session_id) as session, session.send("Look") as message:
            seen += [event async for event in message]
            reply = message.reply
    assert reply.final_text == "There is one file."
    assert [call.name.lower() for call in reply.tool_calls] == ["glob"]
    assert reply.tool_calls[0].parsed_input == {"pattern": "*"}
    assert isinstance(seen[-1], ev.CompleteEvent)
    if server.api != "pipeline-oldest":
        assert reply.text == "I look around. There is one file."
        assert any(isinstance(event, ev.ThinkingEvent) for event in seen)
        assert reply.reasoning == "Let me see."


async def test_two_tasks_that_send_at_once_receive_only_their_own_events(
    server: MixServer, mix: Mix
) -> None:
    for name in ("first", "second"):
        server.script(name, Turn(Think(f"about {name}"), Say(f"this is the {name} answer")))
    session_id = server.create_session()
    texts: dict[str, list[str]] = {"first": [], "second": []}

    async with mix.open_stream(session_id) as session:

        async def ask(name: str) -> None:
            async with session.send(name) as message:
                async for delta in message.text_deltas():
                    texts[name].append(delta)
                assert "".join(texts[name]) == message.reply.text
                assert name in message.reply.reasoning

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, "first")
                nursery.start_soon(ask, "second")
    assert "".join(texts["first"]) == "this is the first answer"
    assert "".join(texts["second"]) == "this is the second answer"
    runs = [record for record in server.log if isinstance(record, MessageRun)]
    assert sorted((run.text, run.times) for run in runs) == [("first", 1), ("second", 1)]


async def test_sends_are_served_first_come_first_served(server: MixServer, mix: Mix) -> None:
    session_id = server.create_session()
    order: list[int] = []
    async with mix.open_stream(session_id) as session:

        async def ask(number: int) -> None:
            await session.ask(f"message {number}")
            order.append(number)

        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for number in range(6):
                    nursery.start_soon(ask, number)
                    await trio.testing.wait_all_tasks_blocked()
    assert order == sorted(order)


async def test_a_granted_permission_lets_the_agent_continue(server: MixServer, mix: Mix) -> None:
    if server.api == "pipeline-oldest":
        pytest.skip("this server has no REST operations")
    server.script("run", Turn(AskPermission("bash", then=[Say("It ran.")])))
    async with mix.open_stream(server.create_session()) as session:
        with trio.fail_after(60):
            async with session.send("run") as message:
                async for event in message:
                    if isinstance(event, ev.PermissionEvent):
                        await message.grant(event)
                assert message.reply.text == "It ran."


async def test_a_policy_answers_permission_requests(server: MixServer, mix: Mix) -> None:
    if server.api == "pipeline-oldest":
        pytest.skip("this server has no REST operations")
    server.script("run", Turn(AskPermission("bash", then=[Say("It ran.")], otherwise=[Say("No.")])))
    asked: list[tuple[str, str]] = []

    async def policy(request: ev.PermissionEvent, message: Message) -> bool:
        asked.append((request.tool_name.lower(), message.text))
        await trio.lowlevel.checkpoint()
        return len(asked) == 1

    async with mix.open_stream(server.create_session(), on_permission=policy) as session:
        with trio.fail_after(60):
            assert (await session.ask("run")).text == "It ran."
            assert (await session.ask("run")).text == "No."
    assert asked == [("bash", "run")] * 2


async def test_an_exception_of_a_policy_fails_its_message_and_denies_the_request(
    server: MixServer, mix: Mix
) -> None:
    if server.api == "pipeline-oldest":
        pytest.skip("this server has no REST operations")
    server.script("run", Turn(AskPermission("bash", then=[Say("It ran.")])))

    async def policy(_request: ev.PermissionEvent, _message: Message) -> bool:
        await trio.lowlevel.checkpoint()
        raise KeyError("my own mistake")

    async with mix.open_stream(server.create_session(), on_permission=policy) as session:
        with trio.fail_after(60), pytest.raises(KeyError, match="my own mistake"):
            await session.ask("run")
        with trio.fail_after(60):
            assert (await session.ask("and now something else")).text


async def test_an_error_event_ends_the_message_and_the_next_one_works(
    server: MixServer, mix: Mix
) -> None:
    server.script("break", Turn(Say("I try. "), Fail("the model is gone", type="api_error")))
    server.script("again", Turn(Say("Here I am.")))
    async with mix.open_stream(server.create_session()) as session:
        with trio.fail_after(60):
            with pytest.raises(errors.AgentError, match="the model is gone") as caught:
                await session.ask("break")
            assert caught.value.event.type == "api_error"
            assert caught.value.partial is not None
            assert (await session.ask("again")).text == "Here I am."


async def test_leaving_a_message_early_cancels_it_on_the_server(
    server: MixServer, mix: Mix
) -> None:
    if server.api == "pipeline-oldest":
        pytest.skip("this server cannot cancel")
    server.script("long", Turn(Say("It begins. "), Hang()))
    server.script("short", Turn(Say("Done.")))
    async with mix.open_stream(server.create_session()) as session:
        with trio.fail_after(20):
            async with session.send("long") as message:
                async for _ in message:
                    break
            assert (await session.ask("short")).text == "Done."
    finished = [r for r in server.log if isinstance(r, MessageFinished)]
    assert [(r.text, r.how) for r in finished] == [("long", "cancelled"), ("short", "complete")]


async def test_cancelling_the_caller_cancels_the_message_on_the_server(
    server: MixServer, mix: Mix
) -> None:
    if server.api == "pipeline-oldest":
        pytest.skip("this server cannot cancel")
    server.script("long", Turn(Hang()))
    async with mix.open_stream(server.create_session()) as session:
        with trio.fail_after(20):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(session.ask, "long")
                await server.wait_for(MessageRun, text="long")
                nursery.cancel_scope.cancel()
            await server.wait_for(MessageFinished, text="long", how="cancelled")
            assert (await session.ask("short")).text


async def test_subscribers_receive_every_event_also_of_other_clients_turns(
    server: MixServer, mix: Mix
) -> None:
    server.script("mine", Turn(Say("for me")))
    server.script("theirs", Turn(Say("for somebody else")))
    session_id = server.create_session()
    texts: list[str] = []
    async with mix.open_stream(session_id) as session, session.subscribe() as everything:
        with trio.fail_after(60):
            assert (await session.ask("mine")).text == "for me"
            server.run_message(session_id, "theirs")
            completes = 0
            async for event in everything:
                if isinstance(event, ev.CompleteEvent):
                    texts.append(event.content or "")
                    completes += 1
                if completes == 2:
                    break
    assert texts == ["for me", "for somebody else"]


async def test_an_unknown_session_is_reported_at_once(server: MixServer, mix: Mix) -> None:
    with trio.fail_after(5), pytest.raises(errors.SessionNotFound, match="nowhere"):
        async with mix.open_stream("nowhere"):
            raise AssertionError("opened")


async def test_a_message_that_is_refused_raises_on_entering(server: MixServer, mix: Mix) -> None:
    path = "/stream/" if server.api.startswith("pipeline") else "/api/sessions/"
    session_id = server.create_session()
    async with mix.open_stream(session_id) as session:
        await session.ask("find out the generation")
        server.answer_next(f"{path}{session_id}/message", 400, body=b"do not like it")
        with trio.fail_after(5), pytest.raises(errors.MessageRejected, match="do not like it"):
            async with session.send("something"):
                raise AssertionError("entered")
        assert (await session.ask("something else")).text
