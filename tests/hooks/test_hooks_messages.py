"""Hooks of messages: one end for each start, in the sender's task, whatever happens."""

from __future__ import annotations

import contextvars
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

from tests.support.hooks_kit import SECRET, HookCalls, scene
from trio_mix import Hooks, Mix, ReconnectPolicy, Reply, errors
from trio_mix.hooks import MessageFinishedContext, MessageStartedContext, StreamOpenedContext
from trio_mix.testing import (
    AskPermission,
    Drop,
    Fail,
    Hang,
    MessageRun,
    MixServer,
    Pause,
    Say,
    Turn,
    cancel_at_every_checkpoint,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock

    from trio_mix.testing import Api


@pytest.fixture(params=["async", "blocking", "pipeline", "pipeline-oldest"])
async def any_server(request: pytest.FixtureRequest) -> AsyncIterator[MixServer]:
    api: Api = request.param
    async with MixServer(api, listen=False, pace=0.0) as server:
        yield server


@pytest.fixture
async def server() -> AsyncIterator[MixServer]:
    async with MixServer(listen=False, pace=0.0) as server:
        server.script("long", Turn(Say("It begins. "), Hang()))
        yield server


def end_of(calls: HookCalls) -> MessageFinishedContext:
    """Return the argument of ``message_finished``, which was called once."""
    assert calls.names("message") == ["message_started", "message_finished"]
    finished: MessageFinishedContext
    (finished,) = calls.of(MessageFinishedContext)
    return finished


async def test_the_hooks_of_a_message_get_its_reply(any_server: MixServer) -> None:
    calls = HookCalls()
    any_server.script("hi", Turn(Say("Hello.")))
    async with scene(any_server, calls.hooks()) as session:
        reply = await session.ask("hi", plan_mode=True)
    finished = end_of(calls)
    (started,) = calls.of(MessageStartedContext)
    assert (finished.outcome, finished.error) == ("complete", None)
    assert isinstance(finished.reply, Reply)
    assert finished.reply == reply
    assert not finished.recovered
    assert not finished.resent
    assert finished.first_event is not None
    assert finished.waited is not None
    assert 0 <= finished.first_event <= finished.elapsed
    assert (started.session_id, started.text, started.plan_mode) == (session.session_id, "hi", True)
    assert started.state is finished.state
    assert started.stream_state is calls.of(StreamOpenedContext)[0].state


async def test_texts_are_in_no_repr(server: MixServer) -> None:
    calls = HookCalls()
    server.script(SECRET, Turn(Say(f"{SECRET} it is")))
    async with scene(server, calls.hooks()) as session:
        await session.ask(SECRET)
    assert end_of(calls).text == SECRET
    assert SECRET not in repr(calls.all)


async def test_an_agents_error_is_a_failure_with_what_had_come(server: MixServer) -> None:
    calls = HookCalls()
    server.script("break", Turn(Say("I try. "), Fail("gone", type="api_error")))
    async with scene(server, calls.hooks()) as session:
        with pytest.raises(errors.AgentError):
            await session.ask("break")
    finished = end_of(calls)
    assert finished.outcome == "failed"
    assert isinstance(finished.error, errors.AgentError)
    assert finished.reply is not None
    assert finished.reply.text == "I try. "


async def test_a_refused_message_is_reported_as_rejected(server: MixServer) -> None:
    calls = HookCalls()
    async with scene(server, calls.hooks()) as session:
        server.answer_next(f"/api/sessions/{session.session_id}/message", 400, body=b"no")
        with pytest.raises(errors.MessageRejected):
            await session.ask("something")
    finished = end_of(calls)
    assert finished.outcome == "rejected"
    assert isinstance(finished.error, errors.MessageRejected)


@pytest.mark.parametrize("operation", ["messages.send", "sessions.export_session"])
async def test_a_veto_of_a_message_is_raised_by_sending_it(
    server: MixServer, operation: str
) -> None:
    calls = HookCalls()
    veto = PermissionError("not this one")

    def refuse(context: Any) -> None:
        if context.operation == operation:
            raise veto

    async with scene(server, [calls.hooks(), Hooks(before_request=refuse)]) as session:
        with trio.fail_after(5), pytest.raises(PermissionError) as caught:
            await session.ask("something")
        assert caught.value is veto
        assert not session.statistics().turn_running
        assert end_of(calls).outcome == "failed"
        assert end_of(calls).error is veto
        assert not [record for record in server.log if isinstance(record, MessageRun)]
        operation = ""
        with trio.fail_after(5):
            assert (await session.ask("something else")).text


async def test_a_message_that_is_left_early_is_reported_as_left(server: MixServer) -> None:
    calls = HookCalls()
    async with scene(server, calls.hooks()) as session:
        async with session.send("long") as message:
            await message.__anext__()
        error = ValueError("the caller's own")
        with pytest.raises(ValueError, match="own"):
            async with session.send("long"):
                raise error
    left, raised = calls.of(MessageFinishedContext)
    assert [left.outcome, raised.outcome] == ["left", "left"]
    assert isinstance(left.error, errors.MessageError)  # the agent's own word, if it came in time
    assert raised.error is error


async def test_an_error_of_the_callers_after_the_end_changes_nothing(server: MixServer) -> None:
    calls = HookCalls()
    async with scene(server, calls.hooks()) as session:
        with pytest.raises(ValueError, match="own"):
            async with session.send("hello") as message:
                await message.wait()
                raise ValueError("the caller's own")
    assert end_of(calls).outcome == "complete"
    assert end_of(calls).error is None


async def test_async_hooks_are_called_for_a_cancelled_message_too(server: MixServer) -> None:
    calls, other = HookCalls(), HookCalls()
    async with scene(server, [calls.hooks(slow=True), other.hooks(slow=True)]) as session:
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(session.ask, "long")
                await server.wait_for(MessageRun, text="long")
                nursery.cancel_scope.cancel()
    for each in (calls, other):
        assert end_of(each).outcome == "cancelled"
        assert isinstance(end_of(each).error, trio.Cancelled)


async def test_a_message_that_waits_for_its_turn_may_be_cancelled(server: MixServer) -> None:
    calls = HookCalls()
    async with scene(server, calls.hooks()) as session, session.send("long") as first:
        with trio.move_on_after(0.05) as scope:
            await session.ask("never")
        assert scope.cancelled_caught
        (finished,) = calls.of(MessageFinishedContext)
        assert (finished.text, finished.outcome) == ("never", "cancelled")
        assert (finished.waited, finished.first_event) == (None, None)
        await first.cancel()
        with pytest.raises(errors.AgentError):
            await first.wait()
    assert calls.names("message") == ["message_started"] * 2 + ["message_finished"] * 2


async def test_a_stream_that_dies_ends_its_messages(server: MixServer) -> None:
    calls = HookCalls()
    async with scene(server, calls.hooks()) as session:
        with pytest.raises(errors.StreamError):
            async with session.send("long") as message:
                server.answer_next("/stream", 204)
                await server.drop_streams()
                await message.wait()
    finished = end_of(calls)
    assert finished.outcome == "failed"
    assert isinstance(finished.error, errors.StreamClosed)


async def test_times_are_those_of_the_message(autojump_clock: MockClock) -> None:
    calls = HookCalls()
    async with (
        MixServer(listen=False, pace=1.0) as paced,
        Mix(paced.url, network=paced.network, hooks=calls.hooks()) as mix,
        mix.open_stream(paced.create_session()) as session,
    ):
        paced.script("first", Turn(Pause(3), Say("one"), Pause(4)))
        paced.script("second", Turn(Pause(1), Say("two")))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session.ask, "first")
            await trio.sleep(0.1)
            async with session.send("second") as second:
                await second.wait()
                await trio.sleep(50)  # in the scope still, but the message is over
    first, last = calls.of(MessageFinishedContext)
    assert first.elapsed == pytest.approx(7, abs=0.5)
    assert last.waited == pytest.approx(7, abs=0.5)
    assert last.elapsed == pytest.approx(8, abs=0.5)
    assert first.first_event == pytest.approx(0, abs=0.5)  # user_message_created


async def test_a_recovered_message_is_reported_as_recovered(server: MixServer) -> None:
    calls = HookCalls()
    server.script("cut", Turn(Say("Half, "), Drop(), Say("and half.")))
    async with (
        Mix(server.url, network=server.network, hooks=calls.hooks()) as mix,
        mix.open_stream(
            server.create_session(), reconnect=ReconnectPolicy(initial_interval=0.01)
        ) as session,
    ):
        with trio.fail_after(10):
            reply = await session.ask("cut")
    assert reply.text == "Half, and half."
    finished = end_of(calls)
    assert finished.outcome == "complete"
    assert finished.recovered == reply.recovered
    assert calls.names("stream").count("stream_lost") == 1


async def test_message_hooks_run_in_the_senders_context(server: MixServer) -> None:
    variable = contextvars.ContextVar("variable", default="of nobody")
    seen: list[tuple[str, str]] = []

    def start(_context: object) -> None:
        seen.append(("started", variable.get()))
        variable.set("of the message")

    def request(context: Any) -> None:
        if context.operation == "messages.send":
            seen.append(("sent", variable.get()))

    def finish(_context: object) -> None:
        seen.append(("finished", variable.get()))

    hooks = Hooks(before_request=request, message_started=start, message_finished=finish)
    async with scene(server, hooks) as session:
        variable.set("of the sender")
        async with session.send("hello") as message:
            await message.wait()
            assert variable.get() == "of the message"
    assert seen == [
        ("started", "of the sender"),
        ("sent", "of the message"),
        ("finished", "of the message"),
    ]


async def test_what_message_hooks_raise_is_ignored(
    server: MixServer, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_context: object) -> None:
        raise ZeroDivisionError

    calls = HookCalls()
    hooks = [Hooks(message_started=fail, message_finished=fail), calls.hooks()]
    async with scene(server, hooks) as session:
        assert (await session.ask("hello")).text
    assert end_of(calls).outcome == "complete"
    assert len([record for record in caplog.records if record.name == "trio_mix.hooks"]) == 2


@pytest.mark.parametrize("slow", [False, True])
@pytest.mark.parametrize("text", ["hello", "leave"])
async def test_cancelled_anywhere_each_message_that_began_has_one_end(
    server: MixServer, slow: bool, text: str
) -> None:
    calls = HookCalls()
    session_id = server.create_session()

    async def work() -> None:
        async with (
            Mix(server.url, network=server.network, hooks=calls.hooks(slow=slow)) as mix,
            mix.open_stream(session_id) as session,
            session.send(text) as message,
        ):
            if text == "leave":
                await message.__anext__()
            else:
                await message.wait()

    async def check() -> None:
        counts = [calls.names().count(name) for name in ("message_started", "message_finished")]
        calls.all.clear()
        assert counts in ([0, 0], [1, 1])
        async with (
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(session_id) as session,
        ):
            with trio.fail_after(10):
                assert (await session.ask("hello")).text

    sweep = await cancel_at_every_checkpoint(work, check=check)
    assert sweep.checkpoints >= 4


async def test_all_that_is_done_for_a_message_has_its_senders_context(server: MixServer) -> None:
    """Settling it after a loss, and asking the policy, though the reader is what starts them."""
    variable = contextvars.ContextVar("variable", default="of nobody")
    seen: dict[str, str] = {}

    def request(context: Any) -> None:
        seen[context.operation] = variable.get()

    async def policy(_request: object, _message: object) -> bool:
        await trio.lowlevel.checkpoint()
        seen["policy"] = variable.get()
        return True

    server.script("cut", Turn(Say("Half, "), AskPermission("bash"), Drop(), Say("and half.")))
    async with (
        Mix(server.url, network=server.network, hooks=Hooks(before_request=request)) as mix,
        mix.open_stream(
            server.create_session(),
            reconnect=ReconnectPolicy(initial_interval=0.01),
            on_permission=policy,
        ) as session,
    ):
        await session.ask("hello")
        seen.clear()
        variable.set("of the sender")
        with trio.fail_after(10):
            assert (await session.ask("cut")).text == "Half, and half."
    assert seen.pop("streaming.stream_events") == "of nobody"
    assert {"policy", "permissions.grant", "sessions.export_session", "messages.send"} <= set(seen)
    assert set(seen.values()) == {"of the sender"}


async def test_a_veto_of_what_is_asked_to_settle_a_message_only_leaves_it_unsettled(
    server: MixServer, autojump_clock: MockClock
) -> None:
    armed = False

    def refuse(context: Any) -> None:
        if armed and context.operation in ("sessions.export_session", "messages.get_session"):
            raise PermissionError("not to be read")

    server.script("cut", Turn(Say("Half, "), Drop()))
    async with (
        Mix(server.url, network=server.network, hooks=Hooks(before_request=refuse)) as mix,
        mix.open_stream(server.create_session(), settle_timeout=20) as session,
    ):
        await session.ask("hello")
        armed = True
        with trio.fail_after(600), pytest.raises(errors.MessageInterrupted):
            await session.ask("cut")
        assert session.state.value in ("connected", "reconnecting")
