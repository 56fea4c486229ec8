"""A ladder: what a technique tries, one after the other, until a recipe's promise holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["Rung"]


@dataclass(frozen=True)
class Rung:
    """One way to do a step: what reports call it, and the step's parameters.

    `spare` is the share of the ranked ops, the most sensitive first, that stay as they are: the
    engine asks the technique for the ranking (`rank`) and adds their names to `skip`.
    """

    label: str
    parameters: Any
    spare: float = 0.0
