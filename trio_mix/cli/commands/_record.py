"""``record`` and ``replay``: record the traffic of a server, and serve a recording."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, NoReturn

import trio

from trio_mix._http import sanitize_url
from trio_mix._rest._options import DEFAULT_SERVER_URL
from trio_mix._terminal_text import clean
from trio_mix.cli._errors import CommandUsageError
from trio_mix.cli._listening import listening
from trio_mix.cli.ui._library_terms import without_library_terms
from trio_mix.testing import record, replay

if TYPE_CHECKING:
    from pathlib import Path

    from trio_mix.cli._client import Connection
    from trio_mix.cli._options import Allowed


async def record_to(
    server: Connection, file: Path, host: str, port: int, *, force: bool, allowed: Allowed
) -> NoReturn:
    """Record until cancelled.

    Raises:
      CommandUsageError: the file exists, or the server's address is not a URL.
    """
    upstream = server.url or DEFAULT_SERVER_URL
    if not force:
        try:
            os.close(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
        except FileExistsError:
            raise CommandUsageError(f"{file} exists: --force replaces it") from None
    try:
        recorder = record(
            upstream,
            file,
            host=host,
            port=port,
            allowed_hosts=allowed.hosts,
            allowed_origins=allowed.origins,
        )
    except ValueError as error:
        raise CommandUsageError(without_library_terms(str(error))) from error
    async with listening(recorder, host, port):
        try:
            print(
                f"recording {sanitize_url(upstream)} at {recorder.url} into {file}; Ctrl-C ends it",
                flush=True,
            )
            await trio.sleep_forever()
        finally:
            print(f"{recorder.exchanges} requests recorded", file=sys.stderr, flush=True)
            if recorder.full:
                print("the file reached its largest size: the rest is missing", file=sys.stderr)


async def replay_from(
    file: Path, host: str, port: int, *, speed: float, ignore_bodies: bool, allowed: Allowed
) -> NoReturn:
    """Serve a recording until cancelled.

    Raises:
      CommandUsageError: the file is not a recording, or a name or origin is invalid.
    """
    try:
        server = replay(
            file,
            speed=speed,
            ignore_bodies=ignore_bodies,
            host=host,
            port=port,
            allowed_hosts=allowed.hosts,
            allowed_origins=allowed.origins,
        )
    except ValueError as error:
        raise CommandUsageError(without_library_terms(str(error))) from error
    async with listening(server, host, port):
        count = len(server.recording.exchanges)
        print(f"replaying {count} requests at {server.url}; Ctrl-C stops it", flush=True)
        try:
            await trio.sleep_forever()
        finally:
            for line in server.unexpected:
                print(f"not recorded: {clean(line)}", file=sys.stderr, flush=True)
