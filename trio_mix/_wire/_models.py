"""From JSON values to models and back, by cattrs.

Rules:

1. Extra fields are ignored; an optional field may be missing or null; ``null`` is read as an empty
   list or object if one is required, because Go servers write their empty ones so.
2. A field of the wrong type, or a required one that is missing, is a `Mismatch` with the JSON path
   and the value. No value is coerced to another type.
3. A time is RFC 3339 text or a Unix timestamp, and becomes an aware datetime; without an offset
   it is UTC.
4. cattrs' exception groups never leave this module. Decoding a list stops at the first item that
   does not fit, because a hostile server could send millions.
"""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar, cast, get_args, get_origin

import attrs
import cattrs
from cattrs.cols import is_mapping, is_sequence
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    IterableValidationError,
    IterableValidationNote,
    StructureHandlerNotFoundError,
)
from cattrs.gen import make_dict_structure_fn, make_dict_unstructure_fn, override

from trio_mix import models
from trio_mix._wire._names import camel

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ["Mismatch", "decode", "encode_callback", "parse_json"]

_T = TypeVar("_T")

_SNAKE_ON_THE_WIRE: Final = frozenset(
    {
        "AuthStatus",
        "CallbackResultData",
        "CredentialsResult",
        "OAuthCallbackResult",
        "OAuthFlow",
        "OAuthHealth",
        "Preferences",
        "PreferencesResult",
        "Provider",
        "ProviderAuth",
        "ProviderOAuthHealth",
        "ProviderValidation",
        "ToolCategory",
        "ToolsStatus",
        "ToolStatus",
    }
)
"""The models whose fields are in snake_case on the wire; those of all others are in camelCase.

Their names, because this module loads only the models that need hooks.
"""

_MILLISECONDS_FROM: Final = 10**11
"""From here on a timestamp is in milliseconds: in seconds it would be the year 5138."""


class Mismatch(Exception):
    """A JSON value that is not of the expected shape.

    Attributes:
      problem: what is wrong, as text.
      path: the JSON path, as ``$[3].createdAt``.
      value: the value at the path.
    """

    def __init__(self, problem: str, path: str, value: object) -> None:
        super().__init__(f"{path}: {problem}")
        self.problem = problem
        self.path = path
        self.value = value


class _WrongType(ValueError):
    """Raised by the hooks; the text says what was expected."""


def parse_json(body: bytes) -> object:
    """Return the JSON value that a body holds.

    Raises:
      Mismatch: the body is not JSON.
    """
    problem = "expected JSON"
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = body.decode(errors="replace")
        problem = "expected JSON in UTF-8"
    else:
        if not text.strip():
            problem = "expected JSON, but the body is empty"
        else:
            try:
                return cast("object", json.loads(text))
            except (ValueError, RecursionError):
                pass
    # Not raised in the handler: the parser's exception holds the whole body, with its secrets.
    raise Mismatch(problem, "$", text[:200])


def decode(value: object, shape: type[_T]) -> _T:
    """Return a JSON value as the shape, a model or a list or mapping of models.

    Raises:
      Mismatch: it does not fit.
    """
    try:
        return _converter.structure(value, shape)
    except (BaseValidationError, StructureHandlerNotFoundError, ValueError, TypeError) as error:
        mismatch = _first_leaf(error, shape, value, "$")
    except RecursionError:
        mismatch = Mismatch("nested too deep", "$", None)
    # Not raised in the handler: the group of exceptions would hold parts of the body as context.
    raise mismatch


def encode_callback(callback: models.Callback) -> dict[str, object]:
    """Return a callback as the JSON object that the server takes."""
    return cast("dict[str, object]", _converter.unstructure(callback))


def _wire_name(cls: type, field: str) -> str:
    return field if cls.__name__ in _SNAKE_ON_THE_WIRE else camel(field)


def _first_leaf(error: BaseException, shape: Any, value: object, path: str) -> Mismatch:
    """Follow the first branch of a tree of cattrs' exceptions, and the JSON value along with it."""
    if not isinstance(error, BaseValidationError):
        if isinstance(error, KeyError):
            return Mismatch("a required field is missing", path, None)
        if isinstance(error, _WrongType):
            return Mismatch(str(error), path, value)
        return Mismatch(f"not of the shape {_shape_name(shape)}", path, value)
    inner = error.exceptions[0]
    for note in getattr(inner, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            name = _wire_name(error.cl, note.name)
            below = value.get(name) if isinstance(value, dict) else None
            return _first_leaf(inner, note.type, below, f"{path}.{name}")
        if isinstance(note, IterableValidationNote):
            key = note.index
            try:
                below = cast("Any", value)[key]
            except (LookupError, TypeError):
                below = None
            return _first_leaf(inner, note.type, below, f"{path}[{json.dumps(key)}]")
    return _first_leaf(inner, shape, value, path)


def _shape_name(shape: Any) -> str:
    return getattr(shape, "__name__", str(shape)) if get_origin(shape) is None else str(shape)


def _text(value: object, _: object) -> str:
    if not isinstance(value, str):
        raise _WrongType("expected a string")
    return value


def _truth(value: object, _: object) -> bool:
    if not isinstance(value, bool):
        raise _WrongType("expected true or false")
    return value


def _whole(value: object, _: object) -> int:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise _WrongType("expected a whole number")
    return value


def _number(value: object, _: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _WrongType("expected a number")
    try:
        return float(value)
    except OverflowError:
        raise _WrongType("expected a number that a float can hold") from None


def _time(value: object, _: object) -> datetime:
    try:
        if isinstance(value, str):
            time = datetime.fromisoformat(value.strip().replace("z", "Z"))
            return time if time.tzinfo is not None else time.replace(tzinfo=UTC)
        if isinstance(value, int | float) and not isinstance(value, bool):
            seconds = value / 1000 if abs(value) >= _MILLISECONDS_FROM else value
            return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        pass
    raise _WrongType("expected a time")


def _json_object(value: object, _: object) -> dict[str, object]:
    if not isinstance(value, dict):
        raise _WrongType("expected an object")
    return value


def _health_time(value: object, _: object) -> datetime | None:
    # The one time that is plain text in the specification.
    try:
        return _time(value, datetime)
    except _WrongType:
        return None


def _is_json_object(shape: Any) -> bool:
    return is_mapping(shape) and get_args(shape) == (str, object)


def _is_open_literal(shape: Any) -> bool:
    """Return whether a shape is a list of known strings or any other string, perhaps optional."""
    args = get_args(shape)
    return str in args and any(get_origin(each) is Literal for each in args)


def _open_literal_hook(shape: Any) -> Callable[[object, Any], str | None]:
    optional = type(None) in get_args(shape)

    def text(value: object, _: object) -> str | None:
        return None if value is None and optional else _text(value, str)

    return text


def _renames(cls: type) -> dict[str, Any]:
    return {
        each.name: override(rename=_wire_name(cls, each.name))
        for each in attrs.fields(cast("type[attrs.AttrsInstance]", cls))
    }


def _object_hook(cls: type[_T]) -> Callable[[object, type[_T]], _T]:
    attrs.resolve_types(cast("type[attrs.AttrsInstance]", cls))
    overrides = _renames(cls)
    if cls is models.HealthStatus:
        overrides["timestamp"] = override(struct_hook=_health_time)
    hook = make_dict_structure_fn(cls, _converter, _cattrs_use_linecache=False, **overrides)
    structure = cast("Callable[[object, type[_T]], _T]", hook)

    def object_only(value: object, shape: type[_T]) -> _T:
        if not isinstance(value, dict):
            raise _WrongType("expected an object")
        return structure(value, shape)

    return object_only


def _list_hook(shape: Any) -> Callable[[object, Any], Any]:
    each_shape = get_args(shape)[0]
    structure = _converter.get_structure_hook(each_shape)
    kind: Callable[[list[Any]], Any] = list if get_origin(shape) is list else tuple

    def checked(value: object, _: object) -> Any:
        if value is None:
            value = []
        if not isinstance(value, list):
            raise _WrongType("expected a list")
        return kind(_each(structure, enumerate(value), each_shape, shape))

    return checked


def _mapping_hook(shape: Any) -> Callable[[object, Any], Any]:
    each_shape = get_args(shape)[1]
    structure = _converter.get_structure_hook(each_shape)

    def checked(value: object, _: object) -> Any:
        if value is None:
            value = {}
        if not isinstance(value, dict):
            raise _WrongType("expected an object")
        return dict(zip(value, _each(structure, value.items(), each_shape, shape), strict=True))

    return checked


def _each(
    structure: Callable[[Any, Any], Any],
    pairs: Iterable[tuple[int | str, object]],
    each_shape: Any,
    shape: Any,
) -> list[Any]:
    done = []
    for key, value in pairs:
        try:
            done.append(structure(value, each_shape))
        except (BaseValidationError, ValueError, TypeError) as error:
            error.add_note(IterableValidationNote("", key, each_shape))
            # Any: pyright holds the arguments against ExceptionGroup's own __new__.
            raise cast("Any", IterableValidationError)("", [error], shape) from None
    return done


def _send_result(value: object, _: object) -> models.SendResult:
    """Decode an acknowledgement or a stored message; the caller sets the status code."""
    if isinstance(value, dict) and ("role" in value or ("id" in value and "status" not in value)):
        message = _converter.structure(value, models.BackendMessage)
        return models.SendResult(status_code=0, session_id=message.session_id, message=message)
    ack = _converter.structure(value, _SendAck)
    return models.SendResult(status_code=0, status=ack.status, session_id=ack.session_id)


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
_converter.register_structure_hook_func(_is_json_object, _json_object)
_converter.register_structure_hook_factory(_is_open_literal, _open_literal_hook)
_converter.register_structure_hook(str, _text)
_converter.register_structure_hook(bool, _truth)
_converter.register_structure_hook(int, _whole)
_converter.register_structure_hook(float, _number)
_converter.register_structure_hook(datetime, _time)
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
