"""What an operation is in JSON-RPC, which the oldest servers have instead of REST."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["RpcMethod"]


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
