"""Which ops of a .tflite cost the most accuracy where they are quantized."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import TYPE_CHECKING

from edgekit.core.artifact import Artifact
from edgekit.core.technique import Work
from edgekit.errors import PromiseError
from edgekit.frameworks.tflite import add_signature, read_bytes, read_model
from edgekit.frameworks.tflite_ops import names
from edgekit.techniques.quantize import Parameters
from edgekit.techniques.quantize._engine import Calibration, EngineError, quantize_each

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["rank_ops", "relative_error"]

_SAMPLES = 32
_FLOATS = ("float32", "float16")


def rank_ops(
    calibration: Calibration,
    parameters: Parameters,
    source: Artifact,
    work: Work,
    skipped: frozenset[str],
) -> tuple[tuple[str, float], ...]:
    """Quantizes each op that has weights alone, and measures what becomes of the outputs.

    Raises:
        PromiseError: the engine cannot treat the model at all.
    """
    import numpy as np

    ops = _weighted(source, work, skipped)
    every = frozenset().union(*_outputs(source).values())
    alone = dataclasses.replace(parameters, io="float", allow_float=True)
    samples = list(work.samples("calibrate", _SAMPLES))
    inputs = tuple(np.concatenate(arrays) for arrays in zip(*samples, strict=True))
    expected = work.predict(source, inputs)
    content = add_signature(read_bytes(source.path), where=source.name)
    files = quantize_each(
        content, alone, calibration=calibration, skipped=(every - made for _, made in ops)
    )
    costs = []
    try:
        with work.progress("rank ops by sensitivity", len(ops)) as bar:
            for (name, _), made in zip(ops, files, strict=True):
                costs.append((name, _cost(made, source, work, inputs, expected)))
                bar.advance()
    except EngineError as error:
        raise PromiseError(f"quantize: the ops cannot be ranked: {error}") from error
    return tuple(sorted(costs, key=lambda item: (-item[1], item[0])))


def _cost(
    content: bytes,
    source: Artifact,
    work: Work,
    inputs: tuple[Array, ...],
    expected: tuple[Array, ...],
) -> float:
    digest = hashlib.sha256(content).hexdigest()
    path = work.folder / f"alone-{digest[:16]}.tflite"
    path.write_bytes(content)
    made = work.predict(dataclasses.replace(source, path=path, digest=digest), inputs)
    return max(relative_error(before, after) for before, after in zip(expected, made, strict=True))


def relative_error(expected: Array, made: Array) -> float:
    """sum (made - expected)^2 / sum expected^2; infinite where `made` is not finite."""
    import numpy as np

    gap = float(np.sum((made.astype(np.float64) - expected.astype(np.float64)) ** 2))
    if not np.isfinite(gap):
        return float("inf")
    return gap / max(float(np.sum(expected.astype(np.float64) ** 2)), 1e-30)


def _outputs(source: Artifact) -> dict[int, frozenset[str]]:
    """The tensors that each op makes, by the op's number in the order of `describe`."""
    model = read_model(source.path)
    made = [names(graph, op) for graph in model.subgraphs for op in graph.operations]
    return {index: frozenset(found) for index, found in enumerate(made)}


def _weighted(
    source: Artifact, work: Work, skipped: frozenset[str]
) -> list[tuple[str, frozenset[str]]]:
    """The names of the ops that compute with weights, each with the tensors it makes."""
    model = read_model(source.path)
    has_weights = [
        any(
            index >= 0
            and graph.tensors[index].is_constant
            and graph.tensors[index].dtype in _FLOATS
            and len(graph.tensors[index].shape) > 1
            for index in op.inputs
        )
        for graph in model.subgraphs
        for op in graph.operations
    ]
    made = _outputs(source)
    return [
        (op.name, made[op.index])
        for op in work.describe(source).ops
        if has_weights[op.index] and not made[op.index] & skipped
    ]
