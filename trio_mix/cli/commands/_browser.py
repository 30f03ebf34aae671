"""``browser``: gives the agent of a session a Chromium of this machine."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Final

import attrs
import trio

from trio_mix._terminal_text import clean
from trio_mix.browser import Policy, launch_chromium, open_tunnel
from trio_mix.cli._client import open_client
from trio_mix.cli._errors import CommandUsageError
from trio_mix.cli._run import end_with_reader
from trio_mix.errors import ConfigurationError

if TYPE_CHECKING:
    from trio_mix import Mix
    from trio_mix.cli._client import Connection

MODE: Final = "electron-embedded-browser"
TOKEN: Final = "MIX_TUNNEL_TOKEN"  # noqa: S105 - the name of a variable


@attrs.frozen(kw_only=True)
class BrowserOptions:
    """The options of ``browser``."""

    session: str | None = None
    allow_host: tuple[str, ...] = ()
    folder: str | None = None
    sandbox: bool = True
    window: bool = False


async def browser(server: Connection, options: BrowserOptions) -> int:
    """Connect a Chromium to a session until interrupted, or until either of them is lost.

    Raises:
      CommandUsageError: an allowed host is not one.
    """
    try:
        policy = Policy(allow=options.allow_host)
    except ConfigurationError:
        raise CommandUsageError(
            "--allow-host takes a host such as localhost:3000, without a scheme and a path"
        ) from None
    async with open_client(server) as mix, trio.open_nursery() as nursery:
        nursery.start_soon(end_with_reader)
        session = await _session(mix, options)
        async with (
            launch_chromium(
                policy=policy, sandbox=options.sandbox, headless=not options.window
            ) as chromium,
            open_tunnel(
                mix,
                session,
                token=os.environ.get(TOKEN) or "local",
                browser=chromium,
                folder=options.folder,
            ) as tunnel,
        ):
            print(f"session {clean(session)} has a browser", file=sys.stderr, flush=True)
            print(f"files: {clean(str(tunnel.folder))}", file=sys.stderr, flush=True)
            await tunnel.wait_closed()


async def _session(mix: Mix, options: BrowserOptions) -> str:
    if options.session is not None:
        await trio.lowlevel.checkpoint()
        return options.session
    created = await mix.sessions.create(title="Browser", browser_mode=MODE)
    print(clean(created.id), flush=True)
    return created.id
