"""Cancelled at any checkpoint, a stream leaves no task behind, and the next message works."""

from __future__ import annotations

from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import TYPE_CHECKING

import pytest
import trio

from trio_mix import Mix, errors
from trio_mix.testing import (
    AskPermission,
    MixServer,
    Say,
    Think,
    Turn,
    UseTool,
    cancel_at_every_checkpoint,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from trio.testing import MockClock

    from trio_mix import SessionStream, Ticket
    from trio_mix.testing import Api


async def _grant(_request: object, _message: object) -> bool:
    await trio.lowlevel.checkpoint()
    return True


class Scene:
    """A server, one of its sessions, and the check after each cancelled run."""

    def __init__(self, server: MixServer, *, in_memory: bool) -> None:
        self.server = server
        self.session = server.create_session()
        self._network = server.network if in_memory else None

    def client(self) -> Mix:
        return Mix(self.server.url, network=self._network)

    @asynccontextmanager
    async def stream(self, settle_timeout: float = 60) -> AsyncIterator[SessionStream]:
        async with (
            self.client() as mix,
            mix.open_stream(
                self.session, on_permission=_grant, settle_timeout=settle_timeout
            ) as session,
        ):
            yield session

    async def check(self) -> None:
        with trio.fail_after(10):
            async with self.stream() as session:
                await _work(session)


async def _work(session: SessionStream) -> None:
    with trio.fail_after(10):
        reply = await session.ask("work")
    assert reply.text.endswith("All done.")
    assert not session.statistics().turn_running
    assert session.statistics().senders_waiting == 0
    assert session.statistics().subscribers == 0


SCENES: list[tuple[Api, bool]] = [
    ("async", True),
    ("blocking", True),
    ("pipeline", True),
    ("async", False),
]
"""The generations in memory; over sockets, which are the same for each of them, only one."""


@pytest.fixture(params=SCENES, ids=lambda scene: f"{scene[0]}-{('sockets', 'memory')[scene[1]]}")
async def scene(request: pytest.FixtureRequest) -> AsyncIterator[Scene]:
    api, in_memory = request.param
    async with MixServer(api, listen=not in_memory, pace=0.0) as server:
        server.script(
            "work",
            Turn(
                Think("hm"),
                UseTool("glob", {"pattern": "*"}),
                AskPermission("bash", then=[Say("It ran. ")]),
                Say("All done."),
            ),
        )
        yield Scene(server, in_memory=in_memory)


async def test_opening_a_stream(scene: Scene) -> None:
    async def open_and_close() -> None:
        async with scene.stream():
            pass

    sweep = await cancel_at_every_checkpoint(open_and_close, check=scene.check)
    assert sweep.checkpoints >= 2


async def test_asking(scene: Scene) -> None:
    async def ask() -> None:
        async with scene.stream() as session:
            await session.ask("work")

    sweep = await cancel_at_every_checkpoint(ask, check=scene.check)
    assert sweep.checkpoints >= 5


async def test_iterating_with_a_subscription(scene: Scene) -> None:
    async def iterate() -> None:
        async with scene.stream() as session, session.subscribe() as everything:
            async with session.send("work") as message:
                await everything.__anext__()
                async for _ in message.text_deltas():
                    pass

    await cancel_at_every_checkpoint(iterate, check=scene.check)


async def test_leaving_a_message_in_the_middle(scene: Scene) -> None:
    """The stream continues, and its next message must work."""

    async def leave() -> None:
        async with scene.stream() as session:
            async with session.send("work") as message:
                async for _ in message:
                    break
            await _work(session)

    await cancel_at_every_checkpoint(leave, check=scene.check)


async def test_a_session_that_the_client_creates(scene: Scene) -> None:
    async def whole() -> None:
        async with (
            scene.client() as mix,
            mix.open_session(title="Scratch", on_permission=_grant) as session,
        ):
            await session.ask("work")

    sweep = await cancel_at_every_checkpoint(whole, check=scene.check)
    assert sweep.checkpoints >= 8


@pytest.mark.parametrize("scene", SCENES[:3], ids=lambda scene: scene[0], indirect=True)
async def test_a_message_cancelled_at_any_checkpoint_leaves_the_stream_usable(
    scene: Scene,
) -> None:
    async with scene.stream() as session:

        async def ask() -> None:
            await session.ask("work")

        async def check() -> None:
            await _work(session)
            await scene_connections_settle()

        async def scene_connections_settle() -> None:
            # Idle connections are kept for a few seconds; only the library's tasks count here.
            await trio.testing.wait_all_tasks_blocked()

        before = scene.server.connections
        await _work(session)
        for number in range(1, 40):
            with trio.CancelScope() as scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(ask)
                    for _ in range(number):
                        await trio.lowlevel.checkpoint()
                    scope.cancel()
            await check()
        assert scene.server.connections <= before + 8


@pytest.mark.parametrize("scene", SCENES[:3], ids=lambda scene: scene[0], indirect=True)
async def test_a_ticket_cancelled_at_any_checkpoint_ends_and_never_runs_twice(
    scene: Scene, autojump_clock: MockClock
) -> None:
    saved: dict[str, Ticket] = {}
    numbers = count()

    async def save(ticket: Ticket) -> None:
        await trio.lowlevel.checkpoint()
        saved[ticket.ticket_id] = ticket
        await trio.lowlevel.checkpoint()

    async def work() -> None:
        async with scene.stream() as session:
            await save(await session.prepare(f"job {next(numbers)}"))
            ticket = next(reversed(saved.values()))
            async with session.resume(ticket, save=save) as message:
                await message.wait()

    async def check() -> None:
        async with scene.stream(settle_timeout=1) as session:
            for ticket in list(saved.values()):
                assert ticket.state in ("prepared", "posting", "running", "finished", "failed")
                with suppress(errors.MessageInterrupted):  # it was cancelled on the server
                    async with session.resume(ticket, save=save) as message:
                        await message.wait()
                assert scene.server.runs(ticket.text) <= 1
                del saved[ticket.ticket_id]

    await cancel_at_every_checkpoint(work, check=check)
