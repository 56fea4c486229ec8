"""TFLiteConverter on a traced function: a float .tflite, or an integer one of trained scales."""

from __future__ import annotations

import re
from typing import Any, Literal

from edgekit.errors import PromiseError
from edgekit.frameworks.keras import import_tensorflow, quiet

__all__ = ["convert", "explain"]

_SELECT_OPS = re.compile(r"^\s*(?:TF Select|Flex) ops?: ([^\n]+)", re.MULTILINE)
_CUSTOM_OPS = re.compile(r"^\s*Custom ops?: ([^\n]+)", re.MULTILINE)


def convert(
    function: Any,
    module: Any,
    *,
    allow_select_ops: bool = False,
    trained: Literal["", "integer", "float"] = "",
) -> bytes:
    """Converts a traced function; the module that holds its variables has to live until then.

    Args:
        function, module: as `frameworks.keras.concrete_function` makes them.
        allow_select_ops: lets ops in that only TensorFlow's own kernels (Flex) can run.
        trained: the function holds fake-quantization ops: each op whose ranges they give becomes
            an integer one. What the inputs and outputs of the file are then.

    Raises:
        PromiseError: the converter cannot; the ops that it names are in the sentence.
    """
    tf = import_tensorflow()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
    ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    if allow_select_ops:
        ops.append(tf.lite.OpsSet.SELECT_TF_OPS)
    converter.target_spec.supported_ops = ops
    if trained:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if trained == "integer":
        converter.inference_input_type = converter.inference_output_type = tf.int8
    try:
        with quiet():
            return bytes(converter.convert())
    except Exception as error:
        # The converter raises its own, undocumented kinds; whatever it is, it says it in words.
        raise explain(str(error)) from error


def explain(text: str) -> PromiseError:
    """One sentence for what the converter said; it names the ops where the converter does."""
    missing = _named(_CUSTOM_OPS.findall(text))
    if missing:
        return PromiseError(
            f"no TensorFlow Lite runtime has the ops of the model: {', '.join(missing)}",
            hint="replace them by layers or operations that it has",
        )
    select = _named(_SELECT_OPS.findall(text))
    if select:
        return PromiseError(
            f"TensorFlow Lite has no form of its own for: {', '.join(select)}",
            hint="replace them; where the device's runtime has TensorFlow's kernels (Flex), "
            "`edgekit convert MODEL --conversion-options allow_select_ops=true` lets them in",
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return PromiseError(
        f"TFLiteConverter failed: {lines[0][:300] if lines else 'it gave no reason'}"
    )


def _named(lists: list[str]) -> list[str]:
    names = {name.strip().removeprefix("Flex") for text in lists for name in text.split(",")}
    return sorted(names - {""})
