"""Permission requests of a turn whose connection was lost: they reach every stream of the session.

In memory, with the autojump clock.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Final

import trio

from trio_mix import Mix
from trio_mix import events as ev
from trio_mix.testing import (
    AskPermission,
    Drop,
    Hang,
    MixServer,
    Pause,
    PermissionAnswered,
    PermissionAsked,
    Say,
    Step,
    Turn,
    UseTool,
)

if TYPE_CHECKING:
    from trio_mix import Message
    from trio_mix.testing import Api

APIS: Final[tuple[Api, ...]] = ("pipeline", "pipeline-oldest")
ASKS = UseTool("bash", steps=[AskPermission("bash", then=[Say("It ran.")])])


def answers(server: MixServer) -> list[str]:
    """Return how each permission request was answered."""
    return [each.answer for each in server.log if isinstance(each, PermissionAnswered)]


async def test_a_request_on_a_later_connection_than_its_turns_is_put_to_the_policy_and_shown(
    autojump_clock: trio.testing.MockClock,
) -> None:
    asked: list[str] = []

    async def policy(_request: ev.PermissionEvent, message: Message) -> bool:
        await trio.sleep(2)
        asked.append(message.text)
        return True

    begins: tuple[list[Step], ...] = ([], [Say("Hm. ")], [UseTool("glob")])
    for api, earlier in itertools.product(APIS, begins):
        async with (
            MixServer(api, listen=False, pace=0.0) as server,
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(server.create_session(), on_permission=policy) as session,
        ):
            server.script("run", Turn(*earlier, Pause(0.1), Drop(), Pause(3), ASKS))
            async with session.send("run") as message:
                shown = [
                    each.tool_name async for each in message if isinstance(each, ev.PermissionEvent)
                ]
                reply = await message.wait()
            assert "It ran." in reply.text
            assert (asked, shown, answers(server)) == (["run"], ["bash"], ["granted"])
            asked.clear()


async def test_a_request_on_a_later_connection_than_its_turns_is_denied_when_the_message_is_left(
    autojump_clock: trio.testing.MockClock,
) -> None:
    for api, reopen in itertools.product(APIS, (False, True)):
        async with (
            MixServer(api, listen=False, pace=0.0) as server,
            Mix(server.url, network=server.network) as mix,
        ):
            server.script("run", Turn(Say("Hm. "), Drop(), Pause(3), ASKS))
            session_id = server.create_session()
            async with mix.open_stream(session_id) as session:
                async with session.send("run"):
                    await server.wait_for(PermissionAsked)
                    await trio.sleep(1)
                if not reopen:
                    await session.ask("next")
            if reopen:
                async with mix.open_stream(session_id) as session:
                    await session.ask("next")
            assert answers(server) == ["denied"]


async def test_another_clients_request_is_neither_put_to_the_policy_of_a_cut_turn_nor_denied(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Even if the cut turn has called the same tool, its end is not known, and it is left."""
    asked: list[str] = []

    def policy(_request: ev.PermissionEvent, message: Message) -> bool:
        asked.append(message.text)
        return True

    for api, left in itertools.product(APIS, (False, True)):
        async with (
            MixServer(api, listen=False, pace=0.0) as server,
            Mix(server.url, network=server.network) as mix,
            mix.open_stream(server.create_session(session_id="s"), on_permission=policy) as session,
        ):
            server.script("ours", Turn(UseTool("bash"), Drop(), Hang()))
            server.script("theirs", Turn(ASKS))
            await session.ask("hello")
            with trio.move_on_after(100):
                async with session.send("ours"):
                    await trio.sleep(3)
                    server.run_message("s", "theirs")
                    await server.wait_for(PermissionAsked)
                    await trio.sleep(1 if left else 40)
            await trio.sleep(60)
            assert (asked, answers(server)) == ([], ["timeout"])
