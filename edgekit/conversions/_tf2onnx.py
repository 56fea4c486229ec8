"""The engine tf2onnx: from a concrete function to a checked ONNX model."""

from __future__ import annotations

import contextlib
import importlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgekit.conversions._sorted_sets import sorted_sets
from edgekit.errors import PromiseError, UsageError
from edgekit.frameworks.keras import import_tensorflow, quiet
from edgekit.frameworks.onnx_files import all_graphs
from edgekit.lazy import require

__all__ = ["OPSETS", "trace_to_onnx"]

OPSETS = (13, 18)
"""The lowest has what int8 with a scale for each channel needs; the highest the engine's."""

_NEEDED_FOR = "converting Keras to ONNX"
_MOST_BYTES = 2**31 - 2**24
"""A protobuf message holds no more, and TensorFlow's frozen graph is one."""

_COUNTER = "INTERNAL_NAME"
_UNMAPPED, _BROKEN = "Tensorflow op [", "Failed to convert node"
_HINT = (
    "replace the op or its layer by others, or try another opset: "
    "`edgekit convert MODEL --conversion-options opset=18`"
)


def trace_to_onnx(
    function: Any, inputs: Sequence[str], outputs: Mapping[str, str], *, opset: int
) -> Any:
    """Converts a concrete function whose outputs are a dict; returns a ModelProto.

    `inputs` are the names for the inputs in their order, `outputs` the name for each output of the
    function. Raises:
        PromiseError: an op has no form in ONNX (op and place in the graph named).
        UsageError: the model is too large, or tf2onnx is not installed.
    """
    tensorflow = import_tensorflow(_NEEDED_FOR)
    size = sum(
        variable.dtype.size * variable.shape.num_elements() for variable in function.variables
    )
    if size > _MOST_BYTES:
        raise UsageError(
            f"has {size / 1e9:.1f} GB of weights, and a conversion from Keras takes up to "
            f"{_MOST_BYTES / 1e9:.1f} GB"
        )
    given = [item.name for item in function.inputs if item.dtype != tensorflow.resource]
    made = [item.name for item in function.outputs]
    renamed = dict(zip(given, inputs, strict=False))
    # A dict of outputs is flattened in the order of its keys.
    renamed |= {name: outputs[key] for name, key in zip(made, sorted(outputs), strict=True)}
    model = _converted(function, given, made, renamed, opset)
    _only_known_ops(model, opset)
    by_name = {value.name: value for value in model.graph.output}
    del model.graph.output[:]
    model.graph.output.extend(by_name[name] for name in outputs.values())
    return model


def _converted(
    function: Any, given: list[str], made: list[str], renamed: Mapping[str, str], opset: int
) -> Any:
    require("tf2onnx", extra="tensorflow", needed_for=_NEEDED_FOR)
    tensorflow = import_tensorflow(_NEEDED_FOR)
    failures: list[logging.LogRecord] = []
    with quiet(), _heard(failures), contextlib.ExitStack() as stack:
        optimizer, process_tf_graph, from_function = _engine()
        stack.enter_context(_counting_from_one())
        stack.enter_context(sorted_sets("tf2onnx"))
        try:
            frozen = from_function(function, given, made)
            with tensorflow.Graph().as_default() as graph, tensorflow.device("/cpu:0"):
                tensorflow.import_graph_def(frozen, name="")
                converted = process_tf_graph(
                    graph,
                    opset=opset,
                    input_names=given,
                    output_names=made,
                    tensors_to_rename=dict(renamed),
                    custom_op_handlers={"Erfc": (_erfc, [])},
                )
                return optimizer.optimize_graph(converted).make_model("")
        except Exception as error:  # It raises whatever an op's own converter does.
            raise _explain(error, failures, opset) from error


def _engine() -> tuple[Any, Any, Any]:
    optimizer = importlib.import_module("tf2onnx.optimizer")
    graphs = importlib.import_module("tf2onnx.tfonnx")
    loader = importlib.import_module("tf2onnx.tf_loader")
    return optimizer, graphs.process_tf_graph, loader.from_function


def _erfc(graph: Any, node: Any, name: str, _: Any) -> None:
    """1 - erf(x), which is in Keras's exact GELU, and which the engine does not know."""
    import numpy as np

    (kept,) = node.output
    shape, dtype = graph.get_shape(kept), graph.get_dtype(kept)
    values = graph.make_const(f"{name}_one", np.ones((), np.float32))
    inputs = list(node.input)
    graph.remove_node(node.name)
    erf = graph.make_node("Erf", inputs, name=f"{name}_erf", dtypes=[dtype], shapes=[shape])
    graph.make_node(
        "Sub",
        [values.output[0], erf.output[0]],
        name=name,
        outputs=[kept],
        dtypes=[dtype],
        shapes=[shape],
    )


@contextlib.contextmanager
def _heard(failures: list[logging.LogRecord]) -> Iterator[None]:
    """Collects the errors that the engine logs, and lets none of its messages out."""
    logger = logging.getLogger("tf2onnx")
    before = logger.handlers[:], logger.level, logger.propagate
    logger.handlers, logger.propagate = [_Collector(failures)], False
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.handlers, logger.level, logger.propagate = before


class _Collector(logging.Handler):
    def __init__(self, found: list[logging.LogRecord]) -> None:
        super().__init__(logging.ERROR)
        self._found = found

    def emit(self, record: logging.LogRecord) -> None:
        self._found.append(record)


@contextlib.contextmanager
def _counting_from_one() -> Iterator[None]:
    """The engine numbers names through a process; the same model must not depend on the earlier."""
    utils = importlib.import_module("tf2onnx.utils")
    before = utils.INTERNAL_NAME
    setattr(utils, _COUNTER, 1)
    try:
        yield
    finally:
        setattr(utils, _COUNTER, max(before, utils.INTERNAL_NAME))


def _explain(error: Exception, failures: Sequence[logging.LogRecord], opset: int) -> PromiseError:
    """One sentence for what the engine raised; the op and its place where it says so."""
    lost = [record.args for record in failures if str(record.msg).startswith(_UNMAPPED)]
    if lost:
        return _no_form([(str(item[0]), str(item[1])) for item in _tuples(lost)], opset)
    broken = [record.args for record in failures if str(record.msg).startswith(_BROKEN)]
    at = f" at '{_tuples(broken)[0][0]}'" if broken else ""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = lines[0][:300] if lines else repr(error)
    return PromiseError(f"tf2onnx failed{at}: {reason}", hint=_HINT)


def _tuples(items: Sequence[Any]) -> list[tuple[Any, ...]]:
    return [tuple(item) for item in items]


def _only_known_ops(model: Any, opset: int) -> None:
    """Raises PromiseError for ops that the engine left as they are in TensorFlow."""
    defs = require("onnx.defs", extra="onnx", needed_for=_NEEDED_FOR)
    known = {schema.name for schema in defs.get_all_schemas() if not schema.domain}
    lost = [
        (node.name, node.op_type)
        for graph in all_graphs(model)
        for node in graph.node
        if not node.domain and node.op_type not in known
    ]
    if lost:
        raise _no_form(lost, opset)


def _no_form(lost: Sequence[tuple[str, str]], opset: int) -> PromiseError:
    """Names each op with the first place it stands at."""
    places: dict[str, str] = {}
    for place, kind in lost:
        places.setdefault(kind, place)
    found = ", ".join(f"{kind} (at '{place}')" for kind, place in sorted(places.items()))
    return PromiseError(f"ONNX has no form in opset {opset} for: {found}", hint=_HINT)
