"""`RelayClient`: what the agent asks during a message, answered by policies or by the program."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import attrs
import pytest
import trio

from tests.support.relay_clients import connected, in_front_of
from tests.support.relay_running import open_relay
from trio_mix import events as ev
from trio_mix.errors import ConfigurationError, UsageError
from trio_mix.relay import Auth, CommandRefused, RelayMessage
from trio_mix.relay._grants import new_token
from trio_mix.testing import (
    AskPermission,
    MixServer,
    NotificationAnswered,
    Notify,
    PermissionAnswered,
    Say,
    Turn,
)

if TYPE_CHECKING:
    from pathlib import Path

ASKS = Turn(
    AskPermission("bash", then=[Say("ran ")], otherwise=[Say("not run ")]),
    Notify("Which?", response="choice", choices=("a", "b"), wait=True),
    Say("done"),
)


async def test_policies_answer_what_a_message_asks() -> None:
    async with MixServer("async", listen=False) as server:
        server.script("go", ASKS)
        async with in_front_of(server) as (client, _, _, session_id):
            seen: list[object] = []
            answers = [True, False]

            async def decide(event: ev.PermissionEvent, message: RelayMessage) -> bool:
                seen.append((event.tool_name, message.text))
                return answers.pop(0)

            def choose(event: ev.NotificationEvent, message: RelayMessage) -> str:
                seen.append((event.message, message.text))
                return "b"

            for text in ("ran done", "not run done"):
                seen.clear()
                async with client.send(
                    session_id, "go", on_permission=decide, on_notification=choose
                ) as message:
                    assert (await message.wait()).text == text
                assert seen == [("bash", "go"), ("Which?", "go")]
            assert [
                each.value for each in server.log if isinstance(each, NotificationAnswered)
            ] == ["b", "b"]


async def test_a_policy_that_fails_denies_and_its_error_is_raised() -> None:
    async with MixServer("async", listen=False) as server:
        server.script("go", ASKS)
        async with in_front_of(server) as (client, _, _, session_id):
            with pytest.raises(UsageError, match="on_permission returned"):
                async with client.send(
                    session_id,
                    "go",
                    on_permission=lambda _, __: 1,  # type: ignore[arg-type,return-value]
                ) as message:
                    await message.wait()
            assert [each.answer for each in server.log if isinstance(each, PermissionAnswered)] == [
                "denied"
            ]
            with pytest.raises(ConfigurationError, match="on_permission"):
                client.send(session_id, "go", on_permission=lambda: True)  # type: ignore[arg-type,misc]


async def test_a_notification_is_answered_once() -> None:
    async with MixServer("async", listen=False) as server:
        server.script("go", Turn(Notify("Name?", response="text", wait=True), Say("done")))
        async with in_front_of(server) as (client, _, _, session_id):
            async with client.send(session_id, "go") as message:
                async for event in message:
                    if isinstance(event, ev.NotificationEvent):
                        await message.respond(event, "Ada")
                        await message.respond(event, "Ada")  # as after a lost answer
                        with pytest.raises(CommandRefused):
                            await message.respond(event, "Bob")
                        with pytest.raises(UsageError, match="unknown type 'shout'"):
                            await message.respond(attrs.evolve(event, response_type="shout"))
                assert message.reply.text == "done"
            assert [
                each.value for each in server.log if isinstance(each, NotificationAnswered)
            ] == ["Ada"]


async def test_a_policy_ends_when_its_turn_is_over() -> None:
    async with MixServer("async", listen=False, permission_timeout=0.01) as server:
        server.script("go", Turn(AskPermission("bash", otherwise=[]), Say("done")))
        async with in_front_of(server) as (client, _, _, session_id):
            cancelled: list[str] = []

            async def hang(event: ev.PermissionEvent, message: RelayMessage) -> bool:
                try:
                    await trio.sleep(math.inf)
                finally:
                    cancelled.append(event.tool_name)
                return message.finished

            with trio.fail_after(60):
                async with client.send(session_id, "go", on_permission=hang) as message:
                    assert (await message.wait()).text == "done"
            assert cancelled == ["bash"]


async def test_a_token_that_may_not_decide_fails_the_message(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.toml"
    token = new_token(tokens, sessions=None, verbs=["read", "send", "cancel"])
    async with MixServer("async", listen=False) as server:
        server.script("go", ASKS)
        session_id = server.create_session()
        async with (
            open_relay(server, auth=Auth.tokens(tokens)) as relay,
            connected(relay, token=token) as (client, _),
        ):
            with trio.fail_after(60), pytest.raises(CommandRefused) as refused:
                async with client.send(
                    session_id, "go", on_permission=lambda _, __: True
                ) as message:
                    await message.wait()
            assert refused.value.status_code == 403


async def test_a_question_that_nothing_answers_is_logged_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    twice = Turn(*[AskPermission("bash", otherwise=[])] * 2, Say("done"))
    async with MixServer("async", listen=False, permission_timeout=0.01) as server:
        server.script("go", twice)
        async with in_front_of(server) as (client, _, _, session_id):
            async with client.send(session_id, "go") as message:
                assert (await message.wait()).text == "done"
            [record] = [each for each in caplog.records if "on_permission" in each.message]
            assert session_id in record.message
            caplog.clear()
            async with (
                client.subscribe(session_id),  # which may answer
                client.send(session_id, "go") as message,
            ):
                await message.wait()
            assert not [each for each in caplog.records if "on_permission" in each.message]
