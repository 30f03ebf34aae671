"""Permission requests where another client uses the session: whose are put to our policy.

In memory, with the autojump clock.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import attrs
import pytest
import trio

from trio_mix import Hooks, Mix, errors
from trio_mix import events as ev
from trio_mix._session._stored_messages import Rows, StoredMessages
from trio_mix.testing import AskPermission, MixServer, Pause, Say, Turn, UseTool

if TYPE_CHECKING:
    from trio_mix import Message
    from trio_mix.hooks import BeforeRequestContext
    from trio_mix.testing import Api


@pytest.mark.parametrize("api", ["blocking", "pipeline", "async"])
async def test_a_permission_request_of_another_client_is_not_put_to_our_policy(
    api: Api, autojump_clock: trio.testing.MockClock
) -> None:
    asked: list[str] = []

    def policy(request: ev.PermissionEvent, _message: Message) -> bool:
        asked.append(request.description)
        return True

    async with MixServer(api, listen=False, pace=0.0) as server:
        theirs = AskPermission("bash", description="theirs", then=[Say("It ran.")])
        server.script("theirs", Turn(Pause(1), UseTool("bash", steps=[theirs])))
        ours = AskPermission("bash", description="ours", then=[Say("It ran.")])
        server.script("ours", Turn(Say("Hm. "), Pause(3), Say("Yes.")))
        server.script("alone", Turn(UseTool("bash", steps=[ours])))
        session_id = server.create_session()
        async with (
            Mix(server.url, network=server.network) as mix,
            Mix(server.url, network=server.network) as other,
            other.open_stream(session_id) as session_of_the_other,
            mix.open_stream(session_id, on_permission=policy) as session,
            trio.open_nursery() as nursery,
        ):
            await session_of_the_other.ask("hello")
            await session.ask("hello")

            async def ask_theirs() -> None:
                with suppress(errors.AgentError):  # where ours is given up, the server cancels it
                    await session_of_the_other.ask("theirs")

            nursery.start_soon(ask_theirs)
            await trio.sleep(0.5)
            # On pipeline the server may cancel it when the other client gives up its own.
            with trio.move_on_after(200), suppress(errors.AgentError):
                await session.ask("ours")
            assert asked == []
            nursery.cancel_scope.cancel()
        async with (
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(server.create_session(), on_permission=policy) as session,
        ):
            await session.ask("alone")
            assert asked == ["ours"]


async def test_beside_another_client_a_pipeline_message_must_have_called_the_tool_it_asks_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    asked: list[str] = []

    def policy(request: ev.PermissionEvent, message: Message) -> bool:
        asked.append(message.text)
        return True

    async with (
        MixServer("pipeline", listen=False, pace=0.0) as server,
        Mix(server.url, network=server.network) as mix,
        mix.open_stream(server.create_session(session_id="s"), on_permission=policy) as session,
    ):
        later = (UseTool("bash"), Pause(50), Say("Done."))
        server.script("not called", Turn(Say("I ask. "), AskPermission("bash"), *later))
        server.script("called", Turn(UseTool("bash", steps=[AskPermission("bash")])))
        await session.ask("not called")
        server.run_message("s", "another client's")
        await trio.sleep(1)
        await session.ask("not called")
        await session.ask("called")
        assert asked == ["not called", "called"]


async def test_a_message_that_the_stored_messages_name_does_not_answer_for_another_clients_turn(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """It was silent for so long that they were read; no event of a blocking server names a turn."""
    asked: list[str] = []

    def policy(request: ev.PermissionEvent, _message: Message) -> bool:
        asked.append(request.description)
        return True

    async with (
        MixServer("blocking", listen=False, pace=0.0) as server,
        Mix(server.url, network=server.network) as mix,
        mix.open_stream(server.create_session(session_id="s"), on_permission=policy) as session,
        trio.open_nursery() as nursery,
    ):
        theirs = AskPermission("bash", description="theirs", then=[Say("It ran.")])
        server.script("theirs", Turn(UseTool("bash", steps=[theirs])))
        server.script("ours", Turn(Pause(100), Say("Yes.")))
        nursery.start_soon(session.ask, "ours")
        await trio.sleep(80)
        server.run_message("s", "theirs")
    assert asked == []


async def test_a_permission_request_is_put_to_our_policy_once_the_stored_messages_can_be_read(
    autojump_clock: trio.testing.MockClock,
) -> None:
    failing: list[str] = []
    asked: list[int] = []

    def refuse(ctx: BeforeRequestContext) -> None:
        if failing and ctx.operation == failing[-1]:
            failing.pop()
            raise RuntimeError("not now")

    def policy(_request: ev.PermissionEvent, _message: Message) -> bool:
        asked.append(len(failing))
        return True

    async with (
        MixServer("pipeline", listen=False, pace=0.0) as server,
        Mix(server.url, network=server.network, hooks=Hooks(before_request=refuse)) as mix,
        mix.open_stream(server.create_session(), on_permission=policy) as session,
    ):
        server.script("hello", Turn(UseTool("bash", steps=[Pause(1), AskPermission("bash")])))
        async with session.send("hello") as message:
            failing += ["sessions.export_session"] * 3
            await message.wait()
        assert asked == [0], "the number of readings that will fail yet"


@pytest.mark.parametrize("api", ["blocking", "pipeline", "pipeline-oldest"])
async def test_a_request_is_put_to_the_policy_also_if_its_message_is_stored_after_it(
    api: Api, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = StoredMessages.rows
    since: dict[str, float] = {}

    async def behind(self: StoredMessages, session_id: str) -> Rows | None:
        found, now = await read(self, session_id), trio.current_time()
        assert found is not None
        shown = [row for row in found.rows if now - since.setdefault(row.id, now) >= 0.3]
        return attrs.evolve(found, rows=shown)

    monkeypatch.setattr(StoredMessages, "rows", behind)
    asked: list[str] = []

    def policy(request: ev.PermissionEvent, _message: Message) -> bool:
        asked.append(request.tool_name)
        return True

    async with MixServer(api, listen=False) as server:
        server.script("go", Turn(UseTool("bash", steps=[AskPermission("bash")]), Say("It ran.")))
        async with (
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(server.create_session(), on_permission=policy) as session,
        ):
            for _ in range(2):
                with trio.fail_after(25):
                    reply = await session.ask("go")
                assert (asked, reply.text) == (["bash"], "It ran.")
                asked.clear()


@pytest.mark.parametrize("api", ["pipeline", "pipeline-oldest"])
async def test_the_policy_is_asked_for_a_message_behind_another_clients_whichever_stream_runs_it(
    api: Api, autojump_clock: trio.testing.MockClock
) -> None:
    asked: list[str] = []

    def policy(request: ev.PermissionEvent, _message: Message) -> bool:
        asked.append(request.description)
        return True

    async def grant(_request: ev.PermissionEvent, _message: Message) -> bool:
        await trio.sleep(1)
        return True

    async def read_slowly(ctx: BeforeRequestContext) -> None:
        if ctx.operation in ("sessions.export_session", "messages.get_session"):
            await trio.sleep(0.4)

    hooks = Hooks(before_request=read_slowly)
    async with (
        MixServer(api, listen=False, pace=0.0) as server,
        Mix(server.url, network=server.network, hooks=hooks) as mix,
        Mix(server.url, network=server.network) as other,
    ):
        for text in ("theirs", "ours"):
            question = AskPermission("bash", description=text)
            server.script(text, Turn(Pause(0.3), UseTool("bash", steps=[question]), Say("Done.")))
        for wait in (0.05, 0.1, 0.2, 0.4, 1.2) * 3:  # which stream runs a message is chance
            session_id = server.create_session()
            async with (
                other.open_stream(session_id, on_permission=grant) as session_of_the_other,
                mix.open_stream(session_id, on_permission=policy) as session,
                trio.open_nursery() as nursery,
            ):
                nursery.start_soon(session_of_the_other.ask, "theirs")
                await trio.sleep(wait)
                reply = await session.ask("ours")
                assert (asked, reply.text) == (["ours"], "Done.")
                asked.clear()
