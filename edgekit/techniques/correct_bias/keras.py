"""Corrects the biases of Keras models for quantized weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import Artifact
from edgekit.core.technique import Models, Work
from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks.keras import save_keras
from edgekit.frameworks.layer_graph import layer_graph, open_layers, title
from edgekit.frameworks.likeness import relative_difference
from edgekit.lazy import version
from edgekit.techniques.correct_bias import Parameters
from edgekit.techniques.correct_bias._correct import correct, rounded, shift, treated
from edgekit.techniques.correct_bias._means import measure, outputs

if TYPE_CHECKING:
    from edgekit.core.data import Array

    Outputs = Sequence[Array]

__all__ = ["apply", "check", "verify", "versions"]

_BATCH = 32
_SLACK = 1e-6
"""Mean shifts of a model whose weights are integers already are noise of this size."""


def versions() -> Mapping[str, str]:
    """The packages whose versions change the result."""
    return {name: version(name) for name in ("tensorflow", "keras", "numpy")}


def check(parameters: Parameters, source: Artifact, models: Models) -> None:
    """Raises UsageError for a model without layers; one with nothing to correct is left as it is.

    Normalizations are no reason: the step before may fold them.
    """
    open_layers(source.path)


def apply(parameters: Parameters, source: Artifact, work: Work) -> None:
    """Writes the model with corrected biases."""
    batches = _batches(parameters, source, work)
    save_keras(correct(open_layers(source.path), parameters, batches, work), work.output)


def verify(parameters: Parameters, source: Artifact, result: Artifact, work: Work) -> None:
    """Raises PromiseError where the rounded model's means are further off than without it."""
    old, new = open_layers(source.path), open_layers(result.path)
    names, left = treated(old)
    for item, reason in left:
        work.note("skipped", item, reason)
    _note_norms(parameters, old, work)
    if not names:
        work.note("nothing to correct", "the model", "it has no convolution or dense layer for it")
        return
    _prove_kernels(old, new, names)
    batches = _batches(parameters, source, work)
    models = [rounded(model, names, parameters) for model in (old, new)]
    _prove_means(old, models, names, batches, work)
    _record_outputs(old, new, models, batches, work)


def _batches(parameters: Parameters, source: Artifact, work: Work) -> list[tuple[Array, ...]]:
    import numpy as np

    samples = list(work.samples("calibrate", parameters.samples))
    fixed = work.describe(source).signature.inputs[0].shape[0]
    size = fixed or _BATCH
    if len(samples) < (fixed or 1):
        raise UsageError(
            f"correct-bias: the data has {len(samples)} samples to measure on, fewer than a batch "
            f"of {fixed or 1}",
            hint="give more data with --data",
        )
    if len(samples) < parameters.samples:
        reason = f"{len(samples)} used, and {parameters.samples} are asked for"
        work.note("fewer samples", "correct-bias", reason)
    stop = len(samples) - len(samples) % size if fixed else len(samples)
    return [
        tuple(np.concatenate(arrays) for arrays in zip(*samples[start : start + size], strict=True))
        for start in range(0, stop, size)
    ]


def _note_norms(parameters: Parameters, model: Any, work: Work) -> None:
    for layer in [] if parameters.per_channel else [c.layer for c in layer_graph(model).calls]:
        if type(layer).__name__ == "BatchNormalization":
            reason = "the quantizer folds it into weights that this step does not see"
            work.note("not folded", title(layer), f"{reason}: fold-batchnorm before, where it can")


def _prove_kernels(old: Any, new: Any, names: list[str]) -> None:
    import numpy as np

    for name in names:
        before, after = (model.get_layer(name) for model in (old, new))
        kernels = before.get_weights()[: -1 if before.use_bias else None]
        made = after.get_weights()[: len(kernels)]
        if not all(np.array_equal(a, b) for a, b in zip(kernels, made, strict=True)):
            raise PromiseError(f"correct-bias: {title(before)}: more than the bias has changed")


def _prove_means(old: Any, models: list[Any], names: list[str], batches: Any, work: Work) -> None:
    import numpy as np

    wanted = measure(old, names, batches)
    before, after = (shift(wanted, measure(model, names, batches)) for model in models)
    was, now = (float(np.mean(list(each.values()))) for each in (before, after))
    found = f"{100 * was:.3g} % -> {100 * now:.3g} % of its RMS"
    if not now <= was + _SLACK:
        raise PromiseError(
            f"correct-bias: the mean shift of a layer by rounded weights grew: {found}"
        )
    work.evidence("proven", f"mean shift over {len(names)} layers", found)
    worst = max(before, key=lambda name: before[name])
    work.evidence(
        "largest shift", f"'{worst}'", f"{100 * before[worst]:.3g} % -> {100 * after[worst]:.3g} %"
    )


def _record_outputs(old: Any, new: Any, models: list[Any], batches: Any, work: Work) -> None:
    """Says how far the outputs are from the float model's: of the result, and of rounded ones."""
    expected = outputs(old, batches)
    moved = relative_difference(expected, outputs(new, batches))
    work.evidence("float outputs", "largest relative change", f"{moved:.2g}")
    was, now = (_rms(expected, outputs(model, batches)) for model in models)
    found = f"RMS error against the float model's {was:.3g} -> {now:.3g}"
    if now <= was:
        work.evidence("outputs with rounded weights", "the model", found)
    else:
        work.note("outputs not nearer", "the model", f"{found}, though its means are")


def _rms(first: Outputs, second: Outputs) -> float:
    import numpy as np

    apart = [
        np.asarray(a, np.float64) - np.asarray(b, np.float64)
        for a, b in zip(first, second, strict=True)
    ]
    squares = [values.ravel() ** 2 for values in apart]
    return float(np.sqrt(np.mean(np.concatenate(squares))))
