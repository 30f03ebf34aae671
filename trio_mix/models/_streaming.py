"""Models of the streaming operations."""

import attrs

from trio_mix._public import public
from trio_mix._record import Record


@public("trio_mix.models")
@attrs.frozen(kw_only=True, eq=False, repr=False)
class StreamMessageResponse(Record):
    """A pipeline server's response to a message, sent even if no stream is open to run it."""

    status: str
    """``broadcasted``."""
    session_id: str
    """The session."""
    turn_id: str | None = None
    """The id of the turn, which relays add."""
