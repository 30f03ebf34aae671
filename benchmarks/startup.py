"""What an import costs: beside that of the libraries it is built on."""

from __future__ import annotations

import importlib
import os
import time
from pathlib import Path

BASE = ["trio", "httpx", "attrs", "cattrs"]
WHAT = {
    "trio_mix": ["trio_mix"],
    "trio_mix, and its Mix": ["trio_mix", "trio_mix._mix"],  # the names are loaded when asked for
    "trio, httpx, attrs, cattrs": BASE,
    "httpx-sse": ["httpx_sse", "trio"],
    "mix-python-sdk": ["mix_python_sdk"],
    "aiohttp, raw lines": ["aiohttp"],
}


def memory() -> float:
    """Return the memory in use, in KB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1024


def sample(peer: str) -> dict[str, float]:
    """Return the time and memory of the import; trio_mix's with the libraries it is built on."""
    before = memory()
    began = time.perf_counter()
    for name in (BASE if peer.startswith("trio_mix") else []) + WHAT[peer]:
        importlib.import_module(name)
    took = time.perf_counter() - began
    return {"ms": took * 1e3, "MB": (memory() - before) / 1024}
