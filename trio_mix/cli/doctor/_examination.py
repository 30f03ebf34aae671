"""``doctor``: whether a Mix server responds, of which generation, and how it deviates.

Rules:

1. Every finding was measured on this server; whatever was not measured is *unknown*.
2. The session that is used for measuring is deleted in any case; a session of the user is not.
3. A deviation that trio_mix compensates for is a note; only one it cannot compensate for is bad.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from trio_mix import errors
from trio_mix._http import environment_proxy, sanitize_url
from trio_mix.cli._errors import (
    FAILED,
    NO_SERVER,
    PROXY_REMEDY,
    REFUSED,
    USAGE,
    error_line,
    exit_code,
    is_tls,
    why_unreachable,
)
from trio_mix.cli.doctor._probe import Probe
from trio_mix.cli.doctor._report import Report
from trio_mix.cli.doctor._stream import examine_stream
from trio_mix.cli.ui._library_terms import without_library_terms
from trio_mix.cli.ui._text import excerpt

if TYPE_CHECKING:
    from trio_mix.cli._client import Connection
    from trio_mix.cli.doctor._probe import ServerGeneration

_DEFAULT: Final = "http://localhost:8088"
_START: Final = "start one with `trio-mix serve`, or name another with --server"

_GENERATIONS: Final[dict[str, tuple[str, str]]] = {
    "async": (
        "async (API 0.7.4 and later): a message is accepted at once, and events carry its id",
        "events are matched to messages by id",
    ),
    "blocking": (
        "blocking (API 0.7.0 to 0.7.3): the response to a message arrives when its turn has ended",
        "the response and events are combined into one reply; events are matched by order",
    ),
    "pipeline": (
        "pipeline (API up to 0.6.9): each open stream runs each message",
        "one stream per session, one message at a time; events are matched by order",
    ),
    "pipeline-oldest": (
        "oldest pipeline (before 0.6): no REST, no ids, no deltas",
        "text is read from `complete`; events are matched by order",
    ),
}


async def doctor(
    server: Connection, session: str | None, *, json: bool, wait: float, listen: float
) -> int:
    """Examine a server and return the exit code.

    Args:
      server: the server.
      session: the session to measure in, which is not deleted; None: a new one.
      json: whether to print one JSON object instead of lines.
      wait: the time limit for each response, in seconds.
      listen: the time to listen for heartbeats, in seconds.
    """
    await trio.lowlevel.checkpoint()
    address = (server.url or _DEFAULT).rstrip("/")
    report = Report(sanitize_url(address), json)
    report.begin()
    try:
        mix = server.client(timeout=wait)
    except errors.ConfigurationError as error:
        report.add("server", "bad", without_library_terms(str(error)), failure=USAGE)
        return report.finish()
    if proxy := environment_proxy(address):
        found = f"the environment names a proxy, which all requests go through: {proxy}"
        report.add("proxy", "note", found, "to reach the server directly, add its host to NO_PROXY")
    async with mix:
        try:
            await _examine(Probe(mix, address, wait), report, session, listen)
        except errors.TrioMixError as error:
            report.add(
                "examination",
                "bad",
                f"the examination stopped: {excerpt(error_line(error))}",
                "the findings above are valid; try again, or see the server's log",
                failure=exit_code(error),
            )
    return report.finish()


async def _examine(probe: Probe, report: Report, session: str | None, listen: float) -> None:
    if not await _check_server(probe, report):
        return
    if report.generation == "pipeline-oldest":
        _report_generation(report, "pipeline-oldest")
        await _check_jsonrpc(probe, report)
        if session is None:
            report.add(
                "session",
                "unknown",
                "none was created, because this server does not delete the last session in use",
                "--session ID measures in an existing one, with an unknown slash command",
            )
            return
        await examine_stream(probe, report, session, listen, command=True)
        return
    await _check_credentials(probe, report)
    made: str | None = None
    try:
        if session is None:
            session = made = await _create(probe, report)
        if session is None:
            return
        generation = await probe.generation(session)
        _report_generation(report, generation)
        await examine_stream(probe, report, session, listen, command=False)
        await _cancel(probe, report, session)
    finally:
        if made is not None and not await probe.delete(made):
            report.add("cleanup", "note", f"session {made} could not be deleted", "delete it later")
    if made is not None:
        report.add("cleanup", "ok", "the session that was used for measuring is deleted")


async def _check_server(probe: Probe, report: Report) -> bool:
    """Return whether a Mix server responds, and report what does."""
    await trio.lowlevel.checkpoint()
    began = trio.current_time()
    try:
        health = await probe.mix.system.health_check(options=probe.options)
    except errors.TransportError as error:
        _not_reached(report, error, probe.wait)
        return False
    except errors.MixError as error:
        return await _not_healthy(probe, report, error)
    took = trio.current_time() - began
    if health.status is None and health.version is None:
        return await _other(probe, report, "its /health is not that of a Mix server")
    report.version = health.version
    version = f"version {excerpt(health.version)}" if health.version else "no version"
    report.add(
        "server",
        "ok",
        f"a Mix server, {version}, responded in {took * 1000:.0f} ms",
        version=health.version,
        seconds=round(took, 4),
    )
    return True


def _not_reached(report: Report, error: errors.TransportError, wait: float) -> None:
    if error.proxy:
        why = why_unreachable(error) or excerpt(_reason(error))
        if isinstance(error, errors.RequestTimeout):
            why = f"no response within {wait:g} s"
        report.add(
            "server",
            "bad",
            f"not reached through the proxy {error.proxy}: {why}",
            PROXY_REMEDY,
            failure=NO_SERVER,
        )
    elif isinstance(error, errors.RequestTimeout):
        report.add(
            "server",
            "bad",
            f"a server is listening, but did not respond within {wait:g} s"
            if error.sent
            else f"no connection within {wait:g} s",
            "see the server's log; --wait 60 waits longer; is there a firewall in between?",
            failure=NO_SERVER,
        )
    elif is_tls(error):
        report.add(
            "server",
            "bad",
            f"TLS fails: {excerpt(_reason(error))}",
            "does the port speak https? For a private authority: SSL_CERT_FILE=/path/ca.pem",
            failure=NO_SERVER,
        )
    elif error.sent:
        report.add(
            "server",
            "bad",
            f"a server is listening, but does not speak HTTP: {excerpt(_reason(error))}",
            "check the port, and whether it is https",
            failure=NO_SERVER,
        )
    else:
        report.add(
            "server",
            "bad",
            why_unreachable(error) or f"the server cannot be reached: {excerpt(_reason(error))}",
            _START,
            failure=NO_SERVER,
        )


async def _not_healthy(probe: Probe, report: Report, error: errors.MixError) -> bool:
    await trio.lowlevel.checkpoint()
    if error.status_code in (401, 403):
        who = error.headers.get("www-authenticate") or error.headers.get("server") or "the server"
        report.add(
            "server",
            "bad",
            f"HTTP {error.status_code}: {excerpt(who)} requires a login",
            "Mix servers have no login: a proxy in front of it requires one; ask its operator",
            failure=REFUSED,
            status=error.status_code,
        )
        return False
    if error.status_code >= 500:
        report.add(
            "server",
            "bad",
            f"HTTP {error.status_code} from /health: {excerpt(error.body, 80) or 'no reason'}",
            "the server, or a proxy in front of it, has failed: see its log",
            failure=NO_SERVER,
            status=error.status_code,
        )
        return False
    what = f"HTTP {error.status_code} from /health"
    if isinstance(error, errors.ResponseValidationError):
        kind = error.headers.get("content-type", "no content type")
        what = f"/health returns {excerpt(kind, 60)}, which no Mix server does"
    return await _other(probe, report, what)


async def _other(probe: Probe, report: Report, what: str) -> bool:
    """Return whether it is one of the oldest Mix servers, which have no ``/health``."""
    first = await probe.speaks_sse()
    if first is not None and not isinstance(first, int) and first.event in ("error", "connected"):
        report.generation = "pipeline-oldest"
        report.add("server", "ok", "one of the oldest Mix servers: no /health, but a stream")
        return True
    report.add(
        "server",
        "bad",
        f"an HTTP server, but not a Mix server: {what}",
        "check host, port and path of the address",
        failure=NO_SERVER,
    )
    return False


def _report_generation(report: Report, generation: ServerGeneration | None) -> None:
    report.generation = generation
    if generation is None:
        report.add(
            "generation",
            "unknown",
            "its responses to empty messages match no known generation",
            "trio_mix detects it with the first message, without sending that twice",
        )
        return
    found, then = _GENERATIONS[generation]
    report.add("generation", "ok", found, then, generation=generation)


async def _check_credentials(probe: Probe, report: Report) -> None:
    """Report whether the server has the credentials to run a message."""
    await trio.lowlevel.checkpoint()
    try:
        valid = await probe.mix.authentication.validate_preferred_provider(options=probe.options)
    except errors.MixError as error:
        report.add(
            "credentials", "unknown", f"the server does not report them: HTTP {error.status_code}"
        )
        return
    except errors.TransportError as error:
        report.add(
            "credentials", "unknown", f"the server does not report them: {excerpt(_reason(error))}"
        )
        return
    who = excerpt(valid.provider or "its provider")
    if valid.valid:
        report.add("credentials", "ok", f"the server can use {who}", provider=valid.provider)
    else:
        report.add(
            "credentials",
            "bad",
            f"the server cannot use {who}: {excerpt(valid.message or 'no reason given')}",
            f"store a key: trio-mix auth set {who if valid.provider else 'PROVIDER'}",
            failure=REFUSED,
            provider=valid.provider,
        )


async def _check_jsonrpc(probe: Probe, report: Report) -> None:
    """Report whether a server without REST has JSON-RPC instead."""
    await trio.lowlevel.checkpoint()
    try:
        sessions = await probe.mix.sessions.list(options=probe.options)
    except errors.TrioMixError:
        report.add(
            "json-rpc",
            "note",
            "there is no JSON-RPC: nothing that is stored can be read, and nothing cancelled",
            "a message whose connection is lost ends with an error",
        )
        return
    report.add(
        "json-rpc",
        "ok",
        f"JSON-RPC lists {len(sessions)} sessions",
        "sessions, stored messages, cancelling, permissions and commands use it",
        sessions=len(sessions),
    )


async def _create(probe: Probe, report: Report) -> str | None:
    await trio.lowlevel.checkpoint()
    try:
        session = await probe.mix.sessions.create(title="trio-mix doctor", options=probe.options)
    except errors.TrioMixError as error:
        status = error.status_code if isinstance(error, errors.MixError) else 0
        report.add(
            "session",
            "bad",
            f"no session can be created: {excerpt(error_line(error))}",
            "every message needs a session; see the server's log",
            failure=REFUSED if status in (401, 403) else FAILED,
        )
        return None
    report.add("session", "ok", "a session can be created")
    return session.id


async def _cancel(probe: Probe, report: Report, session: str) -> None:
    shape = await probe.cancel(session)
    match shape:
        case None:
            report.add(
                "cancel",
                "note",
                "messages cannot be cancelled",
                "cancelling a message waits until the server has finished it",
            )
        case "status":
            report.add(
                "cancel",
                "note",
                'the response to a cancellation has a "status", not "cancelled": true',
                "both responses are supported",
            )
        case _:
            report.add("cancel", "ok", "a message can be cancelled")


def _reason(error: errors.TransportError) -> str:
    return error.reason if isinstance(error, errors.ConnectionFailed) else str(error)
