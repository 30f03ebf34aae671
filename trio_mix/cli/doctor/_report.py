"""What the doctor found, on a terminal, in lines, or as JSON.

What it knows: findings and how they are drawn.
What it must never know: how anything was found out.

Rule 1: a finding is shown the moment it is made; JSON comes whole, at the end.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import attrs
from rich.table import Table
from rich.text import Text

from trio_mix.cli._errors import FAILED, OK
from trio_mix.cli.ui._screen import terminal
from trio_mix.cli.ui._text import clean

if TYPE_CHECKING:
    from collections.abc import Mapping

    from rich.console import Console

    from trio_mix.cli.doctor._probe import ServerGeneration

Rating: TypeAlias = Literal["ok", "note", "bad", "unknown"]

_MARKS: Final[dict[Rating, tuple[str, str]]] = {
    "ok": ("✓", "green"),
    "note": ("~", "yellow"),
    "bad": ("✗", "bold red"),
    "unknown": ("?", "dim"),
}
_NAME_WIDTH: Final = 15


@attrs.frozen
class Finding:
    """One thing that was looked at."""

    check: str
    """What: a stable name."""
    verdict: Rating
    """``ok``: as the specification says; ``note``: not so, and trio_mix makes it good; ``bad``:
    nothing makes it good; ``unknown``: it could not be measured."""
    found: str
    """What was measured."""
    then: str = ""
    """What trio_mix does about it, or what the user can do."""
    measured: Mapping[str, object] = attrs.field(factory=dict[str, object])
    """The numbers."""


@attrs.define
class Report:
    """All findings about one server."""

    server: str
    as_json: bool
    generation: ServerGeneration | None = None
    version: str | None = None
    findings: list[Finding] = attrs.field(factory=list[Finding], init=False)
    failure: int = attrs.field(default=FAILED, init=False)
    _console: Console | None = attrs.field(factory=terminal, init=False)

    def begin(self) -> None:
        """Show which server it is about."""
        said = f"doctor of {clean(self.server)}"
        if self.as_json:
            return
        if self._console:
            self._console.print(Text(said, style="bold"))
        else:
            print(said, flush=True)

    def add(
        self,
        check: str,
        verdict: Rating,
        found: str,
        then: str = "",
        *,
        failure: int = FAILED,
        **measured: object,
    ) -> None:
        """Add a finding and show it.

        Args:
          check: what was looked at.
          verdict: how it is.
          found: what was measured.
          then: what is done about it, or can be.
          failure: the exit code that a bad finding makes.
          measured: the numbers, for programs.
        """
        finding = Finding(check, verdict, clean(found), clean(then), measured)
        if verdict == "bad" and not any(each.verdict == "bad" for each in self.findings):
            self.failure = failure
        self.findings.append(finding)
        if self.as_json:
            return
        if self._console:
            _draw(self._console, finding)
        else:
            print(_line(finding), flush=True)

    @property
    def exit_code(self) -> int:
        """0 unless something is bad."""
        return self.failure if any(each.verdict == "bad" for each in self.findings) else OK

    def finish(self) -> int:
        """Show the end, and return the exit code."""
        bad = sum(each.verdict == "bad" for each in self.findings)
        notes = sum(each.verdict == "note" for each in self.findings)
        if self.as_json:
            whole = {
                "server": self.server,
                "generation": self.generation,
                "version": self.version,
                "sound": not bad,
                "exit_code": self.exit_code,
                "findings": [attrs.asdict(each, recurse=False) for each in self.findings],
            }
            print(json.dumps(whole, ensure_ascii=False), flush=True)
            return self.exit_code
        if bad:
            last = f"{bad} finding{'s' * (bad > 1)} that trio_mix cannot make good"
        elif notes:
            last = (
                f"sound; {notes} thing{'s' * (notes > 1)} that differ{'s' * (notes == 1)} from the "
                "specification, which trio_mix makes good"
            )
        else:
            last = "sound"
        if self._console:
            self._console.print(Text(last, style="bold red" if bad else "bold green"))
        else:
            print(f"result: {last}", flush=True)
        return self.exit_code


def _line(finding: Finding) -> str:
    then = f" -> {finding.then}" if finding.then else ""
    return f"{finding.verdict}: {finding.check}: {finding.found}{then}"


def _draw(console: Console, finding: Finding) -> None:
    mark, style = _MARKS[finding.verdict]
    if not _can_encode(mark):
        mark = {"ok": "+", "note": "~", "bad": "x", "unknown": "?"}[finding.verdict]
    grid = Table.grid(padding=(0, 1, 0, 0))
    grid.add_column(width=1)
    grid.add_column(width=_NAME_WIDTH, no_wrap=True)
    grid.add_column(overflow="fold")
    grid.add_row(Text(mark, style=style), Text(finding.check, style="bold"), Text(finding.found))
    if finding.then:
        arrow = "→ " if _can_encode("→") else "-> "
        grid.add_row("", "", Text(arrow + finding.then, style="dim"))
    console.print(grid)


def _can_encode(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
