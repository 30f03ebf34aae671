"""``doctor --relay``: whether a relay works, is guarded, and keeps its promise to resume streams.

The rules of `trio_mix.cli.doctor._examination` hold. What the server behind the relay can do is
examined by ``doctor`` at the server's own address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

import attrs
import trio

from trio_mix import errors
from trio_mix._http import sanitize_url
from trio_mix._json import parse
from trio_mix.cli._errors import FAILED, NO_SERVER, REFUSED, error_line, exit_code
from trio_mix.cli.doctor._probe import Probe
from trio_mix.cli.doctor._report import Report
from trio_mix.cli.ui._text import excerpt

if TYPE_CHECKING:
    from trio_mix.cli._client import Connection
    from trio_mix.sse import ServerSentEvent

_ANOTHER_SITE: Final = "http://trio-mix-doctor.invalid"
_DEFAULT: Final = "http://localhost:8090"
_START: Final = "start one with `trio-mix relay`, or name another with --server"
_TOKEN: Final = "pass the token as a password: MIX_SERVER_URL=http://:TOKEN@host:8090"  # noqa: S105
_OF_A_SERVER: Final = "17"


async def doctor_relay(
    server: Connection, session: str | None, *, as_json: bool, wait: float
) -> int:
    """Examine a relay and return the exit code.

    Args:
      server: the relay.
      session: the session to measure in, which is not deleted; None: a new one.
      as_json: whether to print one JSON object instead of lines.
      wait: the time limit for each response, in seconds.
    """
    await trio.lowlevel.checkpoint()
    address = (server.url or _DEFAULT).rstrip("/")
    report = Report(sanitize_url(address), as_json)
    report.begin()
    async with server.client(address, timeout=wait) as mix:
        try:
            await _examine(Probe(mix, address, wait), report, session)
        except errors.TrioMixError as error:
            report.add(
                "examination",
                "bad",
                f"the examination stopped: {excerpt(error_line(error))}",
                "the findings above are valid; try again, or see the log of the relay",
                failure=exit_code(error),
            )
    return report.finish()


async def _examine(probe: Probe, report: Report, session: str | None) -> None:
    if not await _check_live(probe, report):
        return
    await _check_guard(probe, report)
    await _check_token(probe, report)
    if not await _check_ready(probe, report):
        return
    made: str | None = None
    try:
        if session is None:
            try:
                created = await probe.mix.sessions.create(
                    title="trio-mix doctor", options=probe.options
                )
            except errors.MixError as error:
                report.add(
                    "resume",
                    "unknown",
                    f"no session can be created: {excerpt(error_line(error))}",
                    "--session ID measures in an existing one",
                )
                return
            session = made = created.id
        await _check_resume(probe, report, session)
    finally:
        if made is not None and not await probe.delete(made):
            report.add("cleanup", "note", f"session {made} could not be deleted", "delete it later")


async def _check_live(probe: Probe, report: Report) -> bool:
    try:
        answer = await probe.mix.request("GET", "/relay/turns/none", options=probe.options)
    except errors.TransportError as error:
        what = excerpt(error_line(error))
        report.add("relay", "bad", what, _START, failure=NO_SERVER)
        return False  # noqa: ASYNC910 - the requests are checkpoints
    except errors.MixError as error:
        mark = error.headers.get("mix-relay")
    else:
        mark = answer.headers.get("mix-relay")
    if mark != "1":
        report.add(
            "relay",
            "bad",
            "a server responds, but it is no relay",
            "without --relay, `trio-mix doctor` examines a Mix server",
            failure=NO_SERVER,
        )
        return False  # noqa: ASYNC910 - the requests are checkpoints
    report.add("relay", "ok", "a relay responds")
    return True  # noqa: ASYNC910 - the requests are checkpoints


async def _status(probe: Probe, method: str, path: str, **headers: str) -> tuple[int, str]:
    """Return the status of a request, and its body."""
    options = attrs.evolve(probe.options, headers=headers)
    try:
        answer = await probe.mix.request(method, path, options=options)
    except errors.MixError as error:
        return error.status_code, error.body  # noqa: ASYNC910 - the requests are checkpoints
    return answer.status, answer.body.decode(errors="replace")


async def _check_guard(probe: Probe, report: Report) -> None:
    status, _ = await _status(probe, "POST", "/relay/turns/none/cancel", Origin=_ANOTHER_SITE)
    if status == 403:
        report.add("origin", "ok", "requests of web pages of other origins are refused")
    else:
        report.add(
            "origin",
            "bad",
            f"a web page of another origin may send requests (HTTP {status})",
            "does a proxy in front of the relay remove the Origin header?",
        )


async def _check_token(probe: Probe, report: Report) -> None:
    status, _ = await _status(probe, "GET", "/api/sessions", Authorization="Bearer none")
    if status == 401:
        report.add("token", "ok", "an invalid token is refused")
    else:
        report.add(
            "token",
            "note",
            "no token is needed: everybody who can reach the relay can use the agent",
            "on loopback that is the users of this machine; --token-file requires tokens",
        )


async def _check_ready(probe: Probe, report: Report) -> bool:
    """Return whether the relay is ready, and report what it says of the server."""
    status, body = await _status(probe, "GET", "/relay/health/ready")
    if status == 401:
        report.add("ready", "bad", "a token is needed", _TOKEN, failure=REFUSED)
        return False
    if status in (403, 404):
        report.add(
            "ready",
            "unknown",
            f"a proxy in front of the relay does not pass the request on (HTTP {status})",
            "the relay's own address shows whether it reaches the server",
        )
        return True
    try:
        fields = cast("dict[str, object]", parse(body))
        state, generation = str(fields["status"]), str(fields["generation"])
        upstream = str(fields["upstream"])
    except (ValueError, KeyError, TypeError):
        report.add("ready", "bad", f"HTTP {status}, and the body is not that of a relay")
        return False
    if status != 200:
        report.add(
            "ready",
            "bad",
            f"not ready: {excerpt(state)}",
            "check the Mix server, and --upstream of the relay",
            failure=NO_SERVER,
        )
        return False
    report.add(
        "ready",
        "ok" if upstream == "reachable" else "note",
        f"the server behind it is {excerpt(upstream)} (API generation: {excerpt(generation)})",
        generation=generation,
        upstream=upstream,
    )
    return True


async def _connected(
    probe: Probe, session: str, last_event_id: str | None = None
) -> ServerSentEvent | None:
    """Return the first event of a stream, if it is ``connected``."""
    async with probe.stream(session, last_event_id) as source:
        first = await probe.frames(source, probe.wait, bool)
    return first[0] if first and first[0].event == "connected" else None


async def _check_resume(probe: Probe, report: Report, session: str) -> None:
    first = await _connected(probe, session)
    if first is None or not first.id:
        report.add("stream", "bad", "a stream does not begin with connected and an id")
        return
    report.add("stream", "ok", "a stream begins with connected and a position", id=first.id)
    again = await _connected(probe, session, first.id)
    other = await _connected(probe, session, _OF_A_SERVER)
    if again is not None and again.id == first.id and not _has_gap(again):
        report.add("resume", "ok", "a stream resumes at its position", "nothing is missed")
    else:
        report.add("resume", "bad", "a stream does not resume at its position", failure=FAILED)
    if other is not None and _has_gap(other):
        report.add("gap", "ok", "a position that the relay does not know is reported as a gap")
    else:
        report.add("gap", "bad", "a position that the relay does not know is not reported")


def _has_gap(event: ServerSentEvent) -> bool:
    try:
        return "gap" in cast("dict[str, object]", parse(event.data))
    except (ValueError, TypeError):
        return False
