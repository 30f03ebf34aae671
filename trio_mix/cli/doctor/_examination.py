"""``doctor``: whether a Mix server is there, of which generation, and what promises it keeps.

What it knows: what the specification promises, and what trio_mix does where a server differs.
What it must never know: how a finding is drawn, how a question is put on the wire.

Rules:

1. What it says was measured on this server a moment ago; what was not is said to be unknown.
2. The session that it measures with is deleted, whatever happens; a session of the user's is not.
3. A difference that trio_mix makes good is a note. Only what nothing makes good is bad.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import trio

from trio_mix import Mix, RetryConfig, errors
from trio_mix._http import sanitize_url
from trio_mix.cli._errors import (
    FAILED,
    NO_SERVER,
    REFUSED,
    USAGE,
    exit_code,
    is_tls,
    why_unreachable,
)
from trio_mix.cli.doctor._probe import Probe
from trio_mix.cli.doctor._report import Report
from trio_mix.cli.doctor._stream import examine_stream
from trio_mix.cli.ui._text import excerpt

if TYPE_CHECKING:
    from trio_mix.cli.doctor._probe import ServerGeneration

_DEFAULT: Final = "http://localhost:8088"
_START: Final = "start one with `trio-mix serve`, or name another with --server"

_HOW_SENT: Final[dict[str, tuple[str, str]]] = {
    "async": (
        "async (API 0.7.4 and later): a message is accepted at once, events name their message",
        "messages are matched to their events by id",
    ),
    "blocking": (
        "blocking (API 0.7.0 to 0.7.3): the answer to a message comes when its turn is over",
        "the answer and the events are joined to one reply; order tells whose event it is",
    ),
    "pipeline": (
        "pipeline (API up to 0.6.9): each open stream runs each message",
        "one stream a session and client, one message at a time; order tells whose event it is",
    ),
    "pipeline-oldest": (
        "pipeline, the oldest (before 0.6): no REST, no ids, no deltas",
        "text is taken from `complete`; a turn cut by a loss cannot be completed and says so",
    ),
}


async def doctor(
    server: str | None, session: str | None, *, json: bool, wait: float, listen: float
) -> int:
    """Examine a server and return the exit code.

    Args:
      server: its address; None: the environment's, or the default.
      session: measure in this session instead of a new one; it is not deleted.
      json: whether to write one JSON object instead of lines.
      wait: seconds for each answer.
      listen: seconds to listen for heartbeats.
    """
    await trio.lowlevel.checkpoint()
    address = (server or os.environ.get("MIX_SERVER_URL") or _DEFAULT).rstrip("/")
    report = Report(sanitize_url(address), json)
    report.begin()
    try:
        mix = Mix(address, timeout=wait, retries=RetryConfig(strategy="none"))
    except errors.ConfigurationError as error:
        report.add("server", "bad", str(error), failure=USAGE)
        return report.finish()
    async with mix:
        try:
            await _examine(Probe(mix, address, wait), report, session, listen)
        except errors.TrioMixError as error:
            report.add(
                "examination",
                "bad",
                f"it could not be finished: {excerpt(str(error))}",
                "what is above holds; try again, or look into the server's log",
                failure=exit_code(error),
            )
    return report.finish()


async def _examine(doctor: Probe, report: Report, session: str | None, listen: float) -> None:
    if not await _is_there(doctor, report):
        return
    if report.generation == "pipeline-oldest":
        _tell_generation(report, "pipeline-oldest")
        if session is None:
            report.add(
                "session",
                "unknown",
                "a server without REST cannot be asked for a session",
                "--session ID measures in one that is there, with a slash command unknown to all",
            )
            return
        await examine_stream(doctor, report, session, listen, command=True)
        return
    await _may_answer(doctor, report)
    made: str | None = None
    try:
        if session is None:
            session = made = await _make(doctor, report)
        if session is None:
            return
        generation = await doctor.generation(session)
        _tell_generation(report, generation)
        await examine_stream(doctor, report, session, listen, command=False)
        await _cancel(doctor, report, session)
    finally:
        if made is not None and not await doctor.delete(made):
            report.add("cleanup", "note", f"session {made} could not be deleted", "delete it later")
    if made is not None:
        report.add("cleanup", "ok", "the session that this was measured with is deleted")


async def _is_there(doctor: Probe, report: Report) -> bool:
    """Find out whether a Mix server answers, and say what is there if none does."""
    await trio.lowlevel.checkpoint()
    began = trio.current_time()
    try:
        health = await doctor.mix.system.health_check(options=doctor.options)
    except errors.TransportError as error:
        _not_reached(report, error, doctor.wait)
        return False
    except errors.MixError as error:
        return await _not_healthy(doctor, report, error)
    took = trio.current_time() - began
    if health.status is None and health.version is None:
        return await _other(doctor, report, "its /health is not that of a Mix server")
    report.version = health.version
    version = f"version {excerpt(health.version)}" if health.version else "no version"
    report.add(
        "server",
        "ok",
        f"a Mix server, {version}, answers in {took * 1000:.0f} ms",
        version=health.version,
        seconds=round(took, 4),
    )
    return True


def _not_reached(report: Report, error: errors.TransportError, wait: float) -> None:
    if isinstance(error, errors.RequestTimeout):
        report.add(
            "server",
            "bad",
            f"something listens there, but does not answer within {wait:g} s"
            if error.sent
            else f"no connection within {wait:g} s",
            "look into the server's log; --wait 60 waits longer; is a firewall in between?",
            failure=NO_SERVER,
        )
    elif is_tls(error):
        report.add(
            "server",
            "bad",
            f"TLS fails: {excerpt(_reason(error))}",
            "is it https at all? A private authority's certificate: SSL_CERT_FILE=/path/ca.pem",
            failure=NO_SERVER,
        )
    elif error.sent:
        report.add(
            "server",
            "bad",
            f"something listens there, but does not speak HTTP: {excerpt(_reason(error))}",
            "check the port, and whether it is https",
            failure=NO_SERVER,
        )
    else:
        report.add(
            "server",
            "bad",
            why_unreachable(error) or f"nothing can be reached there: {error}",
            _START,
            failure=NO_SERVER,
        )


async def _not_healthy(doctor: Probe, report: Report, error: errors.MixError) -> bool:
    await trio.lowlevel.checkpoint()
    if error.status_code in (401, 403):
        who = error.headers.get("www-authenticate") or error.headers.get("server") or "it"
        report.add(
            "server",
            "bad",
            f"HTTP {error.status_code}: {excerpt(who)} wants a login",
            "Mix servers have none: what stands before it does; its operator knows the way in",
            failure=REFUSED,
            status=error.status_code,
        )
        return False
    if error.status_code >= 500:
        report.add(
            "server",
            "bad",
            f"HTTP {error.status_code} from /health: {excerpt(error.body, 80) or 'no reason'}",
            "the server, or what stands before it, is in trouble: look into its log",
            failure=NO_SERVER,
            status=error.status_code,
        )
        return False
    what = f"HTTP {error.status_code} from /health"
    if isinstance(error, errors.ResponseValidationError):
        kind = error.headers.get("content-type", "no content type")
        what = f"/health answers {excerpt(kind, 60)}, which no Mix server does"
    return await _other(doctor, report, what)


async def _other(doctor: Probe, report: Report, what: str) -> bool:
    """Tell the oldest Mix servers, which have no ``/health``, from other servers."""
    first = await doctor.speaks_sse()
    if first is not None and not isinstance(first, int) and first.event in ("error", "connected"):
        report.generation = "pipeline-oldest"
        report.add("server", "ok", "a Mix server of the oldest kind: no /health, but its stream")
        return True
    report.add(
        "server",
        "bad",
        f"some HTTP server, but no Mix server: {what}",
        "check host, port and path of the address",
        failure=NO_SERVER,
    )
    return False


def _tell_generation(report: Report, generation: ServerGeneration | None) -> None:
    report.generation = generation
    if generation is None:
        report.add(
            "generation",
            "unknown",
            "its answers to empty messages fit no known generation",
            "trio_mix finds out with the first message, without sending it twice",
        )
        return
    found, then = _HOW_SENT[generation]
    report.add("generation", "ok", found, then, generation=generation)


async def _may_answer(doctor: Probe, report: Report) -> None:
    """Find out whether the server has what it needs to run a message."""
    await trio.lowlevel.checkpoint()
    try:
        valid = await doctor.mix.authentication.validate_preferred_provider(options=doctor.options)
    except errors.MixError as error:
        report.add("credentials", "unknown", f"the server does not tell: HTTP {error.status_code}")
        return
    except errors.TransportError as error:
        report.add("credentials", "unknown", f"the server does not tell: {excerpt(str(error))}")
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


async def _make(doctor: Probe, report: Report) -> str | None:
    await trio.lowlevel.checkpoint()
    try:
        session = await doctor.mix.sessions.create(title="trio-mix doctor", options=doctor.options)
    except errors.TrioMixError as error:
        status = error.status_code if isinstance(error, errors.MixError) else 0
        report.add(
            "session",
            "bad",
            f"no session can be created: {excerpt(str(error))}",
            "without a session nothing works; the server's log says why",
            failure=REFUSED if status in (401, 403) else FAILED,
        )
        return None
    report.add("session", "ok", "a session can be created")
    return session.id


async def _cancel(doctor: Probe, report: Report, session: str) -> None:
    shape = await doctor.cancel(session)
    match shape:
        case None:
            report.add(
                "cancel",
                "note",
                "there is no way to cancel a message",
                "leaving a message early waits until the server has finished it",
            )
        case "status":
            report.add(
                "cancel",
                "note",
                'cancelling is answered with a "status", not with "cancelled": true',
                "both answers are understood",
            )
        case _:
            report.add("cancel", "ok", "a message can be cancelled")


def _reason(error: errors.TransportError) -> str:
    return error.reason if isinstance(error, errors.ConnectionFailed) else str(error)
