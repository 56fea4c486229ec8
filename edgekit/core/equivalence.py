"""Whether two models are shown to be equally good within a margin, in words and as a p-value."""

from __future__ import annotations

import math

from edgekit.core.data import Judgement
from edgekit.units import format_points

__all__ = ["LEVEL", "equivalence_text", "p_equivalent", "tost_paired"]

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


def tost_paired(right_to_wrong: int, wrong_to_right: int, n: int, margin: float) -> float:
    """The p value of "two models are equivalent": their accuracies differ by less than `margin`.

    Two one-sided tests on n paired samples; it is the larger of their p values, each by the score
    statistic with the maximum-likelihood estimate under "differs by the margin" (Tango 1998,
    Statistics in Medicine 17:891; for equivalence Liu et al. 2002, 21:231). 1 without samples.

    Raises:
        ValueError: the margin is not between 0 and 1, or there are more flips than samples.
    """
    if not 0 < margin < 1:
        raise ValueError(f"the margin must be between 0 and 1, not {margin:g}")
    if min(right_to_wrong, wrong_to_right) < 0 or right_to_wrong + wrong_to_right > n:
        raise ValueError(f"{right_to_wrong} and {wrong_to_right} flips of {n} samples")
    if n == 0:
        return 1.0
    worse = _score_statistic(right_to_wrong, wrong_to_right, n, margin)
    better = _score_statistic(wrong_to_right, right_to_wrong, n, margin)
    return 0.5 * math.erfc(-max(worse, better) / math.sqrt(2))


def _score_statistic(lost: int, won: int, n: int, margin: float) -> float:
    """How far (lost - won) / n lies from `margin`, in standard errors; negative is below it."""
    a = 2 * n
    b = (2 * n - lost + won) * margin - lost - won
    c = -won * margin * (1 - margin)
    share_won = (math.sqrt(b * b - 4 * a * c) - b) / (2 * a)
    variance = n * (2 * share_won + margin * (1 - margin))
    return (lost - won - n * margin) / math.sqrt(variance)
