"""Add up the results of many schedules of the campaign."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import attrs
from campaign_judge import Kind, cannot_be_noticed, judge

from trio_mix import errors

if TYPE_CHECKING:
    from campaign_play import Run

__all__ = ["Figures"]

_WRONG: tuple[Kind, ...] = (
    "another turn's event",
    "wrong text",
    "wrong error",
    "wrong partial",
    "wrong outcome",
    "another turn's permission",
)


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
    wrong: int = 0
    """Wrong and unflagged."""
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
                outcome.how == "hung" and not cannot_be_noticed(run)
            )
        found = Counter(violation.kind for violation in judge(run))
        self.run_twice += found["run twice"]
        self.wrong += sum(found[kind] for kind in _WRONG)

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
            f" lost {self.lost}; run twice {self.run_twice}; wrong and unflagged {self.wrong}"
        )
