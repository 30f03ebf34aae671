"""``relay``: runs a relay, makes tokens for it, and shows what its log has."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

import trio

from trio_mix._http import sanitize_url
from trio_mix._terminal_text import clean
from trio_mix.cli._errors import FAILED, OK, CommandUsageError
from trio_mix.cli._listening import binding
from trio_mix.cli.commands._relay_settings import (
    DEFAULT_LISTEN,
    DEFAULT_LOG,
    RelaySettings,
    parse_listen,
    read_settings,
)
from trio_mix.cli.ui._json import print_json, to_json
from trio_mix.cli.ui._text import print_error
from trio_mix.relay import Auth, RedisLog, Relay, Retention, SqliteLog
from trio_mix.relay._errors import SessionUnknown
from trio_mix.relay._grants import VERBS, new_token
from trio_mix.relay._inspect import inspect_session, list_sessions
from trio_mix.relay._page import PAGE_PATH
from trio_mix.relay._redis_inspect import inspect_redis_session, list_redis_sessions

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trio_mix.relay._grants import Verb

_REDIS = ("redis", "rediss", "valkey", "valkeys", "unix")
_SQLITE_ONLY = ("commit_interval", "synchronous")
_REDIS_ONLY = ("lease_ttl", "wait_replicas", "prefix")
_DEFAULT_UPSTREAM = "http://localhost:8088"


async def run_relay(stop: trio.Event, given: RelaySettings, config: Path | None) -> int:
    """Run a relay until it is stopped; then let running turns finish.

    Args:
      stop: is set by the first signal.
      given: the settings of the command line.
      config: the file with further settings.
    """
    _allow_many_connections()
    settings = given.over(read_settings(config))
    upstream = settings.upstream or os.environ.get("MIX_SERVER_URL") or _DEFAULT_UPSTREAM
    host, port = parse_listen(settings.listen or DEFAULT_LISTEN)
    log = log_of(settings)
    limits = settings.numbers("stall_timeout", "heartbeat", "idle_close", "drain_timeout")
    counts = settings.numbers("queue_max", "ring")
    relay = Relay(
        upstream,
        log=log,
        auth=_auth(settings),
        allowed_hosts=settings.hosts,
        allowed_origins=settings.origins,
        page=bool(settings.page),
        **cast("dict[str, Any]", limits | counts),
    )
    async with relay, trio.open_nursery() as nursery:
        with binding(host, port):
            url = await nursery.start(relay.serve, host, port)
        shown = sanitize_url(upstream)
        print(f"relay of {shown} at {url}; Ctrl-C stops it", flush=True)
        if settings.page:
            print(f"page at {url}{PAGE_PATH}", flush=True)
        await stop.wait()
        with suppress(OSError):  # the terminal was closed
            print("stopping: running turns may finish, Ctrl-C again ends them", file=sys.stderr)
        await relay.drain()
        nursery.cancel_scope.cancel(reason="the relay was drained")
    print("stopped", flush=True)
    return OK


def _allow_many_connections() -> None:
    """Raise the limit on open files as far as the system allows: each client needs one."""
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _sqlite_path(text: str) -> str | None:
    """Return the path of a log in SQLite; None if the text names one in Redis.

    Raises:
      CommandUsageError: the text names no log.
    """
    kind, _, path = text.partition(":")
    if kind in _REDIS:
        return None
    if kind != "sqlite" or not path:
        raise CommandUsageError(
            f"--log takes sqlite:PATH, redis://HOST:PORT, rediss:// or unix://PATH, not"
            f" {sanitize_url(text)!r}"
        )
    return path.removeprefix("//")


def log_of(settings: RelaySettings) -> SqliteLog | RedisLog:
    """Return the log that the settings name.

    Raises:
      CommandUsageError: they name none, or have a setting that it does not.
    """
    text = settings.log or DEFAULT_LOG
    path = _sqlite_path(text)
    shared = path is None
    for name in _SQLITE_ONLY if shared else _REDIS_ONLY:
        if getattr(settings, name) is not None:
            raise CommandUsageError(
                f"{name} is a setting of another kind of log than {text.partition(':')[0]}:"
            )
    given: dict[str, Any] = {}
    for name in _REDIS_ONLY if shared else _SQLITE_ONLY:
        if getattr(settings, name) is not None:
            given[name] = getattr(settings, name)
    if settings.retention:
        given["retention"] = Retention(**cast("dict[str, Any]", dict(settings.retention)))
    return RedisLog(text, **given) if path is None else SqliteLog(path, **given)


def _auth(settings: RelaySettings) -> Auth | None:
    sources = []
    if settings.token_file is not None:
        sources.append(Auth.tokens(settings.token_file))
    if settings.jwt_key_file is not None:
        sources.append(Auth.jwt(key_file=settings.jwt_key_file))
    return Auth.any_of(*sources) if sources else None


async def make_token(file: Path, sessions: Sequence[str], may: str, subject: str) -> int:
    """Add a token to a file and print it, once.

    Raises:
      CommandUsageError: a verb does not exist.
    """
    verbs = {verb.strip() for verb in may.split(",") if verb.strip()}
    unknown = verbs - VERBS
    if unknown or not verbs:
        raise CommandUsageError(
            f"--may takes {', '.join(sorted(VERBS))}, separated by commas, not {may!r}"
        )
    token = await trio.to_thread.run_sync(
        lambda: new_token(
            file,
            sessions=None if not sessions or "*" in sessions else sessions,
            verbs=cast("set[Verb]", verbs),
            subject=subject,
        )
    )
    print(token, flush=True)
    print(f"its digest is in {file}; the token is not shown again", file=sys.stderr)
    return OK


async def inspect(log: str, session: str | None, *, json: bool) -> int:
    """Print what a log has of a session; without a session, the ids of all."""
    path = _sqlite_path(log)
    if session is None:
        for session_id in await (
            list_redis_sessions(log)
            if path is None
            else trio.to_thread.run_sync(list_sessions, path)
        ):
            print(clean(session_id))
        return OK
    session = session.encode("utf-8", "replace").decode()  # no id has what is no UTF-8
    try:
        found = await (
            inspect_redis_session(log, session)
            if path is None
            else trio.to_thread.run_sync(inspect_session, path, session)
        )
    except SessionUnknown as error:
        print_error(str(error))
        return FAILED  # noqa: ASYNC910 - serving a connection waits
    fields: dict[str, object] = {
        "session": found.session_id,
        "epoch": found.epoch,
        "newest": found.newest,
        "oldest": found.oldest,
        "events": found.events,
        "bytes": found.bytes,
        "deleted": found.deleted,
    }
    if json:
        turns = [
            {
                "turnId": turn.turn_id,
                "state": turn.state,
                "createdAt": turn.created_at,
                "endedAt": turn.ended_at,
                "subject": turn.subject,
            }
            for turn in found.turns
        ]
        print_json(to_json({**fields, "turns": turns}))
        return OK
    for name, value in fields.items():
        print(f"{name}\t{clean(str(value))}")
    for turn in found.turns:
        began = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(turn.created_at))
        print(f"turn\t{clean(turn.turn_id)}\t{turn.state}\t{began}\t{clean(turn.subject)}")
    return OK
