"""The part of `trio_mix.models` about answers to what an agent asks.

It keeps the rules that are listed there, and knows no more than that.
"""

import attrs

from trio_mix._public import public
from trio_mix._record import Record

__all__ = ["PermissionResult"]


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class PermissionResult(Record):
    """What came of granting or denying a permission."""

    granted: bool | None
    """Whether the tool may run; ``None`` where the server accepts without saying so."""
    id: str | None = None
    """The permission, where the server names it."""
    status: str | None = None
    """The server's word, where it gives one."""
    message: str | None = None
    """The server's text, where it gives one."""
