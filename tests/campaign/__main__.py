"""Run the campaign: ``python tests/campaign --count 5000``, or ``--seed N`` to replay one seed."""

from __future__ import annotations

import argparse
import itertools
import logging
import shlex
import sys
import time
import warnings
from pathlib import Path

sys.path.insert(1, str(Path(__file__).parents[2]))  # the package `tests`

import attrs
from campaign_features import FEATURES, OFF, draw
from campaign_figures import Figures
from campaign_judge import judge
from campaign_run import carry_out
from campaign_schedule import Schedule
from campaign_shrink import shrink, without


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=500, help="the number of schedules")
    parser.add_argument("--start", type=int, help="the first seed; random by default")
    parser.add_argument("--seed", type=int, help="replay this seed and print the whole timeline")
    parser.add_argument("--sockets", action="store_true", help="use sockets and a faster clock")
    parser.add_argument("--most", type=int, default=10, help="stop after this number of failures")
    parser.add_argument(
        "--features", nargs="*", choices=FEATURES, help="the features of every schedule"
    )
    parser.add_argument("--without", nargs="*", default=[], help="parts that are left out")
    parser.add_argument("--shrink", action="store_true", help="leave out what can be left out")
    parser.add_argument(
        "--orders", type=int, default=1, help="run each seed under this number of orders of tasks"
    )
    parser.add_argument("--order", type=int, default=0, help="the order of tasks of --seed")
    parser.add_argument("--all", action="store_true", help="draw also the features that are off")
    options = parser.parse_args()
    if options.all:
        OFF.clear()
    warnings.simplefilter("error")
    logging.disable(logging.WARNING)  # warnings about lost connections are expected
    if options.seed is not None:
        drawn = attrs.evolve(draw(options.seed, options.features), order=options.order)
        schedule = without(drawn, options.without)
        left_out = [*options.without]
        if options.shrink:
            left_out += smaller(schedule, in_memory=not options.sockets)
            schedule = without(drawn, left_out)
        code = show(schedule, in_memory=not options.sockets)
        features = " ".join(map(repr, sorted(schedule.features)))
        names = " ".join(map(shlex.quote, left_out))
        again = f"--seed {options.seed} --order {options.order} --features {features}"
        print(
            f"to repeat: python tests/campaign {again}" + (f" --without {names}" if names else "")
        )
        return code
    start = options.start if options.start is not None else time.time_ns() % 10**9
    print(f"seeds from {start} on")
    figures, failures, began = Figures(), 0, time.perf_counter()
    seeds = range(start, start + options.count)
    for seed, order in itertools.product(seeds, range(options.orders)):
        drawn = attrs.evolve(draw(seed, options.features), order=order)
        try:
            run = carry_out(drawn, in_memory=not options.sockets)
        except BaseException:
            print(f"seed {seed}, order {order}:", flush=True)
            raise
        figures.add(run)
        wrong = judge(run)
        if wrong:
            failures += 1
            schedule = run.schedule
            features = ", ".join(sorted(schedule.features)) or "plain"
            about = f"{schedule.api}, replay={schedule.replay}, {features}"
            print(f"seed {seed}, order {order} ({about}):", flush=True)
            for line in wrong:
                print("   ", str(line)[:400], flush=True)
            if failures >= options.most:
                break
    print(figures)
    print(f"{failures} failures, {time.perf_counter() - began:.0f} s")
    return 1 if failures else 0


def show(schedule: Schedule, *, in_memory: bool) -> int:
    run = carry_out(schedule, in_memory=in_memory)
    for field in attrs.fields(Schedule):
        print(f"{field.name}: {getattr(schedule, field.name)}")
    print(run.timeline)
    for outcome in run.outcomes:
        print(outcome.job, outcome.how, repr(outcome.error), outcome.reply, outcome.deltas)
    print("the stream failed with:", repr(run.died_of), "faults:", run.faults)
    wrong = judge(run)
    print("\n".join(map(str, wrong)) or "all invariants hold")
    return 1 if wrong else 0


def smaller(schedule: Schedule, *, in_memory: bool) -> list[str]:
    """Return the names of the parts that the first violation does not need."""
    kinds = {violation.kind for violation in judge(carry_out(schedule, in_memory=in_memory))}

    def fails(smaller: Schedule) -> bool:
        run = carry_out(smaller, in_memory=in_memory)
        return any(violation.kind in kinds for violation in judge(run))

    return shrink(schedule, fails) if kinds else []


sys.exit(main())
