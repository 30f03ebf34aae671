"""``python -m trio_mix.cli``: runs the command where its script is not on the PATH."""

import sys

from trio_mix.cli import main

sys.exit(main())
