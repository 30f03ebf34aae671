"""Take the samples: each in a new process, the peers in turns, round by round."""

from __future__ import annotations

import compileall
import contextlib
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

import trio_mix
from benchmarks import node
from benchmarks.sample import MISSING, Missing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.plan import Bench, Growth, Target

TIMEOUT = 180
_PYTHON = (sys.executable, "-m")


@attrs.define(kw_only=True)
class Result:
    """The samples of one bench, and the statistics of them."""

    name: str
    title: str
    against: str
    samples: dict[str, list[dict[str, float]]] = attrs.field(factory=dict)
    targets: tuple[Target, ...] = ()
    limits: tuple[Target, ...] = ()
    missing: list[str] = attrs.field(factory=list)

    def figures(self) -> list[str]:
        """Return the names of the figures."""
        return list(next(iter(self.samples.values()))[0]) if self.samples else []

    def median(self, peer: str, figure: str) -> float:
        """Return the median over all rounds."""
        return statistics.median(each[figure] for each in self.samples[peer])

    def ratio(self, peer: str, figure: str, against: str | None = None) -> float | None:
        """Return the median of the ratios of each round, or None without the other peer."""
        others = self.samples.get(against or self.against)
        if not others:
            return None
        pairs = zip(self.samples[peer], others, strict=False)
        ratios = [ours[figure] / theirs[figure] for ours, theirs in pairs if theirs[figure]]
        return statistics.median(ratios) if ratios else None

    def as_json(self) -> dict[str, Any]:
        """Return the samples and their statistics as JSON values."""
        peers = {
            peer: {
                "samples": samples,
                "medians": {figure: self.median(peer, figure) for figure in samples[0]},
                "ratios": {figure: self.ratio(peer, figure) for figure in samples[0]},
            }
            for peer, samples in self.samples.items()
        }
        targets = [attrs.asdict(target) for target in self.targets]
        return {"name": self.name, "against": self.against, "peers": peers, "targets": targets}


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Run the server in a process of its own; yield its URL."""
    with subprocess.Popen(
        [*_PYTHON, "benchmarks.server"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def compile_all() -> None:
    """Compile all modules, as an installer does: otherwise imports would compile them."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    folders = [path for path in sys.path if path.endswith("site-packages")]
    for folder in (*folders, str(Path(trio_mix.__file__).parent)):
        compileall.compile_dir(folder, quiet=2)


def find_node() -> None:
    """Install the peer on Node once for all samples, if Node and npm are available."""
    with contextlib.suppress(Missing, subprocess.TimeoutExpired):
        os.environ["BENCHMARKS_NODE"] = node.folder()


def one(module: str, peer: str, arguments: dict[str, Any]) -> dict[str, float] | None:
    """Take one sample; return None if the peer is not installed, or takes too long."""
    try:
        done = subprocess.run(
            [*_PYTHON, "benchmarks.sample", module, peer, json.dumps(arguments)],
            capture_output=True,
            text=True,
            timeout=TIMEOUT,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return None
    if done.returncode == MISSING:
        print(f"{peer} was NOT measured: {done.stderr.strip()[-200:]}", file=sys.stderr, flush=True)
        return None
    if done.returncode:
        raise SystemExit(f"{module}, {peer}, {arguments}: {done.stderr[-2000:]}")
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def run(bench: Bench, rounds: int, *, short: bool) -> Result:
    """Run one bench: the peers one after the other, in another order each round."""
    arguments = {**bench.arguments, **(bench.short if short else {})}
    result = Result(
        name=bench.name,
        title=bench.title,
        against=bench.against,
        targets=bench.targets,
        limits=bench.limits,
    )
    peers = list(bench.peers)
    with server() if bench.server else contextlib.nullcontext() as url:
        if url is not None:
            arguments["url"] = url
        for turn in range(rounds):
            shift = turn % len(peers)
            for peer in (*peers[shift:], *peers[:shift]):
                if peer in result.missing:
                    continue
                figures = one(bench.module, peer, arguments)
                if figures is None:
                    result.missing.append(peer)
                else:
                    result.samples.setdefault(peer, []).append(figures)
    result.samples = {peer: result.samples[peer] for peer in peers if peer in result.samples}
    return result


_grown: dict[tuple[str, str, int, str], dict[str, float] | None] = {}


def grow(growth: Growth, rounds: int) -> dict[str, list[tuple[int, float]]]:
    """Return the points of each peer's line: medians, sizes and peers taken in turns.

    Plots that show two figures of the same samples share them.
    """
    points: dict[str, dict[int, list[float]]] = {peer: {} for peer in growth.peers}
    with server() if growth.server else contextlib.nullcontext() as url:
        for turn in range(rounds):
            for value in growth.values:
                for peer in growth.peers:
                    arguments = {**growth.arguments, growth.argument: value}
                    key = (growth.module, peer, turn, json.dumps(arguments))
                    if key not in _grown:
                        at = {} if url is None else {"url": url}
                        _grown[key] = one(growth.module, peer, arguments | at)
                    figures = _grown[key]
                    if figures is not None:
                        figure = figures[growth.figure] * (1e6 / value if growth.per else 1)
                        points[peer].setdefault(value, []).append(figure)
    return {
        peer: [(value, statistics.median(seen)) for value, seen in line.items()]
        for peer, line in points.items()
        if line
    }
