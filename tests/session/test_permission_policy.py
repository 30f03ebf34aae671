"""The caller's policy about permission requests: what grants, what denies, what fails."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from trio_mix import Mix, errors
from trio_mix.testing import AskPermission, MixServer, Say, Turn

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix import Message
    from trio_mix.events import PermissionEvent

RUNS = Turn(AskPermission("bash", then=[Say("It ran.")], otherwise=[Say("No.")]))


async def ask(policy: Callable[..., object]) -> str:
    """Return the reply of a message whose request the policy decides."""
    async with MixServer() as server, Mix(server.url, network=server.network) as mix:
        server.script("run", RUNS)
        async with mix.open_stream(
            server.create_session(),
            on_permission=policy,  # type: ignore[arg-type]  # wrong ones too
        ) as session:
            with trio.fail_after(10):
                return (await session.ask("run")).text


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


@pytest.mark.parametrize("round_", range(20))
async def test_what_a_policy_raises_reaches_the_caller_however_fast_the_server_ends(
    round_: int,
) -> None:
    def policy(_request: PermissionEvent, _message: Message) -> bool:
        raise KeyError(f"mistake {round_}")

    with pytest.raises(KeyError, match=f"mistake {round_}"):
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
async def test_a_policy_that_cannot_be_called_is_refused_where_it_is_given(
    policy: object, why: str
) -> None:
    async with Mix("http://mix.test") as mix:
        with pytest.raises(errors.ConfigurationError, match=why):
            mix.open_stream("s", on_permission=policy)  # type: ignore[arg-type]
