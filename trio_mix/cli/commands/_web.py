"""``web``: runs a relay with its page, with a server if none is named, and opens a browser.

Rules:

1. Others on this machine cannot use the page: it needs a token, which is made for this run.
2. The token is not in the arguments of the browser's process, which others can see: the browser
   opens a private file that leads to the page. Signed in, it has the token in a cookie.
"""

from __future__ import annotations

import os
import secrets
import sys
import tempfile
import webbrowser
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

import trio

from trio_mix._private_files import open_private
from trio_mix.cli._errors import OK
from trio_mix.cli._listening import binding
from trio_mix.cli.commands._relay import log_of
from trio_mix.cli.commands._relay_settings import RelaySettings
from trio_mix.cli.ui._text import print_error
from trio_mix.relay import Auth, Relay
from trio_mix.relay._grants import VERBS, new_token
from trio_mix.relay._page import PAGE_PATH
from trio_mix.testing import MixServer

if TYPE_CHECKING:
    from trio_mix.cli._client import Connection
    from trio_mix.testing import Api

_DEFAULT_LOG: Final = "sqlite:relay.db"
_LOG_LIMIT: Final = 1000
_LOG_BYTES: Final = 16 * 2**20
_DRAIN: Final = 2.0
_FIRST_ANSWER: Final = 3.0
"""Seconds that the server has to respond before the page is opened."""


async def run_web(
    stop: trio.Event, server: Connection, port: int, log: str | None, *, api: Api, browser: bool
) -> int:
    """Run until stopped.

    Args:
      stop: is set by the first signal.
      server: the Mix server; the bundled one is run if none is named.
      port: where the page is served, on loopback.
      log: where events are stored; None: in a file that is deleted if the bundled server is run.
      api: the generation of the bundled server.
      browser: whether a browser is opened.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="trio-mix-web-")))
        upstream, text = server.url, log or _DEFAULT_LOG
        headers = await server.all_headers()
        if upstream is None:
            made = MixServer(
                api,
                port=0,
                log_limit=_LOG_LIMIT,
                log_bytes=_LOG_BYTES,
                id_prefix=f"{secrets.token_hex(3)}-",
            )
            upstream = (await stack.enter_async_context(made)).url
            text = log or f"sqlite:{folder / 'relay.db'}"
        tokens = folder / "tokens.toml"
        token = new_token(tokens, sessions=None, verbs=sorted(VERBS), subject="")
        relay = await stack.enter_async_context(
            Relay(
                upstream,
                log=log_of(RelaySettings(log=text)),
                auth=Auth.tokens(tokens),
                headers=headers,
                page=True,
                drain_timeout=_DRAIN,
            )
        )
        async with trio.open_nursery() as nursery:
            with binding("127.0.0.1", port):
                url = await nursery.start(relay.serve, "127.0.0.1", port)
            with trio.move_on_after(_FIRST_ANSWER) as scope:
                await relay.wait_ready()
            if scope.cancelled_caught:
                print_error(f"{server.shown_url} does not respond yet: the page shows when it does")
            page = f"{url}{PAGE_PATH}#token={token}"
            which = f"the bundled server (API generation: {api})"
            print(f"a page for {which if server.url is None else server.shown_url} is at")
            print(f"  {page}")
            print("Ctrl-C stops it", flush=True)
            if browser:
                nursery.start_soon(_open_browser, folder / "page.html", page)
            await stop.wait()
            with suppress(OSError):  # the terminal was closed
                print("stopping", file=sys.stderr)
            await relay.drain()
            nursery.cancel_scope.cancel(reason="the relay was drained")
    return OK


async def _open_browser(file: Path, page: str) -> None:
    """Open the page in the user's browser (rule 2)."""
    with open_private(file) as private:
        private.write(
            f'<!doctype html><meta charset="utf-8"><title>Mix</title>'
            f'<meta http-equiv="refresh" content="0; url={page}">\n'
        )
    opened = await trio.to_thread.run_sync(_show, file.as_uri(), abandon_on_cancel=True)
    if not opened:
        print_error("no browser was found: open the address above in one")


def _show(url: str) -> bool:
    try:
        found = webbrowser.get()
    except webbrowser.Error:
        return False
    # A browser that runs in the terminal would take it over.
    if type(found) is webbrowser.GenericBrowser and not os.environ.get("BROWSER"):
        return False
    return found.open(url)
