"""The values of the relay as Redis stores and publishes them."""

from __future__ import annotations

import base64
import hashlib
import json
import struct
from typing import TYPE_CHECKING, Any, Final, cast

import attrs

from trio_mix.relay._errors import LogCorrupt
from trio_mix.relay._ids import EPOCH, epoch_of, sequence_of
from trio_mix.relay._log import Extent
from trio_mix.relay._records import (
    Answer,
    Audience,
    LoggedEvent,
    SendRequest,
    TurnRecord,
    TurnState,
    outcome_from_text,
    outcome_to_text,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_EVENT: Final = struct.Struct(">IBI")
_RELEASED: Final = b"released"


def position_text(position: int) -> bytes:
    """Return an id or position as the id of a stream's entry."""
    return b"%d-%d" % (epoch_of(position), sequence_of(position))


def position_of(text: bytes) -> int:
    """Return the id or position that `position_text` wrote."""
    epoch, _, sequence = text.partition(b"-")
    return int(epoch) * EPOCH + int(sequence)


def encode_events(events: Sequence[LoggedEvent]) -> tuple[bytes, bytes]:
    """Return the header and the frames of an append; all events have the same epoch."""
    pack = _EVENT.pack
    header = b"".join(
        [pack(sequence_of(event.id), event.audience, len(event.frame)) for event in events]
    )
    return header, b"".join([event.frame for event in events])


@attrs.frozen
class Published:
    """Events that were published when they were stored."""

    previous: int
    """The position before the first one: what a follower must have."""
    events: list[LoggedEvent]


def decode_published(payload: bytes) -> Published | None:
    """Return the events of a message, or None if the owner has released the session.

    Raises:
      LogCorrupt: the message is something else.
    """
    if payload == _RELEASED:
        return None
    try:
        first, _, rest = payload.partition(b"\n")
        previous, epoch, length = first.split(b" ")
        start = int(epoch) * EPOCH
        at = size = int(length)
        found: list[LoggedEvent] = []
        for sequence, audience, count in _EVENT.iter_unpack(rest[:size]):
            frame = rest[at : at + count]
            found.append(LoggedEvent(start + sequence, Audience(audience), frame))
            at += count
        if at != len(rest):
            raise ValueError("its frames have another length")
        return Published(position_of(previous), found)
    except (ValueError, struct.error) as exc:
        raise LogCorrupt(f"A message of the log cannot be read: {exc}.") from exc


def decode_events(reply: object) -> list[LoggedEvent]:
    """Return the events that the function ``read`` returned."""
    items = cast("list[bytes]", reply)
    return [
        LoggedEvent(position_of(items[at]), Audience(int(items[at + 1])), items[at + 2])
        for at in range(0, len(items), 3)
    ]


def decode_extent(reply: object) -> Extent | None:
    """Return the extent of a session from the response of the function ``extent``."""
    items = cast("list[Any]", reply)
    if not items:
        return None
    newest = position_of(items[0]) if items[0] else 0
    last = {int(items[3][at]): int(items[3][at + 1]) for at in range(0, len(items[3]), 2)}
    if sequence_of(newest):
        last[epoch_of(newest)] = sequence_of(newest)
    oldest = position_of(items[2]) - 1 if items[2] else newest
    deleted = {
        epoch: min(sequence, sequence_of(oldest)) if epoch == epoch_of(oldest) else sequence
        for epoch, sequence in last.items()
        if epoch <= epoch_of(oldest)
    }
    return Extent(
        newest=newest,
        oldest=oldest,
        deleted={epoch: sequence for epoch, sequence in deleted.items() if sequence},
        forgotten=int(items[1]),
    )


def encode_turn(turn: TurnRecord) -> bytes:
    """Return a turn as JSON."""
    answer = turn.answer
    fields = {
        "turn": turn.turn_id,
        "session": turn.session_id,
        "request": turn.request.to_json(),
        "digest": turn.digest,
        "created": turn.created_at,
        "key": turn.key,
        "subject": turn.subject,
        "state": turn.state.value,
        "ticket": turn.ticket,
        "outcome": outcome_to_text(turn.outcome),
        "answer": None
        if answer is None
        else [answer.status, answer.content_type, base64.b64encode(answer.body).decode()],
        "ended": turn.ended_at,
        "first": turn.first_id,
    }
    return json.dumps(fields).encode()


def decode_turn(text: bytes) -> TurnRecord:
    """Return the turn that `encode_turn` wrote.

    Raises:
      LogCorrupt: it is something else.
    """
    try:
        fields = json.loads(text)
        answer = None
        if fields["answer"] is not None:
            status, content_type, body = fields["answer"]
            answer = Answer(status=status, content_type=content_type, body=base64.b64decode(body))
        return TurnRecord(
            turn_id=fields["turn"],
            session_id=fields["session"],
            request=SendRequest.from_json(fields["request"]),
            digest=fields["digest"],
            created_at=fields["created"],
            key=fields["key"],
            subject=fields["subject"],
            state=TurnState(fields["state"]),
            ticket=fields["ticket"],
            outcome=outcome_from_text(fields["outcome"]),
            answer=answer,
            ended_at=fields["ended"],
            first_id=fields["first"],
        )
    except (ValueError, KeyError, TypeError) as exc:
        raise LogCorrupt(f"A turn of the log cannot be read: {exc!r}.") from exc


def key_digest(session_id: str, subject: str, key: str) -> str:
    """Return what identifies an idempotency key of a session and a subject."""
    text = json.dumps([session_id, subject, key])
    return hashlib.sha256(text.encode()).hexdigest()
