"""Which API a server has: found out with the first message, and again after an upgrade."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Literal

import pytest
import trio

from trio_mix import Hooks, Mix, errors
from trio_mix.testing import Api, Drop, Fail, MixServer, Pause, RateLimit, Say, Turn, UseTool

if TYPE_CHECKING:
    from collections.abc import Iterable

    from trio_mix._http._protocols import NetworkBackend, NetworkStream, SocketOption
    from trio_mix.hooks import AfterErrorContext


class Address:
    """A network on which another server can take over the address."""

    def __init__(self, network: NetworkBackend) -> None:
        self.network = network

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[SocketOption] | None = None,
    ) -> NetworkStream:
        return await self.network.connect_tcp(host, port, timeout, local_address, socket_options)


@pytest.mark.parametrize("api", ["auto", "blocking"])
async def test_a_rate_limit_does_not_end_a_blocking_servers_first_turn(
    api: Literal["auto", "blocking"], autojump_clock: trio.testing.MockClock
) -> None:
    async with MixServer("blocking", listen=False) as server:
        server.script("hello", Turn(RateLimit(), Pause(30), Say("Here I am.")))
        server.script("again", Turn(Say("Once more.")))
        async with (
            Mix(server.url, network=server.network, api=api) as mix,
            mix.open_stream(server.create_session()) as session,
        ):
            assert (await session.ask("hello")).text == "Here I am."
            assert (await session.ask("again")).text == "Once more."


async def run_server(
    api: Api, stop: trio.Event, task_status: trio.TaskStatus[MixServer] = trio.TASK_STATUS_IGNORED
) -> None:
    prefix = f"{api}-"  # a restarted server gives other ids
    async with MixServer(api, listen=False, rest_send=False, id_prefix=prefix) as server:
        server.create_session(session_id="s")
        server.script("hello", Turn(Say("Here I am.")))
        task_status.started(server)
        await stop.wait()


@pytest.mark.parametrize(("old", "new"), [("pipeline", "async"), ("async", "pipeline")])
async def test_a_message_is_sent_the_other_way_after_an_upgrade(
    old: Api, new: Api, autojump_clock: trio.testing.MockClock, nursery: trio.Nursery
) -> None:
    stop_old, stop_new = trio.Event(), trio.Event()
    server: MixServer = await nursery.start(run_server, old, stop_old)
    address = Address(server.network)
    async with Mix(server.url, network=address) as mix, mix.open_stream("s") as session:
        assert (await session.ask("hello")).text == "Here I am."
        assert mix.api == old
        stop_old.set()
        server = await nursery.start(run_server, new, stop_new)
        address.network = server.network
        for _ in range(2):
            assert (await session.ask("hello")).text == "Here I am."
        assert mix.api == new
        assert server.runs("hello") == 2
    stop_new.set()


@pytest.mark.parametrize("end", [Say("theirs"), Fail("no more tokens")])
async def test_another_clients_turn_during_the_first_message_after_an_upgrade_is_not_ours(
    end: Say | Fail, autojump_clock: trio.testing.MockClock
) -> None:
    upgraded = False

    async def run_another_turn(ctx: AfterErrorContext) -> None:
        if upgraded and ctx.operation == "streaming.send_streaming_message":
            with suppress(errors.AgentError):
                await other.ask("theirs")

    async with (
        MixServer("pipeline", listen=False) as server,
        Mix(server.url, network=server.network, hooks=Hooks(after_error=run_another_turn)) as mix,
        Mix(server.url, network=server.network, api="async") as other_mix,
        mix.open_stream(server.create_session(session_id="s")) as session,
    ):
        server.script("theirs", Turn(UseTool("ls"), end))
        server.script("hello", Turn(Say("Here I am.")))
        await session.ask("before")
        await server.restart(api="async")
        upgraded = True
        async with other_mix.open_stream("s") as other:
            reply = await session.ask("hello")
            assert reply.text == "Here I am."
            assert server.runs("hello") == 1


async def test_after_an_upgrade_what_the_new_server_stores_is_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with (
        MixServer("pipeline-oldest", listen=False, jsonrpc=False) as server,
        Mix(server.url, network=server.network) as mix,
        mix.open_stream(server.create_session()) as session,
    ):
        server.script("go", Turn(Say("Here "), Drop(), Say("I am.")))
        await session.ask("hello")
        await server.restart(api="async")
        await session.ask("hello")
        reply = await session.ask("go")
        assert (reply.text, reply.recovered, reply.incomplete) == ("Here I am.", True, False)


async def test_a_turn_that_fails_after_an_upgrade_is_not_reported_as_refused(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with (
        MixServer("pipeline", listen=False) as server,
        Mix(server.url, network=server.network) as mix,
        mix.open_stream(server.create_session()) as session,
    ):
        server.script("go", Turn(Drop(), Fail("no more tokens")))
        await session.ask("hello")
        await server.restart(api="blocking")
        with pytest.raises(errors.MessageError) as caught:
            await session.ask("go")
        assert not isinstance(caught.value, errors.MessageRejected)
        assert server.runs("go") == 1


async def test_a_named_api_is_not_changed(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        MixServer("async", listen=False) as server,
        Mix(server.url, network=server.network, api="pipeline") as mix,
        mix.open_stream(server.create_session()) as session,
    ):
        with pytest.raises(errors.MessageRejected, match="HTTP 404"):
            await session.ask("hello")


async def test_a_server_with_neither_path_is_named_with_both(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with (
        MixServer("async", listen=False) as server,
        Mix(server.url, network=server.network) as mix,
        mix.open_stream(server.create_session(session_id="s")) as session,
    ):
        await session.ask("hello")
        server.answer_next("/api/sessions/s/messages", 404, headers={}, body=b"404 page not found")
        with pytest.raises(errors.MessageRejected) as caught:
            await session.ask("hello")
        assert "/stream/s/message" in str(caught.value)
        assert "/api/sessions/s/messages" in str(caught.value)
        assert (await session.ask("hello")).text, "the next one is sent as before"


@pytest.mark.parametrize("api", ["async", "blocking", "pipeline", "pipeline-oldest"])
async def test_messages_of_earlier_streams_of_the_client_do_not_cast_doubt_on_an_error(
    api: Api, autojump_clock: trio.testing.MockClock
) -> None:
    async with (
        MixServer(api, listen=False) as server,
        Mix(server.url, network=server.network) as mix,
    ):
        server.script("fails", Turn(UseTool("glob"), Fail("boom")))
        session_id = server.create_session()
        for _ in range(3):
            async with mix.open_stream(session_id) as session:
                await session.ask("first")
        async with mix.open_stream(session_id) as session:
            await session.ask("second")
            with pytest.raises(errors.AgentError) as caught:
                await session.ask("fails")
        assert caught.value.partial is not None
        assert caught.value.partial.doubts == ()
