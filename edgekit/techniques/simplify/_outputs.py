"""Runs an ONNX file on a few samples without optimisations, and compares with another's outputs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit import lazy
from edgekit.core.technique import Work

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["TOLERANCE", "Outputs", "full_scales", "gap", "open_session", "probes", "run"]

TOLERANCE = 1e-4
_MOST_PROBES = 4
_MOST_VALUES = 2**21
"""Of all probes together: an optimisation must not take longer than what it is for."""
_FATAL_ONLY = 4
_UP_TO_ONE = frozenset({"Sigmoid", "HardSigmoid", "Softmax", "Tanh", "Softsign"})
_SAME_VALUES = frozenset(
    {"Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Slice", "Concat"}
)


@dataclass(frozen=True)
class Outputs:
    """The outputs of a model by name."""

    arrays: Mapping[str, Array]

    def save(self, folder: Path) -> None:
        """Keeps them for `load`."""
        import numpy as np

        arrays: dict[str, Any] = {f"a{i}": array for i, array in enumerate(self.arrays.values())}
        np.savez(folder / "outputs.npz", **arrays)
        text = json.dumps(list(self.arrays))
        (folder / "outputs.json").write_text(text, encoding="utf-8")

    @staticmethod
    def load(folder: Path) -> Outputs:
        """What `save` kept."""
        import numpy as np

        names = json.loads((folder / "outputs.json").read_text(encoding="utf-8"))
        with np.load(folder / "outputs.npz", allow_pickle=False) as held:
            return Outputs({name: held[f"a{i}"] for i, name in enumerate(names)})


def probes(work: Work) -> tuple[Array, ...]:
    """A few inputs to compare on; one is enough where they are large."""
    found = work.probes(_MOST_PROBES)
    size = sum(prod(array.shape[1:]) for array in found)
    count = max(1, min(len(found[0]), _MOST_VALUES // max(1, size)))
    return tuple(array[:count] for array in found)


def open_session(model: str | bytes) -> Any:
    """A session that computes what the file says, node by node."""
    runtime = lazy.require("onnxruntime", extra="onnx", needed_for="simplify")
    options = runtime.SessionOptions()
    options.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = _FATAL_ONLY
    options.use_deterministic_compute = True
    options.add_session_config_entry("session.disable_prepacking", "1")
    return runtime.InferenceSession(
        model, options, providers=["CPUExecutionProvider"], enable_fallback=0
    )


def run(path: Path, inputs: tuple[Array, ...]) -> Outputs:
    """Runs a file on samples (count, ...), one at a time; raises what the runtime raises."""
    import numpy as np

    session = open_session(str(path))
    specs, names = session.get_inputs(), [value.name for value in session.get_outputs()]
    rows = []
    for row in range(len(inputs[0])):
        feed = {
            spec.name: _fitting(array[row : row + 1], spec)
            for spec, array in zip(specs, inputs, strict=True)
        }
        rows.append(session.run(names, feed))
    stacked = [np.stack(column) for column in zip(*rows, strict=True)]
    return Outputs(dict(zip(names, stacked, strict=True)))


def _fitting(sample: Array, spec: Any) -> Array:
    """One sample in the input's own dtype, as often as its fixed batch holds."""
    import numpy as np

    name = spec.type.removeprefix("tensor(").removesuffix(")")
    dtype = np.dtype({"float": "float32", "double": "float64"}.get(name, name))
    if dtype.kind in "iu" and sample.dtype.kind == "f":
        sample = np.rint(sample)
    batch = spec.shape[0] if spec.shape and isinstance(spec.shape[0], int) else 1
    return np.ascontiguousarray(np.repeat(sample, max(1, batch), axis=0), dtype)


def full_scales(model: Any) -> dict[str, float]:
    """The outputs that are made by ops with a range of their own, and the end of that range.

    All probabilities of a sample may be tiny. The rounding of a sigmoid is not.
    """
    makers = {name: node for node in model.graph.node for name in node.output}
    found = {}
    for value in model.graph.output:
        node = makers.get(value.name)
        while node is not None and node.op_type in _SAME_VALUES:
            node = makers.get(node.input[0])
        if node is not None and node.op_type in _UP_TO_ONE:
            found[value.name] = 1.0
    return found


def gap(before: Outputs, after: Outputs, scales: Mapping[str, float]) -> float:
    """The largest difference of an output over its largest value (or its full scale).

    Infinite where an output is missing, or has another shape.
    """
    if list(before.arrays) != list(after.arrays):
        return float("inf")
    return max(
        (_gap(a, after.arrays[name], scales.get(name, 0.0)) for name, a in before.arrays.items()),
        default=0.0,
    )


def _gap(before: Array, after: Array, scale: float) -> float:
    import numpy as np

    if before.shape != after.shape or before.dtype != after.dtype:
        return float("inf")
    if before.dtype.kind not in "fiub":
        return 0.0 if bool((before == after).all()) else float("inf")
    old, new = before.astype(np.float64), after.astype(np.float64)
    alike = (old == new) | (np.isnan(old) & np.isnan(new))  # Masks hold infinities.
    if bool(alike.all()):
        return 0.0
    if not bool((np.isfinite(old) & np.isfinite(new) | alike).all()):
        return float("inf")
    largest = max(scale, float(np.max(np.abs(old[np.isfinite(old)]), initial=0.0)))
    worst = float(np.max(np.abs(new - old)[~alike]))
    return worst / largest if largest > 0 else float("inf")
