"""Find out how a turn ended that was sent past the relay and lost events with a connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trio_mix import errors
from trio_mix.relay._outbox import outcome_of_failure, outcome_of_reply
from trio_mix.relay._records import Outcome
from trio_mix.relay._stored_rounds import running_rounds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trio_mix._mix import Mix
    from trio_mix._session._stream import SessionStream
    from trio_mix.relay._bridge import Round


async def foreign_outcome(
    session: SessionStream, mix: Mix
) -> tuple[Outcome | None, Sequence[Round]]:
    """Wait for the end of the turn that runs in a session; nothing cancels it.

    Returns:
      How it ended, and its stored rounds; None: the server does not store it.

    Raises:
      StreamError, TransportError, MixError: it cannot be found out now.
    """
    outcome: Outcome | None = None
    try:
        # Shielded: it ends with the session stream.
        with trio.CancelScope(shield=True):
            async with session.attach() as message:
                outcome = outcome_of_reply(await message.wait())
    except errors.UsageError:
        await trio.lowlevel.checkpoint()  # nothing runs any more
    except errors.MessageError as exc:
        return outcome_of_failure(exc, cancelling=False)[1], []  # noqa: ASYNC910 - the message was waited for
    asked = None if outcome is None else outcome.user_message_id
    rounds = await running_rounds(mix, session.session_id, None, asked)
    if outcome is None and rounds:
        outcome = Outcome(
            kind="complete",
            text="".join(each.text for each in rounds),
            final_text=rounds[-1].text,
            message_id=rounds[-1].message_id,
        )
    return outcome, rounds
