"""The models, the events and the bundled server held against the OpenAPI files, where they are.

Every difference is listed here with its reason; one that goes away has to leave the list.
"""

from __future__ import annotations

import json
import re
from typing import Any

import attrs
import pytest

from tests.support.cases import case
from tests.support.contract_cases import answered
from tests.support.contract_fields import lost, snake
from tests.support.contract_openapi import load
from tests.support.contract_world import GROUPS, HOWS, caller_of, have, path_of, world_of
from tests.support.rest_operations import OPERATIONS, answers_json
from trio_mix import errors, models
from trio_mix._http import RETRY_CODES
from trio_mix._rest._operation import GENERATIONS
from trio_mix._rest._options import RetryConfig
from trio_mix._wire._events import EVENT_CLASSES, decode_event
from trio_mix._wire._mismatch import Mismatch
from trio_mix._wire._models import decode
from trio_mix.sse import ServerSentEvent

BY_ID = {each.operation_id: each for each in OPERATIONS.values()}
ANSWERS = [
    (operation.operation_id, generation)
    for operation in BY_ID.values()
    for generation in operation.generations
    if answers_json(operation)
]
"""The answers that must be in the files; that there are no others is tested too."""

TOLERATED: dict[tuple[str, str], str] = {
    ("SendResult", "$.sessionId"): "a 202 without it still says that the message was accepted",
}
"""Required by a file, not by the client: model, path, reason."""

NOT_KEPT = {
    ("healthCheck", "$.timestamp: 'a text' became None"): "any text by the files, a time in fact: "
    "what is no time is not worth failing for",
}
"""What does not reach a model: operation, what, reason."""

SERVERS_OWN: dict[tuple[str, str], str] = {
    ("cancelSessionProcessing", "$.sessionId: not in the specification"): "WIRE: real servers "
    "answer with status and sessionId",
    ("cancelSessionProcessing", "$.status: not in the specification"): "the same",
}
"""Where the bundled server differs from the files, as real servers do."""


def decoded(identifier: str, status: int, raw: Any) -> Any:
    value: Any = decode(raw, BY_ID[identifier].result)
    return attrs.evolve(value, status_code=status) if hasattr(value, "status_code") else value


@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_table_knows_which_answers_have_json(generation: str) -> None:
    found = {identifier for identifier, _, _ in load(generation).answers()}
    assert found == {identifier for identifier, g in ANSWERS if g == generation}


@pytest.mark.parametrize("generation", GENERATIONS)
def test_every_field_of_every_answer_reaches_its_model(generation: str) -> None:
    spec = load(generation)
    for identifier, status, schema in spec.answers():
        for whole in (True, False):
            raw = spec.example(schema, whole=whole)
            gone = lost(raw, decoded(identifier, status, raw))
            assert [each for each in gone if (identifier, each) not in NOT_KEPT] == [], identifier


@pytest.mark.parametrize("generation", GENERATIONS)
def test_what_a_file_requires_is_missed_by_its_path(generation: str) -> None:
    """What only some generations require is optional, and that is all that is."""
    spec = load(generation)
    for identifier, status, schema in spec.answers():
        raw = spec.example(schema, whole=True)
        for path, twin in spec.without(schema, raw):
            found = ""
            try:
                value = decoded(identifier, status, twin)
            except Mismatch as error:
                found = error.path.replace('["', ".").replace('"]', "")
            else:
                listed = (type(value).__name__, path) in TOLERATED
                if listed or _optional_somewhere(path, identifier):
                    continue
            assert found == path, f"{generation} {identifier}"


def _optional_somewhere(path: str, identifier: str) -> bool:
    """Whether another generation's file leaves the field of this model out."""
    for generation in GENERATIONS:
        spec = load(generation)
        for other, _, schema in spec.answers():
            if BY_ID[other].result == BY_ID[identifier].result:
                required = {where for where, _ in spec.without(schema, _whole(spec, schema))}
                if path not in required:
                    return True
    return False


def _whole(spec: Any, schema: Any) -> Any:
    return spec.example(schema, whole=True)


def test_no_model_has_a_field_that_no_file_has() -> None:
    """The fields of the client itself are listed."""
    own = {
        "SendResult.message",  # the other answer of the same operation
        "SendResult.status_code",
        "SendResult.turn_id",  # relays
        "StreamMessageResponse.turn_id",
        "CancelResult.status",  # WIRE: real servers
        "CancelResult.session_id",
        "PermissionResult.id",  # as servers are known to answer
        "PermissionResult.status",
        "PermissionResult.message",
    }
    known: set[str] = set()
    for generation in GENERATIONS:
        known |= {snake(n) for n in re.findall(r"'(\w+)'", str(load(generation).document))}
    for name in models.__all__:
        cls = getattr(models, name)
        if attrs.has(cls):
            for field in attrs.fields(cls):
                assert field.name in known or f"{name}.{field.name}" in own, f"{name}.{field.name}"


@pytest.mark.parametrize("generation", GENERATIONS)
def test_every_event_of_the_file_has_its_class_and_all_its_fields(generation: str) -> None:
    spec = load(generation)
    for name, schema in spec.events():
        for whole in (True, False):
            raw = spec.example(schema, whole=whole)
            event = decode_event(ServerSentEvent(id="7", event=name, data=json.dumps(raw)))
            assert type(event) is EVENT_CLASSES[name]
            assert event.id == "7"
            if "id" in raw:
                identifier = raw.pop("id")
                names = ("tool_call_id", "permission_id", "notification_id")
                assert identifier in [getattr(event, each, None) for each in names]
            constant = "type" in raw and not hasattr(event, "type")
            if constant:
                raw.pop("type")  # says again what the event's name says
            assert list(lost(raw, event)) == [], name


@pytest.mark.parametrize("group", GROUPS)
async def test_the_bundled_server_answers_as_the_file_says(group: str) -> None:
    for name, generation in have(group):
        operation = OPERATIONS[name]
        if not answers_json(operation):
            continue
        with case(name, generation):
            spec = load(generation)
            async with world_of(generation) as world, caller_of(world.server) as caller:
                raw, _ = await answered(world, caller, name)
            schemas = [s for i, _, s in spec.answers() if i == operation.operation_id]
            found = [set(spec.problems(schema, raw)) for schema in schemas]
            listed = {what for i, what in SERVERS_OWN if i == operation.operation_id}
            assert min(found, key=len) == listed


@pytest.mark.parametrize("generation", GENERATIONS)
async def test_the_files_own_answers_go_through_the_client(generation: str) -> None:
    """The same examples over real HTTP, as method and function, for three telling operations."""
    spec = load(generation)
    schemas = {identifier: schema for identifier, _, schema in spec.answers()}
    async with world_of(generation) as world, caller_of(world.server) as caller:
        for name in ("sessions.get", "messages.get_session", "system.list_mcp_servers"):
            raw = spec.example(schemas[OPERATIONS[name].operation_id], whole=True)
            for how in HOWS:
                args = {} if name.startswith("system") else {"id": "s1"}
                world.server.answer_next(path_of(name), 200, body=json.dumps(raw).encode())
                assert list(lost(raw, await caller(name, how, **args))) == []
                world.server.answer_next(path_of(name), 200, body=b"17")
                with pytest.raises(errors.ResponseValidationError):
                    await caller(name, how, **args)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_retry_defaults_are_those_of_the_files_extension(generation: str) -> None:
    theirs = load(generation).document["x-speakeasy-retries"]
    config = RetryConfig()
    assert config.strategy == theirs["strategy"]
    assert config.retry_connection_errors == theirs["retryConnectionErrors"]
    assert set(RETRY_CODES) == set(theirs["statusCodes"])
    backoff = theirs["backoff"]
    assert config.backoff.exponent == backoff["exponent"]
    for mine, name in (
        (config.backoff.initial_interval, "initialInterval"),
        (config.backoff.max_interval, "maxInterval"),
        (config.backoff.max_elapsed_time, "maxElapsedTime"),
    ):
        assert mine is not None
        assert mine * 1000 == backoff[name]
