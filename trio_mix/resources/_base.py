"""What the resources have in common.

What it knows: the client, and the table's entry for each method.
What it must never know: a particular operation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, TypeVar

from trio_mix._public import public

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix._rest._core import MixCore
    from trio_mix._rest._operation import Operation

__all__ = ["Resource", "implements", "operation_of"]

F = TypeVar("F", bound="Callable[..., object]")

_ATTRIBUTE: Final = "__mix_operation__"

_RETRIED: Final = {
    "safe": "tried again on 408, 429 and 5XX, and when no answer came, as `RetryConfig` says.",
    "unsent": "tried again only when nothing of it was sent, as `RetryConfig` says.",
}


@public("trio_mix.resources")
class Resource:
    """A group of the API's operations, on one client.

    Args:
      core: the client.
    """

    def __init__(self, core: MixCore) -> None:
        self._core = core

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._core.server_url}>"


def implements(operation: Operation[Any]) -> Callable[[F], F]:
    """Tie a method to its entry in the table, and say in its docstring what the entry knows."""

    def tie(method: F) -> F:
        setattr(method, _ATTRIBUTE, operation)
        errors = ", ".join(str(each) for each in operation.errors)
        method.__doc__ = (
            f"{(method.__doc__ or '').rstrip()}\n\n"
            f"        On the wire: ``{operation.method} {operation.path}``;"
            f" API {', '.join(operation.generations)}.\n"
            f"        Retries: {_RETRIED[operation.retry]}\n\n"
            "        Cancelled, it ends at once, and the server may have got the request.\n\n"
            "        Raises:\n"
            "          ConfigurationError: an argument cannot work; nothing was sent.\n"
            f"          ErrorResponse: the server refused; documented for {errors}.\n"
            "          MixDefaultError: any other status that is not a success.\n"
            "          ResponseValidationError: a success whose body does not fit.\n"
            "          ConnectionFailed: no answer came.\n"
            "          RequestTimeout: no answer came in time.\n"
            "        "
        )
        return method

    return tie


def operation_of(method: object) -> Operation[Any] | None:
    """Return the table's entry for a resource's method."""
    return getattr(method, _ATTRIBUTE, None)
