"""Sphinx extension: the directive ``unreleased-changes``, a list of docs/changes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from sphinx.util.docutils import SphinxDirective

if TYPE_CHECKING:
    from docutils import nodes
    from sphinx.application import Sphinx

_ROOT = Path(__file__).parents[2]
_FRAGMENTS = _ROOT / "docs" / "changes"


def kinds() -> list[tuple[str, str]]:
    """Return the types of fragments and their headings, in the changelog's order."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    types = project["tool"]["towncrier"]["type"]
    return [(entry["directory"], entry["name"]) for entry in types]


def fragments(kind: str) -> list[str]:
    """Return the texts of one type of fragments, without line breaks."""
    paths = sorted(_FRAGMENTS.glob(f"*.{kind}.md"))
    return [re.sub(r"\s+", " ", path.read_text(encoding="utf-8")).strip() for path in paths]


class UnreleasedChanges(SphinxDirective):
    """Insert the changes since the last release, under the headings of the changelog."""

    option_spec: ClassVar = {}

    def run(self) -> list[nodes.Node]:
        """Return the list."""
        lines: list[str] = []
        for kind, heading in kinds():
            texts = fragments(kind)
            if texts:
                lines += [f"**{heading}**", "", *(f"- {text}" for text in texts), ""]
        return self.parse_text_to_nodes("\n".join(lines or ["Nothing yet."]))


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.add_directive("unreleased-changes", UnreleasedChanges)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
