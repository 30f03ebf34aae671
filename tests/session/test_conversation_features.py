"""Notifications, session callbacks, plan mode, thinking level and browser mode, end to end."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio

from trio_mix import Mix, errors, models
from trio_mix import events as ev
from trio_mix.testing import (
    MixServer,
    NotificationAnswered,
    Notify,
    Say,
    SubAgent,
    Think,
    Turn,
    UseTool,
)

if TYPE_CHECKING:
    from trio_mix import SessionStream
    from trio_mix.testing import Api

VERSIONS: list[tuple[Api, str]] = [
    ("async", "0.11.4"),
    ("async", "0.11.1"),
    ("async", "0.8.0"),
    ("async", "0.7.4"),
    ("blocking", "0.7.3"),
    ("pipeline", "0.6.9"),
    ("pipeline", "0.6.4"),
]
EACH = pytest.mark.parametrize(("api", "version"), VERSIONS)


async def answers(session: SessionStream, text: str, value: str | None) -> list[str]:
    """Send a message, respond to its notifications, and return their texts."""
    seen = []
    with trio.fail_after(10):
        async with session.send(text) as message:
            async for event in message:
                if isinstance(event, ev.NotificationEvent):
                    seen.append(event.message)
                    await message.respond(event, value)
            assert message.reply.text == "Thank you."
    return seen


@pytest.mark.parametrize(
    ("response", "choices", "value"),
    [
        ("acknowledge", (), None),
        ("text", (), "as you like — ü"),
        ("choice", ("red", "blue"), "blue"),
    ],
)
@pytest.mark.parametrize("version", ["0.11.1", "0.11.4"])
async def test_the_response_to_a_notification_depends_on_its_type(
    response: Any, choices: tuple[str, ...], value: str | None, version: str
) -> None:
    async with MixServer("async", version=version, pace=0.0) as server:
        ask = Notify("Well?", title="T", kind="question", response=response, choices=choices)
        server.script("go", Turn(ask, Say("Thank you.")))
        async with (
            Mix(server.url) as mix,
            mix.open_session(title="Ask") as session,
            session.subscribe() as everything,
        ):
            assert await answers(session, "go", value) == ["Well?"]
            event = await anext(everything)
            while not isinstance(event, ev.NotificationEvent):
                event = await anext(everything)
        assert (event.title, event.notification_type) == ("T", "question")
        assert (event.response_type, event.choices or ()) == (response, choices)
        answered = [r for r in server.log if isinstance(r, NotificationAnswered)]
        assert [(r.type, r.value) for r in answered] == [(response, value)]
        body = json.loads(server.requests("POST", "/api/notifications/")[0].body)
        assert body == {"type": response} | ({} if value is None else {"value": value})


async def test_a_sub_agents_notification_reaches_the_message_too() -> None:
    async with MixServer("async", pace=0.0) as server:
        server.script("go", Turn(SubAgent(Notify("Below?"), Say("x")), Say("Thank you.")))
        async with Mix(server.url) as mix, mix.open_session() as session:
            assert await answers(session, "go", None) == ["Below?"]


async def test_a_second_response_to_a_notification_is_an_error() -> None:
    async with MixServer("async", pace=0.0) as server:
        server.script("go", Turn(Notify("Well?"), Say("Thank you.")))
        async with Mix(server.url) as mix, mix.open_session() as session:
            with trio.fail_after(10):
                async with session.send("go") as message:
                    async for event in message:
                        if isinstance(event, ev.NotificationEvent):
                            await message.respond(event)
                            with pytest.raises(errors.ErrorResponse, match="not found"):
                                await message.respond(event)


async def test_a_response_of_an_unknown_type_is_not_sent() -> None:
    async with MixServer("async", pace=0.0) as server:
        server.script("go", Turn(Notify("Well?", response="wave"), Say("Hi")))  # type: ignore[arg-type]
        async with Mix(server.url) as mix, mix.open_session() as session:
            with trio.fail_after(10):
                async with session.send("go") as message:
                    async for event in message:
                        if isinstance(event, ev.NotificationEvent):
                            assert event.response_type == "wave"
                            with pytest.raises(errors.ConfigurationError, match="acknowledge"):
                                await message.respond(event)
                            break
        assert server.requests("POST", "/api/notifications/") == []


CALLBACKS = [
    models.Callback(tool_name="Bash", type="bash_script", bash_command="make", bash_timeout=5),
    models.Callback(
        tool_name="*",
        type="sub_agent",
        sub_agent_prompt="Review",
        sub_agent_type="general-purpose",
        include_full_history=True,
    ),
    models.Callback(tool_name="Edit", type="send_message", message_content="Now test it"),
]


async def test_session_callbacks_are_set_shown_replaced_and_removed() -> None:
    async with MixServer("async", pace=0.0) as server, Mix(server.url) as mix:
        made = await mix.sessions.create(title="With callbacks", callbacks=CALLBACKS)
        assert made.callbacks == tuple(CALLBACKS)
        assert (await mix.sessions.get(id=made.id)).callbacks == tuple(CALLBACKS)
        one = await mix.sessions.update_session_callbacks(id=made.id, callbacks=CALLBACKS[:1])
        assert one.callbacks == tuple(CALLBACKS[:1])
        none = await mix.sessions.update_session_callbacks(id=made.id, callbacks=[])
        assert not none.callbacks
        with pytest.raises(errors.ConfigurationError, match="type"):
            await mix.sessions.update_session_callbacks(
                id=made.id, callbacks=[models.Callback(tool_name="Bash", type="magic")]
            )


async def test_open_session_takes_the_arguments_of_sessions_create() -> None:
    async with MixServer("async", pace=0.0) as server, Mix(server.url) as mix:
        async with mix.open_session(
            title="Remote",
            browser_mode="remote-cdp-websocket",
            cdp_url="ws://127.0.0.1:9222/x",
            callbacks=CALLBACKS,
            model_id="scripted-small",
            provider="anthropic",
            custom_system_prompt="Be kind",
            prompt_mode="append",
        ) as session:
            made = await mix.sessions.get(id=session.session_id)
            assert made.browser_mode == "remote-cdp-websocket"
            assert made.cdp_url == "ws://127.0.0.1:9222/x"
            assert made.callbacks == tuple(CALLBACKS)
            assert (made.model_id, made.provider) == ("scripted-small", "anthropic")
        assert await mix.sessions.list() == []


@EACH
async def test_a_session_without_a_browser_mode_is_created_on_every_server(
    api: Api, version: str
) -> None:
    async with MixServer(api, version=version, pace=0.0) as server, Mix(server.url) as mix:
        async with mix.open_session(title="Plain") as session:
            made = await mix.sessions.get(id=session.session_id)
            newest = version.startswith("0.11")
            assert made.browser_mode == ("local-browser-service" if newest else None)
            assert made.session_type == ("main" if newest else None)
        bodies = [json.loads(r.body) for r in server.requests("POST", "/api/sessions")]
        assert bodies[0] == {"title": "Plain"}
        assert len(bodies) == (2 if newest else 1)


@pytest.mark.parametrize("mode", ["electron-embedded-browser", "local-browser-service"])
async def test_a_browser_mode_is_set_or_refused(mode: Any) -> None:
    async with MixServer("async", pace=0.0) as server, Mix(server.url) as mix:
        assert (await mix.sessions.create(title="B", browser_mode=mode)).browser_mode == mode
    async with MixServer("pipeline", pace=0.0) as server, Mix(server.url) as mix:
        with pytest.raises(errors.ErrorResponse, match="browserMode"):
            await mix.sessions.create(title="B", browser_mode=mode)


@EACH
async def test_plan_mode_reaches_the_server_and_the_events_reach_the_message(
    api: Api, version: str
) -> None:
    async with MixServer(api, version=version, pace=0.0) as server, Mix(server.url) as mix:
        turn = Turn(Think("hm"), UseTool("ReadText", {"path": "a"}), Say("The plan."))
        server.script(lambda text: text.startswith("plan it"), turn)
        async with mix.open_session() as session:
            with trio.fail_after(10):
                reply = await session.ask("plan it", plan_mode=True)
                assert reply.text == "The plan."
                assert [call.name for call in reply.tool_calls] == ["ReadText"]
                assert (await session.ask("and now do it")).text
        posts = [json.loads(r.body) for r in server.requests("POST") if b"plan it" in r.body]
        sent = [json.loads(body["content"]) if "content" in body else body for body in posts]
        assert [body["plan_mode"] for body in sent if body["text"] == "plan it"][-1] is True


@EACH
async def test_thinking_level_and_steps_are_sent_or_refused_but_never_dropped(
    api: Api, version: str
) -> None:
    async with MixServer(api, version=version, pace=0.0) as server, Mix(server.url) as mix:
        async with mix.open_session() as session:
            with trio.fail_after(10):
                if api == "async":
                    assert (await session.ask("hi", thinking_level="maximum", max_steps=2)).text
                    body = json.loads(server.requests("POST", "/api/sessions/")[-1].body)
                    assert (body["thinking_level"], body["max_steps"]) == ("maximum", 2)
                else:
                    with pytest.raises(errors.MessageRejected, match="thinking_level"):
                        await session.ask("hi", thinking_level="maximum", max_steps=2)
                    assert server.runs("hi") == 0
                with pytest.raises(errors.ConfigurationError, match="thinking_level"):
                    session.send("hi", thinking_level="huge")  # type: ignore[arg-type]  # pyright: ignore
                assert (await session.ask("something plain")).text
