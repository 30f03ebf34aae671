"""Functions that make events and turns, for the tests of the sans-IO layers."""

from __future__ import annotations

from trio_mix import events as ev
from trio_mix._turns._reply_builder import ReplyBuilder
from trio_mix._turns._router import TurnRouter
from trio_mix._turns._turn import Input, Turn
from trio_mix._turns._wire_traits import WireTraits


def asked(message_id: str, text: str, parent: str | None = None) -> ev.Event:
    return ev.UserMessageCreatedEvent(
        message_id=message_id, content=text, parent_tool_call_id=parent
    )


def says(
    text: str, message_id: str | None = None, parent: str | None = None, sse_id: str | None = None
) -> ev.Event:
    return ev.ContentEvent(
        id=sse_id, content=text, assistant_message_id=message_id, parent_tool_call_id=parent
    )


def thinks(text: str, message_id: str | None = None, parent: str | None = None) -> ev.Event:
    return ev.ThinkingEvent(
        content=text, assistant_message_id=message_id, parent_tool_call_id=parent
    )


def done(
    message_id: str | None = None,
    text: str | None = "",
    parent: str | None = None,
    *,
    is_done: bool = True,
    reasoning: str | None = None,
    duration: int | None = None,
) -> ev.Event:
    return ev.CompleteEvent(
        done=is_done,
        content=text,
        message_id=message_id,
        reasoning=reasoning,
        reasoning_duration=duration,
        parent_tool_call_id=parent,
    )


def error(text: str = "it broke", parent: str | None = None) -> ev.Event:
    return ev.ErrorEvent(error=text, parent_tool_call_id=parent)


def rate_limit(parent: str | None = None, text: str = "slow down") -> ev.Event:
    return ev.RateLimitEvent(error=text, retry_after=60, parent_tool_call_id=parent)


def tool(call: str, text: str = "", status: str = "running", name: str = "ls") -> ev.Event:
    return ev.ToolEvent(tool_call_id=call, name=name, input=text, status=status)


def begins(
    call: str, message_id: str | None = None, parent: str | None = None, name: str = "ls"
) -> ev.Event:
    return ev.ToolUseStartEvent(
        tool_call_id=call, name=name, assistant_message_id=message_id, parent_tool_call_id=parent
    )


def piece(
    call: str, text: str, message_id: str | None = None, parent: str | None = None
) -> ev.Event:
    return ev.ToolUseParameterDeltaEvent(
        tool_call_id=call, input=text, assistant_message_id=message_id, parent_tool_call_id=parent
    )


def old_piece(call: str, text: str) -> ev.Event:
    return ev.ToolParameterDeltaEvent(tool_call_id=call, input=text)


def whole(
    call: str,
    text: str,
    message_id: str | None = None,
    parent: str | None = None,
    name: str = "ls",
) -> ev.Event:
    return ev.ToolUseParameterStreamingCompleteEvent(
        tool_call_id=call,
        name=name,
        input=text,
        assistant_message_id=message_id,
        parent_tool_call_id=parent,
    )


def runs(call: str, parent: str | None = None, name: str = "ls") -> ev.Event:
    return ev.ToolExecutionStartEvent(
        tool_call_id=call, tool_name=name, progress="", parent_tool_call_id=parent
    )


def ran(
    call: str, parent: str | None = None, name: str = "ls", *, success: bool = True
) -> ev.Event:
    return ev.ToolExecutionCompleteEvent(
        tool_call_id=call, tool_name=name, progress="", success=success, parent_tool_call_id=parent
    )


def permission(parent: str | None = None) -> ev.Event:
    return ev.PermissionEvent(
        permission_id="p",
        session_id="s",
        tool_name="bash",
        description="",
        action="execute",
        parent_tool_call_id=parent,
    )


def unknown() -> ev.Event:
    return ev.UnknownEvent(name="brand_new", data="{}")


BUSY = error("agent error: session is currently processing another request")


def router_for(api: str) -> TurnRouter:
    """A router that knows its server: P late, P oldest, B, A, or nothing yet ("auto")."""
    match api:
        case "pipeline" | "pipeline-oldest":
            return TurnRouter(WireTraits(ids=False, rate_limit_ends=True, answers=False))
        case "blocking":
            return TurnRouter(WireTraits(answers=True))
        case "async":
            return TurnRouter(WireTraits(ids=True, answers=False))
    return TurnRouter(WireTraits(rate_limit_ends=None, answers=None))


def send(
    router: TurnRouter, text: str = "hello", *, accept: bool = True, plan_mode: bool = False
) -> Turn:
    turn = router.register(text, plan_mode=plan_mode)
    router.apply(turn, Input.SENDING)
    if accept:
        router.apply(turn, Input.ACCEPTED)
    return turn


def owners(router: TurnRouter, *events: ev.Event) -> list[Turn | None]:
    """Route events; return each one's owner, also where it was named only later."""
    owner: list[Turn | None] = []
    for event in events:
        owner.append(None)
        route = router.route([event])
        for each in route.events:
            at = next(i for i, seen in enumerate(events[: len(owner)]) if seen is each)
            assert owner[at] is None, "an event was named twice"
            owner[at] = route.turn
    return owner


def fed(*events: ev.Event) -> ReplyBuilder:
    builder = ReplyBuilder()
    builder.feed(events)
    return builder


def deltas(events: list[ev.Event]) -> str:
    return "".join(
        event.content
        for event in events
        if isinstance(event, ev.ContentEvent) and event.parent_tool_call_id is None
    )


def served(api: str) -> TurnRouter:
    """A router that has seen one turn of ours, so the server is known to name messages."""
    router = router_for(api)
    send(router, "before")
    owners(router, asked("u0", "before"), done("a0"))
    return router
