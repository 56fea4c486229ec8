"""Narrow weights without calibration: each op of a model rewritten, one tensor at a time.

The engine's own `quantize_dynamic` holds several copies of a model at once, and logs; this loop
holds one tensor. The graphs it makes are the engine's (DynamicQuantizeLinear, MatMulInteger,
MatMulNBits), so that the runtime fuses them in the same way.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.techniques.quantize import Parameters
from edgekit.techniques.quantize._onnx_blocks import pack_blocks
from edgekit.techniques.quantize._onnx_model import (
    Visit,
    array,
    drop_unused,
    few_values,
    float_weights,
    is_treated,
    op_name,
    require,
    unique,
    visits,
)
from edgekit.techniques.quantize._onnx_rewriter import Rewriter, attributes_of, copied, names_of
from edgekit.techniques.quantize._onnx_scales import narrow

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["rewrite"]

_MICROSOFT = "com.microsoft"
_CHANNEL_AXIS = {"Conv": 0, "ConvTranspose": 1, "GRU": 1, "LSTM": 1, "RNN": 1, "MatMul": -1}
_BLOCK = {"weight-only-int8": 128, "weight-only-int4": 32}
"""Values with a scale of their own. 32 for int8 made a sentence encoder larger (0.266 against
0.257 of the float file) and slower, with the same error."""


def rewrite(
    model: Any, parameters: Parameters, folder: Path, only: tuple[str, ...] | None = None
) -> None:
    """Makes the weights of every treated op narrow, in place; of the ops named `only` where it is
    not None. `folder` has the model's external data."""
    rewriter = Rewriter(parameters, folder, names_of(model))
    fresh: dict[int, tuple[Any, list[Any]]] = {}
    for visit in visits(model):
        graph, nodes = fresh.setdefault(id(visit.graph), (visit.graph, []))
        weights = float_weights(visit)
        treated = weights and is_treated(visit, parameters.op_types, parameters.skip)
        treated = treated and not few_values(visit)
        chosen = treated and (only is None or visit.name in only)
        nodes += _replace(rewriter, visit) if chosen else [visit.node]
    for graph, nodes in reversed(fresh.values()):
        made = [copied(node) for node in nodes]
        del graph.node[:]
        graph.node.extend(made)
    drop_unused(model, rewriter.replaced)
    if any(node.domain == _MICROSOFT for _, nodes in fresh.values() for node in nodes):
        _import(model, _MICROSOFT)


def _import(model: Any, domain: str) -> None:
    if all(item.domain != domain for item in model.opset_import):
        model.opset_import.add(domain=domain, version=1)


def _replace(rewriter: Rewriter, visit: Visit) -> list[Any]:
    """The nodes that take an op's place."""
    if visit.kind == "Gather":
        return _gather(rewriter, visit)
    kinds = () if rewriter.parameters.is_static else ("MatMul", "Gemm")
    if visit.kind in kinds and _is_plain(visit):
        return _matmul(rewriter, visit)
    return _dequantized(rewriter, visit)


def _is_plain(visit: Visit) -> bool:
    """A product with a matrix, which the integer kernels take."""
    return len(visit.scope[visit.node.input[1]].dims) == 2 and not attributes_of(visit.node).get(
        "transA"
    )


def _matrix(rewriter: Rewriter, visit: Visit) -> Any:
    """The weights as (inputs, outputs), times Gemm's alpha."""
    values: Any = array(visit.scope[visit.node.input[1]], rewriter.folder)
    attributes = attributes_of(visit.node)
    values = values.T if attributes.get("transB") else values
    alpha = attributes.get("alpha", 1.0)
    return values if alpha == 1.0 else values * values.dtype.type(alpha)


def _matmul(rewriter: Rewriter, visit: Visit) -> list[Any]:
    node, rest = visit.node, _bias(rewriter, visit)
    is_dynamic = rewriter.parameters.scheme == "dynamic-int8"
    nodes = (_integer if is_dynamic else _blocked)(rewriter, visit)
    rewriter.replaced.add(node.input[1])
    if rest:
        made = rewriter.node("Add", (nodes[-1].output[0], rest[0]), f"{op_name(node)}_bias_add")
        nodes = [*rest[1], *nodes, made]
    nodes[-1].output[0] = node.output[0]
    return nodes


def _bias(rewriter: Rewriter, visit: Visit) -> tuple[str, list[Any]] | None:
    """Gemm's third input times beta: the name, and the nodes that make it."""
    node, beta = visit.node, attributes_of(visit.node).get("beta", 1.0)
    if visit.kind != "Gemm" or len(node.input) < 3 or not node.input[2] or not beta:
        return None
    if beta == 1.0:
        return str(node.input[2]), []
    import numpy as np

    factor = rewriter.add(visit.graph, f"{op_name(node)}_beta", np.array(beta, np.float32))
    made = rewriter.node("Mul", (node.input[2], factor), f"{op_name(node)}_bias")
    return str(made.output[0]), [made]


def _layout(visit: Visit) -> str:
    """What tells two uses of one weight apart: other values, or other axes."""
    shown = {key: v for key, v in attributes_of(visit.node).items() if key in ("transB", "alpha")}
    return f"{visit.kind} {sorted(shown.items())}"


def _integer(rewriter: Rewriter, visit: Visit) -> list[Any]:
    """DynamicQuantizeLinear, MatMulInteger, and the product of both scales."""
    name = op_name(visit.node)
    weight, scale, zero = _narrow_matrix(rewriter, visit)
    data, data_scale, data_zero, nodes = _dynamic(rewriter, visit)
    product = rewriter.node("MatMulInteger", (data, weight, data_zero, zero), f"{name}_quant")
    as_float = rewriter.node("Cast", product.output, f"{name}_quant_cast", to=1)
    scales = rewriter.node("Mul", (data_scale, scale), f"{name}_quant_scales")
    ends = (as_float.output[0], scales.output[0])
    scaled = rewriter.node("Mul", ends, f"{name}_quant_scaled")
    return [*nodes, product, as_float, scales, scaled]


def _dynamic(rewriter: Rewriter, visit: Visit) -> tuple[str, str, str, list[Any]]:
    """The uint8 form of the op's input, made once for all ops of a graph that read it."""
    data = str(visit.node.input[0])
    key = id(visit.graph), data
    if key in rewriter.activations:
        found = rewriter.activations[key]
        return found[0], found[1], found[2], []
    outputs = [
        unique(f"{data}_{end}", rewriter.taken) for end in ("quantized", "scale", "zero_point")
    ]
    name = unique(f"{data}_QuantizeLinear", rewriter.taken)
    node = require("onnx.helper").make_node("DynamicQuantizeLinear", [data], outputs, name)
    rewriter.activations[key] = tuple(outputs)
    return outputs[0], outputs[1], outputs[2], [node]


def _narrow_matrix(rewriter: Rewriter, visit: Visit) -> tuple[str, str, str]:
    """int8 values, scales and zero points of a matrix, made once for each layout of it."""
    weight = str(visit.node.input[1])
    key = id(visit.graph), weight, _layout(visit)
    if key not in rewriter.made:
        chosen = 1 if rewriter.parameters.per_channel else None
        values = _matrix(rewriter, visit)
        rewriter.made[key] = _add_narrow(rewriter, visit, weight, values, chosen)
    name, scale, zero = rewriter.made[key]
    return name, scale, zero


def _add_narrow(
    rewriter: Rewriter, visit: Visit, weight: str, values: Array, axis: int | None
) -> tuple[str, str, str]:
    import numpy as np

    found, scales = narrow(values, axis)
    zeros = np.zeros(scales.shape, np.int8)
    return (
        rewriter.add(visit.graph, f"{weight}_quantized", found),
        rewriter.add(visit.graph, f"{weight}_scale", scales),
        rewriter.add(visit.graph, f"{weight}_zero_point", zeros),
    )


def _blocked(rewriter: Rewriter, visit: Visit) -> list[Any]:
    """MatMulNBits, com.microsoft: each block of a column has a scale of its own."""
    node, name = visit.node, op_name(visit.node)
    scheme = rewriter.parameters.scheme
    bits, block = (4 if scheme == "weight-only-int4" else 8), _BLOCK[scheme]
    weight = str(node.input[1])
    key = id(visit.graph), weight, _layout(visit)
    values = _matrix(rewriter, visit)
    if key not in rewriter.made:
        parts = pack_blocks(values, bits=bits, block=block)
        ends = (f"{bits}bit", "scales", "zero_points")
        rewriter.made[key] = tuple(
            rewriter.add(visit.graph, f"{weight}_{end}", part)
            for end, part in zip(ends, parts, strict=True)
        )
    return [
        rewriter.node(
            "MatMulNBits",
            (node.input[0], *rewriter.made[key]),
            f"{name}_{bits}bit",
            domain=_MICROSOFT,
            K=values.shape[0],
            N=values.shape[1],
            bits=bits,
            block_size=block,
        )
    ]


def _gather(rewriter: Rewriter, visit: Visit) -> list[Any]:
    """Rows are taken as int8 and only those become float: a table is never float as a whole."""
    node, name = visit.node, op_name(visit.node)
    weight, indices = str(node.input[0]), str(node.input[1])
    axis = attributes_of(node).get("axis", 0)
    by_row = rewriter.parameters.per_channel and axis == 0
    key = id(visit.graph), weight, f"Gather {by_row}"
    if key not in rewriter.made:
        values = array(visit.scope[weight], rewriter.folder)
        found, scales = narrow(values, 0 if by_row else None)
        if by_row:
            scales = scales.reshape(-1, *[1] * (values.ndim - 1))
        rewriter.made[key] = (
            rewriter.add(visit.graph, f"{weight}_quantized", found),
            rewriter.add(visit.graph, f"{weight}_scale", scales),
        )
    table, scale = rewriter.made[key]
    rewriter.replaced.add(weight)
    rows = rewriter.node("Gather", (table, indices), f"{name}_quant", axis=axis)
    rows.name = name
    as_float = rewriter.node("Cast", rows.output, f"{name}_quant_cast", to=1)
    nodes = [rows, as_float]
    if by_row:
        nodes.append(rewriter.node("Gather", (scale, indices), f"{name}_quant_scale", axis=0))
        scale = nodes[-1].output[0]
    ends = (as_float.output[0], scale)
    nodes.append(rewriter.node("Mul", ends, f"{name}_quant_scaled"))
    nodes[-1].output[0] = node.output[0]
    return nodes


def _dequantized(rewriter: Rewriter, visit: Visit) -> list[Any]:
    """Weights stored int8 and made float again before the op: small, near the float speed.

    A convolution with dynamic ranges (ConvInteger) is several times slower than the float one.
    """
    made, nodes = copied(visit.node), []
    for weight in float_weights(visit):
        values = array(visit.scope[weight], rewriter.folder)
        axis = _CHANNEL_AXIS[visit.kind] % values.ndim if visit.kind in _CHANNEL_AXIS else None
        if visit.kind == "Gemm":
            axis = 0 if attributes_of(visit.node).get("transB") else 1
        chosen = axis if rewriter.parameters.per_channel else None
        key = id(visit.graph), weight, f"axis {chosen}"
        if key not in rewriter.made:
            narrow_names = _add_narrow(rewriter, visit, weight, values, chosen)
            node = rewriter.node(
                "DequantizeLinear",
                narrow_names,
                f"{weight}_dequantized",
                **({} if chosen is None else {"axis": chosen}),
            )
            rewriter.made[key] = (str(node.output[0]),)
            nodes.append(node)
        rewriter.replaced.add(weight)
        place = list(made.input).index(weight)
        made.input[place] = rewriter.made[key][0]
    return [*nodes, made]
