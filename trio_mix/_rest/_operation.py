"""What one operation of the API is: its request, its arguments, its result.

Rules:

1. An argument that is ``None`` is not sent. What is sent fits the specification: a wrong type, a
   number out of range or a word outside the list is a `ConfigurationError` before any I/O.
2. A value in a path is one segment, whatever it holds: everything is percent-encoded, also ``/``,
   ``?``, CR, LF, and the segments ``.`` and ``..`` that a URL library would resolve. An empty
   value is refused, because it would name another operation.
3. ``retry`` says what may be retried: ``"safe"`` operations have the same effect when they are
   done twice; ``"unsent"`` ones are repeated only if no byte of the request was sent.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeAlias, TypeVar, cast
from urllib.parse import quote, urlencode

import attrs

from trio_mix._wire._names import camel
from trio_mix.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from trio_mix.models import Callback

T_co = TypeVar("T_co", covariant=True)

Generation: TypeAlias = Literal["0.6.4", "0.6.9", "0.11.4"]
"""An OpenAPI file of the API, by its version."""

GENERATIONS: Final[tuple[Generation, ...]] = ("0.6.4", "0.6.9", "0.11.4")
"""All of them, oldest first."""

SINCE_069: Final[tuple[Generation, ...]] = ("0.6.9", "0.11.4")
UNTIL_069: Final[tuple[Generation, ...]] = ("0.6.4", "0.6.9")
LATEST: Final[tuple[Generation, ...]] = ("0.11.4",)

Kind: TypeAlias = Literal["text", "int", "number", "bool", "texts", "callbacks", "file"]

Retry: TypeAlias = Literal["safe", "unsent"]
"""What may be retried (rule 3)."""

_TOO_LARGE: Final = 2**63
_CALLBACK_TYPES: Final = ("bash_script", "sub_agent", "send_message")


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Param:
    """One argument of an operation. `query_param` and `body_param` make most."""

    name: str
    """The Python name."""
    where: Literal["path", "query", "body", "header", "form"]
    """Which part of the request carries it."""
    kind: Kind = "text"
    """The type of its value."""
    wire: str
    """The name on the wire."""
    required: bool = False
    """Whether it must be given: whether the method's parameter has no default."""
    minimum: float | None = None
    """The least number."""
    maximum: float | None = None
    """The greatest number."""
    choices: tuple[str, ...] = ()
    """The only words allowed; empty for any."""
    pattern: str = ""
    """A regular expression that the whole text must match."""
    secret: bool = False
    """Whether it is masked in errors, wherever the server echoes it."""
    generations: tuple[Generation, ...] = GENERATIONS
    """The API files that have it."""

    def check(self, value: object, operation: str) -> object:
        """Return the value as it is sent.

        Raises:
          ConfigurationError: the specification does not allow the value.
        """
        problem = self._problem(value)
        if problem:
            shown = "" if self.secret else f", not {_short(value)}"
            raise ConfigurationError(f"{operation}({self.name}=...) must be {problem}{shown}")
        if self.kind == "texts":
            return list(cast("list[str]", value))
        if self.kind == "callbacks":
            from trio_mix._wire._models import encode_callback  # loads cattrs: few calls need it

            return [encode_callback(each) for each in cast("list[Callback]", value)]
        return value

    def _problem(self, value: object) -> str:
        """Return what the value must be, or ``""`` if it is allowed."""
        if isinstance(value, str) and self.kind == "text":
            if self.choices and value not in self.choices:
                return "one of " + ", ".join(repr(each) for each in self.choices)
            if self.pattern and not re.fullmatch(self.pattern, value):
                return f"of the form {self.pattern}"
            if self.where == "path" and not value:
                return "a string that is not empty"
            try:
                value.encode()
            except UnicodeEncodeError:
                return "a string that UTF-8 can encode"
            return ""
        if self.kind == "bool":
            return "" if isinstance(value, bool) else "True or False"
        if self.kind == "int":
            whole = isinstance(value, int) and not isinstance(value, bool)
            return self._range(cast("int", value)) if whole else "a whole number"
        if self.kind == "number":
            number = isinstance(value, int | float) and not isinstance(value, bool)
            fits = number and math.isfinite(cast("float", value))
            return self._range(cast("float", value)) if fits else "a finite number"
        if self.kind == "texts":
            sound = isinstance(value, list | tuple) and all(isinstance(each, str) for each in value)
            return "" if sound else "a list of strings"
        if self.kind == "callbacks":
            return _callbacks_problem(value)
        return "a string"

    def _range(self, value: float) -> str:
        if self.minimum is not None and value < self.minimum:
            return f"at least {self.minimum:g}"
        if self.maximum is not None and value > self.maximum:
            return f"at most {self.maximum:g}"
        return ""


def _callbacks_problem(value: object) -> str:
    from trio_mix.models import Callback

    if not isinstance(value, list | tuple) or not all(isinstance(x, Callback) for x in value):
        return "a list of models.Callback"
    if any(each.type not in _CALLBACK_TYPES for each in value):
        return "callbacks whose type is one of " + ", ".join(map(repr, _CALLBACK_TYPES))
    return ""


def _short(value: object) -> str:
    if isinstance(value, int) and abs(value) >= _TOO_LARGE:
        return "a number of more than 64 bits"  # Python converts no very long one to a text
    shown = repr(value)
    return shown if len(shown) <= 80 else shown[:80] + "…"


@attrs.frozen(eq=False, repr=False)
class RpcMethod:
    """The method of JSON-RPC that does the work of an operation."""

    name: str
    """The method's name."""
    params: Mapping[str, str] = attrs.field(factory=dict[str, str])
    """The arguments that it takes, by their Python names, with their names in JSON-RPC."""
    fixed: Mapping[str, object] = attrs.field(factory=dict[str, object], kw_only=True)
    """The arguments that it does not take, with the one value of each that it works for."""
    request: Callable[[dict[str, object]], dict[str, object]] | None = attrs.field(
        default=None, kw_only=True
    )
    """Converts the parameters, where more than their names differ from REST."""
    result: Callable[[object], object] | None = attrs.field(default=None, kw_only=True)
    """Converts the result, or each item of a list, to what REST returns; None: it is the same."""


@attrs.frozen(eq=False, repr=False)
class Prepared:
    """The arguments of one call, checked and encoded."""

    path: str
    """The path and the query, percent-encoded, beginning with a slash."""
    body: dict[str, object] | None
    """The JSON body, or ``None`` for none."""
    secrets: tuple[str, ...] = attrs.field(repr=False)
    """The secret values, to be masked wherever the server echoes them."""


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Operation(Generic[T_co]):
    """One operation of the API."""

    name: str
    """Resource and method, as ``sessions.create``."""
    operation_id: str
    """The name in the OpenAPI files."""
    method: str
    """The HTTP method."""
    path: str
    """The path, with ``{name}`` where an argument goes."""
    params: tuple[Param, ...] = ()
    """The arguments."""
    result: type[T_co]
    """The type of the method's value; `NoneType` if the answer has no content."""
    answers: tuple[int, ...]
    """The statuses of success."""
    errors: tuple[int, ...]
    """The statuses that are documented to carry an ``ErrorResponse``."""
    generations: tuple[Generation, ...] = GENERATIONS
    """The API files that have it."""
    retry: Retry
    """What may be retried (rule 3)."""
    long: bool = False
    """Whether some server answers only when its work is done, so that no timeout is set."""
    rpc: RpcMethod | None = None
    """What it is in JSON-RPC, on servers without REST; None if these servers do not have it."""

    has_body: bool = attrs.field(
        init=False,
        default=attrs.Factory(
            lambda self: any(each.where == "body" for each in self.params), takes_self=True
        ),
    )
    """Whether it takes a JSON body."""

    def prepare(self, values: Mapping[str, object]) -> Prepared:
        """Check the arguments and encode them into the parts of the request.

        Args:
          values: by Python name; ``None`` means not given. Those that go into headers or a form
            are left to the caller.

        Raises:
          ConfigurationError: the specification does not allow a value.
        """
        path = self.path
        query: list[tuple[str, object]] = []
        body: dict[str, object] = {}
        secrets: list[str] = []
        for param in self.params:
            value = values.get(param.name)
            if param.where in ("header", "form"):
                continue
            if value is None:
                if param.required:
                    raise ConfigurationError(f"{self.name}({param.name}=...) is required")
                continue
            checked = param.check(value, self.name)
            if param.secret:
                secrets.append(str(checked))
            if param.where == "path":
                path = path.replace("{" + param.wire + "}", quote_segment(str(checked)))
            elif param.where == "query":
                query.append((param.wire, checked))
            else:
                body[param.wire] = checked
        if query:
            path += query_string(query)
        return Prepared(path, body if self.has_body else None, tuple(secrets))


def quote_segment(text: str) -> str:
    """Percent-encode a text so that it is one path segment and stays one (rule 2)."""
    if text in (".", ".."):
        return text.replace(".", "%2E")
    return quote(text, safe="")


def query_string(pairs: Iterable[tuple[str, object]]) -> str:
    """Return the query of a URL with its question mark, ``""`` if there is nothing in it."""
    encoded = urlencode([(name, _query_text(value)) for name, value in pairs], quote_via=quote)
    return f"?{encoded}" if encoded else ""


def _query_text(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) >= _TOO_LARGE:
        raise ConfigurationError("a whole number in the query must have less than 64 bits")
    return repr(value) if isinstance(value, float) else str(value)


def query_param(name: str, kind: Kind = "text", **more: Any) -> Param:
    """Return an argument of the query, in camelCase on the wire."""
    return Param(name=name, wire=camel(name), where="query", kind=kind, **more)


def body_param(name: str, kind: Kind = "text", wire: str | None = None, **more: Any) -> Param:
    """Return a field of the JSON body, in camelCase on the wire unless ``wire`` is given."""
    return Param(name=name, wire=wire or camel(name), where="body", kind=kind, **more)
