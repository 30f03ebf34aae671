"""The messages of the WebSocket protocol ``mix.relay.v1``: text to commands, values to frames.

Rule 1  A message of a client is one JSON object whose ``type`` names the command. Unknown members
        are ignored, so that newer clients can talk to older relays.
Rule 2  Ids and positions are texts: they do not fit the numbers of JavaScript.
Rule 3  An event without ``id`` is not stored, and does not move a consumer's position.
Rule 4  A frame that many sockets are sent is made once.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Annotated, Final, TypeAlias, final

import msgspec

from trio_mix.models import NotificationAnswer  # noqa: TC001 - msgspec reads the annotations
from trio_mix.relay._pump import Format
from trio_mix.relay._records import StartFrom  # noqa: TC001 - msgspec reads the annotations

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from trio_mix.relay._records import Gap, Start, TurnRecord

PROTOCOL: Final = "mix.relay.v1"
"""The name of the subprotocol."""

_SHORT: Final = 125
_MEDIUM: Final = 2**16
_REASON: Final = 120

_Id: TypeAlias = Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]
_Key: TypeAlias = Annotated[str, msgspec.Meta(pattern=r"\A[ -~]{1,255}\Z")]
_Position: TypeAlias = Annotated[str, msgspec.Meta(max_length=64)] | int


class BadMessage(Exception):
    """A client has sent something that is no message of the protocol."""


class _Message(msgspec.Struct, kw_only=True, tag_field="type", rename="camel", gc=False):
    pass


class Subscribe(_Message, tag="subscribe"):
    """Send the events of a session, or move the position of its subscription."""

    session_id: _Id
    after: _Position | None = None
    """The position after which to begin."""
    start: StartFrom = msgspec.field(default="now", name="from")
    """Where to begin without a position."""


class Unsubscribe(_Message, tag="unsubscribe"):
    """Send no more events of a session."""

    session_id: _Id


class Send(_Message, tag="send"):
    """Send a message to a session."""

    session_id: _Id
    key: _Key
    """The idempotency key, which also names the answer."""
    body: msgspec.Raw
    """The body, as of ``POST /api/sessions/{id}/messages``."""


class Cancel(_Message, tag="cancel"):
    """Cancel a turn."""

    turn_id: _Id
    key: _Key | None = None
    """Names the answer."""


class Decide(_Message, tag="decide"):
    """Answer a permission request."""

    session_id: _Id
    permission_id: _Id
    grant: bool
    key: _Key | None = None
    """Names the answer."""


class Respond(_Message, tag="respond"):
    """Answer a notification."""

    session_id: _Id
    notification_id: _Id
    response: NotificationAnswer
    """The kind of answer, as the notification's ``responseType`` asks for."""
    value: str | None = None
    """The text, or the choice."""
    key: _Key | None = None
    """Names the answer."""


Command: TypeAlias = Subscribe | Unsubscribe | Send | Cancel | Decide | Respond
"""What a client asks for."""

_decoder: Final[msgspec.json.Decoder[Command]] = msgspec.json.Decoder(Command)


def decode_command(text: str) -> Command:
    """Return the command in a message (rule 1).

    Raises:
      BadMessage: it is none; the text says why.
    """
    try:
        return _decoder.decode(text)
    except (ValueError, RecursionError) as error:  # also what a lone surrogate raises
        raise BadMessage(str(error)) from None


# -- frames -----------------------------------------------------------------------------------


def text_frame(payload: bytes) -> bytes:
    """Return a text message of a server as one frame (RFC 6455, section 5.2)."""
    size = len(payload)
    if size <= _SHORT:
        return b"\x81%c%b" % (size, payload)
    if size < _MEDIUM:
        return b"\x81\x7e%b%b" % (struct.pack("!H", size), payload)
    return b"\x81\x7f%b%b" % (struct.pack("!Q", size), payload)


def short_reason(reason: str) -> str:
    """Return what of a reason fits into the frame that closes a WebSocket."""
    return reason.encode()[:_REASON].decode("utf-8", "ignore")


def close_frame(code: int, reason: str) -> bytes:
    """Return the frame of a server that closes a WebSocket (RFC 6455, section 5.5.1)."""
    payload = struct.pack("!H", code) + short_reason(reason).encode()
    return b"\x88%c%b" % (len(payload), payload)


def _frame(type_: str, fields: Mapping[str, object]) -> bytes:
    present = {name: value for name, value in fields.items() if value is not None}
    return text_frame(msgspec.json.encode({"type": type_, **present}))


HEARTBEAT: Final = _frame("heartbeat", {})
"""The frame of a heartbeat."""


@final
class MessageFormat(Format):
    """Sends the frames of a session as ``events`` messages.

    Args:
      session_id: the session.
    """

    __slots__ = ("_made", "_session_id")

    def __init__(self, session_id: str) -> None:
        super().__init__(relay=True, framed=False)
        self._session_id = session_id
        self._made: tuple[bytes, bytes] = b"", b""

    def frame(self, data: bytes) -> bytes:
        """Return the data as it is sent; the last frame is remembered (rule 4)."""
        known, made = self._made
        if known is not data:
            made = _events_frame(self._session_id, data)
            self._made = data, made
        return made

    def heartbeat(self, position: int) -> bytes:
        """Return nothing: a socket has its own heartbeat."""
        del position
        return b""


def _events_frame(session_id: str, data: bytes) -> bytes:
    if not data:
        return b""
    events: list[dict[str, str]] = []
    for block in data.decode().split("\n\n")[:-1]:
        head, _, text = block.partition("\ndata: ")
        id_, _, event = head.partition("\nevent: ")
        events.append(
            {
                "id": id_.removeprefix("id: "),
                "event": event,
                "data": text.replace("\ndata: ", "\n"),
            }
        )
    return _frame("events", {"sessionId": session_id, "events": events})


def events_message(session_id: str, events: Iterable[tuple[str, str]]) -> bytes:
    """Return the frame of events that are not stored, each with its name and data (rule 3)."""
    listed = [{"event": event, "data": data} for event, data in events]
    return _frame("events", {"sessionId": session_id, "events": listed})


def subscribed_message(session_id: str, start: Start) -> bytes:
    """Return the answer to a `Subscribe`."""
    fields: dict[str, object] = {"sessionId": session_id, "position": str(start.position)}
    if start.gap is not None:
        fields["gap"] = gap_fields(start.gap)
    return _frame("subscribed", fields)


def gap_fields(gap: Gap) -> dict[str, int | None]:
    """Return a gap as it is reported."""
    return {"missed": gap.missed}


def accepted_message(
    command: Send | Cancel | Decide | Respond,
    turn: TurnRecord | None = None,
    *,
    repeated: bool = False,
) -> bytes:
    """Return the answer to a command that was carried out.

    Args:
      command: the command.
      turn: the turn of a `Send`.
      repeated: whether its key was used before.
    """
    fields: dict[str, object]
    match command:
        case Send():
            assert turn is not None  # noqa: S101 - every send has a turn
            fields = {
                "sessionId": command.session_id,
                "turnId": turn.turn_id,
                "repeated": repeated or None,
                "turn": turn.to_json() if turn.state.over else None,
            }
        case Cancel():
            fields = {"turnId": command.turn_id}
        case Decide():
            fields = {"permissionId": command.permission_id, "granted": command.grant}
        case Respond():
            fields = {"notificationId": command.notification_id}
    return _keyed("accepted", command.key, fields)


def refused_message(
    key: str | None, status: int, error: str, retry_after: float | None = None
) -> bytes:
    """Return the answer to a command that was refused.

    Args:
      key: the command's key.
      status: the HTTP status that the same request would be answered with.
      error: why.
      retry_after: seconds after which a repetition may succeed.
    """
    fields = {"status": status, "error": error, "retryAfter": retry_after}
    return _keyed("refused", key, fields)


def _keyed(type_: str, key: str | None, fields: Mapping[str, object]) -> bytes:
    present = {name: value for name, value in fields.items() if value is not None}
    return text_frame(msgspec.json.encode({"type": type_, "key": key, **present}))


def closed_message(session_id: str, status: int, reason: str) -> bytes:
    """Return the message that ends a subscription.

    Args:
      session_id: the session.
      status: 200: as asked for; 503: subscribe again; others: there is nothing to subscribe to.
      reason: why.
    """
    return _frame("closed", {"sessionId": session_id, "status": status, "reason": reason})


def session_message(event: str, session_id: str, data: str) -> bytes:
    """Return the message about a session that was created or deleted."""
    return _frame("session", {"event": event, "sessionId": session_id, "data": data})
