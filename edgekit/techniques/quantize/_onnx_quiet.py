"""Keeps the engine's prints and log lines, and the files it makes, away from the user."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

__all__ = ["quiet"]


@contextlib.contextmanager
def quiet(folder: Path) -> Iterator[None]:
    """No line on the root logger or stdout, and temporary files in `folder`, while it lasts.

    The engine logs at the root logger and asks `tempfile` for its folders.
    """
    before, level = tempfile.tempdir, logging.root.manager.disable
    tempfile.tempdir = str(folder)
    logging.disable(logging.CRITICAL)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
        tempfile.tempdir = before
