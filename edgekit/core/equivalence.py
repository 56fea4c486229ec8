"""Whether two models are shown to be equally good within a margin, in words and as a p-value."""

from __future__ import annotations

from edgekit.core.data import Judgement
from edgekit.statistics import tost_paired
from edgekit.units import format_points

__all__ = ["LEVEL", "equivalence_text", "p_equivalent"]

LEVEL = 0.05
"""A p-value under it is called significant."""


def p_equivalent(judgement: Judgement, margin: float) -> float | None:
    """The p-value of two one-sided tests that the accuracies differ by less than `margin` (0..1).

    None where the task has no right and wrong, or the margin allows anything.
    """
    lost, won = judgement.right_to_wrong, judgement.wrong_to_right
    if lost is None or won is None or not 0 < margin < 1:
        return None
    return tost_paired(lost, won, judgement.result.n, margin)


def equivalence_text(judgement: Judgement, margin: float) -> str:
    """'equivalent within 1.0 pt, TOST p 0.003', that this is not shown, or ''."""
    p = p_equivalent(judgement, margin)
    if p is None:
        return ""
    shown = "equivalent" if p < LEVEL else "not shown to be equivalent"
    return f"{shown} within {format_points(margin).lstrip('+')}, TOST p {p:.2g}"
