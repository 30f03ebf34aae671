"""What a script makes the server send."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.support.wire_client import Frame, open_frames, send
from trio_mix import Mix
from trio_mix.errors import MessageError, MixError
from trio_mix.testing import (
    AskPermission,
    Complete,
    Do,
    Emit,
    Fail,
    LateDelta,
    MixServer,
    RateLimit,
    Raw,
    Say,
    SubAgent,
    Think,
    Turn,
    UseTool,
    assert_ran_once,
    expect_events,
)

if TYPE_CHECKING:
    from trio.testing import MockClock

    from trio_mix.testing import Api


async def _events(server: MixServer, turn: Turn, last: str = "end") -> list[Frame]:
    server.script("go", Turn(*turn.steps, Emit("end")))
    session_id = server.create_session()
    async with open_frames(server, session_id) as frames:
        await send(server, session_id, "go")
        return await frames.until(last)


def _names(frames: list[Frame]) -> list[str | None]:
    return [frame.event for frame in frames]


async def test_scripts_match_by_text_pattern_or_function_and_later_ones_win() -> None:
    async with MixServer("blocking") as server:
        server.script(lambda text: len(text) > 20, Turn(Say("long")))
        server.script(re.compile("^a"), Turn(Say("with a")))
        server.script("again", Turn(Say("first")), Turn(Say("second")))
        session_id = server.create_session()
        answers = [
            (await send(server, session_id, text)).json["assistantResponse"]
            for text in ("x" * 30, "apple", "again", "again", "again")
        ]
    assert answers == ["long", "with a", "first", "second", "second"]


async def test_a_complete_can_precede_the_last_deltas_of_its_message() -> None:
    async with MixServer() as server:
        turn = Turn(Say("a b c d"), Complete(overtakes=2))
        got = await _events(server, turn)
    sent = [(f.event, f.data.get("content")) for f in got[1:-1]]
    assert sent == [
        ("content", "a "),
        ("content", "b "),
        ("complete", "a b c d"),
        ("content", "c "),
        ("content", "d"),
    ]


async def test_a_complete_precedes_no_delta_of_an_earlier_round() -> None:
    async with MixServer() as server:
        got = await _events(server, Turn(Say("a b"), UseTool("ls"), Complete(overtakes=2)))
    sent = [f.event for f in got[1:-1]]
    assert (sent[:2], sent[-1]) == (["content", "content"], "complete")


async def test_the_last_deltas_can_be_lost() -> None:
    async with MixServer() as server:
        got = await _events(server, Turn(Say("a b c d"), Complete(overtakes=1, loses=1)))
    sent = [(f.event, f.data.get("content")) for f in got[1:-1]]
    assert sent == [
        ("content", "a "),
        ("content", "b "),
        ("complete", "a b c d"),
        ("content", "c "),
    ]


async def test_a_late_delta_follows_the_end_and_is_not_stored() -> None:
    async with MixServer() as server:
        got = await _events(server, Turn(Say("a"), LateDelta("ghost"), Complete()))
        assert got[2].data["content"] == "ghost"
        server.script("late", Turn(Say("a"), LateDelta("ghost")))
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            await send(server, session_id, "late")
            assert (await frames.until("complete"))[-1].data["content"] == "a"
            assert (await frames.next()).data["content"] == "ghost"


async def test_complete_and_error_can_be_sent_any_number_of_times() -> None:
    async with MixServer() as server:
        got = await _events(server, Turn(Say("a", deltas=1), Complete(times=3)))
        assert _names(got)[2:] == ["complete"] * 3 + ["end"]
        server.script("fail", Turn(Fail("x", times=3)))
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            await send(server, session_id, "fail")
            await frames.until("error")
            server.emit(session_id, "end", {})
            assert _names(await frames.until("end")) == ["error", "error", "end"]


async def test_the_fields_of_an_ending_can_be_replaced_added_and_left_out() -> None:
    odd: dict[str, object] = {"retryAfter": 1.5, "attempt": "2"}
    async with MixServer() as server:
        got = await _events(server, Turn(Complete(data={"done": "yes", "messageId": None})))
        assert got[-2].data == {"type": "complete", "content": "", "done": "yes"}
        for turn, name, expected in (
            (Turn(Fail("busy", data=odd)), "error", {"error": "busy", **odd}),
            (Turn(Fail("", data={"error": None, "message": "x"})), "error", {"message": "x"}),
            (
                Turn(RateLimit(data={"type": None, "error": {"message": "x"}, "attempt": "1"})),
                "rate_limit_error",
                {"error": {"message": "x"}, "attempt": "1", "maxAttempts": 8, "retryAfter": 60},
            ),
        ):
            got = await _events(server, turn, name)
            assert got[-1].data == expected


async def test_a_sub_agent_works_under_its_tool_call() -> None:
    turn = Turn(SubAgent(Think("t", deltas=1), UseTool("Glob"), Say("i", deltas=1)), Say("o"))
    async with MixServer() as server:
        got = await _events(server, Turn(*turn.steps, Complete()))
    inner = [frame for frame in got if (frame.data or {}).get("parentToolCallId")]
    assert {frame.data["parentToolCallId"] for frame in inner} == {"call-1"}
    assert _names(inner)[:2] == ["user_message_created", "thinking"]
    assert _names(inner)[-2:] == ["content", "complete"]
    completes = [frame.data for frame in got if frame.event == "complete"]
    assert [c["content"] for c in completes] == ["i", "o"]
    names = _names(got)
    assert names.index("tool_execution_start") < names.index("thinking")


async def test_sub_agents_send_no_events_before_async() -> None:
    async with MixServer("pipeline") as server:
        got = await _events(server, Turn(SubAgent(Say("inner")), Say("outer"), Complete()))
    assert [f.data["content"] for f in got if f.event == "complete"] == ["outer"]
    assert {f.data["name"] for f in got if f.event == "tool"} == {"task"}


async def test_raw_bytes_are_sent_unchanged() -> None:
    async with MixServer("pipeline") as server:
        server.script("go", Turn(Raw(b"data: tor"), Raw(b"n\n\n")))
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            await send(server, session_id, "go")
            assert (await frames.next()).raw == "data: torn"


async def test_raw_bytes_past_the_framing_break_the_http_response() -> None:
    async with MixServer("pipeline") as server:
        server.script("go", Turn(Raw(b"no chunk size\r\n", past_framing=True)))
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            await send(server, session_id, "go")
            assert await frames.rest() == []
            assert frames.ended == "cut"


async def test_a_torn_permission_frame_cannot_be_parsed_and_times_out(
    autojump_clock: MockClock,
) -> None:
    async with MixServer("pipeline", listen=False) as server:
        server.script("go", Turn(AskPermission(torn=True)))
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            await send(server, session_id, "go")
            got = await frames.until("complete")
    assert all(frame.event != "permission" or "heartbeat" in frame.raw for frame in got)
    assert "not given permission" in got[-1].data["content"]


async def test_a_permission_frame_can_break_the_chunked_encoding(autojump_clock: MockClock) -> None:
    async with MixServer("async", listen=False) as server:
        server.script("go", Turn(Say("x"), AskPermission(torn="chunk")))
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            await send(server, session_id, "go")
            got = await frames.rest()
            assert frames.ended == "cut"
            assert got[-1].event == "permission"
            assert server.running_turns == 1


async def test_the_id_of_a_permission_frame_can_be_lower_than_the_one_before_it(
    autojump_clock: MockClock,
) -> None:
    async with MixServer("async", listen=False) as server:
        server.script("go", Turn(AskPermission(torn="ids")))
        session_id = server.create_session()
        async with open_frames(server, session_id) as frames:
            await send(server, session_id, "go")
            got = await frames.until("permission")
    assert [(frame.event, frame.id) for frame in got] == [
        ("user_message_created", "2"),
        ("heartbeat", "4"),
        ("permission", "3"),
    ]


async def test_a_scripted_function_is_called_and_its_exception_is_raised_on_leaving() -> None:
    calls: list[int] = []

    async def note() -> None:
        calls.append(1)

    async def fail() -> None:
        raise KeyError("from the script")

    async def program() -> None:
        async with MixServer() as server:
            await _events(server, Turn(Do(note)))
            assert calls == [1]
            server.script("fail", Turn(Do(fail)))
            await send(server, "session-1", "fail")
            await server.wait_until(lambda: len(server.failures) == 1)

    with pytest.raises(KeyError, match="from the script"):
        await program()


@pytest.mark.parametrize("api", ["pipeline", "blocking", "async"])
async def test_a_turn_whose_step_raises_ends_with_an_error_event(
    api: Api, autojump_clock: MockClock
) -> None:
    async def fail() -> None:
        raise KeyError("from the script")

    async def program() -> None:
        async with MixServer(api, listen=False) as server:
            server.script("go", Turn(Do(fail)))
            async with (
                Mix(server.url, network=server.network) as mix,
                mix.open_session() as session,
            ):
                with trio.fail_after(50), pytest.raises((MixError, MessageError), match="script"):
                    await session.ask("go")

    with pytest.raises(KeyError, match="from the script"):
        await program()


async def test_objects_that_are_not_turns_or_steps_are_refused_at_once() -> None:
    server = MixServer(listen=False)
    with pytest.raises(TypeError, match=r"put the steps into a turn, Turn\(Say\("):
        server.script("Hi", Say("Hello"))  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    with pytest.raises(TypeError, match="takes steps, for example Say"):
        Turn("Hello")  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]
    wrong: list[Any] = ["Hello"]
    for make in (
        lambda: AskPermission(then=wrong),
        lambda: AskPermission(otherwise=wrong),
        lambda: UseTool("read", steps=wrong),
        lambda: SubAgent(*wrong),
    ):
        with pytest.raises(TypeError, match="takes steps, for example Say"):
            make()


async def test_what_can_select_no_message_or_event_is_refused_at_once() -> None:
    server = MixServer(listen=False)
    wrong: list[Any] = [5, re.compile(b"Hi"), ["Hi"]]
    for match in wrong:
        with pytest.raises(TypeError, match="a text, a compiled pattern or a function"):
            server.script(match, Turn(Say("Hello")))
        with pytest.raises(TypeError, match="a text, a compiled pattern or a function"):
            assert_ran_once(server, match)
    anything: Any = server
    events: Any = "content"
    with pytest.raises(TypeError, match="classes of events and functions, not 'content'"):
        await expect_events(anything, events)
    for step in (Say, Think):
        with pytest.raises(TypeError, match="must be a string, not 5"):
            step(5)  # type: ignore[arg-type] # pyright: ignore


async def test_deltas_joined_must_be_the_text() -> None:
    with pytest.raises(ValueError, match="must be its text"):
        Say("text", deltas=["te", "st"])
    with pytest.raises(ValueError, match="must be its text"):
        Think("text", deltas=[])
