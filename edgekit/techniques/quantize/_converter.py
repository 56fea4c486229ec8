"""Quantizes with TFLiteConverter from the Keras model, where the engine cannot."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.frameworks.keras import (
    concrete_function,
    graph_names,
    import_tensorflow,
    load_model,
    quiet,
)
from edgekit.techniques.quantize import Parameters

if TYPE_CHECKING:
    from edgekit.core.data import Array

    Feed = Callable[[], Iterator[dict[str, Array]]]

__all__ = ["ConverterError", "convert", "obstacle"]


class ConverterError(Exception):
    """The converter could not do it either; the text is its reason, in one line."""


def obstacle(parameters: Parameters) -> str:
    """Says why the converter has no form of this request, '' where it has one."""
    if parameters.scheme == "weight-only-int8":
        return "it has no weight-only scheme"
    if parameters.skip:
        return "it cannot skip ops"
    return ""


def convert(path: Path, parameters: Parameters, *, batch: int | None, feed: Feed) -> bytes:
    """Converts and quantizes a Keras model in one go; `feed` gives samples by input name.

    Raises:
        ConverterError: TensorFlow's converter raised.
        UsageError: the Keras model cannot be opened, or TensorFlow is not installed.
    """
    tf = import_tensorflow()
    loaded = load_model(path)
    function, module = concrete_function(loaded, batch)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
    _configure(tf, converter, parameters)
    if parameters.is_static:
        names = graph_names(spec.name for spec in loaded.signature.inputs)
        converter.representative_dataset = lambda: (
            [sample[name] for name in names] for sample in feed()
        )
    try:
        with quiet():
            return bytes(converter.convert())
    except Exception as error:
        # The converter raises every kind of exception; whatever it is, it is its answer.
        raise ConverterError(f"{type(error).__name__}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), "")[:300]


def _configure(tf: Any, converter: Any, parameters: Parameters) -> None:
    """The converter's switches for each scheme."""
    ops = tf.lite.OpsSet
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter._experimental_disable_per_channel = not parameters.per_channel
    match parameters.scheme:
        case "int8":
            float_ops = [ops.TFLITE_BUILTINS] if parameters.allow_float else []
            converter.target_spec.supported_ops = [ops.TFLITE_BUILTINS_INT8, *float_ops]
            _set_io(converter, parameters, tf.int8)
        case "int16x8":
            integer = ops.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
            float_ops = [ops.TFLITE_BUILTINS] if parameters.allow_float else []
            converter.target_spec.supported_ops = [integer, *float_ops]
            _set_io(converter, parameters, tf.int16)
        case "float16":
            converter.target_spec.supported_types = [tf.float16]


def _set_io(converter: Any, parameters: Parameters, dtype: Any) -> None:
    if parameters.io == "integer":
        converter.inference_input_type = dtype
        converter.inference_output_type = dtype
