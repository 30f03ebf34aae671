"""``serve``: runs the bundled server until it is stopped."""

from __future__ import annotations

import secrets
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING

import trio

from trio_mix._terminal_text import clean
from trio_mix.cli._errors import CommandUsageError
from trio_mix.cli._listening import listening
from trio_mix.cli._options import NONE_ALLOWED
from trio_mix.cli.ui._library_terms import without_library_terms
from trio_mix.testing import MixServer

if TYPE_CHECKING:
    from pathlib import Path

    from trio_mix.cli._options import Allowed
    from trio_mix.testing import Api

_LOG_LIMIT = 1000
_LOG_BYTES = 16 * 2**20
"""The number and size of the records that are kept, so that a long run does not fill the memory."""


async def serve(
    host: str,
    port: int,
    api: Api,
    *,
    pace: float,
    state: Path | None = None,
    allowed: Allowed = NONE_ALLOWED,
) -> int:
    """Run the server until cancelled.

    Raises:
      CommandUsageError: a name or origin is invalid.
      ConfigurationError: the file with the state is in use, broken, or of a newer version.
      OSError: it cannot be read or written.
    """
    try:
        made = MixServer(
            api,
            host=host,
            port=port,
            pace=pace,
            log_limit=_LOG_LIMIT,
            log_bytes=_LOG_BYTES,
            allowed_hosts=allowed.hosts,
            allowed_origins=allowed.origins,
            # A client that outlives this server must not find its session ids reused.
            id_prefix=f"{secrets.token_hex(3)}-",
            state=state,
        )
    except ValueError as error:
        raise CommandUsageError(without_library_terms(str(error))) from error
    with ExitStack() as at_the_end:
        async with listening(made, host, port) as server:
            line = f"Mix server (API generation: {api}) at {server.url}; Ctrl-C stops it"
            if state is not None:
                line += f", sessions are kept in {clean(str(state))}"
            print(line, flush=True)
            # A terminal writes no line end after its ^C.
            last = "\nstopped" if sys.stdout.isatty() else "stopped"
            at_the_end.callback(print, last, flush=True)
            await trio.sleep_forever()
