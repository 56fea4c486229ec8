"""ONNX Runtime: the CPU, or the execution providers that are named."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import Signature, TensorSpec
from edgekit.core.runner import OpTime, Placement
from edgekit.errors import EdgekitError, UsageError
from edgekit.lazy import version
from edgekit.runners._onnxruntime import Options, create, explain, kinds
from edgekit.runners._onnxruntime_profile import op_times, read_placement, record
from edgekit.runners._signature import checked, is_dynamic, ordered, shape_text

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = [
    "FORMATS",
    "FRAMEWORKS",
    "MODULES",
    "PREDICTS",
    "UNREAL",
    "OnnxruntimeSession",
    "Options",
    "open",
    "unavailable",
    "versions",
]

FORMATS = ("onnx", "ort")
PREDICTS = ("onnx", "ort")
MODULES: tuple[str, ...] = ("onnxruntime",)
FRAMEWORKS = frozenset({"onnxruntime"})
UNREAL = ""

_MOST_ROWS = 256
_MOST_INPUT_BYTES = 16 * 2**20
"""Of one run with an open batch; what the layers of an image model write is many times that."""
_BATCH_WIDE = "DynamicQuantize"
"""Ops whose scale is that of the whole batch: a sample's output depends on what runs beside it."""
_OPEN_SIZES = (64, 1, 224)
"""What an open dimension is tried with where nothing was run yet."""
_TENSOR = re.compile(r"tensor\((\w+)\)")
_FLOATS = {"float": "float32", "double": "float64"}
_DTYPES = frozenset({"float16", "float32", "float64", "bool"}) | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
_PROBE = base64.b64decode(
    # The smallest model there is: y = Relu(x), one row of two float32 values.
    "CAc6OwoMCgF4EgF5IgRSZWx1EgFnWhMKAXgSDgoMCAESCAoCCAEKAggCYhMKAXkSDgoMCAESCAoCCAEKAggCQgQKABAN"
)


def open(path: Path, signature: Signature, options: object) -> OnnxruntimeSession:  # noqa: A001 (what core.runner.Runner calls it)
    """Opens a model file; the session keeps the order of `signature` where the names are known.

    The runtime reads the file and its external data itself; they never are a Python object.

    Raises:
        UsageError: the runtime cannot load it (damaged, unknown op, missing data), named; a
            provider is not available, or does not take the model.
    """
    assert isinstance(options, Options), options
    return OnnxruntimeSession(create(path, options), path, signature, options)


def unavailable() -> str:
    """Runs a model of one op; returns '' where that works, else what is wrong."""
    install = "install it again: pip install --force-reinstall onnxruntime"
    try:
        native = create(_PROBE, Options(), needed_for="the onnxruntime runner")
        import numpy as np

        (found,) = native.run(None, {"x": np.array([[-1, 2]], np.float32)})
    except Exception as error:  # Whatever a broken installation raises, it is the answer.
        if isinstance(error, EdgekitError) and error.__cause__ is None:
            return f"{error}: {error.hint}"
        cause = error.__cause__ or error
        return f"onnxruntime does not work here: {cause or type(cause).__name__}; {install}"
    works = found.tolist() == [[0.0, 2.0]]
    return "" if works else f"onnxruntime computes wrong values; {install}"


def versions() -> Mapping[str, str]:
    """The packages whose versions change the results, those that are installed."""
    own = {name: version(name) for name in ("onnxruntime", "numpy")}
    return {name: found for name, found in own.items() if found}


class OnnxruntimeSession:
    """An open model. `invoke` runs with bound inputs, so that nothing else is timed."""

    invoke: Callable[[], object]

    def __init__(
        self, native: Any, path: Path, signature: Signature, options: Options | None = None
    ) -> None:
        self._native, self._path, self._options = native, path, options or Options()
        inputs = [_spec(value, "input", path) for value in native.get_inputs()]
        outputs = [_spec(value, "output", path) for value in native.get_outputs()]
        self.signature = Signature(
            _in_order(inputs, signature.inputs), _in_order(outputs, signature.outputs)
        )
        self._names = [spec.name for spec in self.signature.outputs]
        self._must_have_batches()
        alone = any(kind.startswith(_BATCH_WIDE) for kind in kinds(native))
        self._most_rows = 1 if alone else _MOST_ROWS
        self._bound: list[Array] = []
        self.invoke = self._nothing_to_repeat

    def run(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Runs N samples in the model's own dtypes: in blocks, or in its batch where it has one.

        Raises:
            UsageError: an input does not fit the model, or the runtime fails on these values.
        """
        assert self._native is not None, "the session is closed"
        arrays = checked(self.signature, inputs, self._path)
        count = len(arrays[0])
        while True:
            rows = self._rows_at_once(arrays)
            try:
                return self._run_blocks(arrays, count, rows)
            except Exception as error:  # The errors of the runtime have no base of their own.
                # A batch axis that is dynamic in name only: some later op is fixed to one row.
                if not is_dynamic(self.signature) or rows == 1:
                    raise explain(self._path, error) from error
                self._most_rows = 1

    def placement(self) -> Placement:
        """Which op ran where in one inference, read from the runtime's own record of it.

        It is what was executed, after the runtime has rewritten the graph: a quantized convolution
        is one QLinearConv there, and an If shows the branch that was taken.
        """
        return read_placement(self._native, self._record(1))

    def profile(self, runs: int) -> tuple[OpTime, ...]:
        """The time of each op in `runs` inferences behind a first one that does not count.

        Raises:
            UsageError: the model cannot be run on the inputs there are.
        """
        events = self._record(runs + 1)
        if not events:
            raise UsageError(
                f"{self._path}: ONNX Runtime ran none of the inputs that were tried",
                hint="run a sample of the model's own data first",
            )
        return op_times(events)

    def _record(self, runs: int) -> list[dict[str, Any]]:
        """What the runtime wrote about running the last sample; else zeros; [] where none runs."""
        assert self._native is not None, "the session is closed"
        tries = [self._bound] if self._bound else [self._zeros(size) for size in _OPEN_SIZES]
        for arrays in tries:
            try:
                return record(self._path, self._options, self._feed(arrays), runs)
            except Exception as error:  # The errors of the runtime have no base of their own.
                if self._bound:
                    raise explain(self._path, error) from error
        return []

    def _zeros(self, size: int) -> list[Array]:
        import numpy as np

        return [
            np.zeros([spec.shape[0] or 1, *(n or size for n in spec.sample_shape)], spec.dtype)
            for spec in self.signature.inputs
        ]

    def close(self) -> None:
        """Frees the session."""
        self.invoke = self._closed
        self._native = None

    def _closed(self) -> None:
        raise AssertionError("the session is closed")

    def _nothing_to_repeat(self) -> None:
        raise AssertionError("nothing was run yet")

    def _must_have_batches(self) -> None:
        if not self.signature.inputs:
            raise UsageError(
                f"{self._path}: has no input, so it says the same each time",
                hint="export the model with what it computes from as inputs",
            )
        for spec in self.signature.inputs:
            if 0 in spec.shape:
                raise UsageError(
                    f"{self._path}: the input '{spec.name}' has the shape "
                    f"{shape_text(spec.shape)}, in which no value has a place",
                    hint="give the input a shape without 0, and export again",
                )
            if not spec.shape:
                raise UsageError(
                    f"{self._path}: the input '{spec.name}' has no batch axis, or no shape at all",
                    hint="give the input a shape whose first axis is the batch, and export again",
                )

    def _rows_at_once(self, arrays: list[Array]) -> int:
        """The model's fixed batch, or as many rows as keep the inputs within bounds."""
        if not is_dynamic(self.signature):
            return max(spec.shape[0] or 1 for spec in self.signature.inputs)
        row_bytes = sum(array.nbytes for array in arrays) // len(arrays[0])
        fitting = _MOST_INPUT_BYTES // max(1, row_bytes)
        return max(1, min(self._most_rows, fitting, len(arrays[0])))

    def _run_blocks(self, arrays: list[Array], count: int, rows: int) -> tuple[Array, ...]:
        import numpy as np

        columns: list[list[Array]] = [[] for _ in self._names]
        for start in range(0, count, rows):
            block = [array[start : start + rows] for array in arrays]
            if not is_dynamic(self.signature):  # A fixed batch is filled up with the last sample.
                short = rows - len(block[0])
                block = [np.concatenate([a, np.repeat(a[-1:], short, axis=0)]) for a in block]
            found = self._native.run(self._names, self._feed(block))
            for column, array in zip(columns, found, strict=True):
                column.append(_batched(array, len(block[0])))
        self._bind([array[-1:] for array in arrays] if is_dynamic(self.signature) else block)
        return tuple(_joined(column)[:count] for column in columns)

    def _feed(self, arrays: list[Array]) -> dict[str, Array]:
        specs = self.signature.inputs
        return {spec.name: array for spec, array in zip(specs, arrays, strict=True)}

    def _bind(self, arrays: list[Array]) -> None:
        """Makes `invoke` repeat this inference; the runtime keeps its outputs to itself."""
        binding = self._native.io_binding()
        for name, array in self._feed(arrays).items():
            binding.bind_cpu_input(name, array)
        for name in self._names:
            binding.bind_output(name)
        self._bound = arrays  # The binding only points to them.
        self.invoke = partial(self._native.run_with_iobinding, binding)


def _spec(value: Any, side: str, path: Path) -> TensorSpec:
    match = _TENSOR.fullmatch(value.type)
    dtype = _FLOATS.get(match[1], match[1]) if match else ""
    if dtype not in _DTYPES:
        raise UsageError(
            f"{path}: the {side} '{value.name}' is {value.type}, which is no array of numbers",
            hint="export the model with tensors of plain numbers as inputs and outputs",
        )
    shape = tuple(n if isinstance(n, int) and n >= 0 else None for n in value.shape)
    return TensorSpec(value.name, shape, dtype)


def _in_order(own: list[TensorSpec], wanted: tuple[TensorSpec, ...]) -> tuple[TensorSpec, ...]:
    return tuple(spec for _, spec in ordered(list(enumerate(own)), wanted))


def _batched(array: Array, rows: int) -> Array:
    """An output with a batch axis; without one, a run's output is one sample's."""
    if array.shape[:1] == (rows,):
        return array
    if rows > 1:
        raise ValueError(f"an output has the shape {shape_text(array.shape)} for {rows} samples")
    return array[None]


def _joined(parts: list[Array]) -> Array:
    import numpy as np

    if len({part.shape[1:] for part in parts}) > 1:
        raise ValueError("an output changes its shape from sample to sample")
    return np.concatenate(parts)
