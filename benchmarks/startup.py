"""The cost of an import, on top of that of the libraries that trio_mix is built on."""

from __future__ import annotations

import os
import time
from pathlib import Path

BASE = "trio, httpx, attrs, cattrs"
WHAT = {
    "trio_mix": "import trio_mix",
    "from trio_mix import Mix": "from trio_mix import Mix",
    "from trio_mix.sse import …": "from trio_mix.sse import open_event_source",
    BASE: "",
    "httpx-sse": "import httpx_sse",
    "mix-python-sdk": "from mix_python_sdk import Mix",
    "aiohttp, raw lines": "import aiohttp",
}


def memory() -> float:
    """Return the memory in use, in KB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


def cost(statement: str) -> dict[str, float]:
    """Return the time and memory of an import statement."""
    program = compile(statement, "<import>", "exec")
    before, used = memory(), time.process_time()
    began = time.perf_counter()
    exec(program)
    took, used = time.perf_counter() - began, time.process_time() - used
    return {"ms": took * 1e3, "CPU ms": used * 1e3, "MB": (memory() - before) / 1024}


def sample(peer: str) -> dict[str, float]:
    """Return the cost of the peer's import after the libraries, or of the libraries themselves."""
    base = cost(f"import {BASE}")
    return cost(WHAT[peer]) if WHAT[peer] else base
