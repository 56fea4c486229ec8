"""Where progress goes: nowhere by default; the command line passes something that draws."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Protocol

__all__ = ["Bar", "Progress", "silent"]


class Bar(Protocol):
    """One running bar."""

    def advance(self, count: int = 1, text: str = "") -> None:
        """Moves the bar on; `text` replaces what stands beside it."""


Progress = Callable[[str, int], AbstractContextManager[Bar]]
"""Opens a bar with a text and the number of steps to come."""


class _Silent:
    def advance(self, count: int = 1, text: str = "") -> None:
        """Draws nothing."""


@contextlib.contextmanager
def silent(_text: str, _total: int) -> Iterator[Bar]:
    """A bar that nobody sees."""
    yield _Silent()
