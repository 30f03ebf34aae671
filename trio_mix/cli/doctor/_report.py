"""The doctor's findings: on a terminal, in lines, or as JSON.

Rule 1: a finding is shown when it is made; JSON is printed as one object, at the end.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

import attrs
from rich.table import Table
from rich.text import Text

from trio_mix._terminal_text import clean
from trio_mix.cli._errors import FAILED, OK
from trio_mix.cli.ui._json import print_json, to_json
from trio_mix.cli.ui._screen import terminal

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
    """The result of one check."""

    check: str
    """The name of the check, which is stable."""
    verdict: Rating
    """``ok``: as specified; ``note``: a deviation that trio_mix compensates for; ``bad``: one
    it cannot compensate for; ``unknown``: it could not be measured."""
    found: str
    """The measurement, in words."""
    then: str = ""
    """How trio_mix handles it, or what the user can do."""
    measured: Mapping[str, object] = attrs.field(factory=dict[str, object])
    """The measured values."""


@attrs.define
class Report:
    """The findings about one server."""

    server: str
    as_json: bool
    generation: ServerGeneration | None = None
    version: str | None = None
    findings: list[Finding] = attrs.field(factory=list[Finding], init=False)
    failure: int = attrs.field(default=FAILED, init=False)
    _console: Console | None = attrs.field(factory=terminal, init=False)

    def begin(self) -> None:
        """Show the server's address."""
        title = f"doctor of {clean(self.server)}"
        if self.as_json:
            return
        if self._console:
            self._console.print(Text(title, style="bold"))
        else:
            print(title, flush=True)

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
          check: the name of the check.
          verdict: the rating.
          found: the measurement, in words.
          then: how trio_mix handles it, or what the user can do.
          failure: the exit code of the command if the finding is bad.
          measured: the measured values, for programs.
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
        """The exit code: 0 unless a finding is bad."""
        return self.failure if any(each.verdict == "bad" for each in self.findings) else OK

    def finish(self) -> int:
        """Show the result, and return the exit code."""
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
            print_json(to_json(whole))
            return self.exit_code
        if bad:
            last = f"{bad} problem{'s' * (bad > 1)} that trio_mix cannot compensate for"
        elif notes:
            last = (
                f"no problems; {notes} deviation{'s' * (notes > 1)} from the specification, "
                f"which trio_mix compensates for"
            )
        else:
            last = "no problems"
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
