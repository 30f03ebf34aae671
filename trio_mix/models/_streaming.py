"""The part of `trio_mix.models` about the answer of the streaming operations.

It keeps the rules that are listed there, and knows no more than that.
"""

import attrs

from trio_mix._public import public
from trio_mix._record import Record

__all__ = ["StreamMessageResponse"]


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class StreamMessageResponse(Record):
    """How a pipeline server took a message; it says so even when no stream is there to run it."""

    status: str
    """``broadcasted``."""
    session_id: str
    """The session."""
