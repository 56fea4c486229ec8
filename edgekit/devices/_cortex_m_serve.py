"""The process that answers for a microcontroller; `cortex_m` starts it with its options as JSON."""

from __future__ import annotations

import json
import sys

from edgekit.devices._cortex_m_session import opener
from edgekit.devices.cortex_m import Options
from edgekit.on_device.serve import Server

__all__ = ["main"]


def main() -> None:
    """Serves stdin with the options that the only argument has."""
    Server(opener(Options(**json.loads(sys.argv[1])))).run()


if __name__ == "__main__":
    main()
