"""``resume`` and ``attach``: continue a message that another process has sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import trio

from trio_mix import errors
from trio_mix.cli._client import open_client
from trio_mix.cli._errors import OK, CommandUsageError
from trio_mix.cli._run import end_with_reader
from trio_mix.cli._ticket_file import TicketFile
from trio_mix.cli.commands._ask import ShowOptions, show_turn

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix import Message, SessionStream
    from trio_mix.cli._client import Connection


async def resume(server: Connection, file: str, options: ShowOptions) -> int:
    """Send the message of a ticket, or show how far it has come, to its end.

    Raises:
      CommandUsageError: the file is in use, or no regular file.
      ConfigurationError: the file has no ticket.
    """
    with TicketFile.open(file) as (stored, ticket):
        return await _show(
            server, ticket.session_id, options, lambda s: s.resume(ticket, save=stored.save)
        )


async def attach(server: Connection, session: str, options: ShowOptions) -> int:
    """Show the message that a session works on, to its end.

    Raises:
      CommandUsageError: it works on none.
    """
    try:
        return await _show(server, session, options, lambda s: s.attach(), others=True)
    except* errors.UsageError:
        raise CommandUsageError(
            f"session {session} works on no message that its server stores; `trio-mix watch` shows "
            "what happens there from now on"
        ) from None


async def _show(
    server: Connection,
    session: str,
    options: ShowOptions,
    message: Callable[[SessionStream], Message],
    *,
    others: bool = False,
) -> int:
    async with open_client(server) as mix, trio.open_nursery() as nursery:
        nursery.start_soon(end_with_reader)
        async with mix.open_stream(session) as stream:
            await show_turn(mix, stream, message(stream), options, nursery, others=others)
        nursery.cancel_scope.cancel(reason="the message is finished")
    return OK
