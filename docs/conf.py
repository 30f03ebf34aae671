"""The Sphinx configuration: nitpicky, without network access; CI treats warnings as errors."""

import sys
from pathlib import Path

from trio_mix import __version__

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

project = "trio_mix"
author = "The trio_mix developers"
copyright = "The trio_mix developers"
version = release = __version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinxcontrib_trio",
    "sphinx_copybutton",
    "crossrefs",
    "defaults",
    "drawings",
    "unreleased",
    "wrapping",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "_ext", "changes"]

nitpicky = True
myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_default_options = {
    "members": True,
    "show-inheritance": True,
    "special-members": "__aenter__, __aexit__, __anext__",
}
autodoc_preserve_defaults = True
add_module_names = False  # the page has the module; private modules are no part of a name
default_role = "py:obj"  # names in docstrings are linked, and must exist

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
html_title = f"trio_mix {release}"
