"""The command `edgekit`, also as `python -m edgekit`."""

from __future__ import annotations

import sys
from typing import NoReturn

__all__ = ["main"]


def main() -> NoReturn:
    """Imports the command line inside the guard: Ctrl-C may come in the first milliseconds."""
    try:
        from edgekit.cli import _main
    except KeyboardInterrupt:
        sys.exit(130)
    _main.main()


if __name__ == "__main__":
    main()
