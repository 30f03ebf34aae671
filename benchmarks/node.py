"""eventsource-parser on Node: installed by npm into a folder of its own."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from benchmarks.sample import Missing

_SCRIPT = Path(__file__).with_name("peer.mjs")


@functools.cache
def folder() -> str:
    """Return the folder that the parser is installed in; install it there first if there is none.

    Raises:
      Missing: Node or npm is not installed, or npm cannot install the parser.
    """
    given = os.environ.get("BENCHMARKS_NODE", "")
    if given:
        return given
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise Missing("Node or npm is not installed")
    made = tempfile.mkdtemp(prefix="benchmarks-node-")
    shutil.copy(_SCRIPT, made)
    done = subprocess.run(
        ["npm", "install", "--silent", "--prefix", made, "eventsource-parser@3"],
        capture_output=True,
        timeout=120,
        check=False,
    )
    if done.returncode:
        raise Missing("npm cannot install eventsource-parser")
    return made


def run(*arguments: str) -> str:
    """Run the script and return its output."""
    script = str(Path(folder()) / _SCRIPT.name)
    done = subprocess.run(["node", script, *arguments], capture_output=True, check=True, text=True)
    return done.stdout
