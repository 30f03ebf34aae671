"""Cancelled at any checkpoint, no operation leaves a task or a socket, and the next one works."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.support.cases import case
from tests.support.contract_cases import CASES
from tests.support.contract_world import GROUPS, HOWS, caller_of, have, world_of
from tests.support.rest_operations import OPERATIONS
from trio_mix.testing import cancel_at_every_checkpoint

if TYPE_CHECKING:
    from tests.support.contract_world import Client, World

NOT_AGAIN = (
    "authentication.handle_oauth_callback",
    "files.delete",
    "notifications.respond",
    "permissions.grant",
    "permissions.deny",
    "sessions.delete",
    "messages.send",  # would leave turns running, which the tests of sessions are about
    "streaming.send_streaming_message",
)
"""The operations that cannot be called again with the same arguments."""


@pytest.mark.parametrize("client", ["own", "httpx2"])
@pytest.mark.parametrize("group", GROUPS)
async def test_an_operation_cancelled_anywhere_leaves_nothing_behind(
    group: str, client: Client
) -> None:
    for name in dict.fromkeys(name for name, _ in have(group)):
        if name in NOT_AGAIN or OPERATIONS[name].name != name:
            continue
        async with world_of(OPERATIONS[name].generations[-1]) as world:
            async with caller_of(world.server) as preparing:
                await CASES[name].before(world, preparing)
            await trio.testing.wait_all_tasks_blocked()

            async def call(name: str = name, world: World = world) -> None:
                async with caller_of(world.server, client) as caller:
                    for how in HOWS:
                        await caller(name, how, **CASES[name].args(world))

            with case(name), trio.fail_after(60):
                sweep = await cancel_at_every_checkpoint(call)
                assert sweep.checkpoints >= 4
            gc.collect()  # what was left open warns here, which is an error
