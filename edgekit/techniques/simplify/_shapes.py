"""Infers dtype and shape of what flows between nodes, on a copy without the weights."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Iterator
from typing import Any

from edgekit.techniques.simplify._graph import light_copy

__all__ = ["infer_shapes"]

_SHOWN = 3


def infer_shapes(model: Any, report: Callable[[str, str], None]) -> Any:
    """Writes the shapes into the model; what stays open is reported.

    Raises:
        Exception: whatever the plain inference raises.
    """
    from onnx import shape_inference

    light = light_copy(model)
    found = shape_inference.infer_shapes(light, data_prop=True)
    known = {value.name: value for value in found.graph.value_info if _is_known(value)}
    outputs = {value.name for value in model.graph.output}
    wanted = [n for node in model.graph.node for n in node.output if n and n not in outputs]
    missing = [name for name in wanted if name not in known]
    if missing:
        known = {**_symbolic(light, report), **known}
        missing = [name for name in wanted if name not in known]
    if missing:
        shown = ", ".join(missing[:_SHOWN]) + (" ..." if len(missing) > _SHOWN else "")
        report(f"{len(missing)} of {len(wanted)} values", f"no shape was found for {shown}")
    del model.graph.value_info[:]
    model.graph.value_info.extend(known[name] for name in wanted if name in known)
    return model


def _is_known(value: Any) -> bool:
    """A value that is no tensor has no shape to be found."""
    held, kind = value.type.WhichOneof("value"), value.type.tensor_type
    if held != "tensor_type":
        return held is not None
    return bool(kind.elem_type and kind.HasField("shape"))


def _symbolic(light: Any, report: Callable[[str, str], None]) -> dict[str, Any]:
    """What ONNX Runtime's symbolic inference finds, as far as it comes.

    Its one public function is not called: where it stops half-way, that writes a file into the
    current folder.
    """
    try:
        from onnxruntime.tools.symbolic_shape_infer import SymbolicShapeInference

        with _silent("onnxruntime.tools.symbolic_shape_infer"):
            engine = SymbolicShapeInference(2**31 - 1, True, False, 0)
            engine._preprocess(light)
            while engine.run_:
                engine._infer_impl()
            engine._update_output_from_vi()
        values = engine.out_mp_.graph.value_info
    except ModuleNotFoundError as error:
        report("symbolic shapes", f"the package '{error.name}' is not installed")
        return {}
    except Exception as error:  # It raises what Python and sympy raise on a rule that fails.
        lines = str(error).splitlines() or [""]
        report("symbolic shapes", f"{type(error).__name__}: {lines[0][:200]}")
        return {}
    return {value.name: value for value in values if _is_known(value)}


@contextlib.contextmanager
def _silent(name: str) -> Iterator[None]:
    logger = logging.getLogger(name)
    was, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = was
