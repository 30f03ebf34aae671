"""Cancelled at any checkpoint, no operation leaves a task or a socket, and the next one works."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from tests.support.contract_cases import CASES
from tests.support.contract_world import HOWS, caller_of, world_of
from tests.support.rest_operations import OPERATIONS
from trio_mix.testing import cancel_at_every_checkpoint

if TYPE_CHECKING:
    from tests.support.contract_world import Client

# Those that can be called again with the same arguments, whatever came of the call before.
AGAIN = [
    name
    for name, operation in OPERATIONS.items()
    if operation.name == name
    and name
    not in (
        "authentication.handle_oauth_callback",
        "files.delete",
        "notifications.respond",
        "permissions.grant",
        "permissions.deny",
        "sessions.delete",
        "messages.send",  # would leave turns running, which is the stream's tests' business
        "streaming.send_streaming_message",
    )
]


@pytest.mark.parametrize("client", ["own", "httpx2"])
@pytest.mark.parametrize("name", AGAIN)
async def test_an_operation_cancelled_anywhere_leaves_nothing_behind(
    name: str, client: Client
) -> None:
    generation = OPERATIONS[name].generations[-1]
    async with world_of(generation) as world:
        async with caller_of(world.server) as preparing:
            await CASES[name].before(world, preparing)
        await trio.testing.wait_all_tasks_blocked()

        async def call() -> None:
            async with caller_of(world.server, client) as caller:
                for how in HOWS:
                    await caller(name, how, **CASES[name].args(world))

        with trio.fail_after(60):
            sweep = await cancel_at_every_checkpoint(call)
        assert sweep.checkpoints >= 4
        gc.collect()  # what was left open warns here, which is an error
