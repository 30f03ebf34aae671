"""Sphinx extension: let long names in tables wrap after their underscores, slashes and dots."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from docutils import nodes

if TYPE_CHECKING:
    from sphinx.application import Sphinx

_PART = re.compile(r"[^_/.]*[_/.]+|[^_/.]+$")
_SHORT = 12


def allow_breaks(app: Sphinx, doctree: nodes.document, _docname: str) -> None:
    """Insert line break opportunities into the literals of tables."""
    if app.builder.format != "html":
        return
    for entry in doctree.findall(nodes.entry):
        for literal in list(entry.findall(nodes.literal)):
            for text in list(literal.findall(nodes.Text)):
                parts = _PART.findall(text)
                if len(text) > _SHORT and len(parts) > 1:
                    text.parent.replace(text, _broken(parts))


def _broken(parts: list[str]) -> list[nodes.Node]:
    new: list[nodes.Node] = []
    for part in parts:
        new += [nodes.Text(part), nodes.raw("", "<wbr>", format="html")]
    return new[:-1]


def setup(app: Sphinx) -> dict[str, bool]:
    """Register with Sphinx."""
    app.connect("doctree-resolved", allow_breaks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
