"""``python -m skdeep``: see :mod:`skdeep.cli`."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
