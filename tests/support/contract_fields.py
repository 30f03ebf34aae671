"""Compare a decoded model with its JSON, and break that JSON field by field.

Written without the converter under test.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, TypeAlias

import attrs

from trio_mix import models

Json: TypeAlias = Any

MISSING = object()


def snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])([A-Z])", r"_\1", name).lower()


def lost(raw: Json, value: object, path: str = "$") -> Iterator[str]:
    """Yield the parts of the JSON that the value does not hold."""
    if isinstance(value, models.PermissionResult) and "denied" in raw:
        raw = {"granted": not raw["denied"], **{k: raw[k] for k in raw if k != "denied"}}
    if isinstance(value, models.SendResult) and value.message is not None:
        value = value.message
    if raw is None:
        if value is not None and value != () and value != {}:
            yield f"{path}: null became {value!r}"
    elif isinstance(raw, dict):
        for key, below in raw.items():
            if isinstance(value, Mapping):
                yield from lost(below, value.get(key, MISSING), f"{path}.{key}")
            elif not attrs.has(type(value)) or not hasattr(value, snake(key)):
                yield f"{path}.{key}: {type(value).__name__} has no such field"
            else:
                yield from lost(below, getattr(value, snake(key)), f"{path}.{key}")
    elif isinstance(raw, list):
        if not isinstance(value, list | tuple) or len(value) != len(raw):
            yield f"{path}: {raw!r} became {value!r}"
        else:
            for index, below in enumerate(raw):
                yield from lost(below, value[index], f"{path}[{index}]")
    elif isinstance(value, datetime):
        if value.tzinfo is None or value.timestamp() != _moment(raw):
            yield f"{path}: the time {raw!r} became {value!r}"
    elif raw != value or isinstance(raw, bool) != isinstance(value, bool):
        yield f"{path}: {raw!r} became {value!r}"


def _moment(raw: Json) -> float:
    if isinstance(raw, str):
        return datetime.fromisoformat(raw).timestamp()
    return float(raw)


def broken(raw: Json, value: object) -> Iterator[tuple[str, Json]]:
    """Break the JSON that became a value: each required field gone, each field of another type.

    Yields:
      The path at which it is broken, and the JSON.
    """
    for steps in _faults(raw, value, ()):
        path, change = steps[:-1], steps[-1]
        twin = copy.deepcopy(raw)
        parent = twin
        for step in path[:-1]:
            parent = parent[step]
        if change is MISSING:
            del parent[path[-1]]
        elif path:
            parent[path[-1]] = change
        else:
            twin = change
        yield _shown(path), twin


def _faults(raw: Json, value: object, path: tuple[Any, ...]) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, models.SendResult) and value.message is not None:
        value = value.message
    if isinstance(raw, dict):
        yield (*path, 17)
        for key, below in raw.items():
            if isinstance(value, Mapping):
                yield from _faults(below, value[key], (*path, key))
                continue
            if isinstance(value, models.SendResult | models.CancelResult | models.PermissionResult):
                yield (*path, key, ["none of these"])
                continue
            field = attrs.fields_dict(type(value))[snake(key)]  # type: ignore[arg-type]
            if "Mapping[str, object]" in str(field.type):
                yield (*path, key, "no object")
                continue
            if field.default is attrs.NOTHING:
                yield (*path, key, MISSING)
            if isinstance(value, models.HealthStatus) and key == "timestamp":
                continue  # the one time that may be any text
            yield from _faults(below, getattr(value, field.name), (*path, key))
    elif isinstance(raw, list):
        assert isinstance(value, list | tuple)
        yield (*path, {"a": 1})
        for index, below in enumerate(raw):
            yield from _faults(below, value[index], (*path, index))
    elif isinstance(value, datetime):
        yield (*path, "soon")
    elif isinstance(raw, str):
        yield (*path, 17)
    else:
        yield (*path, "none of these")


def _shown(path: tuple[Any, ...]) -> str:
    """The path as `ResponseValidationError` writes it; keys of mappings stand in brackets."""
    return "$" + "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in path)
