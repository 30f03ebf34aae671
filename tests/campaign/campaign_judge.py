"""Check the invariants after each schedule, and add up the results of many schedules.

The invariants:

1. Each message ended in a reply, a typed error, or its caller's own cancellation, within its bound.
2. A reply's text is the whole text of one run of its message, or the reply is marked incomplete.
3. Joined text deltas are the reply's text, and streamed events up to a gap are a prefix of it; if
   the reply has doubts, its text may be corrected at the end.
4. The server ran no message more often than it was sent.
5. No event reached two messages, or a message of another turn, unless the result is marked.
6. An error is accurate: a message reported as not run did not run, one reported as gone is gone,
   and an error of the agent is that of the message's own turn.
7. No task, connection or file is left, and the next message works.
8. No permission request of another message's turn is put to the policy.
9. Where nothing disturbs the network, a message runs soon after the server is free, and its result
   is there soon after its turn has ended.

A result that breaks 2, 5 or 6 is wrong, and nothing says so: it counts as "wrong and unflagged".
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Literal, TypeAlias

import attrs
from campaign_schedule import silence, words_of
from campaign_texts import names_in, texts_of

from trio_mix import errors
from trio_mix import events as ev
from trio_mix.testing import (
    Drop,
    Fail,
    MessageAccepted,
    MessageFinished,
    MessageRun,
    RateLimit,
    Raw,
    Stall,
    Throttle,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from campaign_play import Outcome, Run

    from trio_mix import Reply

__all__ = ["Kind", "Violation", "cannot_be_noticed", "judge"]

Kind: TypeAlias = Literal[
    "not ended",
    "no error of the library",
    "deltas",
    "shared event",
    "run twice",
    "another turn's event",
    "wrong text",
    "wrong error",
    "wrong partial",
    "wrong outcome",
    "another turn's permission",
    "late",
    "left",
    "last message",
]


_WAITING = "a turn or a waiting sender"

SETTLE_TIMEOUT = 60.0
"""Seconds of silence after which a message that was cut is gone."""
PROMPT = 10.0
"""Seconds of invariant 9, in addition to the server's own delay."""
PROMPT_OLDEST = 90.0
"""The same for the oldest servers, whose rows show neither times nor that a turn has ended."""


@attrs.frozen
class Violation:
    """One violation of an invariant."""

    kind: Kind
    text: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}"


def judge(run: Run) -> list[Violation]:
    """Return the violated invariants."""
    return list(_violations(run))


def _violations(run: Run) -> Iterator[Violation]:
    for line in run.left:
        if not (_WAITING in line and cannot_be_noticed(run)):
            yield Violation("left", line)
    yield from _ended(run)
    yield from _shared(run)
    if not run.schedule.corrupts:
        yield from _run_too_often(run)
        yield from _texts(run)
        yield from _accurate(run)
        yield from _asked(run)
        yield from _prompt(run)
        yield from _final(run)


def _ended(run: Run) -> Iterator[Violation]:
    for outcome in run.outcomes:
        if outcome.how == "hung" and not cannot_be_noticed(run):
            yield Violation("not ended", f"{outcome.job}")
        if outcome.how == "defect":
            yield Violation("no error of the library", f"{outcome.job}: {outcome.error!r}")
        if outcome.reply is not None and outcome.deltas is not None:
            joined = "".join(outcome.deltas)
            if joined != outcome.reply.text and not outcome.reply.doubts:
                text = f"joined {joined!r} is not {outcome.reply.text!r}"
                yield Violation("deltas", f"{outcome.job}: {text}")
        if outcome.reply is not None and not outcome.reply.doubts:
            streamed = _streamed(outcome)
            if not outcome.reply.text.startswith(streamed):
                text = f"{streamed!r} does not begin {outcome.reply.text!r}"
                yield Violation("deltas", f"{outcome.job}: {text}")


def cannot_be_noticed(run: Run) -> bool:
    """Return whether a dead connection may look alive: changed bytes (which TCP's checksums
    prevent) can hide the end of a body. Pipeline servers send no heartbeats during a turn, and the
    response of a blocking server may take any time."""
    return run.schedule.corrupts and run.schedule.apis != {"async"}


def _streamed(outcome: Outcome) -> str:
    """Return the text of the events before the first gap."""
    pieces: list[str] = []
    for event in outcome.events:
        if isinstance(event, ev.StreamGapEvent):
            break
        if isinstance(event, ev.ContentEvent) and event.parent_tool_call_id is None:
            pieces.append(event.content)
    return "".join(pieces)


def _flagged(outcome: Outcome) -> bool:
    """Return whether the result says that it may be wrong."""
    said = outcome.reply or getattr(outcome.error, "partial", None)
    return said is not None and (said.incomplete or bool(said.doubts))


def _shared(run: Run) -> Iterator[Violation]:
    seen: dict[int, Outcome] = {}
    owners: dict[str, Outcome] = {}
    # The events of a message that was left early, or lost with its stream, may be another turn's:
    # the end, which would show it, has not come. An error of the stream has no partial reply that
    # could be marked.
    unknowable = run.schedule.features & {"two clients", "at work", "reopen"}
    for outcome in run.outcomes:
        names: set[str] = set()
        for event in outcome.events:
            if seen.setdefault(id(event), outcome) is not outcome:
                yield Violation("shared event", f"{event!r} reached two messages")
            if isinstance(event, ev.ContentEvent) and event.parent_tool_call_id is None:
                names |= words_of(event.content)
        unended = outcome.how in ("left", "cancelled") or (
            isinstance(outcome.error, errors.StreamError)
            and getattr(outcome.error, "partial", None) is None
        )
        excused = _flagged(outcome) or (unknowable and unended)
        if run.schedule.corrupts or excused:
            continue
        for name in sorted(names):
            if not any(name in names_in(turn) for turn in run.schedule.turns[outcome.job.text]):
                text = f"{outcome.job}: has events of turn {name}"
            elif len(names) > 1:
                text = f"{outcome.job}: has events of the turns {sorted(names)}"
            elif owners.setdefault(name, outcome) is not outcome and not _alike(
                outcome, owners[name]
            ):
                text = f"events of turn {name} reached {outcome.job} and {owners[name].job}"
            else:
                continue
            yield Violation("another turn's event", text)


def _alike(one: Outcome, other: Outcome) -> bool:
    """Return whether two clients have sent the same text: the answer to neither POST has an id, so
    nothing shows which of two such messages at the same time is whose."""
    return one.job.text == other.job.text and one.client != other.client


def _lags(run: Run) -> bool:
    """Return whether events may arrive late: those of another client's message with the same text
    then come after ours was sent, as if both had been sent at the same time."""
    faults = [fault for rule in run.schedule.rules for fault in rule.faults]
    return any(isinstance(fault, Stall | Throttle) for fault in faults)


def _marked_as_resent(outcome: Outcome) -> bool:
    reply = outcome.reply or getattr(outcome.error, "partial", None)
    return (reply is not None and reply.resent) or outcome.how in ("cancelled", "left")


def _runs(run: Run) -> Counter[str]:
    return Counter(record.text for record in run.log if isinstance(record, MessageRun))


def _sent(run: Run) -> Counter[str]:
    sent = Counter(outcome.job.text for outcome in run.outcomes)
    return sent + Counter(dead.text for dead in run.schedule.dead)


def _run_too_often(run: Run) -> Iterator[Violation]:
    sent, apis = _sent(run), run.schedule.apis
    # Without stored messages, the client cannot find out whether a message ran: if the server is
    # busy, the message is sent again, and the reply is marked as resent.
    flagged = {
        outcome.job.text
        for outcome in run.outcomes
        if "pipeline-oldest" in apis and _marked_as_resent(outcome)
    }
    # Each stream of a pipeline server runs each message, if it is not busy at that moment.
    several = "two clients" in run.schedule.features and "pipeline" in " ".join(apis)
    accepted = Counter(each.text for each in run.log if isinstance(each, MessageAccepted))
    for text, runs in _runs(run).items():
        if text == "foreign" or text in flagged or (several and accepted[text] <= sent[text]):
            continue
        if runs > sent[text]:
            yield Violation(
                "run twice", f"{text!r} was sent {sent[text]} times and run {runs} times"
            )


def _texts(run: Run) -> Iterator[Violation]:
    runs = _runs(run)
    begun = [each for each in run.log if isinstance(each, MessageRun)]
    claimed: dict[tuple[str, int], Outcome] = {}
    for outcome in run.outcomes:
        if outcome.reply is None or _flagged(outcome):
            continue
        text, reply = outcome.job.text, outcome.reply
        turns = run.schedule.turns[text]
        times = [each.time for each in begun if each.text == text]
        fitting = [
            number
            for number in range(runs[text])
            if (
                (text, number) not in claimed
                or (
                    _alike(outcome, claimed[text, number])
                    and (times[number] >= outcome.began or _lags(run))
                )
            )
            and reply.text in texts_of(turns[min(number, len(turns) - 1)], run.schedule.apis)
        ]
        if fitting:
            claimed.setdefault((text, fitting[0]), outcome)
            yield from _parts(run, outcome, reply)
        elif not _cut_short_by_a_cancel(run, text, reply.text):
            yield Violation(
                "wrong text",
                f"{outcome.job}: {reply.text!r} (recovered={reply.recovered}, "
                f"resent={reply.resent}) is not the text of any of {runs[text]} runs",
            )


def _parts(run: Run, outcome: Outcome, reply: Reply) -> Iterator[Violation]:
    """Check what a reply with the right text says beside its text."""
    names = {name for turn in run.schedule.turns[outcome.job.text] for name in names_in(turn)}
    if not words_of(reply.final_text) <= names:
        yield Violation("wrong text", f"{outcome.job}: the final text is {reply.final_text!r}")
    for call in reply.tool_calls:
        if "echo" in call.input and outcome.job.text not in call.input:
            yield Violation("wrong text", f"{outcome.job}: has the tool call {call.input}")


def _cut_short_by_a_cancel(run: Run, text: str, shown: str) -> bool:
    """Return whether another client cancelled the turn, which then ended like a whole one."""
    return "cancelled" in _endings(run, text) and any(
        whole.startswith(shown)
        for turn in run.schedule.turns[text]
        for whole in texts_of(turn, run.schedule.apis)
    )


def _endings(run: Run, text: str) -> list[str]:
    return [
        record.how
        for record in run.log
        if isinstance(record, MessageFinished) and record.text == text
    ]


def _accurate(run: Run) -> Iterator[Violation]:
    runs, sent = _runs(run), _sent(run)
    for outcome in run.outcomes:
        text, error = outcome.job.text, outcome.error
        if error is None or sent[text] > 1:
            continue
        finished = _endings(run, text)
        turn = run.schedule.turns[text][0]
        if isinstance(error, errors.MessageRejected | errors.TransportError) and runs[text]:
            yield Violation("wrong outcome", f"{outcome.job}: {error!r}, but it ran")
        gone = isinstance(error, errors.MessageInterrupted) and error.outcome == "gone"
        ran_on = "complete" in finished or len(finished) < runs[text]
        if gone and ran_on and silence(turn.steps) < SETTLE_TIMEOUT:
            yield Violation("wrong outcome", f"{outcome.job}: gone, but it ended as {finished}")
        own = not isinstance(error, errors.AgentError) or _own(error, turn.steps, finished)
        if not own and not _flagged(outcome):
            yield Violation("wrong error", f"{outcome.job}: {error!r}, but it ended as {finished}")
        partial = getattr(error, "partial", None)
        if partial is None or _flagged(outcome):
            continue
        whole = texts_of(turn, run.schedule.apis)
        if not any(each.startswith(partial.text) for each in whole):
            text = f"{partial.text!r} is not part of the reply"
            yield Violation("wrong partial", f"{outcome.job}: {text} ({error!r})")


def _own(error: errors.AgentError, steps: Sequence[object], finished: Sequence[str]) -> bool:
    """Return whether a turn of this message can have ended with this error."""
    shown = f"{error} {error.event!r}"
    for step in steps:
        if isinstance(step, Fail) and step.error in shown:
            return True
        if isinstance(step, RateLimit) and "rate limited" in shown:
            return True
    # The server was busy, or somebody has cancelled the turn.
    return "currently processing" in shown or ("cancelled" in finished and "cancel" in shown)


def _asked(run: Run) -> Iterator[Violation]:
    for text, command in run.asked:
        if command and text not in command:
            yield Violation("another turn's permission", f"{command} was asked about for {text!r}")


def _prompt(run: Run) -> Iterator[Violation]:
    schedule, sent = run.schedule, _sent(run)
    steps = [step for turns in schedule.turns.values() for turn in turns for step in turn.steps]
    disturbed = schedule.rules or schedule.accidents or any(map(_disturbs, steps))
    if disturbed or not run.in_memory:
        return
    oldest = "pipeline-oldest" in schedule.apis
    bound = schedule.answer_delay + (PROMPT_OLDEST if oldest else PROMPT)
    ends = [each for each in run.log if isinstance(each, MessageFinished)]
    for outcome in run.outcomes:
        text, job = outcome.job.text, outcome.job
        runs = (e.time for e in run.log if isinstance(e, MessageRun) and e.text == text)
        began = next(runs, None)
        if began is None or sent[text] > 1:
            continue
        before = [end.time for end in ends if end.time <= began]
        before += [o.ended for o in run.outcomes if o.ended <= began and o.client == outcome.client]
        free = max([outcome.began, *before])
        if began > free + bound and not _running(run, began):
            yield Violation("late", f"{job}: ran {began - free:.1f} s after the server was free")
        done = next((end.time for end in ends if end.text == text), None)
        if done is not None:
            # Which of two turns at the same time has ended, is not known before both have.
            done = max([done, *(end.time for end in ends if end.time <= outcome.ended)])
            if _flagged(outcome) and _running(run, outcome.ended):
                done += (
                    SETTLE_TIMEOUT  # more that concerns it may come as long as the session works
                )
        waits = job.mode in ("ask", "deltas") and outcome.how in ("reply", "error")
        if waits and done is not None and outcome.ended > max(done, outcome.began) + bound:
            yield Violation("late", f"{job}: ended {outcome.ended - done:.1f} s after its turn")


def _running(run: Run, now: float) -> bool:
    """Return whether a turn that had begun before a time had not ended by then."""
    began = sum(isinstance(each, MessageRun) and each.time < now for each in run.log)
    return began > sum(isinstance(each, MessageFinished) and each.time <= now for each in run.log)


def _disturbs(step: object) -> bool:
    """Return whether a step breaks a stream, so that something is recovered."""
    if isinstance(step, Drop | Raw):
        return True
    nested = (*getattr(step, "steps", ()), *getattr(step, "then", ()))
    return bool(getattr(step, "torn", False)) or any(map(_disturbs, nested))


def _final(run: Run) -> Iterator[Violation]:
    if run.final is None:
        if run.opened and run.died_of is None:
            yield Violation("last message", "the stream was never used to its end")
        return
    error = run.final.error
    if run.final.how == "error" and isinstance(error, errors.StreamError):
        return  # the stream has failed before, with a typed error
    forgets = any(accident.what == "forget" for accident in run.schedule.accidents)
    if forgets and isinstance(error, errors.MessageRejected):
        return  # the session is gone, and the stream has not been notified yet
    if run.final.how != "reply":
        yield Violation("last message", f"it ended in {run.final.how}: {error!r}")
