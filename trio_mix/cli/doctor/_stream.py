"""Measures a session's stream: ids, retry, replay, heartbeat.

Rules:

1. To see ids, events are needed: a session is created and deleted, which every stream reports (API
   0.6.9 and later); on older servers a slash command is sent that does not exist.
2. To see a replay, no connection need be lost: a second connection asks for the events after the
   first event of the first one. New events mark where a replay would have ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import attrs
import trio

from trio_mix import errors
from trio_mix.cli._errors import FAILED, error_line
from trio_mix.cli.ui._text import excerpt

if TYPE_CHECKING:
    from trio_mix.cli.doctor._probe import Probe
    from trio_mix.cli.doctor._report import Report
    from trio_mix.sse import EventSource, ServerSentEvent

_SILENCE: Final = 1.0
"""Seconds of silence after which a server is taken to have sent all events."""


async def examine_stream(
    probe: Probe, report: Report, session: str, listen: float, *, command: bool
) -> None:
    """Open the session's stream, twice, and report what was measured.

    Args:
      probe: sends the requests.
      report: collects the findings.
      session: the id of the session.
      listen: the time to listen for heartbeats, in seconds.
      command: whether only a slash command makes this server send events.
    """
    await trio.lowlevel.checkpoint()
    try:
        first = await _first_connection(probe, report, session, command=command)
        if first is None:
            return
        again = await _second_connection(probe, report, session, first)
    except errors.TrioMixError as error:
        report.add(
            "stream", "bad", excerpt(error_line(error)), "without a stream no reply can be received"
        )
        return
    _ids(report, first.events, again)
    _retry(report, first)
    _replay(report, first, again)
    await _unknown_session(probe, report)
    await _heartbeat(probe, report, session, listen)


def _messages(frames: list[ServerSentEvent]) -> list[ServerSentEvent]:
    """Return the events without `connected` and `heartbeat`."""
    return [frame for frame in frames if frame.event not in ("connected", "heartbeat")]


class _FirstConnection:
    """The events of the first connection."""

    def __init__(self, frames: list[ServerSentEvent], retry: float | None, *, command: bool):
        self.events = _messages(frames)
        self.retry = retry
        self.command = command


async def _first_connection(
    probe: Probe, report: Report, session: str, *, command: bool
) -> _FirstConnection | None:
    began = trio.current_time()
    async with probe.stream(session) as source:
        greeting = await probe.frames(source, probe.wait, bool)
        took = trio.current_time() - began
        if not greeting or greeting[0].event != "connected":
            got = f"{greeting[0].event}: {greeting[0].data}" if greeting else "nothing"
            report.add(
                "stream",
                "bad",
                f"instead of `connected` the stream sends {excerpt(got)}",
                "trio_mix waits for `connected` before it sends a message",
                failure=FAILED,
            )
            return None
        report.add(
            "stream",
            "ok",
            f"connected within {took * 1000:.0f} ms",
            seconds=round(took, 4),
        )
        frames = await _cause_events(probe, report, source, session, command=command)
        if not frames and not command and report.generation == "pipeline":
            command = True
            frames = await _cause_events(probe, report, source, session, command=True)
        return _FirstConnection(frames, source.statistics().server_retry, command=command)


async def _cause_events(
    probe: Probe,
    report: Report,
    source: EventSource,
    session: str,
    *,
    command: bool,
) -> list[ServerSentEvent]:
    """Cause two events, and return those that the stream sends."""
    await trio.lowlevel.checkpoint()
    frames: list[ServerSentEvent] = []
    for _ in range(2 if command else 1):
        mark = await probe.nudge(session, report.generation, command=command)

        def enough(got: list[ServerSentEvent], mark: str = mark) -> bool:
            relevant = _messages(got)
            if not mark:
                return bool(relevant)
            return any(f.event == "session_deleted" and mark in f.data for f in relevant)

        frames += await probe.frames(source, min(_SILENCE, probe.wait), enough)
    return frames


@attrs.frozen
class _SecondConnection:
    """The events of the second connection."""

    replayed: bool
    """Whether the missed events were sent again."""
    new: list[ServerSentEvent]
    """The events that were caused meanwhile."""


async def _second_connection(
    probe: Probe, report: Report, session: str, first: _FirstConnection
) -> _SecondConnection | None:
    await trio.lowlevel.checkpoint()
    if not first.events or not first.events[0].id:
        return None
    missed = first.events[1:]
    async with probe.stream(session, first.events[0].id) as source:
        await probe.frames(source, probe.wait, bool)
        received: list[ServerSentEvent] = []
        if first.command:
            # The same command causes equal events: only their order separates old from new.
            silence = min(_SILENCE, probe.wait)
            received = _messages(
                await probe.frames(source, silence, lambda got: _messages(got) != [])
            )
            new = _messages(await _cause_events(probe, report, source, session, command=True))
            return _SecondConnection(bool(received), new)
        received = _messages(await _cause_events(probe, report, source, session, command=False))
        known = {(event.id, event.data) for event in missed}
        again = {(event.id, event.data) for event in received} & known
        return _SecondConnection(
            bool(known) and again == known,
            [event for event in received if (event.id, event.data) not in known],
        )


def _ids(report: Report, events: list[ServerSentEvent], again: _SecondConnection | None) -> None:
    if not events:
        report.add(
            "ids",
            "unknown",
            "the stream sent no events to examine",
            "ids are used where present; without them, order decides",
        )
        return
    ids = [event.id for event in events]
    if not all(ids):
        report.add(
            "ids",
            "note",
            "events have no id",
            "a stream cannot be resumed: after a loss the stored messages decide",
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
            f"ids do not increase: {', '.join(ids[:5])}",
            "ids are passed on unchanged, and compared within one connection only",
            ids=ids,
        )
    elif new and min(new) <= max(numbers):
        report.add(
            "ids",
            "note",
            f"ids increase, and restart on each connection (at {min(new)})",
            "ids are compared within one connection only",
            ids=ids,
            restart=True,
        )
    else:
        report.add("ids", "ok", "ids increase, across connections too", ids=ids, restart=False)


def _retry(report: Report, first: _FirstConnection) -> None:
    if first.retry is None:
        report.add(
            "retry",
            "ok",
            "the server sends no reconnection time",
            "the client waits 0.5 s at first, up to 60 s, with jitter",
            seconds=None,
        )
    else:
        report.add(
            "retry",
            "ok" if first.retry <= 5 else "note",
            f"the server asks for {first.retry:g} s before a reconnection",
            "used as an upper limit: the client reconnects sooner",
            seconds=first.retry,
        )


def _replay(report: Report, first: _FirstConnection, again: _SecondConnection | None) -> None:
    if again is None:
        report.add(
            "replay",
            "unknown" if first.events and first.events[0].id else "note",
            "without ids no replay can be requested",
            "an interrupted reply is completed from the stored messages, if there are any",
        )
        return
    if again.replayed:
        report.add(
            "replay",
            "ok",
            "missed events are sent again after Last-Event-ID",
            "after a loss the stream continues where it was; duplicates are dropped",
            replays=True,
        )
    else:
        report.add(
            "replay",
            "note",
            "Last-Event-ID is ignored: missed events are not sent again",
            "an interrupted reply is completed from the stored messages",
            replays=False,
        )


async def _unknown_session(probe: Probe, report: Report) -> None:
    first = await probe.speaks_sse()
    if first == 404:
        report.add("unknown-session", "ok", "the stream of a session that does not exist is a 404")
    elif first is not None and not isinstance(first, int) and first.event == "error":
        report.add(
            "unknown-session",
            "note",
            "the stream of a session that does not exist is a 200 and an `error` event, not a 404",
            "both are reported as an unknown session, and not retried",
        )
    elif isinstance(first, int):
        report.add(
            "unknown-session",
            "note",
            f"the stream of a session that does not exist is HTTP {first}, not 404",
            "4xx is fatal at once; 5xx is retried for some seconds",
        )
    else:
        report.add(
            "unknown-session",
            "note",
            "the stream of a session that does not exist is neither refused nor an error",
            "opening such a stream ends with a timeout",
        )


async def _heartbeat(probe: Probe, report: Report, session: str, listen: float) -> None:
    await trio.lowlevel.checkpoint()
    if not listen:
        report.add(
            "heartbeat",
            "unknown",
            "not measured",
            "--heartbeat 50 listens for 50 s; before the first heartbeat, silence is no loss",
        )
        return
    times: list[float] = []
    began = trio.current_time()
    with trio.move_on_after(listen):
        async with probe.stream(session) as source:
            while True:
                if (await anext(source)).event == "heartbeat":
                    times.append(trio.current_time() - began)
    if not times:
        report.add(
            "heartbeat",
            "note",
            f"none in {listen:g} s",
            "silence is no reason to reconnect; TCP keep-alive detects a dead connection",
            seconds=[],
        )
        return
    report.add(
        "heartbeat",
        "ok",
        f"{len(times)} in {listen:g} s, the first after {times[0]:.1f} s",
        "once their interval is known, a longer silence counts as a loss",
        seconds=[round(each, 1) for each in times],
    )
