"""ONNX Runtime on the CPU."""

from __future__ import annotations

import base64
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.artifact import Signature, TensorSpec
from edgekit.core.runner import Placement
from edgekit.errors import EdgekitError, UsageError
from edgekit.lazy import require, version
from edgekit.runners._signature import checked, is_dynamic, ordered, shape_text

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = [
    "FORMATS",
    "FRAMEWORKS",
    "PREDICTS",
    "UNREAL",
    "OnnxruntimeSession",
    "Options",
    "open",
    "unavailable",
    "versions",
]

FORMATS = ("onnx",)
PREDICTS = ("onnx",)
FRAMEWORKS = frozenset({"onnxruntime"})
UNREAL = ""

_MOST_ROWS = 256
_MOST_INPUT_BYTES = 16 * 2**20
"""Of one run with an open batch; what the layers of an image model write is many times that."""
_FATAL_ONLY = 4
_TENSOR = re.compile(r"tensor\((\w+)\)")
_FLOATS = {"float": "float32", "double": "float64"}
_DTYPES = frozenset({"float16", "float32", "float64", "bool"}) | {
    f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)
}
_PROBE = base64.b64decode(
    # The smallest model there is: y = Relu(x), one row of two float32 values.
    "CAc6OwoMCgF4EgF5IgRSZWx1EgFnWhMKAXgSDgoMCAESCAoCCAEKAggCYhMKAXkSDgoMCAESCAoCCAEKAggCQgQKABAN"
)

_PREFIX = re.compile(r"^\[ONNXRuntimeError\] : \d+ : \w+ : (?:Load model from .+? failed:)?")
_SOURCE = re.compile(r"\S*[/\\]\S+\.(?:cc|h):\d+ .*?\) ")
_UNKNOWN = re.compile(
    r"No Op registered for (?P<op>\S+) with domain_version of (?P<opset>\d+)"
    r"|(?P<domain>[\w.]+):(?P<custom>\w+)\(-?\d+\) is not a registered function/op"
)
_KERNEL = re.compile(r"Could not find an implementation for (\w+)\((\d+)\)")
_MISSING = re.compile(r'External data path does not exist: "(.+?)"')
_NEWER = re.compile(
    r"Unsupported model (IR version): (\d+), max supported IR version: (\d+)"
    r"|(Opset) (\d+) is under development.* till opset (\d+)"
)


@dataclass(frozen=True)
class Options:
    """`threads` compute one inference together."""

    threads: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.threads <= 64:
            raise ValueError(f"threads must be from 1 to 64, not {self.threads}")


def open(path: Path, signature: Signature, options: object) -> OnnxruntimeSession:  # noqa: A001 (what core.runner.Runner calls it)
    """Opens an .onnx file; the session keeps the order of `signature` where the names are known.

    Raises:
        UsageError: the runtime cannot load it (damaged, unknown op, missing data), named.
    """
    assert isinstance(options, Options), options
    create = _creator(options.threads, f"{path}")
    try:
        native = create(str(path))
    except Exception as error:  # The errors of the runtime have no base of their own.
        raise _explain(path, error) from error
    return OnnxruntimeSession(native, path, signature)


def unavailable() -> str:
    """Runs a model of one op; returns '' where that works, else what is wrong."""
    install = "install it again: pip install --force-reinstall onnxruntime"
    try:
        create = _creator(1, "the onnxruntime runner")
        import numpy as np

        (found,) = create(_PROBE).run(None, {"x": np.array([[-1, 2]], np.float32)})
    except EdgekitError as error:
        return f"{error}: {error.hint}"
    except Exception as error:  # Whatever a broken installation raises, it is the answer.
        return f"onnxruntime does not work here: {error or type(error).__name__}; {install}"
    works = found.tolist() == [[0.0, 2.0]]
    return "" if works else f"onnxruntime computes wrong values; {install}"


def versions() -> Mapping[str, str]:
    """The packages whose versions change the results, those that are installed."""
    own = {name: version(name) for name in ("onnxruntime", "numpy")}
    return {name: found for name, found in own.items() if found}


class OnnxruntimeSession:
    """An open model. `invoke` runs with bound inputs, so that nothing else is timed."""

    invoke: Callable[[], object]

    def __init__(self, native: Any, path: Path, signature: Signature) -> None:
        self._native, self._path = native, path
        inputs = [_spec(value, "input", path) for value in native.get_inputs()]
        outputs = [_spec(value, "output", path) for value in native.get_outputs()]
        self.signature = Signature(
            _in_order(inputs, signature.inputs), _in_order(outputs, signature.outputs)
        )
        self._names = [spec.name for spec in self.signature.outputs]
        self._most_rows = self._rows_at_once()
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
            rows = min(self._most_rows, count) if is_dynamic(self.signature) else self._most_rows
            try:
                return self._run_blocks(arrays, count, rows)
            except Exception as error:  # The errors of the runtime have no base of their own.
                # A batch axis that is dynamic in name only: some later op is fixed to one row.
                if not is_dynamic(self.signature) or rows == 1:
                    raise _explain(self._path, error) from error
                self._most_rows = 1

    def placement(self) -> Placement:
        """Not read from the session."""
        return Placement((), "edgekit does not read from ONNX Runtime which op runs where")

    def close(self) -> None:
        """Frees the session."""
        self.invoke = self._closed
        self._native = None

    def _closed(self) -> None:
        raise AssertionError("the session is closed")

    def _nothing_to_repeat(self) -> None:
        raise AssertionError("nothing was run yet")

    def _rows_at_once(self) -> int:
        """The model's fixed batch, or as many rows as keep the inputs within bounds."""
        import numpy as np

        specs = self.signature.inputs
        for spec in specs:
            if not spec.shape:
                raise UsageError(
                    f"{self._path}: the input '{spec.name}' has no batch axis, or no shape at all",
                    hint="give the input a shape whose first axis is the batch, and export again",
                )
        if not is_dynamic(self.signature):
            return max(spec.shape[0] or 1 for spec in specs)
        sizes = [
            math.prod(n or 1 for n in spec.sample_shape) * np.dtype(spec.dtype).itemsize
            for spec in specs
        ]
        return max(1, min(_MOST_ROWS, _MOST_INPUT_BYTES // max(1, sum(sizes))))

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


def _creator(threads: int, needed_for: str) -> Callable[[str | bytes], Any]:
    """What makes a session: on the CPU alone, silent, and the same values in each run."""
    runtime = require("onnxruntime", extra="onnx", needed_for=needed_for)
    options = runtime.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.use_deterministic_compute = True
    return partial(
        runtime.InferenceSession,
        sess_options=options,
        providers=["CPUExecutionProvider"],
        enable_fallback=0,  # It would print what it does.
    )


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


def _explain(path: Path, error: Exception) -> UsageError:
    """One sentence for what the runtime raised; its own words where it says nothing known."""
    if isinstance(error, UsageError):
        return error
    text, runtime = str(error), f"ONNX Runtime {version('onnxruntime')}"
    if match := _UNKNOWN.search(text):
        kind = match["op"] or f"{match['domain']}.{match['custom']}"
        of = f" of opset {match['opset']}" if match["opset"] else ""
        return UsageError(
            f"{path}: the op '{kind}'{of} is not one that {runtime} has",
            hint="replace the op and export the model again, or update onnxruntime",
        )
    if match := _KERNEL.search(text):
        return UsageError(
            f"{path}: {runtime} has no CPU kernel for the op '{match[1]}' of opset {match[2]} "
            "with the dtypes that it has here",
            hint="export the model in float32, or update onnxruntime",
        )
    if match := _MISSING.search(text):
        name = Path(match[1]).name
        return UsageError(
            f"{path}: its external data '{name}' is missing", hint=f"put it beside {path.name}"
        )
    if match := _NEWER.search(text):
        what, has, most = (found.replace("Ops", "ops") for found in match.groups("") if found)
        return UsageError(
            f"{path}: has the {what} {has}, and {runtime} knows up to {most}",
            hint="update onnxruntime, or export the model with an older opset",
        )
    plain = _SOURCE.sub("", _PREFIX.sub("", text))
    lines = [line.strip() for line in plain.splitlines() if line.strip()]
    words = lines[0].rstrip(".") if lines else repr(error)
    return UsageError(f"{path}: {runtime} cannot run it: {words}")
