"""The table of operations held against the OpenAPI files, where a copy of them lies beside.

Two differences are meant, and named here: what a generation requires and another refuses is the
caller's choice to send.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.rest_operations import OPERATIONS
from trio_mix._rest._operation import GENERATIONS, Param

FILES = Path(__file__).parents[3] / "shared" / "mix"
MEANT = {
    ("0.6.4", "messages.send", "plan_mode", "required"),
    ("0.6.4", "messages.send", "media", "required"),
    ("0.6.4", "messages.send", "apps", "required"),
    ("0.11.4", "sessions.create", "browserMode", "required"),
}
BY_ID = {each.operation_id: each for each in OPERATIONS.values()}


def load(generation: str) -> dict[str, Any]:
    path = FILES / f"openapi-{generation}.yaml"
    if not path.exists():
        pytest.skip("no OpenAPI files beside the project")
    yaml = pytest.importorskip("yaml")
    return yaml.safe_load(path.read_text("utf-8"))  # type: ignore[no-any-return]


def operations_in(document: dict[str, Any]) -> dict[str, tuple[str, str, dict[str, Any]]]:
    return {
        operation["operationId"]: (method.upper(), path, operation)
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_table_has_the_operations_of_the_generation_and_no_others(generation: str) -> None:
    theirs = operations_in(load(generation))
    assert set(theirs) == {i for i, each in BY_ID.items() if generation in each.generations}
    for identifier, (method, path, operation) in theirs.items():
        mine = BY_ID[identifier]
        assert (mine.method, mine.path) == (method, path)
        statuses = {int(status) for status in operation["responses"]}
        assert {each for each in statuses if each >= 400} <= set(mine.errors)
        assert {each for each in statuses if each < 400} <= set(mine.answers)


@pytest.mark.parametrize("generation", GENERATIONS)
def test_the_table_has_the_arguments_of_the_generation(generation: str) -> None:
    document = load(generation)
    differences = set()
    for identifier, (_, _, operation) in operations_in(document).items():
        mine: dict[tuple[str, str], Param] = {
            (each.where, each.wire): each
            for each in BY_ID[identifier].params
            if generation in each.generations
        }
        theirs = dict(arguments_in(operation, document))
        assert set(theirs) == set(mine)
        for place, (required, schema) in theirs.items():
            param = mine[place]
            if required != param.required:
                differences.add((generation, BY_ID[identifier].name, param.wire, "required"))
            assert param.choices == tuple(each for each in schema.get("enum", ()) if each)
            assert (param.minimum, param.maximum) == (schema.get("minimum"), schema.get("maximum"))
            assert bool(param.pattern) == ("pattern" in schema)
    assert differences == {each for each in MEANT if each[0] == generation}


def arguments_in(
    operation: dict[str, Any], document: dict[str, Any]
) -> list[tuple[tuple[str, str], tuple[bool, dict[str, Any]]]]:
    found = [
        ((each["in"], each["name"]), (each.get("required", False), each["schema"]))
        for each in operation.get("parameters", ())
    ]
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        schema = content["schema"]
        if "$ref" in schema:
            schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        where = "body" if media_type == "application/json" else "form"
        found += [
            ((where, name), (name in schema.get("required", ()), each))
            for name, each in schema["properties"].items()
        ]
    return found
