"""A metric of your own: python:FILE.py:FUNC, called as FUNC(outputs, labels)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import Signature
from edgekit.core.data import Judgement, Score
from edgekit.core.data import Task as TaskProtocol
from edgekit.core.user_function import UserFunction, load_function
from edgekit.errors import UnmeasuredError, UsageError
from edgekit.statistics import bootstrap_interval
from edgekit.tasks._columns import Column

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["check", "create", "suits"]


def suits(signature: Signature, labels_dtype: str | None, labels_ndim: int) -> bool:
    """Never by itself: a metric of one's own is named with --task."""
    return False


def check(
    signature: Signature,
    classes: int | None,
    *,
    class_names: tuple[str, ...] = (),
    label_shape: tuple[int, ...] | None = None,
) -> None:
    """Nothing is known of what the function needs."""


def create(*, argument: str, class_names: tuple[str, ...], seed: int) -> TaskProtocol:
    """Loads FILE.py:FUNC.

    The function is called once a batch with a tuple of the model's outputs (arrays, batch first)
    and the labels (an array or None). It returns one score a sample (an array as long as the
    batch), of which the mean is the metric; or one number, which counts as often as the batch has
    samples. The function may have the attributes `metric` (a name), `higher_is_better` (True) and
    `is_share` (False; True lets limits in percentage points apply).

    Raises:
        UsageError: no such file or function.
    """
    return _Own(load_function(argument, where=f"--task 'python:{argument}'"), seed)


class _Own:
    """Keeps one score and one weight for each value that the user's function returned."""

    def __init__(self, function: UserFunction, seed: int) -> None:
        self._function = function
        self._seed = seed
        self._scores: dict[str, Column] = {}
        self._weights: dict[str, Column] = {}

    def update(
        self,
        outputs: Mapping[str, tuple[Array, ...]],
        inputs: tuple[Array, ...],
        labels: Array | None,
    ) -> None:
        """Takes one batch."""
        import numpy as np

        size = len(inputs[0])
        for role, arrays in outputs.items():
            returned = self._function.call(arrays, labels)
            scores = self._checked(returned, size)
            self._scores.setdefault(role, Column("d")).extend(scores)
            weights = np.full(len(scores), size / len(scores))
            self._weights.setdefault(role, Column("i")).extend(weights)

    def score(self, role: str) -> Score:
        """The weighted mean with its bootstrap interval over what the function returned."""
        import numpy as np

        scores, weights = self._scores[role].values, self._weights[role].values
        broken = int((~np.isfinite(scores)).sum())
        if broken:
            raise UnmeasuredError(
                f"{self._function.where}: {broken} of the {len(scores)} scores of {role} "
                "are not finite"
            )
        rows = np.column_stack([scores * weights, weights])
        function = self._function.function
        return Score(
            metric=str(getattr(function, "metric", getattr(function, "__name__", "metric"))),
            value=float(rows[:, 0].sum() / rows[:, 1].sum()),
            ci95=bootstrap_interval(
                rows, seed=self._seed, of=lambda means: means[:, 0] / means[:, 1]
            ),
            n=int(weights.sum()),
            higher_is_better=bool(getattr(function, "higher_is_better", True)),
            is_share=bool(getattr(function, "is_share", False)),
        )

    def compare(self, reference: str, result: str) -> Judgement:
        """Both scores; nothing is known of right and wrong, so no agreement and no flips."""
        before, after = self.score(reference), self.score(result)
        return Judgement(before, after, None, None, None, self._visible(reference, result))

    def _visible(self, reference: str, result: str) -> float | None:
        """The smallest drop that can be told from none: 1.96 standard errors of the paired
        differences, which only one score a sample gives."""
        import numpy as np

        scores = [self._scores[role].values for role in (reference, result)]
        weights = self._weights[reference].values
        if len(weights) < 2 or np.any(weights != 1) or len(scores[0]) != len(scores[1]):
            return None
        return float(1.96 * np.std(scores[0] - scores[1], ddof=1) / np.sqrt(len(weights)))

    def _checked(self, returned: Any, size: int) -> Any:
        import numpy as np

        try:
            # None would become NaN.
            given = [] if returned is None else returned
            scores = np.asarray(given, dtype=np.float64).reshape(-1)
        except (TypeError, ValueError):
            scores = np.empty(0)
        if len(scores) not in (1, size):
            raise UsageError(
                f"{self._function.where}: returned {type(returned).__name__} with {len(scores)} "
                f"numbers for a batch of {size}",
                hint="return one score a sample, or one number for the batch",
            )
        return scores
