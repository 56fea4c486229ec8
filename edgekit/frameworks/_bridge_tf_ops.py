"""TensorFlow operations inside tf_keras models, as operations of Keras 3."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgekit.frameworks._bridge_values import NoCounterpartError
from edgekit.frameworks._quiet import import_keras

__all__ = ["is_op", "keras_op"]

_CARRIED = "Keras3Operation"
_OP_TYPES = frozenset({"TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer", _CARRIED})

_SAME: Mapping[str, str] = {
    **{name: name for name in ("expand_dims", "identity", "maximum", "minimum", "tile")},
    **{f"math.{name}": name for name in ("abs", "add", "divide", "exp", "log", "maximum")},
    **{f"math.{name}": name for name in ("minimum", "multiply", "negative", "rsqrt", "sigmoid")},
    **{f"math.{name}": name for name in ("softplus", "sqrt", "square", "subtract", "tanh")},
    **{f"math.{name}": name for name in ("cos", "erf", "floor", "sin", "not_equal", "equal")},
    **{f"nn.{name}": name for name in ("elu", "relu", "relu6", "selu", "silu", "softplus")},
    **{f"nn.{name}": name for name in ("sigmoid", "softsign", "tanh")},
    **{name: name for name in ("stop_gradient", "zeros_like", "ones_like")},
    "__operators__.add": "add",
    "linalg.matmul": "matmul",
    "math.floordiv": "floor_divide",
    "math.pow": "power",
    "math.truediv": "true_divide",
    "nn.swish": "silu",
}
"""Functions of TensorFlow and of keras.ops with the same meaning and order of arguments."""

_GRAPH_OPS: Mapping[str, str] = {
    "Add": "add",
    "AddV2": "add",
    "Mul": "multiply",
    "Sub": "subtract",
    "RealDiv": "true_divide",
    "Maximum": "maximum",
    "Minimum": "minimum",
    "Relu": "relu",
    "Relu6": "relu6",
    "Sigmoid": "sigmoid",
    "Tanh": "tanh",
}


def is_op(layer: Any) -> bool:
    """True for a tf_keras layer that is one call of TensorFlow."""
    return type(layer).__name__ in _OP_TYPES or _is_hard_sigmoid(layer)


def keras_op(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> Any:
    """Calls what stands for the operation on Keras 3 tensors, by that name.

    Raises:
        NoCounterpartError: it is none of the functions that are known here.
    """
    tree = import_keras("the bridge").tree
    given = {id(each) for each in tree.flatten((args, kwargs))}
    outputs = _call(layer, args, kwargs)
    _rename(tree.flatten(outputs), given, name)
    return outputs


def _rename(outputs: list[Any], given: set[int], name: str) -> None:
    """Names the operations between `given` and `outputs`: theirs may be those of other layers."""
    todo, found = list(outputs), list[Any]()
    while todo:
        tensor = todo.pop(0)
        operation = tensor._keras_history[0]
        if id(tensor) not in given and operation not in found:
            found.append(operation)
            todo += operation._inbound_nodes[-1].input_tensors
    for number, operation in enumerate(found):
        operation.name = f"{name}_{number}" if number else name


def _call(layer: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    ops = import_keras("the bridge").ops
    kwargs = {key: value for key, value in kwargs.items() if key != "name"}
    if _is_hard_sigmoid(layer):
        return ops.clip(args[0] * 0.2 + 0.5, 0.0, 1.0)
    if type(layer).__name__ == _CARRIED:
        return layer.call(*args)
    if type(layer).__name__ == "TensorFlowOpLayer":
        return _graph_op(layer, args[0])
    symbol = str(layer.symbol).removeprefix("compat.v1.")
    call = _special(ops).get(symbol)
    try:
        if call is not None:
            return call(*args, **kwargs)
        if symbol in _SAME:
            function = getattr(ops, _SAME[symbol])
            return _same(function, args, kwargs)
    except TypeError as error:
        raise NoCounterpartError(f"the function '{layer.symbol}' with these options") from error
    raise NoCounterpartError(f"the function '{layer.symbol}'")


def _same(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """With the tensors by position: their names differ between TensorFlow and Keras."""
    options = {key: value for key, value in kwargs.items() if key in ("axis", "repeats")}
    tensors = [value for key, value in kwargs.items() if key not in options]
    return function(*args, *tensors, **options)


def _graph_op(layer: Any, inputs: Any) -> Any:
    """A node of a graph, as TensorFlow 2.0 to 2.3 wrote them; its constants lie in the layer."""
    ops, kind = import_keras("the bridge").ops, layer.node_def.op
    if kind not in _GRAPH_OPS:
        raise NoCounterpartError(f"the op '{kind}'")
    values = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
    for position, constant in sorted(layer.constants.items()):
        values.insert(int(position), constant)
    return getattr(ops, _GRAPH_OPS[kind])(*values)


def _is_hard_sigmoid(layer: Any) -> bool:
    """The activation layer whose function Keras 3 has only with another slope."""
    function = getattr(layer, "activation", None)
    own = type(layer).__name__ == "Activation"
    return own and getattr(function, "__name__", "") == "hard_sigmoid"


def _special(ops: Any) -> dict[str, Callable[..., Any]]:
    """Functions whose arguments TensorFlow names or orders in another way than keras.ops."""

    def reduce(name: str) -> Callable[..., Any]:
        def reduced(input_tensor: Any, axis: Any = None, keepdims: bool = False) -> Any:
            return getattr(ops, name)(input_tensor, axis=axis, keepdims=keepdims)

        return reduced

    def getitem(tensor: Any, slice_spec: Any) -> Any:
        many = isinstance(slice_spec, (list, tuple))
        return tensor[tuple(map(_slice, slice_spec)) if many else _slice(slice_spec)]

    def pad(
        tensor: Any, paddings: Any, mode: str = "CONSTANT", *last: Any, constant_values: Any = 0
    ) -> Any:
        """In TensorFlow 1 a name stood before the value."""
        value = last[-1] if last else constant_values
        constant = value if mode.upper() == "CONSTANT" else None
        return ops.pad(tensor, paddings, mode.lower(), constant)

    return {
        "math.reduce_mean": reduce("mean"),
        "math.reduce_sum": reduce("sum"),
        "math.reduce_max": reduce("max"),
        "math.reduce_min": reduce("min"),
        "__operators__.getitem": getitem,
        "pad": pad,
        "squeeze": lambda x, axis=None, *_: ops.squeeze(x, axis and tuple(axis)),
        "reshape": lambda tensor, shape: ops.reshape(tensor, tuple(shape)),
        "transpose": lambda a, perm=None, conjugate=False: ops.transpose(a, axes=perm),
        "concat": lambda values, axis: ops.concatenate(values, axis=axis),
        "stack": lambda values, axis=0: ops.stack(values, axis=axis),
        "split": lambda value, num_or_size_splits, axis=0: _split(
            ops, value, num_or_size_splits, axis
        ),
        "cast": lambda x, dtype: ops.cast(x, getattr(dtype, "name", dtype)),
        "clip_by_value": lambda t, clip_value_min, clip_value_max: ops.clip(
            t, clip_value_min, clip_value_max
        ),
        "nn.softmax": lambda logits, axis=-1: ops.softmax(logits, axis=axis),
        "nn.log_softmax": lambda logits, axis=-1: ops.log_softmax(logits, axis=axis),
        "nn.leaky_relu": lambda features, alpha=0.2: ops.leaky_relu(features, alpha),
        "nn.gelu": lambda features, approximate=False: ops.gelu(features, approximate),
    }


def _split(ops: Any, value: Any, parts: Any, axis: int) -> Any:
    """keras.ops.split takes a count, or the places to cut at instead of the sizes."""
    if isinstance(parts, int):
        return ops.split(value, parts, axis=axis)
    cuts = [sum(parts[: index + 1]) for index in range(len(parts) - 1)]
    return ops.split(value, cuts, axis=axis)


def _slice(part: Any) -> Any:
    return slice(part["start"], part["stop"], part["step"]) if isinstance(part, dict) else part
