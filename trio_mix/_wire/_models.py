"""From JSON values to models and back, by cattrs.

Rules:

1. Extra fields are ignored; an optional field may be missing or null; ``null`` is read as an empty
   list or object if one is required, because Go servers write their empty ones so.
2. A field of the wrong type, or a required one that is missing, is a `Mismatch` with the JSON path
   and the value. No value is coerced to another type.
3. A time is RFC 3339 text or a Unix timestamp, and becomes an aware datetime; without an offset
   it is UTC.
4. cattrs' exception groups never leave this module.
5. If an item of a list does not fit, the `Mismatch` holds the items that do. After `_MOST_BAD`
   items decoding stops, because a hostile server could send millions.
6. A list of more than `_STEP` items is decoded in steps, so that other tasks can run in between.
   The items of a large body are decoded while it is parsed, so that they are not in memory twice.
"""

from __future__ import annotations

import functools
from datetime import datetime
from types import UnionType
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast, get_args, get_origin

import attrs
import cattrs
from cattrs.cols import is_mapping, is_sequence
from cattrs.errors import (
    BaseValidationError,
    IterableValidationError,
    IterableValidationNote,
    StructureHandlerNotFoundError,
)
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from trio_mix import models
from trio_mix._wire import _values
from trio_mix._wire._mismatch import UNFIT, ItemsError, Mismatch, WrongType, first_leaf
from trio_mix._wire._names import wire_name

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

_T = TypeVar("_T")

_STEP: Final = 100
_MOST_BAD: Final = 1000


def decode(value: object, shape: type[_T]) -> _T:
    """Return a JSON value as the shape, in one step; see `decode_steps`."""
    return _finish(decode_steps(value, shape))


def decode_steps(value: object, shape: type[_T]) -> Generator[None, None, _T]:
    """Decode a JSON value. A generator that yields between steps and returns the decoded value.

    Args:
      value: the JSON value, in which there may be `Unreadable` ones.
      shape: a model, or a list or mapping of models.

    Raises:
      Mismatch: the value does not fit.
    """
    try:
        return cast("_T", (yield from _structured(value, shape)))
    except (BaseValidationError, StructureHandlerNotFoundError, ValueError, TypeError) as error:
        mismatch = first_leaf(error, shape, value, "$")
    except RecursionError:
        mismatch = Mismatch("nested too deep", "$", None)
    # Not raised in the handler: the group of exceptions would hold parts of the body as context.
    raise mismatch


def _finish(steps: Generator[None, None, _T]) -> _T:
    """Take all steps at once."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return cast("_T", done.value)


def encode_callback(callback: models.Callback) -> dict[str, object]:
    """Return a callback as the JSON object that the server takes."""
    return cast("dict[str, object]", _converter.unstructure(callback))


def _is_json_object(shape: Any) -> bool:
    return is_mapping(shape) and get_args(shape) == (str, object)


def _is_open_literal(shape: Any) -> bool:
    """Return whether a shape is a list of known strings or any other string, perhaps optional."""
    args = get_args(shape)
    return str in args and any(get_origin(each) is Literal for each in args)


def _open_literal_hook(shape: Any) -> Callable[[object, Any], str | None]:
    optional = type(None) in get_args(shape)

    def text(value: object, _: object) -> str | None:
        return None if value is None and optional else _values.text(value, str)

    return text


def _renames(cls: type) -> dict[str, Any]:
    return {
        each.name: override(rename=wire_name(cls, each.name))
        for each in attrs.fields(cast("type[attrs.AttrsInstance]", cls))
    }


def _object_hook(cls: type[_T]) -> Callable[[object, type[_T]], _T]:
    attrs.resolve_types(cast("type[attrs.AttrsInstance]", cls))
    overrides = _renames(cls)
    if cls is models.HealthStatus:
        overrides["timestamp"] = override(struct_hook=_values.health_time)
    hook = make_dict_structure_fn(cls, _converter, _cattrs_use_linecache=False, **overrides)
    structure = cast("Callable[[object, type[_T]], _T]", hook)

    def object_only(value: object, shape: type[_T]) -> _T:
        if not isinstance(value, dict):
            raise WrongType("expected an object")
        return structure(value, shape)

    return object_only


def _structured(value: object, shape: Any) -> Generator[None, None, Any]:
    """Decode a value in steps; it is short, except for lists in it and in its fields (rule 6)."""
    if is_sequence(shape):
        return (yield from _items(value, shape))
    if attrs.has(shape) and isinstance(value, dict):
        for name, list_shape in _list_fields(shape):
            inner = value.get(name)
            if isinstance(inner, list) and len(inner) > _STEP:
                items = _Items(list_shape)
                yield from items.add(inner)
                value = {**value, name: items}
    return _converter.structure(value, shape)


@functools.cache
def _list_fields(cls: type[attrs.AttrsInstance]) -> tuple[tuple[str, Any], ...]:
    """Return the wire's names and the shapes of a model's fields that are lists, perhaps null."""
    attrs.resolve_types(cls)
    return tuple(
        (wire_name(cls, field.name), each)
        for field in attrs.fields(cls)
        for each in (get_args(field.type) if isinstance(field.type, UnionType) else (field.type,))
        if is_sequence(each)
    )


class _Items:
    """Decodes the items of one list; an `ItemSink`."""

    def __init__(self, shape: Any) -> None:
        self._shape = shape
        self._each = get_args(shape)[0]
        self._structure = _converter.get_structure_hook(self._each)
        self._lists = _list_fields(self._each) if attrs.has(self._each) else ()
        self._count = 0
        self._done: list[object] = []
        self._first: Exception | None = None
        self._bad: dict[int, object] = {}

    def __getitem__(self, index: int) -> object:
        """Return an item that does not fit."""
        return self._bad[index]

    def add(self, items: list[object]) -> Generator[None, None, None]:
        """Decode the next items, in steps."""
        for start in range(0, len(items), _STEP):
            if self._count:
                yield
            some = items[start : start + _STEP] if len(items) > _STEP else items
            if len(self._bad) >= _MOST_BAD:
                continue
            if not (self._lists and any(map(self._holds_long_list, some))):
                try:
                    self._done += [self._structure(item, self._each) for item in some]
                except UNFIT:
                    pass  # one by one, to find which
                else:
                    self._count += len(some)
                    continue
            for item in some:
                yield from self._add_one(item)

    def _add_one(self, item: object) -> Generator[None, None, None]:
        self._count += 1
        try:
            self._done.append((yield from _structured(item, self._each)))
        except UNFIT as error:
            self._bad[self._count - 1] = item
            if self._first is None:
                error.add_note(IterableValidationNote("", self._count - 1, self._each))
                self._first = error

    def _holds_long_list(self, item: object) -> bool:
        if isinstance(item, dict):
            for name, _ in self._lists:
                inner = item.get(name)
                if isinstance(inner, list) and len(inner) > _STEP:
                    return True
        return False

    def result(self) -> Any:
        """Return the decoded items, as a list or tuple.

        Raises:
          ItemsError: one does not fit.
        """
        if self._first is not None:
            # Any: pyright holds the arguments against ExceptionGroup's own __new__.
            failed: ItemsError = cast("Any", ItemsError)("", [self._first], self._shape)
            failed.items = self._done
            raise failed
        return self._done if get_origin(self._shape) is list else tuple(self._done)


def items_of(shape: Any) -> Callable[[str | None], _Items | None]:
    """Return what decodes the items of the lists of a shape while they are parsed."""

    def sink(key: str | None) -> _Items | None:
        if key is None:
            return _Items(shape) if is_sequence(shape) else None
        shapes = dict(_list_fields(shape)) if attrs.has(shape) else {}
        return _Items(shapes[key]) if key in shapes else None

    return sink


def _items(value: object, shape: Any) -> Generator[None, None, Any]:
    """Decode the items of a list, in steps."""
    if value is None:
        value = []
    if not isinstance(value, _Items):
        if not isinstance(value, list):
            raise WrongType("expected a list")
        items = value
        value = _Items(shape)
        yield from value.add(items)
    return value.result()


def _list_hook(shape: Any) -> Callable[[object, Any], Any]:
    each_shape = get_args(shape)[0]
    structure = _converter.get_structure_hook(each_shape)
    kind: Callable[[list[Any]], Any] = list if get_origin(shape) is list else tuple

    def checked(value: object, _: object) -> Any:
        if isinstance(value, list) and len(value) <= _STEP:
            try:
                return kind([structure(item, each_shape) for item in value])
            except UNFIT:
                pass  # one by one, to find which
        return _finish(_items(value, shape))

    return checked


def _mapping_hook(shape: Any) -> Callable[[object, Any], Any]:
    each_shape = get_args(shape)[1]
    structure = _converter.get_structure_hook(each_shape)

    def checked(value: object, _: object) -> Any:
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise WrongType("expected an object")
        return {key: _at(structure, key, each, each_shape, shape) for key, each in value.items()}

    return checked


def _at(
    structure: Callable[[Any, Any], Any], key: str, value: object, each_shape: Any, shape: Any
) -> Any:
    try:
        return structure(value, each_shape)
    except (BaseValidationError, ValueError, TypeError) as error:
        error.add_note(IterableValidationNote("", key, each_shape))
        raise cast("Any", IterableValidationError)("", [error], shape) from None


def _send_result(value: object, _: object) -> models.SendResult:
    """Decode an acknowledgement or a stored message; the caller sets the status code."""
    if isinstance(value, dict) and ("role" in value or ("id" in value and "status" not in value)):
        message = _converter.structure(value, models.BackendMessage)
        return models.SendResult(status_code=0, session_id=message.session_id, message=message)
    ack = _converter.structure(value, _SendAck)
    return models.SendResult(
        status_code=0, status=ack.status, session_id=ack.session_id, turn_id=ack.turn_id
    )


def _cancel_result(value: object, _: object) -> models.CancelResult:
    """Decode ``cancelled`` as specified, or ``{"status": "cancelled"}`` as real servers send it."""
    answer = _converter.structure(value, _CancelAnswer)
    cancelled = answer.cancelled
    if cancelled is None:
        # A success without a status is a yes; any other status is a no.
        cancelled = answer.status in (None, "cancelled")
    return models.CancelResult(
        cancelled=cancelled,
        status=answer.status,
        session_id=answer.session_id,
    )


def _permission_result(value: object, _: object) -> models.PermissionResult:
    """Decode ``{"granted": true}`` or ``{"denied": true}``, or a ``status`` of that meaning."""
    answer = _converter.structure(value, _PermissionAnswer)
    granted = answer.granted
    if granted is None and answer.denied is not None:
        granted = not answer.denied
    elif granted is None and answer.status in ("granted", "denied"):
        granted = answer.status == "granted"
    return models.PermissionResult(
        granted=granted, id=answer.id, status=answer.status, message=answer.message
    )


@attrs.frozen(kw_only=True)
class _SendAck:
    status: str
    session_id: str | None = None
    turn_id: str | None = None


@attrs.frozen(kw_only=True)
class _CancelAnswer:
    cancelled: bool | None = None
    status: str | None = None
    session_id: str | None = None


@attrs.frozen(kw_only=True)
class _PermissionAnswer:
    granted: bool | None = None
    denied: bool | None = None
    id: str | None = None
    status: str | None = None
    message: str | None = None


_converter: Final = cattrs.Converter()
_converter.register_structure_hook_factory(attrs.has, _object_hook)
_converter.register_structure_hook_factory(is_sequence, _list_hook)
_converter.register_structure_hook_factory(is_mapping, _mapping_hook)
_converter.register_structure_hook_func(_is_json_object, _values.json_object)
_converter.register_structure_hook_factory(_is_open_literal, _open_literal_hook)
_converter.register_structure_hook(str, _values.text)
_converter.register_structure_hook(bool, _values.truth)
_converter.register_structure_hook(int, _values.whole)
_converter.register_structure_hook(float, _values.number)
_converter.register_structure_hook(datetime, _values.time)
_converter.register_structure_hook(models.SendResult, _send_result)
_converter.register_structure_hook(models.CancelResult, _cancel_result)
_converter.register_structure_hook(models.PermissionResult, _permission_result)
_converter.register_unstructure_hook_factory(
    lambda cls: cls is models.Callback,
    lambda cls: make_dict_unstructure_fn(
        cls,
        _converter,
        _cattrs_omit_if_default=True,
        _cattrs_use_linecache=False,
        **_renames(models.Callback),
    ),
)
