"""Read the OpenAPI files that may lie beside the checkout: schemas, examples made from them."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

import pytest

Schema: TypeAlias = Mapping[str, Any]

FILES = Path(__file__).parents[3] / "shared" / "mix"


def load(generation: str) -> Spec:
    path = FILES / f"openapi-{generation}.yaml"
    if not path.exists():
        pytest.skip("no OpenAPI files beside the project")
    return _load(path)


@functools.cache
def _load(path: Path) -> Spec:
    yaml: Any = pytest.importorskip("yaml")
    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # ten times as fast, where there is one
    return Spec(yaml.load(path.read_text("utf-8"), loader))


class Spec:
    """One OpenAPI file."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = document

    def answers(self) -> Iterator[tuple[str, int, Schema]]:
        """Each success with a JSON body: operation id, status, schema."""
        for item in self.document["paths"].values():
            for operation in item.values():
                for status, response in operation["responses"].items():
                    content = self.flat(response).get("content", {})
                    if int(status) < 300 and "application/json" in content:
                        schema = content["application/json"]["schema"]
                        yield operation["operationId"], int(status), schema

    def events(self) -> Iterator[tuple[str, Schema]]:
        """Each SSE event: its name on the wire, and the schema of its data."""
        schemas = self.document["components"]["schemas"]
        for name, reference in schemas["SSEEventStream"]["discriminator"]["mapping"].items():
            yield name, self.flat(schemas[reference.rpartition("/")[2]])["properties"]["data"]

    def flat(self, schema: Schema) -> Schema:
        """The schema with its references followed and its parts joined."""
        if "$ref" in schema:
            _, _, name = schema["$ref"].rpartition("/")
            group = "responses" if "/responses/" in schema["$ref"] else "schemas"
            return self.flat(self.document["components"][group][name])
        if "allOf" in schema:
            joined: dict[str, Any] = {"type": "object", "properties": {}, "required": []}
            for part in map(self.flat, schema["allOf"]):
                joined["properties"] |= part.get("properties", {})
                joined["required"] += part.get("required", [])
            return joined
        if "anyOf" in schema:
            return self.flat(schema["anyOf"][0])
        return schema

    def example(self, schema: Schema, *, whole: bool) -> Any:
        """A value of the schema: with all it may have, or only with what it must have."""
        schema = self.flat(schema)
        if "enum" in schema:
            return schema["enum"][0]
        match schema.get("type"):
            case "object" if "properties" in schema:
                required = schema.get("required", ())
                return {
                    name: self.example(each, whole=whole)
                    for name, each in schema["properties"].items()
                    if whole or name in required
                }
            case "object" if isinstance(schema.get("additionalProperties"), Mapping):
                below = schema["additionalProperties"]
                return {"some": self.example(below, whole=whole)}
            case "object":
                return {"any": ["thing", 1]}
            case "array":
                return [self.example(schema["items"], whole=whole)]
            case "integer":
                return schema.get("minimum", 1_700_000_000)
            case "number":
                return 0.25
            case "boolean":
                return True
            case "string" if schema.get("format") == "date-time":
                return "2025-01-02T03:04:05.678901+02:00"
            case "string":
                return "a text"
        raise AssertionError(f"no example for {schema}")

    def without(self, schema: Schema, value: Any, path: str = "$") -> Iterator[tuple[str, Any]]:
        """The value with each required field taken out in turn, at any depth."""
        schema = self.flat(schema)
        if isinstance(value, dict):
            below = schema.get("properties")
            for name in value:
                if below is not None and name in schema.get("required", ()):
                    yield f"{path}.{name}", {k: v for k, v in value.items() if k != name}
                inner = schema.get("additionalProperties") if below is None else below[name]
                if isinstance(inner, Mapping):
                    for where, twin in self.without(inner, value[name], f"{path}.{name}"):
                        yield where, {**value, name: twin}
        elif isinstance(value, list):
            for where, twin in self.without(schema["items"], value[0], f"{path}[0]"):
                yield where, [twin]

    def problems(self, schema: Schema, value: Any, path: str = "$") -> Iterator[str]:
        """Yield where a value is not of the schema, fields that it does not list included."""
        schema = self.flat(schema)
        kinds: dict[str, type | tuple[type, ...]] = {
            "object": dict,
            "array": list,
            "string": str,
            "integer": int,
            "number": (int, float),
            "boolean": bool,
        }
        if value is None and schema.get("nullable"):
            return
        if not isinstance(value, kinds[schema["type"]]):
            yield f"{path}: {value!r} is no {schema['type']}"
        elif "enum" in schema and value not in schema["enum"]:
            yield f"{path}: {value!r} is not listed"
        elif isinstance(value, list):
            for index, each in enumerate(value):
                yield from self.problems(schema["items"], each, f"{path}[{index}]")
        elif isinstance(value, dict) and "properties" in schema:
            for name in schema.get("required", ()):
                if name not in value:
                    yield f"{path}.{name}: missing"
            for name, each in value.items():
                if name not in schema["properties"]:
                    yield f"{path}.{name}: not in the specification"
                else:
                    yield from self.problems(schema["properties"][name], each, f"{path}.{name}")
        elif isinstance(value, dict) and isinstance(schema.get("additionalProperties"), Mapping):
            for name, each in value.items():
                yield from self.problems(schema["additionalProperties"], each, f"{path}.{name}")
