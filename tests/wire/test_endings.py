"""An end of a turn is understood whatever the shape of its fields."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from trio_mix import Mix, errors
from trio_mix import events as ev
from trio_mix._wire._events import decode_event
from trio_mix.sse import ServerSentEvent
from trio_mix.testing import Emit, Fail, MixServer, Pause, Say, Turn, UseTool

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


DEPTHS = (200, 5000, 100_000)


def decoded(name: str, data: str) -> ev.Event:
    return decode_event(ServerSentEvent(event=name, data=data, id=""))


@pytest.mark.parametrize(
    ("data", "error", "kind"),
    [
        ('{"error": "overloaded", "retryAfter": 1.5}', "overloaded", None),
        ('{"error": "overloaded", "attempt": "2"}', "overloaded", None),
        ('{"error": {"message": "no more", "type": "quota"}}', "no more", "quota"),
        ('{"message": "it broke", "type": "api_error"}', "it broke", "api_error"),
        ('{"error": null, "code": 7}', '{"error": null, "code": 7}', None),
        ('"it broke"', "it broke", None),
        ("[1]", "[1]", None),
        ("upstream timed out: {}", "upstream timed out: {}", None),
        ('{"error": "half \\ud800 a pair"}', "half \ufffd a pair", None),
        ('\ufeff{"error": "marked"}', "marked", None),
        ('{"error": "a\x01b"}', "a\x01b", None),
        *((deep := f'{{"error": {"[" * depth}{"]" * depth}}}', deep, None) for depth in DEPTHS),
        *(
            (f'{{"error": "x", "y": {"[" * depth}{"]" * depth}}}', "x", None)
            for depth in (200, 900)
        ),
    ],
)
def test_an_error_keeps_all_that_it_said(data: str, error: str, kind: str | None) -> None:
    event = decoded("error", data)
    assert isinstance(event, ev.ErrorEvent)
    assert (event.error, event.type, event.attempt, event.retry_after) == (error, kind, None, None)


def test_done_is_false_only_where_that_is_said() -> None:
    for said in ("null", "false", "0", '"false"'):
        event = decoded("complete", f'{{"done": {said}, "reasoningDuration": "odd"}}')
        assert isinstance(event, ev.CompleteEvent)
        assert not event.done
    for said in ("true", "1", '"true"', "[]", "{}", '"yes"'):
        event = decoded("complete", f'{{"done": {said}, "reasoningDuration": "odd"}}')
        assert isinstance(event, ev.CompleteEvent)
        assert event.done


def test_an_empty_id_is_none() -> None:
    """A server that is written in Go sends an empty text for an id that is not set."""
    for more in ("", ', "reasoningDuration": "odd", "retryAfter": "odd"'):
        for name in ("complete", "error", "rate_limit_error"):
            data = f'"error": "x", "parentToolCallId": "", "messageId": ""{more}'
            event = decoded(name, f'{{"type": "x", "done": true, {data}}}')
            assert getattr(event, "parent_tool_call_id", "no such field") is None
            assert getattr(event, "message_id", None) is None
    event = decoded("content", '{"type": "x", "content": "x", "assistantMessageId": ""}')
    assert isinstance(event, ev.ContentEvent)
    assert event.assistant_message_id is None


def test_an_odd_field_may_be_nested_to_any_depth_that_can_be_parsed() -> None:
    deep = "[" * 300 + "]" * 300
    event = decoded("complete", f'{{"done": true, "content": {deep}, "messageId": "m"}}')
    assert event == ev.CompleteEvent(id=None, done=True, message_id="m")
    event = decoded("complete", f'{{"done": true, "parentToolCallId": {deep}}}')
    assert isinstance(event, ev.CompleteEvent)
    assert event.parent_tool_call_id


def test_a_complete_with_an_odd_field_keeps_the_others() -> None:
    for message_id in ("7", f'"{"m" * 5000}"'):
        event = decoded(
            "complete", f'{{"done": true, "content": "all", "messageId": {message_id}}}'
        )
        assert event == ev.CompleteEvent(id=None, done=True, content="all")
    event = decoded("complete", '{"done": true, "content": "all", "messageId": 7}')
    assert isinstance(event, ev.CompleteEvent)
    assert (event.done, event.content, event.message_id) == (True, "all", None)


def test_a_parent_that_cannot_be_read_means_a_sub_agent() -> None:
    for said in ("7", "[]", "{}", "true"):
        for name in ("complete", "error", "rate_limit_error"):
            event = decoded(name, f'{{"done": true, "error": "x", "parentToolCallId": {said}}}')
            assert getattr(event, "parent_tool_call_id", None) is not None


@given(name=st.sampled_from(["complete", "error", "rate_limit_error"]), payload=JSON)
def test_no_json_object_turns_an_end_into_an_unknown_event(name: str, payload: object) -> None:
    import json

    if isinstance(payload, dict) or name != "complete":
        event = decoded(name, json.dumps(payload))
        assert not isinstance(event, ev.UnknownEvent)
        for text in (getattr(event, "error", None), getattr(event, "content", None)):
            assert text is None or text.encode()


def test_what_is_no_json_is_left_to_those_who_repair_torn_events() -> None:
    for name in ("complete", "error"):
        assert isinstance(decoded(name, '{"done": tr'), ev.UnknownEvent)


async def test_an_odd_error_ends_its_turn_at_once(autojump_clock: trio.testing.MockClock) -> None:
    async with MixServer(listen=False) as server, Mix(server.url, network=server.network) as mix:
        odd = Emit("error", {"error": {"message": "the model is gone"}, "retryAfter": 1.5})
        server.script("go", Turn(Say("I begin. "), odd, Pause(1000)))
        async with mix.open_stream(server.create_session()) as session:
            began = trio.current_time()
            with pytest.raises(errors.AgentError, match="the model is gone"):
                await session.ask("go")
            assert trio.current_time() - began < 1


async def test_an_end_is_certain_where_only_the_export_is_refused_by_the_api(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """The error body of the API may mean the operation: the session's messages show the same."""
    body = b'{"error": {"type": "not_found", "message": "not found", "code": 404}}'
    header = {"Content-Type": "application/json"}
    for api in ("async", "blocking", "pipeline"):
        async with (
            MixServer(api, listen=False, pace=0.0) as server,
            Mix(server.url, network=server.network) as mix,
        ):
            path = f"/api/sessions/{server.create_session()}/export"
            server.answer_next(path, 404, headers=header, body=body, times=1000)
            server.script("go", Turn(Say("All "), UseTool("glob"), Say("of it.")))
            server.script("fail", Turn(Say("Some."), Fail("it broke")))
            async with mix.open_stream(path.split("/")[3]) as session:
                reply = await session.ask("go")
                assert (reply.text, reply.incomplete, reply.doubts) == ("All of it.", False, ())
                with pytest.raises(errors.AgentError, match="it broke") as caught:
                    await session.ask("fail")
                assert caught.value.partial is not None
                assert not caught.value.partial.incomplete
