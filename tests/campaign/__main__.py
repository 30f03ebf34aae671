"""Run the campaign: ``python tests/campaign --count 5000``, or ``--seed N`` to replay one seed."""

from __future__ import annotations

import argparse
import logging
import sys
import time
import warnings

from campaign_judge import Figures, judge
from campaign_run import carry_out
from campaign_schedule import draw


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500, help="the number of schedules")
    parser.add_argument("--start", type=int, help="the first seed; random by default")
    parser.add_argument("--seed", type=int, help="replay this seed and print the whole timeline")
    parser.add_argument("--sockets", action="store_true", help="use sockets and a faster clock")
    parser.add_argument("--most", type=int, default=10, help="stop after this number of failures")
    options = parser.parse_args()
    warnings.simplefilter("error")
    logging.disable(logging.WARNING)  # warnings about lost connections are expected
    if options.seed is not None:
        return show(options.seed, in_memory=not options.sockets)
    start = options.start if options.start is not None else time.time_ns() % 10**9
    print(f"seeds from {start} on")
    figures, failures, began = Figures(), 0, time.perf_counter()
    for seed in range(start, start + options.count):
        try:
            run = carry_out(draw(seed), in_memory=not options.sockets)
        except BaseException:
            print(f"seed {seed}:", flush=True)
            raise
        figures.add(run)
        wrong = judge(run)
        if wrong:
            failures += 1
            print(f"seed {seed} ({run.schedule.api}, replay={run.schedule.replay}):", flush=True)
            for line in wrong:
                print("   ", line[:400], flush=True)
            if failures >= options.most:
                break
    print(figures)
    print(f"{failures} failures, {time.perf_counter() - began:.0f} s")
    return 1 if failures else 0


def show(seed: int, *, in_memory: bool) -> int:
    schedule = draw(seed)
    run = carry_out(schedule, in_memory=in_memory)
    print(schedule)
    print(run.timeline)
    for outcome in run.outcomes:
        print(outcome.job, outcome.how, repr(outcome.error), outcome.reply, outcome.deltas)
    print("the stream failed with:", repr(run.died_of), "faults:", run.faults)
    wrong = judge(run)
    print("\n".join(wrong) or "all invariants hold")
    return 1 if wrong else 0


sys.exit(main())
