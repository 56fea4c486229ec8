"""Golden inputs and outputs, and how far each runtime may be from them."""

from __future__ import annotations

import io
import math
import platform
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.core import catalog
from edgekit.core.artifact import Artifact
from edgekit.core.bundle import Measured, Tolerance
from edgekit.core.description import Description
from edgekit.engine.bundle_tolerance import delegate_tolerance, floor_of, tolerance_of, upwards
from edgekit.engine.data_inputs import prepare, random_inputs
from edgekit.engine.inference import dequantize_array, model_inputs
from edgekit.engine.measure import Subject, open_session
from edgekit.engine.models import describe
from edgekit.errors import UsageError
from edgekit.on_device.kernels import DELEGATE, KERNELS, Kernels
from edgekit.text import clean

if TYPE_CHECKING:
    from edgekit.core.data import Array
    from edgekit.engine.data import LoadedData

__all__ = ["COUNT", "GoldenSet", "make_golden", "npy", "travelling_name"]

COUNT = 8
_MOST_SAMPLES = 64
_MOST_MACS = 200_000_000
"""What may be computed to measure tolerances: the reference kernels do 400 million a second."""
_MOST_MACS_OF_ALL = 2_000_000_000
_MOST_BYTES = 64_000_000


@dataclass(frozen=True, eq=False)
class GoldenSet:
    """Arrays in the model's own dtypes; `real` are the outputs of all samples that were run."""

    inputs: tuple[Array, ...]
    outputs: tuple[Array, ...]
    source: str
    kernels: str
    made_with: str
    tolerance: Mapping[str, Tolerance]
    real: tuple[Array, ...]

    @property
    def count(self) -> int:
        """The number of samples."""
        return len(self.inputs[0])


def make_golden(
    artifact: Artifact, data: LoadedData | None, *, count: int | None, seed: int
) -> GoldenSet:
    """Runs samples of the test split (or seeded random ones) through the kernels that there are.

    Without a `count` there are 8 samples, fewer of a model that is slow. Tolerances are measured on
    up to 64, as many as a small model computes within a fraction of a second.

    Raises:
        UsageError: an input has an open axis and there is no data; the model cannot run; its
            outputs are not finite.
    """
    description = describe(artifact)
    kept = count or _kept(description)
    wanted = max(kept, _affordable(description))
    ready, source = _samples(artifact, data, wanted, seed=seed)
    kept = min(kept, len(ready[0]))
    golden, *others = KERNELS[artifact.format]
    inputs, found = _run(artifact, golden, ready)
    _check_finite(found, artifact)
    picked = _spread(len(found[0]), kept)
    scales = tuple(_largest(array[picked]) for array in found)
    tolerance = {golden.name: tolerance_of(floor_of(description, golden.name), None)}
    for way in others:
        seen = _difference(artifact, way, ready, found, scales)
        tolerance[way.name] = tolerance_of(floor_of(description, way.name), seen)
    tolerance[DELEGATE] = delegate_tolerance(tolerance)
    specs = description.signature.outputs
    return GoldenSet(
        inputs=tuple(array[picked] for array in inputs),
        outputs=tuple(array[picked] for array in found),
        source=source,
        kernels=golden.name,
        made_with=_made_with(golden.runner),
        tolerance=tolerance,
        real=tuple(dequantize_array(a, spec) for a, spec in zip(found, specs, strict=True)),
    )


def npy(array: Array) -> bytes:
    """The bytes of a .npy file: little endian, C order."""
    import numpy as np

    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    file = io.BytesIO()
    np.lib.format.write_array(file, plain, version=(1, 0), allow_pickle=False)
    return file.getvalue()


def travelling_name(name: str) -> str:
    """`npz:/home/me/mnist.npz` as `npz:mnist.npz`: a bundle travels, and folders are private."""
    kind, colon, rest = name.partition(":")
    last = (rest if colon else kind).replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    return clean(f"{kind}:{last}" if colon else last, most=120)


def _kept(description: Description) -> int:
    return max(2, min(COUNT, _MOST_MACS_OF_ALL // max(1, description.macs or 1)))


def _affordable(description: Description) -> int:
    """How many samples tolerances are measured on: depends on the model alone, so that a bundle
    that is made twice has the same bytes."""
    specs = description.signature.inputs
    values = sum(math.prod(size or 64 for size in spec.sample_shape) for spec in specs)
    by_bytes = _MOST_BYTES // max(1, 4 * values)
    by_macs = _MOST_MACS // max(1, description.macs or description.parameters or 1)
    return min(_MOST_SAMPLES, by_bytes, by_macs)


def _samples(
    artifact: Artifact, data: LoadedData | None, wanted: int, *, seed: int
) -> tuple[tuple[Array, ...], str]:
    """Real-valued model inputs, evenly over the test split, and where they are from."""
    signature = describe(artifact).signature
    if data is None:
        return random_inputs(signature, wanted, seed), f"random, seed {seed}"
    own_test = data.dataset.test
    pool, rows = own_test if own_test is not None else data.dataset.train, data.indices("test")
    chosen = rows[_spread(len(rows), wanted)]
    ready = tuple(
        prepare(source[chosen], spec, artifact.scaling)
        for source, spec in data.inputs(pool, signature)
    )
    return ready, f"test split of {travelling_name(data.dataset.name)}"


def _spread(total: int, wanted: int) -> Any:
    """Positions evenly over `total`: the classes of a split often stand one after another."""
    import numpy as np

    count = min(total, wanted)
    return (np.arange(count) * total) // count


def _run(
    artifact: Artifact, way: Kernels, ready: tuple[Array, ...]
) -> tuple[tuple[Array, ...], tuple[Array, ...]]:
    """Stored inputs and outputs, one sample at a time, as a device runs them."""
    import numpy as np

    options = catalog.load("runners", way.runner).Options(**way.options)
    with closing(open_session(Subject(artifact, way.runner, options))) as session:
        inputs = model_inputs(session.signature, ready)
        rows = [
            session.run(tuple(array[i : i + 1] for array in inputs)) for i in range(len(inputs[0]))
        ]
    if any(len({array.shape for array in column}) > 1 for column in zip(*rows, strict=True)):
        raise UsageError(
            f"model '{artifact.name}': its outputs change their shape from sample to sample",
            hint="a bundle needs outputs of one shape",
        )
    return inputs, tuple(np.concatenate(column) for column in zip(*rows, strict=True))


def _check_finite(outputs: tuple[Array, ...], artifact: Artifact) -> None:
    import numpy as np

    for array, spec in zip(outputs, describe(artifact).signature.outputs, strict=True):
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise UsageError(
                f"model '{artifact.name}': its output '{clean(spec.name)}' is NaN or infinite, so "
                "no device could be held against it",
                hint="give samples that the model was made for with --data",
            )


def _largest(array: Array) -> float:
    import numpy as np

    if array.dtype.kind != "f" or not array.size:
        return 0.0
    return max(float(np.abs(array).max()), float(np.finfo(np.float32).tiny))


def _difference(
    artifact: Artifact,
    way: Kernels,
    ready: tuple[Array, ...],
    expected: tuple[Array, ...],
    scales: tuple[float, ...],
) -> Measured | str:
    """The largest difference of other kernels, or why they do not run here."""
    import numpy as np

    try:
        _, found = _run(artifact, way, ready)
    except UsageError as error:
        return f"not measured: {clean(error.message, most=200)}"
    lsb, relative = 0, 0.0
    for own, golden, scale in zip(found, expected, scales, strict=True):
        if own.dtype.kind == "f":
            apart = np.abs(own.astype(np.float64) - golden.astype(np.float64)).max(initial=0.0)
            if not math.isfinite(apart):
                return "not measured: an output is NaN or infinite"
            relative = max(relative, float(apart) / scale)
        else:
            wide = own.astype(np.float64) - golden.astype(np.float64)
            lsb = max(lsb, int(np.abs(wide).max(initial=0)))
    return Measured(lsb, upwards(relative), len(ready[0]))


def _made_with(runner: str) -> str:
    versions: Mapping[str, str] = catalog.load("runners", runner).versions()
    name, version = next(iter(versions.items()))
    return f"{name} {version} on {platform.machine()}"
