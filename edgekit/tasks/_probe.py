"""A linear probe: multinomial logistic regression with an L2 penalty, fitted in numpy alone.

A representation is as good as what a linear model can read from it (Alain and Bengio 2016,
"Understanding intermediate layers using linear classifier probes").
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Probe", "fit_probe"]

_MEMORY = 10
_MOST_STEPS = 500
_FLAT = 1e-5
_MOST_HALVINGS = 30


@dataclass(frozen=True, eq=False)
class Probe:
    """scores = x @ weights + bias, one column a class."""

    weights: NDArray[Any]
    bias: NDArray[Any]

    def scores(self, x: NDArray[Any]) -> NDArray[Any]:
        """The class scores (n, classes) of vectors (n, dimensions)."""
        import numpy as np

        found: NDArray[Any] = np.asarray(x, np.float64) @ self.weights + self.bias
        return found


def fit_probe(
    x: NDArray[Any], labels: NDArray[Any], *, classes: int, strength: float = 1.0
) -> Probe:
    """Minimises the summed cross-entropy over (n, dimensions) plus strength / 2 * |weights|^2.

    The vectors are first centred and divided by one number, their root mean square length, so that
    `strength` means the same for embeddings of any scale. The objective is convex, so that the
    start does not matter; the fit uses no random numbers.
    """
    import numpy as np

    wide = np.asarray(x, np.float64)
    centre = wide.mean(axis=0)
    wide = wide - centre
    scale = float(np.sqrt((wide**2).sum(axis=1).mean())) or 1.0
    wide /= scale
    truth = np.eye(classes)[labels]

    def objective(flat: NDArray[Any]) -> tuple[float, NDArray[Any]]:
        return _cross_entropy(flat.reshape(-1, classes), wide, truth, strength)

    found = _minimised(objective, np.zeros((wide.shape[1] + 1) * classes)).reshape(-1, classes)
    weights = found[:-1] / scale
    return Probe(weights, found[-1] - centre @ weights)


def _cross_entropy(
    parameters: NDArray[Any], x: NDArray[Any], truth: NDArray[Any], strength: float
) -> tuple[float, NDArray[Any]]:
    """The penalised mean cross-entropy and its gradient; the last row is the bias, unpenalised."""
    import numpy as np

    n, weights = len(x), parameters[:-1]
    scores = x @ weights + parameters[-1]
    scores -= scores.max(axis=1, keepdims=True)
    shares = np.exp(scores)
    sums = shares.sum(axis=1, keepdims=True)
    loss = float((np.log(sums[:, 0]) - (scores * truth).sum(axis=1)).mean())
    wrong = (shares / sums - truth) / n
    slope = np.concatenate([x.T @ wrong + strength / n * weights, wrong.sum(axis=0)[None]])
    return loss + strength / (2 * n) * float((weights**2).sum()), slope.reshape(-1)


def _minimised(
    objective: Callable[[NDArray[Any]], tuple[float, NDArray[Any]]], start: NDArray[Any]
) -> NDArray[Any]:
    """L-BFGS with a backtracking line search (Nocedal and Wright, Numerical Optimization, 7.2)."""
    import numpy as np

    at = start
    value, slope = objective(at)
    history: list[tuple[NDArray[Any], NDArray[Any]]] = []
    for _ in range(_MOST_STEPS):
        if np.abs(slope).max() < _FLAT:
            break
        way = -_curved(slope, history)
        step, fall = 1.0, float(slope @ way)
        for _ in range(_MOST_HALVINGS):
            there, new_slope = objective(at + step * way)
            if there <= value + 1e-4 * step * fall:
                break
            step /= 2
        else:
            break  # rounding hides any further descent
        moved, bent = step * way, new_slope - slope
        at, value, slope = at + moved, there, new_slope
        if moved @ bent > 1e-12:
            history = [*history, (moved, bent)][-_MEMORY:]
    return at


def _curved(slope: NDArray[Any], history: list[tuple[NDArray[Any], NDArray[Any]]]) -> NDArray[Any]:
    """The slope times the inverse Hessian that the last steps tell of (the two-loop recursion)."""
    way, shares = slope, []
    for moved, bent in reversed(history):
        share = (moved @ way) / (moved @ bent)
        shares.append(share)
        way = way - share * bent
    if history:
        moved, bent = history[-1]
        way = way * ((moved @ bent) / (bent @ bent))
    for (moved, bent), share in zip(history, reversed(shares), strict=True):
        way = way + moved * (share - (bent @ way) / (moved @ bent))
    return way
