"""Models of answers to permission requests."""

import attrs

from trio_mix._public import public
from trio_mix._record import Record


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class PermissionResult(Record):
    """The result of granting or denying a permission request."""

    granted: bool | None
    """Whether the tool may run; ``None`` if the server does not say."""
    id: str | None = None
    """The permission request, if the server names it."""
    status: str | None = None
    """The server's status, if it sends one."""
    message: str | None = None
    """The server's text, if it sends one."""
