"""The errors a user can meet, each with its exit code, and nearest-name hints."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "EdgekitError",
    "PromiseError",
    "UnmeasuredError",
    "UsageError",
    "did_you_mean",
    "missing_package",
]


class EdgekitError(Exception):
    """One sentence about what is wrong, and a hint that says what to do."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class PromiseError(EdgekitError):
    """A step did not do what it declares, or a limit is broken (exit code 1)."""

    exit_code = 1


class UsageError(EdgekitError):
    """The request is wrong; nothing was run and nothing was written (exit code 2)."""

    exit_code = 2


class UnmeasuredError(EdgekitError):
    """Something that had to be measured could not be (exit code 3)."""

    exit_code = 3


def did_you_mean(word: str, names: Iterable[str]) -> str:
    """Returns a hint with the names nearest to `word`, or with all of them."""
    known = sorted(names)
    near = difflib.get_close_matches(word.lower(), known, n=3, cutoff=0.5)
    if near:
        return f"did you mean {' or '.join(repr(name) for name in near)}?"
    return f"known: {', '.join(known)}" if known else "none is known"


def missing_package(package: str, extra: str, needed_for: str) -> UsageError:
    """Returns the error for a package that is not installed, with the command that installs it."""
    install = f"edgekit-ml[{extra}]" if extra else package
    return UsageError(
        f"{needed_for} needs the package '{package}', which is not installed",
        hint=f"pip install '{install}'",
    )
