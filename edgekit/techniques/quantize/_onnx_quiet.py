"""Keeps the engine's prints and log lines, and the files it makes, away from the user."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

from edgekit.errors import PromiseError

__all__ = ["promised", "quiet"]


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


@contextlib.contextmanager
def promised(scheme: str, what: str) -> Iterator[None]:
    """Turns whatever the engine raises into a broken promise that says `what` it cannot do."""
    try:
        yield
    except Exception as error:  # It raises of every kind.
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise PromiseError(f"quantize: {scheme}: the engine cannot {what}: {reason}") from error
