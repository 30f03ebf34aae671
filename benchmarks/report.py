"""Results as Markdown, and growth as SVG."""

from __future__ import annotations

import math
import os
import platform
from importlib import metadata
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.run import Result

_PEERS = (
    "trio",
    "httpx",
    "httpcore",
    "httpx-sse",
    "httpx2",
    "aiohttp",
    "launchdarkly-eventsource",
    "mix-python-sdk",
    "msgspec",
)
_COLOURS = ("#1b6ca8", "#c8553d", "#588b8b", "#8d6a9f")


def number(value: float) -> str:
    """Return a figure with three significant digits."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{digits}f}"


def versions() -> str:
    """Return the versions of Python and the peers, and the machine."""
    found = []
    for name in _PEERS:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            continue
    cores = os.cpu_count()
    return (
        f"{platform.python_implementation()} {platform.python_version()} on {platform.system()}"
        f" {platform.machine()}, {cores} cores; " + ", ".join(found)
    )


def table(result: Result) -> str:
    """Return one bench's results."""
    figures = result.figures()
    heads = ["", *(f"{figure} | ratio" for figure in figures)]
    lines = [f"### {result.title}", "", f"| {' | '.join(heads)} |"]
    lines.append("|" + " --- |" + " ---: |" * (2 * len(figures)))
    for peer in result.samples:
        cells = [f"**{peer}**" if peer.startswith("trio_mix") else peer]
        for figure in figures:
            ratio = result.ratio(peer, figure)
            cells += [number(result.median(peer, figure)), "" if ratio is None else number(ratio)]
        lines.append(f"| {' | '.join(cells)} |")
    if result.missing:
        names = ", ".join(result.missing)
        lines += ["", f"Left out (not installed, or more than three minutes): {names}."]
    return "\n".join(lines)


def targets(results: Sequence[Result], *, marks: bool) -> str:
    """Return a table of the targets and the figures, with marks if the figures are reliable."""
    mark = {True: "met", False: "missed"} if marks else {True: "", False: ""}
    lines = ["| bench | who | figure | against | at most | measured | |", "|" + " --- |" * 7]
    for result in results:
        for target in result.targets:
            if target.peer not in result.samples:
                continue
            against = target.against or result.against
            ratio = result.ratio(target.peer, target.figure, against)
            if ratio is not None:
                cells = [result.name, target.peer, target.figure, against]
                cells += [number(target.at_most), number(ratio), mark[ratio <= target.at_most]]
                lines.append(f"| {' | '.join(cells)} |")
        for limit in result.limits:
            if limit.peer in result.samples:
                added = result.median(limit.peer, limit.figure)
                cells = [result.name, limit.peer, limit.figure, result.against]
                cells += [f"+ {limit.at_most:g}", f"+ {number(added)}"]
                lines.append(f"| {' | '.join(cells)} | {mark[added <= limit.at_most]} |")
    return "\n".join(lines)


def plot(title: str, unit: str, lines: dict[str, list[tuple[int, float]]]) -> str:
    """Return a plot with logarithmic axes as SVG."""
    wide, high, left, top, right, bottom = 640, 320, 60, 40, 200, 40
    xs = [math.log10(x) for line in lines.values() for x, _ in line]
    ys = [math.log10(y) for line in lines.values() for _, y in line if y > 0]
    x0, x1 = min(xs), max(xs)
    y0, y1 = math.floor(min(ys)), math.ceil(max(ys) + 1e-9)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - x0) / ((x1 - x0) or 1) * (wide - left - right)
        return left + across, high - bottom - (y - y0) / (y1 - y0) * (high - top - bottom)

    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}">',
        "<style>text { font: 11px sans-serif }</style>",
        f'<rect width="{wide}" height="{high}" fill="white"/>',
        f'<text x="{left}" y="20">{escape(title)} ({escape(unit)})</text>',
    ]
    for power in range(y0, y1 + 1):
        _, y = place(x0, power)
        out.append(f'<path d="M{left} {y:.1f}H{wide - right}" stroke="#ddd"/>')
        out.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{10**power:g}</text>')
    for value in sorted({x for line in lines.values() for x, _ in line}):
        x, _ = place(math.log10(value), y0)
        out.append(
            f'<text x="{x:.1f}" y="{high - bottom + 16}" text-anchor="middle">{value:,}</text>'
        )
    for index, (peer, line) in enumerate(lines.items()):
        colour = _COLOURS[index % len(_COLOURS)]
        points = [place(math.log10(x), math.log10(y)) for x, y in line if y > 0]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in points]
        y = top + 16 * index + 8
        out.append(f'<text x="{wide - right + 12}" y="{y}" fill="{colour}">{escape(peer)}</text>')
    return "\n".join([*out, "</svg>", ""])
