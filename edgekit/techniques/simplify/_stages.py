"""The stages in their order: each takes a model and returns the one to go on with, or raises."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.frameworks import onnx_files
from edgekit.frameworks.onnx_words import runtime_words
from edgekit.techniques.simplify import Parameters
from edgekit.techniques.simplify._fold import fold
from edgekit.techniques.simplify._graph import (
    constants_to_initializers,
    drop_unused,
    light_copy,
    name_nodes,
    take_over,
)
from edgekit.techniques.simplify._shapes import infer_shapes
from edgekit.techniques.simplify._transposed import fold_transposed

__all__ = ["RAISE", "Report", "Stage", "first_line", "stages"]

Report = Callable[[str, str], None]
"""Takes an item and a reason: what a stage did in another way."""

_LEAST_OPSET = 13
"""Where quantization can have one scale a channel."""
RAISE = "raise the opset"
_LONGEST = 200


@dataclass(frozen=True)
class Stage:
    """`name` is what notes call it; `act` must leave the model as it was where it raises."""

    name: str
    act: Callable[[Any, Path, Report], Any]


def stages(parameters: Parameters, *, quantized: bool, large: bool) -> tuple[Stage, ...]:
    """What is to be done to a model."""
    named = Stage("name nodes", lambda model, *_: name_nodes(model))
    unused = Stage("drop unused nodes", lambda model, *_: drop_unused(model))
    if quantized:
        return (unused, named)
    found = [
        Stage("fold Constant nodes", lambda model, *_: _fold_constants(model)),
        Stage(RAISE, lambda model, _, report: _raise_opset(model, parameters.opset, report)),
    ]
    if parameters.fold and not large:
        found.append(Stage("fold transposed", lambda model, *_: fold_transposed(model)))
        found.append(Stage("fold", lambda model, folder, _: fold(model, folder)))
    found.append(unused)
    if parameters.infer_shapes:
        found.append(Stage("infer shapes", lambda model, _, report: infer_shapes(model, report)))
    return (*found, named)


def _fold_constants(model: Any) -> Any:
    if model.functions:
        from onnx import inliner

        light = light_copy(model)
        take_over(model, inliner.inline_local_functions(light))
    return constants_to_initializers(model)


def _raise_opset(model: Any, wanted: int, report: Report) -> Any:
    """By onnx's converter, which is tried on a copy without the weights.

    Raises:
        Exception: whatever the converter raises on the last opset that is worth a try.
    """
    present = onnx_files.opset(model)
    if present >= wanted:
        return model
    tried = sorted({wanted, max(present + 1, _LEAST_OPSET)}, reverse=True)
    for number, opset in enumerate(tried, 1):
        try:
            light = _converted(light_copy(model), opset)
        except Exception as error:  # The converter's errors have no base of their own.
            if number == len(tried):
                raise
            report(f"opset {opset}", first_line(error))
            continue
        take_over(model, light)
        model.ir_version = max(model.ir_version, _ir_version(opset))
        return constants_to_initializers(model)
    raise AssertionError("no opset was tried")


def _converted(light: Any, opset: int) -> Any:
    from onnx import version_converter

    del light.graph.value_info[:]  # What is stale there would stop the converter.
    made = version_converter.convert_version(light, opset)
    del made.graph.value_info[:]
    return made


def _ir_version(opset: int) -> int:
    from onnx import helper

    found: int = helper.find_min_ir_version_for([helper.make_opsetid("", opset)])
    return found


def first_line(error: Exception) -> str:
    """What the runtime says; of another error its kind and the first line of what it says."""
    words = runtime_words(error)
    if words:
        return words[:_LONGEST]
    lines = [line.strip()[:_LONGEST] for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
