"""How the models are read: tolerant of what servers do, exact about what does not fit."""

from __future__ import annotations

import ast
import inspect
import sys
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, get_type_hints

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.cases import case
from tests.support.rest_operations import OPERATIONS
from tests.support.rest_samples import EXPORT, FILE, MESSAGE, SAMPLES, SESSION
from trio_mix import models
from trio_mix._public import written_in
from trio_mix._wire._mismatch import Mismatch
from trio_mix._wire._models import decode

if TYPE_CHECKING:
    from collections.abc import Callable

TOOL_CALL = {"id": "t", "name": "Bash", "input": '{"a": 1}', "type": "f", "finished": True}


def mismatch(value: object, shape: Any) -> tuple[str, str, object]:
    with pytest.raises(Mismatch) as caught:
        decode(value, shape)
    assert caught.value.__context__ is None
    return caught.value.path, caught.value.problem, caught.value.value


def test_a_session_of_each_generation_is_one_model() -> None:
    old = decode(SESSION, models.SessionData)
    assert old.created_at == datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert (old.session_type, old.browser_mode, old.callbacks) == (None, None, None)
    new = decode(
        {
            **SESSION,
            "browserMode": "not-invented-yet",
            "sessionType": "main",
            "callbacks": [{"toolName": "Bash", "type": "new-kind", "bashTimeout": 5.0}],
            "unheardOf": {"a": 1},
        },
        models.SessionData,
    )
    assert new.browser_mode == "not-invented-yet"
    assert new.callbacks == (models.Callback(tool_name="Bash", type="new-kind", bash_timeout=5),)


def test_times_are_aware_however_they_are_written() -> None:
    for wire, read in [
        ("2025-01-02T03:04:05Z", datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2025-01-02T03:04:05.123456789Z", datetime(2025, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)),
        ("2025-01-02t03:04:05z", datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (
            "2025-01-02T03:04:05+05:30",
            datetime(2025, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=5, minutes=30))),
        ),
        ("2025-01-02T03:04:05", datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (1735787045, datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (1735787045.0, datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (1735787045000, datetime(2025, 1, 2, 3, 4, 5, tzinfo=UTC)),
        (0, datetime(1970, 1, 1, tzinfo=UTC)),
    ]:
        with case(wire):
            assert decode(wire, datetime) == read
            assert decode(wire, datetime).tzinfo is not None
            assert decode({**FILE, "modified": wire}, models.FileInfo).modified == read


def test_what_is_no_time_does_not_fit() -> None:
    for wire in ["soon", "", True, None, [], 10**30, -(10**30), 1e400]:
        with case(wire):
            assert mismatch({**SESSION, "createdAt": wire}, models.SessionData) == (
                "$.createdAt",
                "expected a time",
                wire,
            )


def test_the_path_leads_to_what_does_not_fit() -> None:
    sessions = [SESSION, {**SESSION, "title": 5}]
    assert mismatch(sessions, list[models.SessionData]) == ("$[1].title", "expected a string", 5)
    del (missing := dict(SESSION))["toolCallCount"]
    assert mismatch(missing, models.SessionData) == (
        "$.toolCallCount",
        "a required field is missing",
        None,
    )
    message = {**MESSAGE, "toolCalls": [TOOL_CALL, {**TOOL_CALL, "finished": "yes"}]}
    assert mismatch(message, models.BackendMessage) == (
        "$.toolCalls[1].finished",
        "expected true or false",
        "yes",
    )
    tools = {"categories": {'a"b': {"tools": [{"display_name": 1}]}}}
    assert mismatch(tools, models.ToolsStatus) == (
        '$.categories["a\\"b"].tools[0].display_name',
        "expected a string",
        1,
    )
    assert mismatch("x", models.SessionData) == ("$", "expected an object", "x")
    assert mismatch("x", list[models.SessionData]) == ("$", "expected a list", "x")
    assert mismatch([], dict[str, models.Provider]) == ("$", "expected an object", [])


def test_nothing_is_converted_by_force() -> None:
    for field, wire in [
        ("cost", True),
        ("cost", "1"),
        ("promptTokens", 1.5),
        ("promptTokens", True),
        ("id", 5),
    ]:
        with case(field, wire):
            assert mismatch({**SESSION, field: wire}, models.SessionData)[0] == f"$.{field}"


def test_null_is_an_empty_list_or_object_as_go_writes_it() -> None:
    assert decode(None, list[models.SessionData]) == []
    assert decode(None, dict[str, models.Provider]) == {}
    assert decode({**EXPORT, "messages": None}, models.ExportSession).messages == ()
    assert decode({**MESSAGE, "toolCalls": None}, models.BackendMessage).tool_calls is None


def test_a_cancellation_s_answer_is_read_as_specified_and_as_seen() -> None:
    for wire, read in [
        ({"cancelled": True}, (True, None)),
        ({"cancelled": False}, (False, None)),
        ({"status": "cancelled", "sessionId": "s"}, (True, "s")),
        ({"status": "idle", "sessionId": "s"}, (False, "s")),
        ({}, (True, None)),
    ]:
        with case(wire):
            result = decode(wire, models.CancelResult)
            assert (result.cancelled, result.session_id) == read


def test_a_permission_s_answer_is_read_either_way() -> None:
    for wire, granted in [
        ({"granted": True}, True),
        ({"denied": True}, False),
        ({"granted": False}, False),
        ({"id": "p", "message": "x", "status": "granted"}, True),
        ({"id": "p", "message": "x", "status": "denied"}, False),
        ({"status": "ok"}, None),
        ({}, None),
    ]:
        with case(wire):
            assert decode(wire, models.PermissionResult).granted is granted


def test_a_sent_message_s_answer_is_an_acknowledgement_or_a_stored_message() -> None:
    ack = decode({"status": "processing", "sessionId": "s"}, models.SendResult)
    assert (ack.status, ack.session_id, ack.message) == ("processing", "s", None)
    answered = decode({**MESSAGE, "assistantResponse": "hi"}, models.SendResult)
    assert answered.message is not None
    assert (answered.message.assistant_response, answered.session_id) == ("hi", "s1")
    assert mismatch({"sessionId": "s"}, models.SendResult)[0] == "$.status"
    assert mismatch({**MESSAGE, "userInput": 1}, models.SendResult)[0] == "$.userInput"


def test_health_s_time_may_be_any_text() -> None:
    assert decode({"status": "ok", "timestamp": "now"}, models.HealthStatus).timestamp is None
    assert decode({"timestamp": 5}, models.HealthStatus).timestamp is not None


def test_tool_inputs_are_parsed_on_demand() -> None:
    shapes: list[type[models.ToolCallData | models.ExportToolCall]] = [
        models.ToolCallData,
        models.ExportToolCall,
    ]
    for shape in shapes:
        assert decode(TOOL_CALL, shape).parsed_input == {"a": 1}
        for text in ("", '{"a": ', "[" * 100_000):
            assert decode({**TOOL_CALL, "input": text}, shape).parsed_input is None


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
SHAPED = [name for name in SAMPLES if name != "files.get" and SAMPLES[name].answer]


@given(st.data(), st.sampled_from(SHAPED))
def test_any_json_is_a_model_or_a_mismatch(data: st.DataObject, name: str) -> None:
    value = data.draw(json_values | st.just(SAMPLES[name].answer))
    target = value[0] if isinstance(value, list) and value else value
    if isinstance(target, dict):
        keys = st.sampled_from([*target, "id", "status"])
        target = {**target, **data.draw(st.dictionaries(keys, json_values, max_size=3))}
        value = [target] if isinstance(value, list) else target
    try:
        decode(value, OPERATIONS[name].result)
    except Mismatch as error:
        assert error.path.startswith("$")  # noqa: PT017


def classes() -> list[type]:
    exported = [getattr(models, name) for name in models.__all__]
    return [each for each in exported if attrs.has(each)]


def test_models_are_frozen_slotted_documented_and_exported() -> None:
    found = classes()
    assert len(found) > 30
    for cls in found:
        with case(cls):
            check_class(cls)


def check_class(cls: type) -> None:
    assert cls.__name__ in models.__all__
    assert "__dict__" not in dir(cls)
    assert get_type_hints(cls)
    source = inspect.getsource(sys.modules[written_in()[cls]])
    (node,) = (
        each
        for each in ast.parse(source).body
        if isinstance(each, ast.ClassDef) and each.name == cls.__name__
    )
    for field, after in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign):
            assert isinstance(after, ast.Expr), ast.unparse(field)


def test_models_are_hashable() -> None:
    makers: list[Callable[[], object]] = [
        lambda: decode(SESSION, models.SessionData),
        lambda: decode(SAMPLES["preferences.get"].answer, models.PreferencesResult),
        lambda: decode(SAMPLES["tools.list_llm_tools"].answer, models.LLMTools),
    ]
    for make in makers:
        assert hash(make()) == hash(make())


def test_a_browser_s_address_is_not_shown() -> None:
    session = decode({**SESSION, "cdpUrl": "ws://h/?key=k"}, models.SessionData)
    assert session.cdp_url == "ws://h/?key=k"
    assert "key=" not in repr(session)
