"""Check the invariants after each schedule, and add up the results of many schedules.

The invariants:

1. Each message ended in a reply, a typed error, or its caller's own cancellation, within its bound.
2. A reply's text is the whole text of one run of its message, or the reply is marked incomplete.
3. Joined text deltas are the reply's text; streamed events up to a gap are a prefix of it.
4. The server ran no message more often than it was sent.
5. No event reached two messages, or a message of another turn.
6. An error is accurate: a message reported as not run did not run, one reported as gone is gone.
7. No task, connection or file is left, and the next message works.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import attrs
from campaign_schedule import words_of

from trio_mix import errors
from trio_mix import events as ev
from trio_mix.testing import (
    AskPermission,
    Fail,
    MessageFinished,
    MessageRun,
    RateLimit,
    Say,
    SubAgent,
    Think,
    Turn,
    UseTool,
    UseTools,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from campaign_run import Outcome, Run

    from trio_mix.testing import Step

__all__ = ["Figures", "judge"]

_ENDED = "(a round has ended)"
_WAITING = "a turn or a waiting sender"


@attrs.define
class Figures:
    """The sums over many schedules."""

    schedules: int = 0
    faults: Counter[str] = attrs.field(factory=Counter)
    accidents: int = 0
    losses: int = 0
    messages: int = 0
    replies: int = 0
    recovered: int = 0
    resent: int = 0
    incomplete: int = 0
    errors: Counter[str] = attrs.field(factory=Counter)
    cancelled: int = 0
    lost: int = 0
    run_twice: int = 0
    dead_streams: int = 0

    def add(self, run: Run) -> None:
        """Count one run."""
        self.schedules += 1
        self.faults.update(run.faults)
        self.accidents += run.accidents
        self.losses += run.losses
        self.dead_streams += run.died_of is not None or run.final is None
        for outcome in run.outcomes:
            self.messages += 1
            self.replies += outcome.how == "reply"
            self.cancelled += outcome.how in ("cancelled", "left")
            if outcome.reply is not None:
                self.recovered += outcome.reply.recovered
                self.resent += outcome.reply.resent
                self.incomplete += getattr(outcome.reply, "incomplete", False)
            if outcome.error is not None:
                name = type(outcome.error).__name__
                if isinstance(outcome.error, errors.MessageInterrupted):
                    name += f" ({outcome.error.outcome})"
                self.errors[name] += 1
            self.lost += outcome.how == "defect" or (
                outcome.how == "hung" and not _cannot_be_noticed(run)
            )
        if not run.schedule.corrupts:
            self.run_twice += sum(1 for _ in _run_too_often(run))

    def __str__(self) -> str:
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items()))
        failed = ", ".join(f"{name} {count}" for name, count in sorted(self.errors.items()))
        return (
            f"schedules {self.schedules}; faults that occurred {sum(self.faults.values())}"
            f" ({faults}); accidents {self.accidents}; connections lost {self.losses};"
            f" streams that ended in a typed error {self.dead_streams}\n"
            f"messages sent {self.messages}: replies {self.replies} (recovered {self.recovered},"
            f" sent again {self.resent}, incomplete {self.incomplete}), typed errors"
            f" {sum(self.errors.values())} ({failed}), cancelled or left {self.cancelled};"
            f" lost {self.lost}; run twice {self.run_twice}"
        )


def judge(run: Run) -> list[str]:
    """Return the violated invariants."""
    found = [line for line in run.left if not (_WAITING in line and _cannot_be_noticed(run))]
    found += _ended(run)
    found += _shared(run)
    if not run.schedule.corrupts:
        found += _run_too_often(run)
        found += _texts(run)
        found += _accurate(run)
        found += _final(run)
    return found


def _ended(run: Run) -> Iterator[str]:
    for outcome in run.outcomes:
        if outcome.how == "hung" and not _cannot_be_noticed(run):
            yield f"{outcome.job}: it has not ended"
        if outcome.how == "defect":
            yield f"{outcome.job}: {outcome.error!r} is not an error of the library"
        if outcome.reply is not None and outcome.deltas is not None:
            joined = "".join(outcome.deltas)
            if joined != outcome.reply.text:
                yield f"{outcome.job}: joined deltas {joined!r} are not {outcome.reply.text!r}"
        if outcome.reply is not None:
            streamed = _streamed(outcome)
            if not outcome.reply.text.startswith(streamed):
                yield f"{outcome.job}: {streamed!r} does not begin {outcome.reply.text!r}"


def _cannot_be_noticed(run: Run) -> bool:
    """Return whether a dead connection may look alive: changed bytes (which TCP's checksums
    prevent) can hide the end of a body. Pipeline servers send no heartbeats during a turn, and the
    response of a blocking server may take any time."""
    return run.schedule.corrupts and run.schedule.api != "async"


def _streamed(outcome: Outcome) -> str:
    """Return the text of the events before the first gap."""
    pieces: list[str] = []
    for event in outcome.events:
        if isinstance(event, ev.StreamGapEvent):
            break
        if isinstance(event, ev.ContentEvent) and event.parent_tool_call_id is None:
            pieces.append(event.content)
    return "".join(pieces)


def _shared(run: Run) -> Iterator[str]:
    seen: dict[int, Outcome] = {}
    owners: dict[str, Outcome] = {}
    for outcome in run.outcomes:
        names: set[str] = set()
        for event in outcome.events:
            if seen.setdefault(id(event), outcome) is not outcome:
                yield f"{event!r} reached two messages"
            if isinstance(event, ev.ContentEvent) and event.parent_tool_call_id is None:
                names |= words_of(event.content)
        if run.schedule.corrupts:
            continue
        if len(names) > 1:
            yield f"{outcome.job}: has events of the turns {sorted(names)}"
        for name in names:
            if owners.setdefault(name, outcome) is not outcome:
                yield f"events of turn {name} reached {outcome.job} and {owners[name].job}"
            if not any(name in _names(turn) for turn in run.schedule.turns[outcome.job.text]):
                yield f"{outcome.job}: has events of turn {name}, which is another message's"


def _marked_as_resent(outcome: Outcome) -> bool:
    reply = outcome.reply or getattr(outcome.error, "partial", None)
    return (reply is not None and reply.resent) or outcome.how in ("cancelled", "left")


def _runs(run: Run) -> Counter[str]:
    return Counter(record.text for record in run.log if isinstance(record, MessageRun))


def _run_too_often(run: Run) -> Iterator[str]:
    sent = Counter(outcome.job.text for outcome in run.outcomes)
    # Without stored messages, the client cannot find out whether a message ran: if the server is
    # busy, the message is sent again, and the reply is marked as resent.
    flagged = {
        outcome.job.text
        for outcome in run.outcomes
        if run.schedule.api == "pipeline-oldest" and _marked_as_resent(outcome)
    }
    for text, runs in _runs(run).items():
        if text != "foreign" and text not in flagged and runs > sent[text]:
            yield f"{text!r} was sent {sent[text]} times and run {runs} times"


def _texts(run: Run) -> Iterator[str]:
    runs = _runs(run)
    claimed: set[tuple[str, int]] = set()
    for outcome in run.outcomes:
        if outcome.reply is None:
            continue
        text = outcome.job.text
        turns = run.schedule.turns[text]
        if getattr(outcome.reply, "incomplete", False):
            continue
        fitting = [
            number
            for number in range(runs[text])
            if (text, number) not in claimed
            and outcome.reply.text in _texts_of(turns[min(number, len(turns) - 1)], run)
        ]
        if fitting:
            claimed.add((text, fitting[0]))
        else:
            yield (
                f"{outcome.job}: {outcome.reply.text!r} (recovered={outcome.reply.recovered}, "
                f"resent={outcome.reply.resent}) is not the text of any of {runs[text]} runs"
            )


def _texts_of(turn: Turn, run: Run) -> set[str]:
    """Return the possible texts of a turn, which depend on permissions."""
    ways = _ways(turn.steps)
    if run.schedule.api == "pipeline-oldest":  # it sends only the text of the last round
        return {way[-1] for way in ways}
    return {"".join(way) for way in ways}


def _ways(steps: Sequence[Step], so_far: tuple[str, ...] = ("",)) -> set[tuple[str, ...]]:
    """Return the texts of a turn's rounds, for each possible path; a mark ends a round."""
    ways = {so_far}
    for step in steps:
        match step:
            case Say(text):
                ways = {_open(way, text) for way in ways}
            case Think():
                ways = {_open(way, "") for way in ways}
            case UseTool() | UseTools() | SubAgent():
                ways = {(*_open(way, ""), _ENDED) for way in ways}
            case AskPermission(_, then, otherwise):
                ways = {after for way in ways for after in _ways(then, way)} | {
                    after for way in ways for after in _ways(otherwise or (), way)
                }
            case _:
                pass
    if so_far != ("",):
        return ways
    return {tuple(part for part in way if part != _ENDED) for way in ways}


def _open(way: tuple[str, ...], text: str) -> tuple[str, ...]:
    """Add text to the open round, or to a new one."""
    return (*way, text) if way[-1] == _ENDED else (*way[:-1], way[-1] + text)


def _names(turn: Turn) -> set[str]:
    texts = {part for way in _ways(turn.steps) for part in way}
    return {name for text in texts for name in words_of(text)} | {
        name for step in turn.steps for name in words_of(getattr(step, "text", ""))
    }


def _accurate(run: Run) -> Iterator[str]:
    runs = _runs(run)
    sent = Counter(outcome.job.text for outcome in run.outcomes)
    for outcome in run.outcomes:
        text, error = outcome.job.text, outcome.error
        if error is None or sent[text] > 1:
            continue
        finished = [
            record.how
            for record in run.log
            if isinstance(record, MessageFinished) and record.text == text
        ]
        turn = run.schedule.turns[text][0]
        if isinstance(error, errors.MessageRejected | errors.TransportError) and runs[text]:
            yield f"{outcome.job}: {error!r} claims that it did not run, but it did"
        gone = isinstance(error, errors.MessageInterrupted) and error.outcome == "gone"
        if gone and ("complete" in finished or len(finished) < runs[text]):
            yield f"{outcome.job}: reported as gone, but it ended as {finished}"
        if isinstance(error, errors.AgentError):
            scripted = any(isinstance(step, Fail | RateLimit) for step in turn.steps)
            if not scripted and not _excused(error, finished):
                yield f"{outcome.job}: {error!r} is not in the script"
        partial = getattr(error, "partial", None)
        if partial is None or getattr(partial, "incomplete", False):
            continue
        if not any(whole.startswith(partial.text) for whole in _texts_of(turn, run)):
            yield f"{outcome.job}: the partial {partial.text!r} is not part of the reply"


def _excused(error: errors.AgentError, finished: Sequence[str]) -> bool:
    """Return whether the server had a reason: it was busy, or cancelled another turn late."""
    text = error.event.error
    late = list(finished) == ["cancelled"] and "cancelled" in text
    return late or "currently processing" in text


def _final(run: Run) -> Iterator[str]:
    if run.final is None:
        if run.opened and run.died_of is None:
            yield "the stream was never used to its end"
        return
    error = run.final.error
    if run.final.how == "error" and isinstance(error, errors.StreamError):
        return  # the stream has failed before, with a typed error
    forgets = any(accident.what == "forget" for accident in run.schedule.accidents)
    if forgets and isinstance(error, errors.MessageRejected):
        return  # the session is gone, and the stream has not been notified yet
    if run.final.how != "reply":
        yield f"the message after all faults ended in {run.final.how}: {error!r}"
