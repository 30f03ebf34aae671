"""``auth``: the server's keys and logins for model providers.

Rules:

1. A key is read from a prompt without echo, or from stdin; never from an argument, which other
   users of the machine can see and the shell keeps.
2. No output holds the key, whatever the server returns.
3. The terminal's echo is restored, also after Ctrl-C.
"""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING

import attrs
import trio

from trio_mix._terminal_text import clean
from trio_mix.cli._client import open_client
from trio_mix.cli._errors import FAILED, OK, REFUSED, CommandUsageError
from trio_mix.cli.ui._tables import show_records
from trio_mix.cli.ui._terminal_modes import keep_modes
from trio_mix.cli.ui._text import excerpt, print_error

if TYPE_CHECKING:
    from trio_mix.cli._client import Connection
    from trio_mix.models import KeyProvider


@attrs.frozen
class ProviderLine:
    """A line of ``auth status``."""

    provider: str
    name: str | None
    authenticated: bool | None
    method: str | None


async def status(server: Connection, *, jsonl: bool) -> int:
    """Print how the server is authenticated with each provider."""
    async with open_client(server) as mix:
        found = await mix.authentication.get_auth_status()
    lines = [
        ProviderLine(clean(name), each.display_name, each.authenticated, each.auth_method)
        for name, each in (found.providers or {}).items()
    ]
    show_records(
        lines,
        ("provider", "name", "usable", "by"),
        lambda line: (
            line.provider,
            line.name,
            "yes" if line.authenticated else "no",
            line.method if line.authenticated else "",
        ),
        jsonl=jsonl,
        empty="the server has no providers",
    )
    return OK


async def check(server: Connection) -> int:
    """Check whether the server can use its preferred provider."""
    async with open_client(server) as mix:
        found = await mix.authentication.validate_preferred_provider()
    who, why = excerpt(found.provider or "the provider"), excerpt(found.message or "")
    if found.valid:
        print(f"{who} can be used" + (f": {why}" if why else ""), flush=True)
        return OK
    store = f"trio-mix auth set {who if found.provider else 'PROVIDER'}"
    print_error(f"{who} cannot be used: {why or 'no reason given'} (`{store}` stores a key)")
    return REFUSED


async def store(server: Connection, provider: KeyProvider) -> int:
    """Store a key that is typed or read from a pipe."""
    async with open_client(server) as mix:
        key = await read_secret(f"API key for {provider} (not shown): ")
        result = await mix.authentication.store_api_key(api_key=key, provider=provider)
    message = excerpt((result.message or result.status or "").replace(key, "***"))
    print(f"stored a key for {provider}" + (f": {message}" if message else ""), flush=True)
    return OK


async def delete(server: Connection, provider: str) -> int:
    """Delete the credentials that the server has for a provider."""
    async with open_client(server) as mix:
        await mix.authentication.delete_credentials(provider=provider)
    print(f"deleted the credentials for {clean(provider)}", flush=True)
    return OK


async def login(server: Connection, provider: str) -> int:
    """Log the server in to a provider: show a URL, then read the code from it."""
    async with open_client(server) as mix:
        flow = await mix.authentication.start_oauth_flow(provider=provider)
        if not flow.auth_url or not flow.state:
            print_error(f"the server returned no login URL: {excerpt(flow.message or 'no reason')}")
            return FAILED
        print("Open this URL and log in:\n", file=sys.stderr)
        print(f"  {clean(flow.auth_url)}\n", file=sys.stderr, flush=True)
        code = await read_secret("Code from that page (not shown): ")
        done = await mix.authentication.handle_oauth_callback(
            code=code, provider=provider, state=flow.state
        )
    message = excerpt((done.message or done.status or "").replace(code, "***"))
    print(f"logged in to {clean(provider)}" + (f": {message}" if message else ""), flush=True)
    return OK


async def read_secret(prompt: str) -> str:
    """Read a secret without echo, or a line of stdin if that is no terminal.

    If cancelled, the terminal's echo is restored; the read itself lasts until the program ends.

    Raises:
      CommandUsageError: the input is empty, or has spaces or control characters.
    """
    if sys.stdin.isatty():
        secret = await _read_typed(prompt)
    else:
        secret = await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
    secret = secret.strip()
    if not secret:
        raise CommandUsageError("the key is empty: type it at the prompt, or pipe it to stdin")
    if any(letter.isspace() or not letter.isprintable() for letter in secret):
        raise CommandUsageError("the input is not a key: it has spaces or control characters")
    return secret


async def _read_typed(prompt: str) -> str:
    with keep_modes():
        return await trio.to_thread.run_sync(_getpass, prompt, abandon_on_cancel=True)


def _getpass(prompt: str) -> str:
    try:
        return getpass.getpass(prompt)
    except EOFError:
        return ""
