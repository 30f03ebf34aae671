"""What a reading of the stored messages means for a message, as a table.

A reading that no rule fits changes nothing; it is repeated later. The numbers in docstrings are
those of the rules in `trio_mix._turns._recovery`.
"""

from __future__ import annotations

import enum
import math
from typing import TYPE_CHECKING, Final

import attrs

from trio_mix._turns._facts import Concern
from trio_mix._turns._schedules import RunningSchedule
from trio_mix._turns._stored_turn import TurnOutcome

if TYPE_CHECKING:
    from collections.abc import Callable

    from trio_mix._turns._facts import Facts


class Action(enum.Enum):
    """What happens to the message."""

    COMPLETE = "complete it from the stored messages"
    COMPLETE_IN_DOUBT = "complete it from the stored messages, marked incomplete"
    END = "end it as it stands"
    END_IN_DOUBT = "end it as it stands, marked: the end may be another client's"
    END_BY_ERROR = "end it by the error that was taken for another turn's"
    GONE = "interrupt it: it does not run any more"
    UNKNOWN = "interrupt it: its outcome is unknown"
    REFUSE = "reject it with the server's answer"
    POST = "send it"
    POST_IN_DOUBT = "send it, marked: another turn may run at the same time"
    DISOWN = "go on: what came was another client's turn"
    POST_AGAIN = "send it again"
    FOLLOW = "follow it: another stream of the session runs it"


@attrs.frozen
class Rule:
    """What a reading means under one concern."""

    concern: Concern
    stored: frozenset[TurnOutcome | None]
    """What the rows say of the turn; None: they could not be read."""
    then: Action
    when: tuple[Callable[[Facts], bool], ...] = ()
    """What must hold as well."""
    why: str = ""
    """What an error says, where the silence is not the reason."""

    def fits(self, facts: Facts) -> bool:
        """Return whether the rule decides about the last reading."""
        return (
            self.concern is facts.concern
            and facts.reading.outcome in self.stored
            and all(holds(facts) for holds in self.when)
        )


def none_kept(facts: Facts) -> bool:
    """The server keeps no messages that can be read."""
    return facts.reading.none_kept


def no_sign(facts: Facts) -> bool:
    """Nothing suggests that events were lost, or are another turn's."""
    return facts.reads_once


def session_known(facts: Facts) -> bool:
    """The session is not at another turn: the stream goes on since its last message was sent."""
    return not facts.session_unknown


def session_idle(facts: Facts) -> bool:
    """No turn of the session is unfinished, neither by its rows nor by the events."""
    late = facts.signs.session_silence(facts.now) < facts.limits.confirmation
    return not (facts.reading.at_work or (facts.others_at_work and late))


def session_silent(facts: Facts) -> bool:
    """The other turn has shown no sign of life for ``settle_timeout``, or nothing can be read."""
    return facts.signs.session_silence(facts.now) >= facts.session_patience


def session_quiet(facts: Facts) -> bool:
    """The session was idle in two equal readings, or did not grow for ``settle_timeout``.

    A turn that the rows show to be unfinished by finish reasons is waited for. Without them, the
    text of a turn that runs looks like all of it: what was stored when the server was busy with it
    does not show that it has ended since. If no reading shows with what the server was busy, it may
    be this message, on another stream, and not stored yet.
    """
    reading, limits = facts.reading, facts.limits
    shown = reading.ends_shown or reading.over_known
    unchanged = not shown and reading.weight == facts.post.busy_weight
    pause = math.inf if unchanged else limits.confirmation
    if reading.ends_shown:
        pause = 0.0 if facts.signs.others_worked else limits.arrival
    return facts.signs.session_is_quiet(
        facts.now,
        limits.settle_timeout,
        goes_on=reading.at_work and reading.ends_shown,
        confirmation=pause,
    )


def own_end(facts: Facts) -> bool:
    """The terminal event is this turn's, by the message that it names or by the rows."""
    return facts.reading.end == "ours"


def doubted_end_is_own(facts: Facts) -> bool:
    """A ``complete`` that was taken for another turn's names an answer of this turn."""
    return facts.turn.doubted_end is not None and facts.reading.end == "ours"


def foreign_end(facts: Facts) -> bool:
    """The terminal event is another turn's."""
    return facts.reading.end == "others"


def unknown_end(facts: Facts) -> bool:
    """The rows will not show whether the terminal event is this turn's."""
    return facts.reading.end == "either"


def answer_open(facts: Facts) -> bool:
    """A blocking server has not answered the POST, which it does when the turn is over."""
    return facts.turn.due.events and facts.post.open


def ended_beside(facts: Facts) -> bool:
    """A turn has ended that can be this one or one that ran beside it."""
    verdict = facts.reading.verdict
    return verdict is not None and verdict.ended_beside


def ended_either_way(facts: Facts) -> bool:
    """Turns that overlap have all ended, in different ways, and each of them may be this one."""
    verdict = facts.reading.verdict
    return verdict is not None and verdict.either


def runs_elsewhere(facts: Facts) -> bool:
    """Another stream of the session runs it: its silence on this one shows nothing."""
    return facts.turn.elsewhere == "other"


def copies_queued(facts: Facts) -> bool:
    """It was sent more than once to a busy session, whose other stream may run every copy."""
    return facts.post.again and runs_elsewhere(facts)


def confirmed(facts: Facts) -> bool:
    """The reading before this one said so too."""
    return isinstance(facts.schedule, RunningSchedule) and facts.schedule.over_before


def settled(facts: Facts) -> bool:
    """No answer there may be another turn's, or nothing that shows more has come for long.

    That is ``settle_timeout``, or `Limits.late_events` where no turn of the session runs any more.
    """
    verdict, limits = facts.reading.verdict, facts.limits
    if verdict is None or not verdict.mixed:
        return True
    late = limits.settle_timeout if facts.reading.at_work else limits.late_events
    return facts.signs.unheard(facts.now) >= min(late, limits.settle_timeout)


def error_doubted(facts: Facts) -> bool:
    """An error that was taken for another turn's may have been this turn's."""
    return facts.doubted_error is not None


def failed(facts: Facts) -> bool:
    """The terminal event is an error."""
    return facts.turn.failed


def left(facts: Facts) -> bool:
    """Nobody waits for the message any more."""
    return facts.leaving.left


def cancelled_unseen(facts: Facts) -> bool:
    """The server has cancelled it, no finish reason shows its end, and it grew no more since."""
    verdict = facts.reading.verdict
    shown = verdict is None or verdict.has_reasons
    quiet = facts.signs.silence(facts.now) >= facts.limits.cancelled_end
    return facts.leaving.acknowledged and quiet and not shown


def refused(facts: Facts) -> bool:
    """The server answered the POST with a refusal."""
    return facts.post.refusal is not None


def may_arrive(facts: Facts) -> bool:
    """A POST of it timed out here, and may still arrive."""
    return facts.post.timed_out


def posted_again(facts: Facts) -> bool:
    """The message was sent more than once."""
    return facts.post.again


def never_arrived(facts: Facts) -> bool:
    """It has been absent for long enough, and nothing suggests that it may still run (rule 3)."""
    limits = facts.limits
    if facts.turn.events or facts.post.open or facts.reading.at_work:
        return False
    if facts.signs.absent(facts.now) < min(limits.arrival, limits.settle_timeout / 2):
        return False
    return not facts.post.timed_out or facts.post.refusal is not None or facts.leaving.left


def command(facts: Facts) -> bool:
    """It is a command, which servers run without storing it: absence proves nothing."""
    return facts.turn.is_command


def not_kept(facts: Facts) -> bool:
    """It was resumed, and the server keeps no messages that can be read."""
    return facts.turn.resumed and facts.reading.none_kept


def must_not_resend(facts: Facts) -> bool:
    """Its ticket or its sender does not allow to send it again (rule 12)."""
    return not facts.post.may_resend


def finished_before(facts: Facts) -> bool:
    """Its ticket says that it has finished."""
    return facts.ticket_state == "finished"


def failed_before(facts: Facts) -> bool:
    """Its ticket says that it has failed."""
    return facts.ticket_state == "failed"


def not_behind(facts: Facts) -> bool:
    """It was not resumed, or the session is not at another turn, behind which it may be queued."""
    return not (facts.turn.resumed and facts.reading.at_work)


def resumed_and_quiet(facts: Facts) -> bool:
    """It was resumed, and the session has been idle for long enough for it to be stored."""
    limits = facts.limits
    quiet = facts.signs.silence(facts.now) >= min(limits.arrival, limits.settle_timeout / 2)
    return facts.turn.resumed and quiet and not facts.reading.at_work


def looks_whole(facts: Facts) -> bool:
    """The rows look like all of a turn."""
    verdict = facts.reading.verdict
    return verdict is not None and verdict.looks_whole


def nothing_open(facts: Facts) -> bool:
    """All that is stored of it is finished, and there are no finish reasons to show its end."""
    verdict = facts.reading.verdict
    return verdict is not None and verdict.nothing_open


def end_not_stored(facts: Facts) -> bool:
    """There are no finish reasons: another message follows, and the turn may have been cancelled.

    A ticket can show that it has finished.
    """
    verdict = facts.reading.verdict
    return verdict is not None and not verdict.has_reasons and facts.ticket_state != "finished"


def post_open(facts: Facts) -> bool:
    """The POST is still unanswered."""
    return facts.post.open


def post_over(facts: Facts) -> bool:
    """The POST is answered, or has failed."""
    return not facts.post.open


def silent(facts: Facts) -> bool:
    """It has shown no sign of life for too long (rules 4 and 6)."""
    return facts.signs.silence(facts.now) >= facts.patience


def silent_for_long(facts: Facts) -> bool:
    """It has shown no sign of life for five or ten ``settle_timeout`` (rule 10)."""
    limits = facts.limits
    patience = limits.queued if facts.reading.at_work else limits.unreadable
    return facts.signs.silence(facts.now) >= patience * limits.settle_timeout


def unheard(facts: Facts) -> bool:
    """No event that may be its own came for too long, and nothing names it (rule 5)."""
    limits, turn = facts.limits, facts.turn
    if turn.bound or turn.is_command:
        return False
    if facts.reading.verdict is None and not facts.traits.ids and facts.doubted_error is None:
        return False
    if turn.doubts_repetition and turn.accepted and never_arrived(facts):
        return True  # it failed before it was stored
    patience = 1 if turn.doubt is not None else limits.unheard
    patience = limits.queued if facts.reading.at_work else patience
    return facts.signs.unheard(facts.now) >= patience * limits.settle_timeout


def _rule(
    concern: Concern,
    stored: TurnOutcome | tuple[TurnOutcome | None, ...] | None,
    then: Action,
    *when: Callable[[Facts], bool],
    why: str = "",
) -> Rule:
    outcomes = stored if isinstance(stored, tuple) else (stored,)
    return Rule(concern, frozenset(outcomes), then, when, why)


_FINISHED: Final = TurnOutcome.FINISHED
_BROKEN_OFF: Final = TurnOutcome.BROKEN_OFF
_UNFINISHED: Final = TurnOutcome.UNFINISHED
_ABSENT: Final = TurnOutcome.ABSENT
_UNKNOWN: Final = TurnOutcome.UNKNOWN
_READABLE: Final = tuple(TurnOutcome)
_STORED: Final = (_FINISHED, _BROKEN_OFF, _UNFINISHED, _UNKNOWN)
_STORED_OR_ABSENT: Final = (_BROKEN_OFF, _UNFINISHED, _UNKNOWN, _ABSENT)
_BROKE: Final = "the server broke it off"
_TWICE: Final = "it was sent again and did not arrive"
_NONE_KEPT: Final = "this server stores no messages that can be read"
_NOT_STORED: Final = "it is not among the stored messages, which does not prove that it never ran"
_COMMAND: Final = "it is a command, and no stored message shows whether a command has run"
_AMBIGUOUS: Final = "the stored messages were changed, or another message has the same text"
_OVERLAPPED: Final = "another message ran at the same time, and one of the two has ended"
_EITHER: Final = "another message ran at the same time, and one of the two was broken off"
_ELSEWHERE: Final = "another stream of the session runs it, whose events this one does not receive"
_COPIES: Final = "it was sent more than once, and another stream of the session may run it again"
_FAILED: Final = "its ticket says that it failed"
_HAD_FINISHED: Final = "its ticket says that it finished, but the stored messages do not show it"

RULES: Final[tuple[Rule, ...]] = (
    _rule(Concern.SESSION, (*_READABLE, None), Action.POST, session_known),
    _rule(Concern.SESSION, _READABLE, Action.POST, session_idle),
    _rule(Concern.SESSION, (*_READABLE, None), Action.POST_IN_DOUBT, session_silent),
    _rule(Concern.BUSY, None, Action.POST_AGAIN, none_kept),
    _rule(Concern.BUSY, _ABSENT, Action.FOLLOW, may_arrive),
    _rule(Concern.BUSY, _ABSENT, Action.POST_AGAIN, session_quiet),
    _rule(Concern.BUSY, _STORED, Action.FOLLOW),
    _rule(Concern.RUNNING, _READABLE, Action.COMPLETE, doubted_end_is_own),
    _rule(Concern.RUNNING, _FINISHED, Action.COMPLETE_IN_DOUBT, confirmed, end_not_stored),
    _rule(Concern.RUNNING, _FINISHED, Action.COMPLETE, confirmed, settled),
    _rule(Concern.RUNNING, _BROKEN_OFF, Action.END_BY_ERROR, confirmed, error_doubted),
    _rule(Concern.RUNNING, _BROKEN_OFF, Action.UNKNOWN, confirmed, ended_either_way, why=_EITHER),
    _rule(Concern.RUNNING, _BROKEN_OFF, Action.COMPLETE_IN_DOUBT, confirmed, nothing_open),
    _rule(Concern.RUNNING, _BROKEN_OFF, Action.GONE, confirmed, why=_BROKE),
    _rule(Concern.RUNNING, _UNFINISHED, Action.COMPLETE_IN_DOUBT, silent, nothing_open),
    _rule(Concern.RUNNING, (_UNFINISHED, None), Action.END_BY_ERROR, silent, error_doubted),
    _rule(Concern.RUNNING, _UNFINISHED, Action.UNKNOWN, silent, post_open),
    _rule(Concern.RUNNING, _UNFINISHED, Action.UNKNOWN, silent, ended_beside, why=_OVERLAPPED),
    _rule(Concern.RUNNING, _UNFINISHED, Action.GONE, silent),
    _rule(Concern.RUNNING, (_ABSENT, _UNKNOWN), Action.END_BY_ERROR, unheard, error_doubted),
    _rule(Concern.RUNNING, (_ABSENT, _UNKNOWN, None), Action.UNKNOWN, unheard),
    _rule(Concern.RUNNING, (_ABSENT, _UNKNOWN, None), Action.UNKNOWN, silent_for_long),
    _rule(Concern.CUT, _READABLE, Action.COMPLETE, doubted_end_is_own),
    _rule(Concern.CUT, _FINISHED, Action.COMPLETE_IN_DOUBT, end_not_stored),
    _rule(Concern.CUT, _FINISHED, Action.COMPLETE),
    _rule(Concern.CUT, _STORED_OR_ABSENT, Action.GONE, failed_before, why=_FAILED),
    _rule(Concern.CUT, (_UNFINISHED, _BROKEN_OFF), Action.COMPLETE, finished_before, looks_whole),
    _rule(Concern.CUT, (_UNFINISHED, _BROKEN_OFF), Action.COMPLETE_IN_DOUBT, finished_before),
    _rule(Concern.CUT, (_ABSENT, _UNKNOWN), Action.UNKNOWN, finished_before, why=_HAD_FINISHED),
    _rule(Concern.CUT, None, Action.UNKNOWN, not_kept, why=_NONE_KEPT),
    _rule(Concern.CUT, _UNKNOWN, Action.UNKNOWN, resumed_and_quiet, why=_AMBIGUOUS),
    _rule(Concern.CUT, _BROKEN_OFF, Action.UNKNOWN, ended_either_way, why=_EITHER),
    _rule(Concern.CUT, _BROKEN_OFF, Action.UNKNOWN, copies_queued, why=_COPIES),
    _rule(Concern.CUT, _BROKEN_OFF, Action.COMPLETE_IN_DOUBT, nothing_open),
    _rule(Concern.CUT, _BROKEN_OFF, Action.GONE, why=_BROKE),
    _rule(Concern.CUT, _ABSENT, Action.END, never_arrived, left),
    _rule(Concern.CUT, (_UNFINISHED, _UNKNOWN), Action.END, left, cancelled_unseen),
    _rule(Concern.CUT, _ABSENT, Action.UNKNOWN, never_arrived, command, why=_COMMAND),
    _rule(Concern.CUT, _ABSENT, Action.REFUSE, never_arrived, refused),
    _rule(Concern.CUT, _ABSENT, Action.UNKNOWN, never_arrived, must_not_resend, why=_NOT_STORED),
    _rule(Concern.CUT, _ABSENT, Action.UNKNOWN, never_arrived, posted_again, why=_TWICE),
    _rule(Concern.CUT, _ABSENT, Action.POST_AGAIN, never_arrived),
    _rule(Concern.CUT, _UNFINISHED, Action.COMPLETE_IN_DOUBT, silent, nothing_open),
    _rule(Concern.CUT, _UNFINISHED, Action.UNKNOWN, silent, post_open),
    _rule(Concern.CUT, _UNFINISHED, Action.UNKNOWN, silent, ended_beside, why=_OVERLAPPED),
    _rule(Concern.CUT, _UNFINISHED, Action.UNKNOWN, silent, runs_elsewhere, why=_ELSEWHERE),
    _rule(Concern.CUT, _UNFINISHED, Action.GONE, silent),
    _rule(Concern.CUT, (_ABSENT, _UNKNOWN), Action.UNKNOWN, silent, post_over, not_behind),
    _rule(Concern.CUT, None, Action.UNKNOWN, silent, post_over, none_kept),
    _rule(Concern.CUT, (_ABSENT, _UNKNOWN, None), Action.UNKNOWN, silent_for_long),
    _rule(Concern.PROOF, _READABLE, Action.END, own_end),
    _rule(Concern.PROOF, _READABLE, Action.DISOWN, foreign_end),
    _rule(Concern.PROOF, _READABLE, Action.DISOWN, unknown_end, answer_open),
    _rule(Concern.PROOF, _READABLE, Action.DISOWN, unknown_end, refused),
    _rule(Concern.PROOF, _READABLE, Action.END_IN_DOUBT, unknown_end),
    _rule(Concern.PROOF, None, Action.END, none_kept),
    _rule(Concern.CHECK, (_FINISHED, _BROKEN_OFF, _UNKNOWN), Action.END),
    _rule(Concern.CHECK, _UNFINISHED, Action.END, looks_whole),
    _rule(Concern.CHECK, (_UNFINISHED, _ABSENT), Action.END, failed),
    _rule(Concern.CHECK, None, Action.END, none_kept),
    _rule(Concern.CHECK, None, Action.END, no_sign),
)
"""The first rule that fits a reading decides; the documentation's table is made from here."""
