"""``auth``: the server's keys and logins at the models' providers.

What it knows: how a secret is asked for, and who gets it.
What it must never know: how to show one.

Rules:

1. A key comes from a prompt without echo, or from stdin; never from an argument, which other users
   of the machine can see and the shell remembers.
2. Nothing that is printed holds the key, whatever the server sends back.
3. The terminal echoes again afterwards, also after Ctrl-C.
"""

from __future__ import annotations

import getpass
import sys
from typing import TYPE_CHECKING

import attrs
import trio

from trio_mix.cli._client import open_client
from trio_mix.cli._errors import FAILED, OK, REFUSED, CommandUsageError
from trio_mix.cli.ui._tables import show_records
from trio_mix.cli.ui._text import clean, excerpt, print_error

if TYPE_CHECKING:
    from trio_mix.models import KeyProvider


@attrs.frozen
class ProviderLine:
    """How the server is authenticated at one provider, as it is listed."""

    provider: str
    name: str | None
    authenticated: bool | None
    method: str | None


async def status(server: str | None, *, jsonl: bool) -> int:
    """Print how the server is authenticated at each provider."""
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
        empty="the server knows no providers",
    )
    return OK


async def check(server: str | None) -> int:
    """Say whether the server can use its preferred provider."""
    async with open_client(server) as mix:
        found = await mix.authentication.validate_preferred_provider()
    who, why = excerpt(found.provider or "the provider"), excerpt(found.message or "")
    if found.valid:
        print(f"{who} can be used" + (f": {why}" if why else ""), flush=True)
        return OK
    store = f"trio-mix auth set {who if found.provider else 'PROVIDER'}"
    print_error(f"{who} cannot be used: {why or 'no reason given'} (`{store}` stores a key)")
    return REFUSED


async def store(server: str | None, provider: KeyProvider) -> int:
    """Store a key that is typed or piped in."""
    async with open_client(server) as mix:
        key = await read_secret(f"API key for {provider} (not shown): ")
        result = await mix.authentication.store_api_key(api_key=key, provider=provider)
    said = excerpt((result.message or result.status or "").replace(key, "***"))
    print(f"stored a key for {provider}" + (f": {said}" if said else ""), flush=True)
    return OK


async def delete(server: str | None, provider: str) -> int:
    """Delete what the server has for a provider."""
    async with open_client(server) as mix:
        await mix.authentication.delete_credentials(provider=provider)
    print(f"deleted the credentials for {clean(provider)}", flush=True)
    return OK


async def login(server: str | None, provider: str) -> int:
    """Log the server in at a provider: shows an address, takes the code that it gives."""
    async with open_client(server) as mix:
        flow = await mix.authentication.start_oauth_flow(provider=provider)
        if not flow.auth_url or not flow.state:
            print_error(f"the server gave no address to log in at: {excerpt(flow.message or '')}")
            return FAILED
        print("Open this address and log in:\n", file=sys.stderr)
        print(f"  {clean(flow.auth_url)}\n", file=sys.stderr, flush=True)
        code = await read_secret("The code that it shows (not shown here): ")
        done = await mix.authentication.handle_oauth_callback(
            code=code, provider=provider, state=flow.state
        )
    said = excerpt((done.message or done.status or "").replace(code, "***"))
    print(f"logged in at {clean(provider)}" + (f": {said}" if said else ""), flush=True)
    return OK


async def read_secret(prompt: str) -> str:
    """Ask for a secret without echo, or read a line of stdin when that is no terminal.

    Raises:
      UsageError: there is none, or it cannot be one.

    Cancelled: the terminal echoes again; the read itself lasts until the program ends.
    """
    if sys.stdin.isatty():
        secret = await _typed(prompt)
    else:
        secret = await trio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)
    secret = secret.strip()
    if not secret:
        raise CommandUsageError("no key was given: type it at the prompt, or pipe it in on stdin")
    if any(letter.isspace() or not letter.isprintable() for letter in secret):
        raise CommandUsageError(
            "what was given is no key: it has spaces or control characters in it"
        )
    return secret


async def _typed(prompt: str) -> str:
    import termios

    before = termios.tcgetattr(sys.stdin.fileno())
    try:
        return await trio.to_thread.run_sync(_getpass, prompt, abandon_on_cancel=True)
    finally:
        termios.tcsetattr(sys.stdin.fileno(), termios.TCSADRAIN, before)


def _getpass(prompt: str) -> str:
    try:
        return getpass.getpass(prompt)
    except EOFError:
        return ""
