"""For each operation: its arguments on a bundled server, what holds of its value, how it fails.

Paths, bodies and statuses of success are not here: they are under test.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import attrs

from tests.support.contract_world import Recorder
from trio_mix import events, models
from trio_mix.testing import MessageRun, NotificationAsked, PermissionAsked

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from tests.support.contract_world import Caller, World

Args = dict[str, Any]


async def _nothing(_world: World, _caller: Caller) -> None: ...


@attrs.frozen(kw_only=True)
class Case:
    """One call of one operation that the server does."""

    args: Callable[[World], Args] = lambda _: {}
    before: Callable[[World, Caller], Awaitable[None]] = _nothing
    """What must have happened before each call."""
    holds: Callable[[Any, World], object]
    """What is true of the value."""


def _session(world: World, **more: Any) -> Args:
    return {"id": world.session, **more}


async def _flow(world: World, caller: Caller) -> None:
    flow = await caller("authentication.start_oauth_flow", "method", provider="anthropic")
    world.noted["state"] = flow.state


async def _key(_: World, caller: Caller) -> None:
    key = {"api_key": "sk-contract", "provider": "openai"}
    await caller("authentication.store_api_key", "method", **key)


async def _file(world: World, caller: Caller) -> None:
    file = {"file": b"0123456789", "filename": "a b.png"}
    await caller("files.upload", "method", **_session(world, **file))


async def _running(world: World, _: Caller) -> None:
    asked = world.server.runs("hang")
    world.server.run_message(world.session, "hang")
    await world.server.wait_for(MessageRun, text="hang", count=asked + 1)


async def _permission(world: World, _: Caller) -> None:
    asked = sum(isinstance(record, PermissionAsked) for record in world.server.log)
    world.server.run_message(world.session, "ask")
    record = await world.server.wait_for(PermissionAsked, count=asked + 1)
    world.noted["id"] = record.permission_id


async def _notification(world: World, _: Caller) -> None:
    asked = sum(isinstance(record, NotificationAsked) for record in world.server.log)
    world.server.run_message(world.session, "notify")
    record = await world.server.wait_for(NotificationAsked, count=asked + 1)
    world.noted["id"] = record.notification_id


async def _spare_session(world: World, _: Caller) -> None:
    world.noted["spare"] = world.server.create_session("Spare")


CALLBACK: Final = models.Callback(
    tool_name="Bash",
    type="bash_script",
    name="Look",
    bash_command="make test",
    bash_timeout=1000,
    exclude_from_context=True,
)


def _create_args(world: World) -> Args:
    args: Args = {"title": "New", "custom_system_prompt": "Be kind", "prompt_mode": "append"}
    if world.generation == "0.11.4":
        args |= {
            "browser_mode": "remote-cdp-websocket",
            "cdp_url": "ws://127.0.0.1:9222/devtools",
            "callbacks": [CALLBACK],
            "session_type": "main",
            "model_id": "scripted-large",
            "provider": "anthropic",
            "subagent_type": "general-purpose",
        }
    return args


def _send_args(world: World) -> Args:
    args = _session(world, text="hello", plan_mode=True)
    if world.generation == "0.6.4":
        args |= {"media": ["a.png"], "apps": []}
    if world.generation == "0.11.4":
        args |= {"thinking_level": "maximum", "max_steps": 3}
    return args


def _sent(value: models.SendResult, world: World) -> bool:
    if world.generation == "0.11.4":
        return (value.status_code, value.status) == (202, "processing")
    message = value.message
    return (
        value.status_code == 200
        and message is not None
        and message.assistant_response == "Hello yourself."
    )


def _done(value: models.CredentialsResult, _: World) -> bool:
    return value.status == "success" and bool(value.provider and value.message)


def _none(value: object, _: World) -> bool:
    return value is None


CASES: Final[dict[str, Case]] = {
    "authentication.store_api_key": Case(
        args=lambda _: {"api_key": "sk-contract", "provider": "brave"}, holds=_done
    ),
    "authentication.handle_oauth_callback": Case(
        args=lambda w: {"code": "c-1234", "provider": "anthropic", "state": w.noted["state"]},
        before=_flow,
        holds=lambda v, _: v.expires_in > 0,
    ),
    "authentication.start_oauth_flow": Case(
        args=lambda _: {"provider": "anthropic"}, holds=lambda v, _: v.state in v.auth_url
    ),
    "authentication.get_auth_status": Case(
        holds=lambda v, _: v.providers["anthropic"].auth_method == "api_key"
    ),
    "authentication.validate_preferred_provider": Case(
        holds=lambda v, _: v.valid is True and v.provider == "anthropic"
    ),
    "authentication.delete_credentials": Case(
        args=lambda _: {"provider": "openai"}, before=_key, holds=_done
    ),
    "authentication.get_oauth_health": Case(
        holds=lambda v, _: v.status in ("healthy", "degraded") and v.timestamp.tzinfo is not None
    ),
    "authentication.refresh_oauth_tokens": Case(holds=lambda v, _: v.status == "success"),
    "files.list": Case(
        args=_session,
        before=_file,
        holds=lambda v, _: [(each.name, each.size) for each in v] == [("a b.png", 10)],
    ),
    "files.upload": Case(
        args=lambda w: _session(w, file=b"abc", filename="ü.txt"),
        holds=lambda v, _: (v.name, v.size, v.is_dir) == ("ü.txt", 3, False),
    ),
    "files.get": Case(
        args=lambda w: _session(w, filename="a b.png", thumb="w100", time=1.5),
        before=_file,
        holds=lambda v, _: v.startswith(b"\xff\xd8"),
    ),
    "files.delete": Case(args=lambda w: _session(w, filename="a b.png"), before=_file, holds=_none),
    "messages.get_history": Case(
        args=lambda _: {"limit": 2, "offset": 0},
        holds=lambda v, w: 1 <= len(v) <= 2 and v[0].session_id == w.session,
    ),
    "messages.cancel_processing": Case(
        args=_session, before=_running, holds=lambda v, _: v.cancelled is True
    ),
    "messages.get_session": Case(
        args=_session,
        holds=lambda v, _: (
            v[-1].assistant_response == "Hello yourself."
            and any(call.parsed_input == {"path": "a"} for m in v for call in m.tool_calls or ())
        ),
    ),
    "messages.send": Case(args=_send_args, holds=_sent),
    "notifications.respond": Case(
        args=lambda w: {"id": w.noted["id"], "type": "choice", "value": "b"},
        before=_notification,
        holds=_none,
    ),
    "permissions.grant": Case(
        args=lambda w: {"id": w.noted["id"]}, before=_permission, holds=lambda v, _: v.granted
    ),
    "permissions.deny": Case(
        args=lambda w: {"id": w.noted["id"]},
        before=_permission,
        holds=lambda v, _: v.granted is False,
    ),
    "preferences.get": Case(
        holds=lambda v, _: v.preferences.preferred_provider in v.available_providers
    ),
    "preferences.update": Case(
        args=lambda _: {
            "preferred_provider": "openai",
            "main_agent_model": "scripted-other",
            "main_agent_max_tokens": 11,
            "main_agent_reasoning_effort": "high",
            "sub_agent_model": "scripted-small",
            "sub_agent_max_tokens": 12,
            "sub_agent_reasoning_effort": "low",
        },
        holds=lambda v, _: (v.main_agent_max_tokens, v.sub_agent_reasoning_effort) == (11, "low"),
    ),
    "preferences.get_providers": Case(holds=lambda v, _: v["openai"].models == ("scripted-other",)),
    "preferences.reset": Case(holds=lambda v, _: v.main_agent_model == "scripted-large"),
    "sessions.list": Case(
        args=lambda w: {"include_subagents": True} if w.generation == "0.11.4" else {},
        holds=lambda v, w: w.session in [each.id for each in v],
    ),
    "sessions.create": Case(
        args=_create_args,
        holds=lambda v, w: (
            v.title == "New" and (w.generation != "0.11.4" or v.callbacks == (CALLBACK,))
        ),
    ),
    "sessions.get": Case(
        args=_session, holds=lambda v, _: (v.title, v.user_message_count) == ("Contract", 1)
    ),
    "sessions.delete": Case(
        args=lambda w: {"id": w.noted["spare"]}, before=_spare_session, holds=_none
    ),
    "sessions.fork": Case(
        args=lambda w: _session(w, message_index=0, title="Copy"),
        holds=lambda v, _: (
            (v.title, v.user_message_count, v.assistant_message_count) == ("Copy", 1, 0)
        ),
    ),
    "sessions.export_session": Case(
        args=_session,
        holds=lambda v, _: (
            v.messages[-1].content == "Hello yourself."
            and v.messages[-1].updated_at.tzinfo is not None
        ),
    ),
    "sessions.rewind_session": Case(
        args=lambda w: _session(w, message_id=w.message, cleanup_media=True),
        holds=lambda v, w: v.id == w.session,
    ),
    "sessions.update_session_callbacks": Case(
        args=lambda w: _session(w, callbacks=[CALLBACK]),
        holds=lambda v, _: v.callbacks == (CALLBACK,),
    ),
    "streaming.stream_events": Case(
        args=lambda w: {"session_id": w.session, "last_event_id": "3"},
        holds=lambda v, _: isinstance(v, events.ConnectedEvent),
    ),
    "streaming.send_streaming_message": Case(
        args=lambda w: _session(w, content='{"text": "hello"}'),
        holds=lambda v, w: (v.status, v.session_id) == ("broadcasted", w.session),
    ),
    "system.list_commands": Case(holds=lambda v, _: all(each.name for each in v) and v),
    "system.get_command": Case(
        args=lambda _: {"name": "help"}, holds=lambda v, _: v.usage == "/help"
    ),
    "system.list_mcp_servers": Case(
        holds=lambda v, _: v[0].connected and v[0].tools and not v[1].connected
    ),
    "system.health_check": Case(
        holds=lambda v, w: v.version == w.generation and v.timestamp.tzinfo is not None
    ),
    "system.get_system_info": Case(holds=lambda v, _: v.storage_base_path),
    "tools.get_tools_status": Case(holds=lambda v, _: v.categories["search"].tools),
    "tools.list_llm_tools": Case(holds=lambda v, _: v.tools[0].parameters and v.tools[0].required),
    "tools.get_tool_credentials_status": Case(
        holds=lambda v, _: v.categories["search"].tools[0].api_key_format
    ),
}
CASES["health.get_oauth_health"] = CASES["authentication.get_oauth_health"]
CASES["internal.refresh_oauth_tokens"] = CASES["authentication.refresh_oauth_tokens"]


def _nobody(**more: Any) -> Callable[[World], Args]:
    return lambda _: {"id": "nobody", **more}


PROVOKED: Final[dict[tuple[str, int], Callable[[World], Args]]] = {
    ("authentication.store_api_key", 400): lambda _: {"api_key": "", "provider": "openai"},
    ("authentication.handle_oauth_callback", 400): lambda _: {
        "code": "c-1234",
        "provider": "anthropic",
        "state": "stale",
    },
    ("authentication.start_oauth_flow", 400): lambda _: {"provider": "brave"},
    ("authentication.delete_credentials", 400): lambda _: {"provider": "no/body"},
    ("files.list", 404): _nobody(),
    ("files.upload", 400): lambda w: _session(w, file=b"abc", filename="a/b"),
    ("files.upload", 404): _nobody(file=b"abc", filename="a"),
    ("files.upload", 413): lambda w: _session(w, file=b"x" * 150_000, filename="a"),
    ("files.get", 400): lambda w: _session(w, filename=".."),
    ("files.get", 404): lambda w: _session(w, filename="missing"),
    ("files.delete", 400): lambda w: _session(w, filename="../a"),
    ("files.delete", 404): lambda w: _session(w, filename="missing"),
    ("messages.cancel_processing", 404): _nobody(),
    ("messages.get_session", 404): _nobody(),
    ("messages.send", 400): lambda w: _session(w, text=""),
    ("messages.send", 404): _nobody(text="hello"),
    ("notifications.respond", 404): _nobody(type="acknowledge"),
    ("permissions.grant", 404): _nobody(),
    ("permissions.deny", 404): _nobody(),
    ("preferences.update", 400): lambda _: {"preferred_provider": "nobody"},
    ("sessions.create", 400): lambda _: {"title": ""},
    ("sessions.get", 404): _nobody(),
    ("sessions.delete", 404): _nobody(),
    ("sessions.fork", 400): lambda w: _session(w, message_index=99),
    ("sessions.fork", 404): _nobody(message_index=0),
    ("sessions.export_session", 404): _nobody(),
    ("sessions.rewind_session", 400): lambda w: _session(w, message_id=""),
    ("sessions.rewind_session", 404): lambda w: _session(w, message_id="nobody"),
    ("sessions.update_session_callbacks", 400): lambda w: _session(
        w, callbacks=[models.Callback(tool_name="", type="send_message")]
    ),
    ("sessions.update_session_callbacks", 404): _nobody(callbacks=[]),
    ("streaming.stream_events", 404): lambda _: {"session_id": "nobody"},
    ("streaming.send_streaming_message", 404): _nobody(content='{"text": "hello"}'),
    ("system.get_command", 404): lambda _: {"name": "no/thing"},
}
"""Documented errors that the bundled server makes by itself, and the arguments that provoke them.

All others are put into its mouth with `MixServer.answer_next`.
"""


async def answered(world: World, caller: Caller, name: str) -> tuple[Any, Any]:
    """Return the JSON that the server sent, and the value that it was decoded to."""
    await CASES[name].before(world, caller)
    recorder = Recorder(caller.mix._caller.http)
    caller.mix._caller.http = recorder  # type: ignore[assignment]
    value = await caller(name, "method", **CASES[name].args(world))
    caller.mix._caller.http = recorder.inner
    return json.loads(recorder.answers[-1].body), value
