"""`python -m benchmarks`: run the benches and print a Markdown table."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import attrs

from benchmarks import report, run
from benchmarks.plan import BENCHES, GROWTHS, SHORT_PEERS, Bench
from benchmarks.plan_relay import REDIS_BENCHES, RELAY_BENCHES, RELAY_GROWTHS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("only", nargs="*", help="run only benches whose name begins with this")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument(
        "--short", action="store_true", help="one small round of some benches, as on CI"
    )
    parser.add_argument(
        "--peers", help="run only peers whose name contains one of these, separated by commas"
    )
    parser.add_argument("--json", type=Path, help="a file to write all samples to")
    parser.add_argument("--markdown", type=Path, help="a file to write the table to as well")
    parser.add_argument("--growth", type=Path, help="a folder to draw the growth plots in")
    chosen = parser.parse_args()
    rounds = 1 if chosen.short else chosen.rounds

    run.compile_all()
    if not chosen.short:
        run.find_node()
    results = []
    for bench in (*BENCHES, *RELAY_BENCHES, *REDIS_BENCHES):
        if chosen.only and not any(bench.name.startswith(name) for name in chosen.only):
            continue
        if chosen.short and not (bench.in_short or chosen.only):
            continue
        began = time.perf_counter()
        if chosen.peers or chosen.short:
            bench = _with(bench, chosen.peers.split(",") if chosen.peers else SHORT_PEERS)  # noqa: PLW2901
        results.append(run.run(bench, rounds, short=chosen.short))
        took = time.perf_counter() - began
        print(f"{bench.name}: {took:.0f} s", file=sys.stderr, flush=True)
        _write(chosen, rounds, results)  # after each bench, in case the run is stopped
    print(_text(chosen, rounds, results))
    if chosen.growth:
        chosen.growth.mkdir(parents=True, exist_ok=True)
        for growth in (*GROWTHS, *RELAY_GROWTHS):
            if chosen.only and not any(growth.name.startswith(name) for name in chosen.only):
                continue
            lines = run.grow(growth, 1 if chosen.short else min(rounds, 3))
            unit = "µs" if growth.per and growth.figure != "ms" else growth.figure
            unit = "ns/byte" if growth.figure == "ms" else unit
            drawn = report.plot(growth.title, unit, lines)
            (chosen.growth / f"{growth.name}.svg").write_text(drawn)
            print(f"growth by {growth.name}: drawn", file=sys.stderr, flush=True)


def _text(chosen: argparse.Namespace, rounds: int, results: list[run.Result]) -> str:
    parts = [f"{report.versions()}; {rounds} rounds."]
    if any(result.targets or result.limits for result in results):
        parts += ["## Targets", report.targets(results, marks=not chosen.short)]
    parts += ["## All figures", *map(report.table, results)]
    return "\n\n".join(parts) + "\n"


def _write(chosen: argparse.Namespace, rounds: int, results: list[run.Result]) -> None:
    if chosen.markdown:
        chosen.markdown.write_text(_text(chosen, rounds, results))
    if chosen.json:
        chosen.json.write_text(json.dumps([each.as_json() for each in results], indent=1))


def _with(bench: Bench, names: list[str]) -> Bench:
    """Return a bench with only some of its peers, and the one that ratios are taken to."""
    kept = [p for p in bench.peers if p == bench.against or any(name in p for name in names)]
    return attrs.evolve(bench, peers=tuple(kept))


if __name__ == "__main__":
    main()
