"""The caller's policy for permission requests: what grants, denies, and fails a message."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from trio_mix import Mix, errors
from trio_mix.testing import AskPermission, MixServer, PermissionAnswered, Say, Turn

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix import Message
    from trio_mix.events import PermissionEvent

RUNS = Turn(AskPermission("bash", then=[Say("It ran.")], otherwise=[Say("No.")]))


async def ask(policy: Callable[..., object]) -> str:
    """Return the reply to a message whose permission request the policy decides."""
    async with MixServer() as server, Mix(server.url, network=server.network) as mix:
        server.script("run", RUNS)
        async with mix.open_stream(
            server.create_session(),
            on_permission=policy,  # type: ignore[arg-type]  # invalid ones too
        ) as session_id:
            with trio.fail_after(10):
                try:
                    return (await session_id.ask("run")).text
                except Exception:
                    answered = await server.wait_for(PermissionAnswered)
                    assert answered.answer == "denied"
                    raise


async def test_true_grants_and_false_denies_sync_or_async() -> None:
    async def later(granted: bool) -> bool:
        await trio.lowlevel.checkpoint()
        return granted

    def now(granted: bool) -> bool:
        return granted

    for decide in (now, later):
        assert await ask(lambda _request, _message, decide=decide: decide(True)) == "It ran."
        assert await ask(lambda _request, _message, decide=decide: decide(False)) == "No."


@pytest.mark.parametrize("result", ["yes", 1, None, [True]], ids=repr)
async def test_anything_else_denies_and_fails_the_message(result: object) -> None:
    with pytest.raises(errors.UsageError, match="return True to grant"):
        await ask(lambda _request, _message: result)


async def test_a_coroutine_that_was_never_awaited_denies_and_fails_the_message() -> None:
    async def decide() -> bool:
        await trio.lowlevel.checkpoint()
        return True

    async def forgets(_request: PermissionEvent, _message: Message) -> object:
        await trio.lowlevel.checkpoint()
        return decide()

    with pytest.raises(errors.UsageError, match="a coroutine that was never awaited"):
        await ask(forgets)


async def test_an_exception_of_a_policy_reaches_the_caller_even_if_the_turn_ends_at_once() -> None:
    def policy(_request: PermissionEvent, _message: Message) -> bool:
        raise KeyError("my mistake")

    for _ in range(20):  # the order of the two is random
        with pytest.raises(KeyError, match="my mistake"):
            await ask(policy)


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        (lambda: True, "2 arguments"),
        (lambda _request: True, "2 arguments"),
        (partial(lambda _a, _b: True, 1), "2 arguments"),
        (True, "not callable"),
    ],
)
async def test_a_policy_that_cannot_be_called_is_refused_by_open_stream(
    policy: object, why: str
) -> None:
    async with Mix("http://mix.test") as mix:
        with pytest.raises(errors.ConfigurationError, match=why):
            mix.open_stream("s", on_permission=policy)  # type: ignore[arg-type]
