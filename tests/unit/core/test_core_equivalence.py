"""Equivalence is a claim of its own: few flips of many samples show it, few samples do not."""

from __future__ import annotations

import pytest

from edgekit.core.data import Judgement, Score
from edgekit.core.equivalence import equivalence_text, p_equivalent


def judged(lost: int | None, won: int | None, n: int) -> Judgement:
    score = Score("accuracy", 0.9, (0.8, 0.95), n)
    return Judgement(score, score, 0.99, lost, won, 0.01)


def test_many_samples_show_it_and_few_do_not() -> None:
    assert equivalence_text(judged(5, 5, 1000), 0.01) == "equivalent within 1.0 pt, TOST p 0.0063"
    few = equivalence_text(judged(1, 1, 20), 0.01)
    assert few.startswith("not shown to be equivalent within 1.0 pt, TOST p 0.")


def test_a_real_loss_is_never_equivalent() -> None:
    p = p_equivalent(judged(30, 0, 1000), 0.01)
    assert p is not None
    assert p > 0.9


@pytest.mark.parametrize(("lost", "margin"), [(None, 0.01), (1, 0.0), (1, 1.0)])
def test_without_right_and_wrong_or_a_margin_nothing_is_said(
    lost: int | None, margin: float
) -> None:
    assert equivalence_text(judged(lost, 1, 100), margin) == ""
