"""A note: something not treated, dropped or done in another way, or something proven."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Note"]


@dataclass(frozen=True)
class Note:
    """Nothing is silent: `what` happened ('skipped', 'fallback', ...) to `item`, and why.

    `is_evidence` tells what was checked and found in order from what was left out or done in
    another way: the second is what a reader must see first.
    """

    what: str
    item: str
    reason: str
    is_evidence: bool = False
