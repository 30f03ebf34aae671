"""The model is judged as the campaign is: by the same invariants."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "campaign"))
