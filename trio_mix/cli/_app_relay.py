"""Defines the commands of the relay: run it, make a token, inspect its log."""

from __future__ import annotations

from pathlib import Path  # noqa: TC003  # cyclopts reads the annotations
from typing import Annotated

import trio
from cyclopts import App, Parameter

from trio_mix.cli._options import (
    NO_COMMON,
    NO_DEBUG,
    SERVERS,
    ApiOption,
    Common,
    Debug,
    PortOption,
    add,
    examples,
    flag,
)
from trio_mix.cli._run import run_async, run_until_stopped

_DEFAULT_LOG = "sqlite:relay.db"

_EXAMPLES = examples(
    "trio-mix relay --upstream http://localhost:8088",
    "trio-mix relay --listen 0.0.0.0:8090 --token-file tokens.toml --host mix.example",
    "trio-mix relay --page --upstream http://localhost:8088",
    "trio-mix relay --log redis://localhost:6379",
    "trio-mix relay --config relay.toml",
    "trio-mix relay token --token-file tokens.toml --session S --may read,send",
    "trio-mix relay inspect S",
)
_WEB_EXAMPLES = examples(
    "trio-mix web",
    "trio-mix web --server http://localhost:8088 --log sqlite:mix.db",
    "trio-mix web --port 0 --no-open",
)


def add_relay_commands(app: App) -> None:
    """Add the group of commands to the program."""
    group = App(
        name="relay",
        help="Run a relay in front of a Mix server: streams that resume, for many clients.",
        help_epilogue=_EXAMPLES,
        group=SERVERS,
    )
    group.default(relay)
    add(group, token)
    add(group, inspect)
    app.command(group)
    add(app, web, group=SERVERS, epilogue=_WEB_EXAMPLES)


def web(
    *,
    port: PortOption = 8090,
    log: str | None = None,
    api: ApiOption = "async",
    no_open: Annotated[bool, flag("Do not open a browser.")] = False,
    common: Common = NO_COMMON,
) -> int:
    """Use an agent in a browser: run a relay with its web page, and open it.

    If no server is named, the bundled one is run, too, so that nothing else is needed. Only this
    machine can connect, with the token in the printed address. For other devices, see
    `trio-mix relay --page`.

    Args:
      log: Where events are stored, as sqlite:PATH (default: sqlite:relay.db; with the bundled
        server a file that is deleted at the end).
    """
    from trio_mix.cli.commands import _web

    stop = trio.Event()
    return run_until_stopped(
        common,
        stop,
        _web.run_web,
        stop,
        common.connection(),
        port,
        log,
        api=api,
        browser=not no_open,
    )


def relay(
    *,
    upstream: str | None = None,
    log: str | None = None,
    listen: str | None = None,
    origin: Annotated[
        tuple[str, ...], Parameter(name="--origin", negative="", show_default=False)
    ] = (),
    host: Annotated[
        tuple[str, ...], Parameter(name="--host", negative="", show_default=False)
    ] = (),
    token_file: Path | None = None,
    jwt_key_file: Path | None = None,
    page: Annotated[bool, flag("Serve a web page for people, at /relay/page/.")] = False,
    config: Path | None = None,
    debug: Debug = NO_DEBUG,
) -> int:
    """Run a relay in front of a Mix server until Ctrl-C or SIGTERM.

    It owns the one stream of each session, stores every event, and serves any number of clients,
    which resume where they left off. A first signal lets running turns finish.

    Args:
      upstream: The address of the Mix server (default: $MIX_SERVER_URL, else localhost:8088).
      log: Where events are stored: sqlite:PATH (default: sqlite:relay.db), or redis://HOST:PORT,
        which several relays can use.
      listen: The address to bind, HOST:PORT (default: 127.0.0.1:8090).
      origin: The origin of web pages that may use the relay; can be repeated.
      host: A further name of the relay in requests; can be repeated.
      token_file: The file with the digests of the tokens. Needed beyond loopback.
      jwt_key_file: The file with the key of JSON Web Tokens (HS256).
      config: A TOML file with these and further settings.
    """
    from trio_mix.cli.commands import _relay
    from trio_mix.cli.commands._relay_settings import RelaySettings

    given = RelaySettings(
        upstream=upstream,
        log=log,
        listen=listen,
        origins=origin,
        hosts=host,
        token_file=token_file,
        jwt_key_file=jwt_key_file,
        page=page or None,
    )
    stop = trio.Event()
    return run_until_stopped(debug, stop, _relay.run_relay, stop, given, config)


def token(
    *,
    token_file: Path,
    session: Annotated[
        tuple[str, ...], Parameter(name="--session", negative="", show_default=False)
    ] = (),
    may: str = "read",
    subject: str = "",
    debug: Debug = NO_DEBUG,
) -> int:
    """Make a token, add its digest to a file, and print the token, once.

    Args:
      token_file: The file; it is made if it does not exist.
      session: A session that the token covers; can be repeated (default: every session).
      may: What it allows, separated by commas: read, send, decide, cancel, manage.
      subject: The name of its holder, for the log.
    """
    from trio_mix.cli.commands import _relay

    return run_async(debug, _relay.make_token, token_file, session, may, subject)


def inspect(
    session: str | None = None,
    /,
    *,
    log: str = _DEFAULT_LOG,
    json: Annotated[bool, flag("Print one JSON object.")] = False,
    debug: Debug = NO_DEBUG,
) -> int:
    """Print what a relay's log has of a session; without a session, list the sessions.

    It can be used while the relay runs. Of the turns in Redis it shows those that are not over.

    Args:
      session: The session's id.
      log: The log, as sqlite:PATH or redis://HOST:PORT.
    """
    from trio_mix.cli.commands import _relay

    return run_async(debug, _relay.inspect, log, session, json=json)
