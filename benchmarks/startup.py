"""What an import costs: beside that of the libraries it is built on."""

from __future__ import annotations

import importlib
import resource
import time

WHAT = {
    "trio_mix": ["trio_mix"],
    "trio, httpx, attrs, cattrs": ["trio", "httpx", "attrs", "cattrs"],
    "httpx-sse": ["httpx_sse", "trio"],
    "mix-python-sdk": ["mix_python_sdk"],
    "aiohttp, raw lines": ["aiohttp"],
}


def sample(peer: str) -> dict[str, float]:
    """Return the time and memory of the import: after the libraries', for trio_mix."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.perf_counter()
    for name in WHAT[peer]:
        importlib.import_module(name)
    took = time.perf_counter() - began
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"ms": took * 1e3, "MB": (after - before) / 1024}
