"""Take one sample, in a process of its own.

`python -m benchmarks.sample MODULE PEER '{"argument": …}'` prints the figures as JSON.
"""

from __future__ import annotations

import importlib
import json
import sys

MISSING = 3
"""The exit code if a peer is not installed."""


class Missing(Exception):
    """A peer is not available on this machine, or cannot take this measurement."""


def main() -> None:
    module, peer, arguments = sys.argv[1:]
    try:
        figures = importlib.import_module(f"benchmarks.{module}").sample(
            peer, **json.loads(arguments)
        )
    except (Missing, ImportError) as error:
        print(error, file=sys.stderr)
        sys.exit(MISSING if isinstance(error, Missing) or _is_peers(error) else 1)
    print(json.dumps(figures))


def _is_peers(error: ImportError) -> bool:
    return (error.name or "").split(".")[0] not in ("benchmarks", "trio_mix")


if __name__ == "__main__":
    main()
