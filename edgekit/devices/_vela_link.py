"""A server of edgekit's own in a process of this Python, in place of the file serve.py."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from edgekit.devices._local import LocalLink
from edgekit.frameworks.isolated import own_variables

__all__ = ["ServerLink"]


class ServerLink(LocalLink):
    """Implements `core.device.Link`: `start` starts the module `server` with one word."""

    def __init__(self, server: str, word: str, *, device: str) -> None:
        own = str(Path(__file__).resolve().parents[2])
        found = os.environ.get("PYTHONPATH")
        variables = {**own_variables(), "PYTHONPATH": os.pathsep.join(filter(None, (found, own)))}
        # -P: the folder of the model is no place to import from.
        super().__init__([sys.executable, "-P", "-B", "-X", "utf8"], variables, device=device)
        self._words = ("-m", server, word)

    def start(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        """Starts the server, whatever file is asked for.

        Raises:
            UnmeasuredError: it does not start.
        """
        return super().start(self._words)
