"""Trains a Keras model with fake quantization and writes the integer .tflite that it stands for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import Artifact, Signature
from edgekit.core.technique import Models, Work
from edgekit.errors import UsageError
from edgekit.frameworks import training
from edgekit.frameworks.bridge import load_trainable, prove_carried, to_tf_keras
from edgekit.frameworks.keras import concrete_function, load_model, predict, wrap
from edgekit.frameworks.sparsity import check_patterns
from edgekit.frameworks.tflite import parse
from edgekit.frameworks.tflite_converter import convert
from edgekit.techniques.quantize_aware_train import Parameters
from edgekit.techniques.quantize_aware_train._fold import Folded, fold_dense
from edgekit.techniques.quantize_aware_train._model import calibrate, fake_quantized, ranges, settle
from edgekit.techniques.quantize_aware_train._plan import LayerPlan, plan_layers
from edgekit.techniques.quantize_aware_train._proof import prove, record, refuse_float

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["PRODUCES", "apply", "check", "verify", "versions"]

PRODUCES = "tflite"

_PROBES = 32
_SHOWN = 5


def versions() -> Mapping[str, str]:
    """The packages whose versions change the result."""
    return training.versions("tensorflow-model-optimization")


def check(parameters: Parameters, source: Artifact, models: Models) -> None:
    """Raises UsageError for a model that cannot be trained so, and for layers that stay float."""
    training.check_trainable(parameters, source, models)
    for spec in models.describe(source).signature.inputs:
        if spec.dtype != "float32" or None in spec.sample_shape:
            raise UsageError(
                f"input '{spec.name}' of the model is {spec.dtype} of the shape {spec.shape}, and "
                "quantize-aware-train takes float32 of a fixed shape",
                hint="save the model with an Input layer of a fixed shape, or quantize it without "
                "training",
            )
    opened, folded = _open(source)
    training.check_trains(opened)
    model = to_tf_keras(opened)
    check_patterns("skip", parameters.skip, tuple(layer.name for layer in model.layers))
    _check_layers(parameters, _plan(parameters, model, folded))


def _open(source: Artifact) -> tuple[Any, tuple[Folded, ...]]:
    """The model to train, and the Dense layers that took in a BatchNormalization."""
    return fold_dense(load_trainable(source.path, where=source.name))


def _plan(parameters: Parameters, model: Any, folded: tuple[Folded, ...]) -> tuple[LayerPlan, ...]:
    plans = plan_layers(model, per_channel=parameters.per_channel, skip=parameters.skip)
    lost = {each.name for each in folded if each.lost}
    return tuple(replace(plan, unclustered=plan.name in lost) for plan in plans)


def _check_layers(parameters: Parameters, plans: tuple[LayerPlan, ...]) -> None:
    if not any(plan.kernel for plan in plans):
        raise UsageError(
            "quantize-aware-train finds no layer to quantize",
            hint="it takes Dense, Conv1D, Conv2D, Conv2DTranspose and DepthwiseConv2D layers that "
            "`skip` does not match",
        )
    left = [plan for plan in plans if plan.reason and not plan.asked]
    if left and not parameters.allow_float:
        shown = "; ".join(f"{plan.item}: {plan.reason}" for plan in left[:_SHOWN])
        more = f"; and {len(left) - _SHOWN} more" if len(left) > _SHOWN else ""
        raise UsageError(
            f"quantize-aware-train cannot quantize {shown}{more}",
            hint="allow_float = true leaves them in float",
        )


def apply(parameters: Parameters, source: Artifact, work: Work) -> None:
    """Trains, converts, and keeps what the file is to be held against."""
    model, folded = _open(source)
    _note_folded(folded, work)
    prove_carried(model, work)
    plans = _plan(parameters, to_tf_keras(model), folded)
    _check_layers(parameters, plans)
    # The float reference is made of the same file, so that both have the same names.
    signature = load_model(source.path).signature

    def build() -> Any:
        made = fake_quantized(to_tf_keras(model), plans)
        calibrate(made, _batches(parameters, work))
        return made

    # What the converter cannot do, or leaves in float, is the same before the training as after.
    untrained = _converted(parameters, build(), signature)
    refuse_float(parameters, plans, parse(untrained, where="the untrained model"))
    trained = training.train_in(work, build, parameters, title="quantize-aware-train").model
    kernels = settle(trained)
    work.output.write_bytes(_converted(parameters, trained, signature))
    probes = work.probes(_PROBES)
    record(work, kernels, ranges(trained), probes, predict(wrap(trained), probes))


def _note_folded(folded: tuple[Folded, ...], work: Work) -> None:
    for each in folded:
        item = f"Dense '{each.name}'"
        work.note("folded", item, "the BatchNormalization behind it is now part of it")
        if each.lost:
            work.note(
                "clusters lost",
                item,
                f"the BatchNormalization behind it is folded into it, which made {each.after} "
                f"different weights of {each.before}: put fold-batchnorm before cluster",
            )


def _converted(parameters: Parameters, model: Any, signature: Signature) -> bytes:
    """The file of a fake-quantized model."""
    function, module = concrete_function(replace(wrap(model), signature=signature), 1)
    return convert(function, module, trained=parameters.io)


def _batches(parameters: Parameters, work: Work) -> Iterator[tuple[Array, ...]]:
    """The first samples of the train split, a batch at a time."""
    import numpy as np

    inputs = work.training_data().x_train
    count = min(parameters.calibration_samples, len(inputs[0]))
    for start in range(0, count, parameters.batch_size):
        part = slice(start, min(start + parameters.batch_size, count))
        yield tuple(np.asarray(rows[part], np.float32) for rows in inputs)


def verify(parameters: Parameters, source: Artifact, result: Artifact, work: Work) -> None:
    """Raises PromiseError where the file is not what was trained, or computes in float."""
    opened, folded = _open(source)
    model = to_tf_keras(opened)
    prove(parameters, model, _plan(parameters, model, folded), source, result, work)
