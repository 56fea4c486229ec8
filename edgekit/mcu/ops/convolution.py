"""CONV_2D and DEPTHWISE_CONV_2D, with one scale for all filters or one for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgekit.mcu._code import Code
from edgekit.mcu._fixed_point import INT32_MAX, quantize_multiplier
from edgekit.mcu._graph import Activation, Node
from edgekit.mcu.ops._ranges import Window, activation_range

if TYPE_CHECKING:
    from edgekit.core.data import Array
    from edgekit.frameworks.tflite import Tensor

__all__ = ["bias", "conv_2d", "depthwise_conv_2d", "filter_scales"]


def conv_2d(node: Node, code: Code) -> None:
    """Filters of [outputs, height, width, depth]; a depth below the input's makes groups."""
    source = _image(node)
    tensor, weights = _filters(node)
    count, height, width, depth = weights.shape
    groups, rest = divmod(source.shape[3], depth)
    if rest or count % max(groups, 1):
        node.refuse(f"has filters {list(weights.shape)} on an input {list(source.shape)}")
    windows = _windows(node, source, (height, width), dilation_slots=(5, 4))
    common, output = _common(node, source, count, windows, activation_slot=3)
    code.call(
        "ek_conv_2d",
        "ek_conv_2d",
        code.struct(
            "EkConv2d",
            {
                **common,
                "groups": groups,
                **_constants(node, code, source, output, tensor, weights.reshape(count, -1)),
            },
        ),
        code.place(source),
        code.place(output),
    )


def depthwise_conv_2d(node: Node, code: Code) -> None:
    """Filters of [1, height, width, outputs]: `multiplier` of them on each input channel."""
    source = _image(node)
    tensor, weights = _filters(node)
    one, height, width, count = weights.shape
    multiplier, rest = divmod(count, source.shape[3])
    if one != 1 or rest or node.options.integer(3) not in (0, multiplier):
        node.refuse(f"has filters {list(weights.shape)} on an input {list(source.shape)}")
    windows = _windows(node, source, (height, width), dilation_slots=(6, 5))
    common, output = _common(node, source, count, windows, activation_slot=4)
    columns = weights.reshape(-1, count).T
    code.call(
        "ek_depthwise_conv_2d",
        "ek_depthwise_conv_2d",
        code.struct(
            "EkConv2d",
            {
                **common,
                "groups": source.shape[3],
                **_constants(node, code, source, output, tensor, columns),
                "weights": code.constant("int8_t", weights.ravel().tolist()),
            },
        ),
        code.place(source),
        code.place(output),
    )


def _image(node: Node) -> Activation:
    source = node.input(0)
    if len(source.shape) != 4:
        node.refuse(f"has the input {list(source.shape)}, where an image of 4 axes is understood")
    return source


def _filters(node: Node) -> tuple[Tensor, Array]:
    tensor, weights = node.constant(1, ("int8",))
    if weights.ndim != 4 or not weights.size:
        node.refuse(f"has filters {list(weights.shape)}, where 4 axes are understood")
    return tensor, weights


def _windows(
    node: Node, source: Activation, sizes: tuple[int, int], *, dilation_slots: tuple[int, int]
) -> dict[str, tuple[int, int, int, Window]]:
    """For each axis: filter size, stride, dilation, and the window that they make."""
    padding = node.options.integer(0, "b")
    found = {}
    for axis, name, stride_slot, dilation_slot in (
        (0, "height", 2, dilation_slots[0]),
        (1, "width", 1, dilation_slots[1]),
    ):
        stride = node.positive(stride_slot, f"stride in {name}")
        dilation = node.positive(dilation_slot, f"dilation in {name}", 1)
        window = Window(
            node,
            padding,
            size=source.shape[1 + axis],
            filter=sizes[axis],
            stride=stride,
            dilation=dilation,
        )
        found[name] = (sizes[axis], stride, dilation, window)
    return found


def _common(
    node: Node,
    source: Activation,
    count: int,
    windows: dict[str, tuple[int, int, int, Window]],
    *,
    activation_slot: int,
) -> tuple[dict[str, object], Activation]:
    shape = (source.shape[0], *(windows[name][3].outputs for name in ("height", "width")), count)
    output = node.output(shape)
    low, high = activation_range(node, activation_slot, output)
    fields: dict[str, object] = {"batches": source.shape[0]}
    for axis, name in enumerate(("height", "width"), start=1):
        size, stride, dilation, window = windows[name]
        fields[f"input_{name}"] = source.shape[axis]
        fields[f"output_{name}"] = window.outputs
        fields[f"filter_{name}"] = size
        fields[f"stride_{name}"] = stride
        fields[f"dilation_{name}"] = dilation
        fields[f"padding_{name}"] = window.front
    return {
        **fields,
        "input_depth": source.shape[3],
        "output_depth": count,
        "input_offset": -source.zero_point,
        "output_offset": output.zero_point,
        "low": low,
        "high": high,
    }, output


def _constants(
    node: Node, code: Code, source: Activation, output: Activation, tensor: Tensor, rows: Array
) -> dict[str, object]:
    """Weights, biases and multipliers; `rows` has the weights of each output channel."""
    scales = filter_scales(node, tensor, len(rows), axis=0 if node.kind == "CONV_2D" else 3)
    if any(tensor.quantization.zero_points if tensor.quantization else ()):
        node.refuse("has filters with a zero point", hint="quantize the weights symmetrically")
    biases = bias(node, len(rows))
    fixed = [quantize_multiplier(source.scale * scale / output.scale) for scale in scales]
    _check_sums(node, rows, biases, [max(shift, 0) for _, shift in fixed])
    return {
        "weights": code.constant("int8_t", rows.ravel().tolist()),
        "biases": code.constant("int32_t", biases),
        "multipliers": code.constant("int32_t", [multiplier for multiplier, _ in fixed]),
        "shifts": code.constant("int8_t", [shift for _, shift in fixed]),
    }


def filter_scales(node: Node, tensor: Tensor, count: int, *, axis: int) -> list[float]:
    """The scale of each filter; one for all of them is repeated."""
    quantization = tensor.quantization
    scales = quantization.scales if quantization and not quantization.details else ()
    if len(scales) not in (1, count) or not all(0 < scale < float("inf") for scale in scales):
        node.refuse(f"has {len(scales)} scales for {count} filters")
    if len(scales) > 1 and quantization and quantization.axis != axis:
        node.refuse(f"has filters with scales along axis {quantization.axis}, where {axis} is")
    return list(scales) * (count if len(scales) == 1 else 1)


def bias(node: Node, count: int) -> list[int]:
    """The bias of each output; 0 where the op has none."""
    if not node.has_input(2):
        return [0] * count
    _, values = node.constant(2, ("int32",))
    if values.size != count:
        node.refuse(f"has {values.size} biases for {count} outputs")
    return [int(value) for value in values.ravel()]


def _check_sums(node: Node, rows: Array, biases: Sequence[int], shifts: Sequence[int]) -> None:
    """Refuses sums that leave 32 bits, where the reference kernels have no defined answer."""
    import numpy as np

    sums = 255 * np.abs(rows.astype(np.int64)).sum(axis=1) + np.abs(np.array(biases, np.int64))
    for total, shift in zip(sums.tolist(), shifts, strict=True):
        if total << min(shift, 32) > INT32_MAX:
            node.refuse(
                "can add up to more than 32 bits hold", hint="its scales or biases are damaged"
            )
