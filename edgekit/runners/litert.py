"""LiteRT on the CPU: XNNPACK, the built-in kernels, or the reference kernels."""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import Signature
from edgekit.core.runner import OpTime, Placement
from edgekit.errors import UsageError
from edgekit.lazy import version
from edgekit.runners._litert import Kernels, create, explain
from edgekit.runners._signature import checked, is_dynamic, ordered, shape_text, tensors
from edgekit.runners._xnnpack import read_placement

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = [
    "FORMATS",
    "FRAMEWORKS",
    "MODULES",
    "PREDICTS",
    "REFERENCE",
    "UNREAL",
    "LitertSession",
    "Options",
    "open",
    "unavailable",
    "versions",
]

FORMATS = ("tflite",)
PREDICTS = ("tflite",)
MODULES: tuple[str, ...] = ("ai_edge_litert", "tflite_runtime", "tensorflow")
FRAMEWORKS: frozenset[str] = frozenset()
UNREAL = ""
REFERENCE = {"kernels": "reference"}

_MOST_ROWS = 256
_MOST_ACTIVATION_BYTES = 64 * 2**20
_PROBE = base64.b64decode(
    # The smallest model there is: y = RELU(x), one row of two float32 values.
    "GAAAAFRGTDMAAA4AFAAQAAwACAAAAAQADgAAABAAAAAcAAAA2AAAAAMAAAABAAAACAAAAAQABAAEAAAAAQAAABAAAAAMABQA"
    "EAAMAAgABAAMAAAAEAAAADwAAABAAAAARAAAAAEAAAAQAAAAAAAKAAwAAAAIAAQACgAAAAgAAAAMAAAAAQAAAAEAAAABAAAA"
    "AAAAAAEAAAABAAAAAQAAAAAAAAACAAAANAAAAAQAAADg////CAAAAAwAAAABAAAAeQAAAAIAAAABAAAAAgAAAAwADAAIAAAA"
    "AAAEAAwAAAAIAAAADAAAAAEAAAB4AAAAAgAAAAEAAAACAAAAAQAAABAAAAAMAAwACwAAAAAABAAMAAAAEwAAAAAAABM="
)


@dataclass(frozen=True)
class Options:
    """`kernels`: xnnpack is the default of the runtime, reference the plain C++ int8 oracle."""

    threads: int = 1
    kernels: Kernels = "xnnpack"

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= 64:
            raise ValueError(f"threads must be from 1 to 64, not {self.threads}")


def open(path: Path, signature: Signature, options: object) -> LitertSession:  # noqa: A001 (what core.runner.Runner calls it)
    """Opens a .tflite file; the session keeps the order of `signature` where the names are known.

    Raises:
        UsageError: the runtime cannot load it (damaged, unknown op or op version), named.
    """
    assert isinstance(options, Options), options
    interpreter = create(path, kernels=options.kernels, threads=options.threads)
    return LitertSession(interpreter, path, signature, options)


def unavailable() -> str:
    """Runs a model of one op; returns '' where that works, else what is wrong."""
    import numpy as np

    install = "install it again: pip install --force-reinstall ai-edge-litert"
    try:
        interpreter = create(_PROBE, kernels="xnnpack", threads=1)
        interpreter.set_tensor(0, np.array([[-1, 2]], np.float32))
        interpreter.invoke()
        found = interpreter.get_tensor(1).tolist()
    except Exception as error:  # Whatever a broken installation raises, it is the answer.
        return f"ai-edge-litert does not work here: {error or type(error).__name__}; {install}"
    return "" if found == [[0.0, 2.0]] else f"ai-edge-litert computes wrong values; {install}"


def versions() -> Mapping[str, str]:
    """The packages whose versions change the results."""
    return {name: version(name) for name in ("ai-edge-litert", "numpy")}


class LitertSession:
    """An open interpreter. `invoke` is the interpreter's own, so that nothing else is timed."""

    invoke: Callable[[], object]

    def __init__(
        self, interpreter: Any, path: Path, signature: Signature, options: Options
    ) -> None:
        self._interpreter, self._path, self._options = interpreter, path, options
        inputs = ordered(tensors(interpreter, "inputs"), signature.inputs)
        outputs = ordered(tensors(interpreter, "outputs"), signature.outputs)
        self.signature = Signature(tuple(s for _, s in inputs), tuple(s for _, s in outputs))
        self._inputs = [index for index, _ in inputs]
        self._outputs = [index for index, _ in outputs]
        self._shapes = [tuple(1 if n is None else n for n in spec.shape) for _, spec in inputs]
        self._most_rows = self._rows_at_once()
        self.invoke = interpreter.invoke

    def run(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Runs N samples in the model's own dtypes: one by one, or in its batch where it has one.

        Raises:
            UsageError: an input does not fit the model, or the runtime fails on these values.
        """
        arrays = checked(self.signature, inputs, self._path)
        count = len(arrays[0])
        while True:
            rows = min(self._most_rows, count) if is_dynamic(self.signature) else self._most_rows
            try:
                return tuple(self._run_blocks(arrays, count, rows))
            except (RuntimeError, ValueError) as error:
                # A batch axis that is dynamic in name only: some later op is fixed to one row.
                if not is_dynamic(self.signature) or rows == 1:
                    raise explain(str(self._path), error) from error
                self._most_rows = 1

    def placement(self) -> Placement:
        """Reads from the interpreter which ops its delegate took."""
        return read_placement(self._interpreter, self._options.kernels)

    def profile(self, runs: int) -> tuple[OpTime, ...]:
        """The time of each op in `runs` inferences behind a first one that does not count.

        Raises:
            UnmeasuredError: LiteRT's profiler does not run this model, or is not a known one.
        """
        from edgekit.runners._litert_profile import op_names, record, summed

        last = slice(-1, None) if is_dynamic(self.signature) else slice(None)
        inputs = {
            detail["name"]: self._interpreter.get_tensor(detail["index"])[last]
            for detail in self._interpreter.get_input_details()
        }
        chosen = self._options
        found = record(
            self._path, kernels=chosen.kernels, threads=chosen.threads, inputs=inputs, runs=runs
        )
        return summed(found, op_names(self._interpreter))

    def arena(self) -> tuple[int, int]:
        """The bytes of one sample's activation arena, and the least that any planner needs.

        XNNPACK keeps what it computes to itself, so they are those of the plain kernels.

        Raises:
            UnmeasuredError: the runtime does not show where the tensors are.
        """
        from edgekit.runners._litert_arena import activation_arena

        plain: Kernels = "reference" if self._options.kernels == "reference" else "builtin"
        return activation_arena(self._path, kernels=plain)

    def close(self) -> None:
        """Frees the interpreter."""
        self.invoke = self._closed
        self._interpreter = None

    def _closed(self) -> None:
        raise AssertionError("the session is closed")

    def _rows_at_once(self) -> int:
        """The model's fixed batch, or as many rows as keep the activations within bounds."""
        specs = self.signature.inputs
        for spec in specs:
            if not spec.shape:
                raise UsageError(
                    f"{self._path}: the input '{spec.name}' is a single value without a batch axis",
                    hint="give the input a first axis of size 1 and convert the model again",
                )
        if not is_dynamic(self.signature):
            return max(spec.shape[0] or 1 for spec in specs)
        return max(
            1, min(_MOST_ROWS, _MOST_ACTIVATION_BYTES // _activation_bytes(self._interpreter))
        )

    def _run_blocks(self, arrays: list[Array], count: int, rows: int) -> list[Array]:
        import numpy as np

        whole = count - count % rows
        fed = count if is_dynamic(self.signature) or whole == count else whole + rows
        columns: list[list[Array]] = [[] for _ in self._outputs]
        if whole:
            self._loop([array[:whole] for array in arrays], columns, rows)
        if whole < fed:  # A fixed batch is filled up with the last sample.
            short = fed - count
            rest = [np.concatenate([a[whole:], np.repeat(a[-1:], short, axis=0)]) for a in arrays]
            self._loop(rest, columns, fed - whole)
        return [np.concatenate(_batched(column, fed, rows))[:count] for column in columns]

    def _loop(self, arrays: list[Array], columns: list[list[Array]], rows: int) -> None:
        """Runs all samples, `rows` at a time; with a model of microseconds every line counts."""
        self._resize(arrays, rows)
        set_tensor, get_tensor = self._interpreter.set_tensor, self._interpreter.get_tensor
        invoke = self._interpreter.invoke
        inputs = list(zip(self._inputs, arrays, strict=True))
        outputs = [
            (index, column.append) for index, column in zip(self._outputs, columns, strict=True)
        ]
        for start in range(0, len(arrays[0]), rows):
            for index, array in inputs:
                set_tensor(index, array[start : start + rows])
            invoke()
            for index, append in outputs:
                append(get_tensor(index))

    def _resize(self, arrays: list[Array], rows: int) -> None:
        """Allocates for another shape; slow, so only where it changes."""
        shapes = [(rows, *array.shape[1:]) for array in arrays]
        if shapes == self._shapes:
            return
        self._shapes = []
        for index, shape in zip(self._inputs, shapes, strict=True):
            self._interpreter.resize_tensor_input(index, shape)
        self._interpreter.allocate_tensors()
        self._shapes = shapes


def _batched(parts: list[Array], fed: int, rows: int) -> list[Array]:
    """The outputs of all runs with a batch axis; without one, a run's output is one sample's."""
    if len({part.shape[1:] for part in parts}) > 1:
        raise ValueError("an output changes its shape from sample to sample")
    if sum(math.prod(part.shape[:1]) for part in parts) == fed and parts[0].ndim:
        return parts
    if rows > 1:
        raise ValueError(f"an output has the shape {shape_text(parts[0].shape)} for {rows} samples")
    if len({part.shape for part in parts}) > 1:
        raise ValueError("an output changes its shape from sample to sample")
    return [part[None] for part in parts]


def _activation_bytes(interpreter: Any) -> int:
    """The bytes of all that the ops of the model write for one sample."""
    import numpy as np

    written = {int(t) for row in interpreter._get_ops_details() for t in row["outputs"]}
    sizes: list[int] = [
        math.prod(int(n) for n in detail["shape"]) * np.dtype(detail["dtype"]).itemsize
        for detail in interpreter.get_tensor_details()
        if detail["index"] in written
    ]
    return max(1, sum(sizes))
