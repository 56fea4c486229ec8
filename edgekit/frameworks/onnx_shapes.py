"""Input shapes of ONNX models: inferred through the graph, fixed where they are open."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgekit import lazy
from edgekit.errors import UsageError, did_you_mean
from edgekit.frameworks import onnx_files
from edgekit.frameworks._onnx_save import shell
from edgekit.frameworks._onnx_tensors import external_span, read_span

__all__ = ["infer", "inputs_of", "parse_shapes", "shape_text", "with_shapes"]

_SIZES = re.compile(r"[0-9]+(?:x[0-9]+)*")
_MAX_SIZE = 2**20
_MAX_RANK = 8
_SMALL = 1 << 16
_MOST_BYTES = 1 << 30
_NAMELESS = frozenset({"", "?", "*", "-1", "None", "none", "unknown"})
"""What exporters write for any size; two axes called so need not be alike."""
_FORM = "write it as --input NAME=1x3x224x224"


def parse_shapes(texts: Sequence[str]) -> dict[str, tuple[int, ...]]:
    """Reads `name=1x3x224x224`, one text an input; the name may have '=' in it.

    Raises:
        UsageError: a text that is none, a size or rank that no model has, an input named twice.
    """
    found: dict[str, tuple[int, ...]] = {}
    for text in texts:
        name, _, sizes = text.rpartition("=")
        if not name or not _SIZES.fullmatch(sizes):
            raise UsageError(f"--input '{text}' is no name with a shape", hint=_FORM)
        if name in found:
            raise UsageError(f"--input '{text}' names the input '{name}' a second time")
        numbers = sizes.split("x")
        if len(numbers) > _MAX_RANK:
            raise UsageError(
                f"--input '{text}' has {len(numbers)} sizes, and {_MAX_RANK} are the most"
            )
        for number in numbers:
            if len(number) > len(str(_MAX_SIZE)) or not 1 <= int(number) <= _MAX_SIZE:
                raise UsageError(
                    f"--input '{text}' has the size {number[:20]}, which is not from 1 to "
                    f"{_MAX_SIZE}"
                )
        found[name] = tuple(map(int, numbers))
    return found


def shape_text(shape: Sequence[int | str | None]) -> str:
    """A shape as `--input` takes it, '?' where it is open."""
    return "x".join("?" if size is None else str(size) for size in shape) or "scalar"


def with_shapes(path: Path, shapes: Mapping[str, tuple[int, ...]], output: Path) -> None:
    """Writes the model with these input shapes; what follows from them is inferred again.

    A dimension with a name has the same size everywhere in the model.

    Raises:
        UsageError: no such input, another rank, a size that contradicts a fixed one or another
            input's.
    """
    model = onnx_files.load(path)
    inputs = {value.name: value for value in inputs_of(model)}
    named: dict[str, tuple[int, str]] = {}
    for name, shape in shapes.items():
        if name not in inputs:
            raise UsageError(
                f"--input '{name}': {path.name} has no such input", hint=did_you_mean(name, inputs)
            )
        _fix(inputs[name], shape, named)
    _fix_named(model, {param: size for param, (size, _) in named.items()})
    _infer_again(model, path.parent)
    onnx_files.save(model, output, folder=path.parent)


def inputs_of(model: Any) -> list[Any]:
    """The inputs that a caller gives: old models list their weights among them."""
    weights = {tensor.name for tensor in model.graph.initializer}
    weights |= {sparse.values.name for sparse in model.graph.sparse_initializer}
    return [value for value in model.graph.input if value.name not in weights]


def _fix(value: Any, shape: tuple[int, ...], named: dict[str, tuple[int, str]]) -> None:
    """Sets the sizes of one input; `named` gathers the sizes of names, and who gave them."""
    given = f"--input '{value.name}={shape_text(shape)}'"
    if value.type.WhichOneof("value") != "tensor_type":
        raise UsageError(f"{given}: that input is no tensor, and has no shape")
    kind = value.type.tensor_type
    if not kind.HasField("shape"):
        for _ in shape:
            kind.shape.dim.add()
    dims = kind.shape.dim
    own = shape_text([_size(dim) for dim in dims])
    if len(dims) != len(shape):
        raise UsageError(
            f"{given} has {len(shape)} sizes, and the input has {len(dims)}", hint=f"it is {own}"
        )
    for axis, (dim, size) in enumerate(zip(dims, shape, strict=True)):
        fixed = _size(dim)
        if fixed is not None and fixed != size:
            raise UsageError(
                f"{given}: axis {axis} of the input is fixed to {fixed}", hint=f"it is {own}"
            )
        if dim.dim_param not in _NAMELESS:
            other, whose = named.setdefault(dim.dim_param, (size, given))
            if other != size:
                raise UsageError(
                    f"{given}: axis {axis} is called '{dim.dim_param}', which {whose} sets to "
                    f"{other}",
                    hint="axes with one name have one size",
                )
        dim.dim_value = size


def _size(dim: Any) -> int | None:
    return dim.dim_value if dim.HasField("dim_value") and dim.dim_value >= 0 else None


def _fix_named(model: Any, sizes: Mapping[str, int]) -> None:
    for graph in onnx_files.all_graphs(model):
        for value in (*graph.input, *graph.output, *graph.value_info):
            for dim in value.type.tensor_type.shape.dim if _is_shaped(value) else ():
                if dim.dim_param in sizes:
                    dim.dim_value = sizes[dim.dim_param]


def _is_shaped(value: Any) -> bool:
    is_tensor = value.type.WhichOneof("value") == "tensor_type"
    return bool(is_tensor and value.type.tensor_type.HasField("shape"))


def _infer_again(model: Any, folder: Path) -> None:
    """Puts the shapes that follow now in place of the old ones, in the main graph."""
    inferred, _ = infer(model, folder)
    for field in ("value_info", "output"):
        known = getattr(model.graph, field)
        del known[:]
        known.extend(getattr(inferred.graph, field))


def infer(model: Any, folder: Path) -> tuple[Any, str]:
    """A copy of the model without its big values and with all shapes that follow, or why not.

    Where inference fails, the copy has the shapes that the model says itself.
    """
    inference = lazy.require("onnx.shape_inference", extra="onnx", needed_for="an ONNX model")
    light = shell(model, keeps=lambda tensor: tensor.ByteSize() < _SMALL)
    for tensor in onnx_files.all_tensors(light):
        if onnx_files.is_external(tensor) and 0 < _length(tensor) < _SMALL:
            # Inference looks into tensors that hold shapes, and cannot open files.
            tensor.raw_data = read_span(external_span(tensor, folder))
            tensor.ClearField("external_data")
            tensor.ClearField("data_location")
    if light.ByteSize() > _MOST_BYTES:
        return light, "shapes were not inferred: the model is too big without its initializers"
    problem = ""
    for look_at_values in (True, False):
        try:
            return inference.infer_shapes(light, data_prop=look_at_values), ""
        except Exception as error:  # Whatever the engine of onnx raises: shapes are a help.
            problem = problem or str(error).strip().partition("\n")[0][:200]
    return light, f"shapes could not be inferred: {problem}"


def _length(tensor: Any) -> int:
    return onnx_files.external_info(tensor)[2]
