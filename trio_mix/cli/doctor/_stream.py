"""What the doctor finds out about a session's stream: ids, retry, replay, heartbeat.

What it knows: how to make a server say something twice, and what its ids then tell.
What it must never know: how a finding is drawn.

Rules:

1. To see ids, something must happen: a session comes and goes, which every stream is told (API
   0.6.9 and later); where none is told, a slash command that does not exist.
2. To see replay, nothing need be lost: a second connection asks for what came after the first
   event of the first one. What happens anew meanwhile marks where a replay would have ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
import trio

from trio_mix import errors
from trio_mix.cli._errors import FAILED
from trio_mix.cli.ui._text import excerpt

if TYPE_CHECKING:
    from trio_mix.cli.doctor._probe import Probe
    from trio_mix.cli.doctor._report import Report
    from trio_mix.sse import EventSource, ServerSentEvent

_QUIET: Final = 1.0
"""Seconds after which a server that was made to speak is taken to have said all."""


async def examine_stream(
    doctor: Probe, report: Report, session: str, listen: float, *, command: bool
) -> None:
    """Open the session's stream, twice, and report what was measured.

    Args:
      doctor: who asks.
      report: where the findings go.
      session: whose stream.
      listen: seconds to listen for heartbeats.
      command: whether only a slash command makes this server speak.
    """
    await trio.lowlevel.checkpoint()
    try:
        first = await _first_connection(doctor, report, session, command=command)
        if first is None:
            return
        again = await _second_connection(doctor, report, session, first)
    except errors.TrioMixError as error:
        report.add("stream", "bad", excerpt(str(error)), "without a stream no reply can be heard")
        return
    _ids(report, first.events, again)
    _retry(report, first)
    _replay(report, first, again)
    await _unknown_session(doctor, report)
    await _heartbeat(doctor, report, session, listen)


def _told(frames: list[ServerSentEvent]) -> list[ServerSentEvent]:
    """Return what tells that something happened."""
    return [frame for frame in frames if frame.event not in ("connected", "heartbeat")]


class _FirstConnection:
    """What the first connection brought."""

    def __init__(self, frames: list[ServerSentEvent], retry: float | None, *, command: bool):
        self.events = _told(frames)
        self.retry = retry
        self.command = command


async def _first_connection(
    doctor: Probe, report: Report, session: str, *, command: bool
) -> _FirstConnection | None:
    began = trio.current_time()
    async with doctor.stream(session) as source:
        greeting = await doctor.frames(source, doctor.wait, bool)
        took = trio.current_time() - began
        if not greeting or greeting[0].event != "connected":
            said = f"{greeting[0].event}: {greeting[0].data}" if greeting else "nothing"
            report.add(
                "stream",
                "bad",
                f"instead of `connected` it says {excerpt(said)}",
                "trio_mix waits for `connected` before it sends anything",
                failure=FAILED,
            )
            return None
        report.add(
            "stream",
            "ok",
            f"connected within {took * 1000:.0f} ms",
            seconds=round(took, 4),
        )
        frames = await _happen(doctor, report, source, session, command=command)
        if not frames and not command and report.generation == "pipeline":
            command = True
            frames = await _happen(doctor, report, source, session, command=True)
        return _FirstConnection(frames, source.statistics().server_retry, command=command)


async def _happen(
    doctor: Probe,
    report: Report,
    source: EventSource,
    session: str,
    *,
    command: bool,
) -> list[ServerSentEvent]:
    """Make two things happen, and return what the stream tells of them."""
    await trio.lowlevel.checkpoint()
    frames: list[ServerSentEvent] = []
    for _ in range(2 if command else 1):
        mark = await doctor.nudge(session, report.generation, command=command)

        def enough(got: list[ServerSentEvent], mark: str = mark) -> bool:
            told = _told(got)
            if not mark:
                return bool(told)
            return any(f.event == "session_deleted" and mark in f.data for f in told)

        frames += await doctor.frames(source, min(_QUIET, doctor.wait), enough)
    return frames


@attrs.frozen
class _SecondConnection:
    """What the second connection brought."""

    replayed: bool
    """Whether what was missed came again."""
    new: list[ServerSentEvent]
    """What happened meanwhile."""


async def _second_connection(
    doctor: Probe, report: Report, session: str, first: _FirstConnection
) -> _SecondConnection | None:
    await trio.lowlevel.checkpoint()
    if not first.events or not first.events[0].id:
        return None
    missed = first.events[1:]
    async with doctor.stream(session, first.events[0].id) as source:
        await doctor.frames(source, doctor.wait, bool)
        came: list[ServerSentEvent] = []
        if first.command:
            # The same command is told in the same words: only the order tells old from new.
            quiet = min(_QUIET, doctor.wait)
            came = _told(await doctor.frames(source, quiet, lambda got: _told(got) != []))
            new = _told(await _happen(doctor, report, source, session, command=True))
            return _SecondConnection(bool(came), new)
        came = _told(await _happen(doctor, report, source, session, command=False))
        known = {(event.id, event.data) for event in missed}
        again = {(event.id, event.data) for event in came} & known
        return _SecondConnection(
            bool(known) and again == known,
            [event for event in came if (event.id, event.data) not in known],
        )


def _ids(report: Report, events: list[ServerSentEvent], again: _SecondConnection | None) -> None:
    if not events:
        report.add(
            "ids",
            "unknown",
            "the stream told nothing that could be looked at",
            "ids are used where they come; without any, order decides",
        )
        return
    ids = [event.id for event in events]
    if not all(ids):
        report.add(
            "ids",
            "note",
            "events carry no id",
            "nothing can be resumed: after a loss the stored messages decide",
            ids=ids,
        )
        return
    numbers = [int(each) for each in ids if each.isdigit()]
    grow = len(numbers) == len(ids) and numbers == sorted(set(numbers))
    new = [int(event.id) for event in again.new if event.id.isdigit()] if again else []
    if not grow:
        report.add(
            "ids",
            "note",
            f"ids do not count upwards: {', '.join(ids[:5])}",
            "ids are passed on as they are, and compared within one connection only",
            ids=ids,
        )
    elif new and min(new) <= max(numbers):
        report.add(
            "ids",
            "note",
            f"ids count upwards, and begin anew on each connection (at {min(new)})",
            "ids are compared within one connection only",
            ids=ids,
            restart=True,
        )
    else:
        report.add("ids", "ok", "ids count upwards, over connections too", ids=ids, restart=False)


def _retry(report: Report, first: _FirstConnection) -> None:
    if first.retry is None:
        report.add(
            "retry",
            "ok",
            "the server does not say when to connect again",
            "0.5 s at first, up to 60 s, with jitter",
            seconds=None,
        )
    else:
        report.add(
            "retry",
            "ok" if first.retry <= 5 else "note",
            f"the server asks for {first.retry:g} s before connecting again",
            "taken as the most, not as an order: a lost stream comes back sooner",
            seconds=first.retry,
        )


def _replay(report: Report, first: _FirstConnection, again: _SecondConnection | None) -> None:
    if again is None:
        report.add(
            "replay",
            "unknown" if first.events and first.events[0].id else "note",
            "without ids nothing can be asked for again",
            "a turn cut by a loss is completed from the stored messages where there are any",
        )
        return
    if again.replayed:
        report.add(
            "replay",
            "ok",
            "what was missed comes again after Last-Event-ID",
            "a lost connection goes on where it was; duplicates are dropped",
            replays=True,
        )
    else:
        report.add(
            "replay",
            "note",
            "Last-Event-ID is ignored: what was missed is not told again",
            "a turn cut by a loss is completed from the stored messages (recovered=True)",
            replays=False,
        )


async def _unknown_session(doctor: Probe, report: Report) -> None:
    first = await doctor.speaks_sse()
    if first == 404:
        report.add("unknown-session", "ok", "the stream of a session that does not exist is a 404")
    elif first is not None and not isinstance(first, int) and first.event == "error":
        report.add(
            "unknown-session",
            "note",
            "the stream of a session that does not exist is a 200 and an `error` event, not a 404",
            "both become SessionNotFound, and neither is tried again",
        )
    elif isinstance(first, int):
        report.add(
            "unknown-session",
            "note",
            f"the stream of a session that does not exist is HTTP {first}, not 404",
            "4xx is fatal at once; 5xx is tried again for connect_timeout",
        )
    else:
        report.add(
            "unknown-session",
            "note",
            "the stream of a session that does not exist is neither refused nor an error",
            "open_stream() gives up after its connect_timeout",
        )


async def _heartbeat(doctor: Probe, report: Report, session: str, listen: float) -> None:
    await trio.lowlevel.checkpoint()
    if not listen:
        report.add(
            "heartbeat",
            "unknown",
            "not listened for",
            "--heartbeat 50 listens for 50 s; until one has come, silence is no loss",
        )
        return
    times: list[float] = []
    began = trio.current_time()
    with trio.move_on_after(listen):
        async with doctor.stream(session) as source:
            while True:
                if (await anext(source)).event == "heartbeat":
                    times.append(trio.current_time() - began)
    if not times:
        report.add(
            "heartbeat",
            "note",
            f"none in {listen:g} s",
            "silence is no reason to reconnect; TCP keep-alive finds a dead connection",
            seconds=[],
        )
        return
    report.add(
        "heartbeat",
        "ok",
        f"{len(times)} in {listen:g} s, the first after {times[0]:.1f} s",
        "once their rhythm is known, silence longer than it counts as a loss",
        seconds=[round(each, 1) for each in times],
    )
