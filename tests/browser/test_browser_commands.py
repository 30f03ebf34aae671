"""The table of commands: order, limits, invalid input. Rules of `trio_mix.browser._commands`."""

from __future__ import annotations

import itertools
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from trio_mix.browser._commands import CommandTable, DevToolsCommand, TunnelCounters


def table(
    *,
    timeout: float = 28.0,
    max_answer: int = 10_000_000,
    max_pending: int = 256,
    max_size: int = 2**26,
) -> tuple[CommandTable, TunnelCounters]:
    counters = TunnelCounters()
    made = CommandTable(
        timeout=timeout,
        max_answer=max_answer,
        max_pending=max_pending,
        max_size=max_size,
        counters=counters,
    )
    return made, counters


def take(table: CommandTable, now: float = 0.0, **message: Any) -> DevToolsCommand:
    command, due = table.receive(json.dumps({"id": 1, "method": "A.b"} | message), now)
    assert command is not None
    assert due == []
    return command


def ids(answers: list[str]) -> list[object]:
    return [json.loads(answer)["id"] for answer in answers]


def test_answers_of_one_target_are_sent_in_the_order_of_the_commands() -> None:
    commands, _ = table()
    first, second, third = (take(commands, id=number) for number in (1, 2, 3))
    assert commands.settle(third, {"result": {}}) == []
    assert commands.settle(second, {"result": {}}) == []
    assert ids(commands.settle(first, {"result": {}})) == [1, 2, 3]


def test_targets_do_not_wait_for_each_other() -> None:
    commands, _ = table()
    take(commands, id=1, sessionId="one")
    second = take(commands, id=2, sessionId="two")
    third = take(commands, id=3)
    assert ids(commands.settle(second, {"result": {}})) == [2]
    assert ids(commands.settle(third, {"result": {}})) == [3]


def test_pending_commands_and_queued_answers_are_bounded_in_bytes() -> None:
    commands, _ = table(max_size=5000)
    first, second = (take(commands, id=number, params={"a": "x" * 1500}) for number in (1, 2))
    refused, due = commands.receive(
        json.dumps({"id": 3, "method": "A.b", "params": {"a": "x" * 2500}}), 0
    )
    assert (refused, due) == (None, [])  # its answer is queued behind those of the others
    assert commands.settle(second, {"result": {"a": "x" * 4000}}) == []
    answers = list(map(json.loads, commands.settle(first, {"result": {"a": "x" * 4000}})))
    assert len(answers[0]["result"]["a"]) == 4000
    assert "too large" in answers[1]["error"]["message"]
    assert "exceed 5,000 bytes" in answers[2]["error"]["message"]
    take(commands, id=4, params={"a": "x" * 3000})


def test_a_command_that_times_out_gets_an_error_and_its_late_answer_is_dropped() -> None:
    commands, counters = table(timeout=28.0)
    command = take(commands, now=100.0, method="Page.navigate", browserId="b")
    assert commands.next_deadline == 128.0
    assert commands.expire(127.9) == ([], [])
    late, due = commands.expire(128.0)
    assert late == [command]
    (answer,) = map(json.loads, due)
    assert answer["id"] == 1
    assert answer["browserId"] == "b"
    assert answer["error"]["code"] == -32000
    assert "did not answer Page.navigate within 28 s" in answer["error"]["message"]
    assert commands.settle(command, {"result": {}}) == []
    assert (counters.timeouts, counters.answers, counters.dropped) == (1, 1, 1)
    assert commands.next_deadline is None


def test_an_answer_queued_behind_a_slow_command_is_sent_when_that_one_times_out() -> None:
    commands, _ = table(timeout=28.0)
    take(commands, now=0.0, id="slow")
    quick = take(commands, now=10.0, id="quick")
    assert commands.settle(quick, {"result": {"value": 1}}) == []
    _, due = commands.expire(28.0)
    assert ids(due) == ["slow", "quick"]
    assert json.loads(due[1])["result"] == {"value": 1}


def test_an_answer_at_the_limit_passes_and_one_byte_more_is_an_error() -> None:
    frame = len('{"id":1,"result":{"v":""}}')
    for letter, passes in itertools.product(("x", "ö", "\N{PILE OF POO}"), (True, False)):
        size = frame + 1000 * len(letter.encode())
        limit = size if passes else size - 1
        commands, counters = table(max_answer=limit)
        (answer,) = commands.settle(take(commands), {"result": {"v": letter * 1000}})
        assert ("result" in json.loads(answer)) is passes
        assert counters.too_large == (not passes)
        if not passes:
            message = json.loads(answer)["error"]["message"]
            assert f"{size:,} bytes" in message
            assert f"{limit:,}" in message
            assert "Request less" in message


def test_a_command_beyond_the_maximum_of_pending_ones_is_answered_with_an_error_in_order() -> None:
    commands, _ = table(max_pending=2)
    first, second = take(commands, id=1), take(commands, id=2)
    assert commands.receive('{"id": 3, "method": "A.b"}', 0.0) == (None, [])
    assert ids(commands.settle(first, {"result": {}})) == [1]
    due = commands.settle(second, {"result": {}})
    assert ids(due) == [2, 3]
    assert "2 commands are pending" in json.loads(due[1])["error"]["message"]
    take(commands, id=4)


def test_an_id_is_sent_back_unchanged() -> None:
    for number in (0, 7, -1, 2**60, 1.5, "", "a", {"x": [1]}, [2], True):
        commands, _ = table()
        assert ids(commands.settle(take(commands, id=number), {"result": {}})) == [number]


def test_two_commands_with_the_same_id_are_two_commands() -> None:
    commands, _ = table()
    one = take(commands, sessionId="one")
    two = take(commands, sessionId="two")
    assert json.loads(commands.settle(two, {"result": {"n": 2}})[0])["result"] == {"n": 2}
    assert json.loads(commands.settle(one, {"result": {"n": 1}})[0])["result"] == {"n": 1}


def test_a_browser_id_is_sent_back_unchanged() -> None:
    for browser in ("b", 5, None, ""):
        commands, _ = table()
        (answer,) = commands.settle(take(commands, browserId=browser), {"result": {}})
        assert json.loads(answer) == {"id": 1, "browserId": browser, "result": {}}


def test_the_browsers_error_is_sent_complete_and_the_rest_of_its_message_is_not() -> None:
    commands, _ = table()
    failure = {"code": -32601, "message": "no", "data": "d"}
    outcome = {"id": 99, "sessionId": "s", "error": failure}
    (answer,) = commands.settle(take(commands, sessionId="s"), outcome)
    assert json.loads(answer) == {"id": 1, "error": failure}


def test_lone_surrogates_are_escaped() -> None:
    commands, _ = table()
    (answer,) = commands.settle(take(commands), json.loads(r'{"result": {"v": "ö\ud800"}}'))
    assert answer.encode()
    assert json.loads(answer)["result"]["v"] == "ö\ud800"


def test_a_message_that_cannot_be_answered_is_counted_and_dropped() -> None:
    texts: list[str | bytes] = [
        *("", "{", "[]", "5", '"x"', "null", '{"method": "A.b"}', '{"id": null, "method": "A.b"}'),
        *('{"id": 1, "method": "A.b", "params": {"x": NaN}}', "[" * 100_000, b"\xff\xfe\xfd"),
        '{"id": 1, "method": "A.b", "params": {"x": 1e400}}',
    ]
    for text in texts:
        commands, counters = table()
        assert commands.receive(text, 0.0) == (None, [])
        assert (counters.garbage, counters.commands) == (1, 0)


def test_an_invalid_command_is_answered_with_an_error_that_names_the_field() -> None:
    cases: list[tuple[dict[str, object], str]] = [
        ({"method": None}, "'method'"),
        ({"method": ""}, "'method'"),
        ({"method": 5}, "'method'"),
        ({"params": [1]}, "'params' of A.b"),
        ({"params": "x"}, "'params' of A.b"),
        ({"sessionId": 5}, "'sessionId' of A.b"),
    ]
    for fields, expected in cases:
        commands, _ = table()
        message = {"id": 1, "method": "A.b"} | fields
        command, (answer,) = commands.receive(json.dumps(message), 0.0)
        assert command is None
        assert expected in json.loads(answer)["error"]["message"]


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
names = st.sampled_from(["id", "method", "params", "sessionId", "browserId"])


@given(st.text() | st.binary() | st.dictionaries(names, json_values).map(json.dumps))
def test_no_input_raises(text: str | bytes) -> None:
    commands, counters = table()
    command, due = commands.receive(text, 0.0)
    if command is not None:
        assert due == []
        due = commands.settle(command, {"result": {}})
    assert len(due) == counters.commands == counters.answers


steps = st.lists(
    st.tuples(st.sampled_from(["ask", "settle", "wait"]), st.integers(0, 30)), max_size=60
)


@given(steps)
def test_each_command_is_answered_once_and_in_order_under_any_schedule(
    steps: list[tuple[str, int]],
) -> None:
    commands, counters = table(timeout=28.0, max_pending=5)
    now = 0.0
    asked, given = list[object](), list[DevToolsCommand]()
    queues: dict[object, list[object]] = {}
    got: dict[object, list[object]] = {}

    def note(due: list[str]) -> None:
        for answer in ids(due):
            assert isinstance(answer, list)
            got.setdefault(answer[0], []).append(answer)

    for what, number in steps:
        if what == "ask":
            mark = [f"t{number % 3}", len(asked)]
            asked.append(mark)
            queues.setdefault(mark[0], []).append(mark)
            message = {"id": mark, "method": "A.b", "sessionId": mark[0]}
            command, due = commands.receive(json.dumps(message), now)
            if command is not None:
                given.append(command)
            note(due)
        elif what == "settle" and given:
            note(commands.settle(given[number % len(given)], {"result": {}}))
        elif what == "wait":
            now += number
            note(commands.expire(now)[1])
            assert all(command.deadline > now for command in commands.waiting)
    for target, answers in got.items():
        assert answers == queues[target][: len(answers)]
    note(commands.expire(now + 28.0)[1])
    assert got == queues
    assert counters.answers == counters.commands == len(asked)
