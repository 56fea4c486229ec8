"""Quantizes with TFLiteConverter from the Keras model, where the engine cannot."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from edgekit.errors import UsageError
from edgekit.frameworks.keras import (
    concrete_function,
    graph_names,
    import_tensorflow,
    load_model,
    quiet,
)
from edgekit.techniques.quantize import Parameters
from edgekit.techniques.quantize._process import CrashError, ask

if TYPE_CHECKING:
    from edgekit.core.data import Array

    Feed = Callable[[], Iterator[dict[str, Array]]]

__all__ = ["ConverterError", "convert", "convert_here", "obstacle"]


class ConverterError(Exception):
    """The converter could not do it either; the text is its reason, in one line."""


def obstacle(parameters: Parameters) -> str:
    """Says why the converter has no form of this request, '' where it has one."""
    if parameters.scheme == "weight-only-int8":
        return "it has no weight-only scheme"
    if parameters.skip or parameters.op_types or parameters.weights_only:
        return "it cannot skip ops"
    return ""


def convert(
    path: Path, parameters: Parameters, *, batch: int | None, feed: Feed, folder: Path
) -> bytes:
    """Converts and quantizes a Keras model in one go; `feed` gives samples by input name.

    TensorFlow's calibrator ends the process on some models (recurrent ones), so it runs in another
    one; what that needs and makes goes through files in `folder`.

    Raises:
        ConverterError: TensorFlow's converter raised, or its process crashed.
        UsageError: the Keras model cannot be opened, or TensorFlow is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="convert-", dir=folder) as scratch:
        samples, output = Path(scratch) / "samples.npys", Path(scratch) / "model.tflite"
        request = {
            "job": "convert",
            "keras": str(path.resolve()),
            "parameters": dataclasses.asdict(parameters),
            "batch": batch,
            "samples": str(samples),
            "names": _save(feed, samples) if parameters.is_static else [],
            "output": str(output),
        }
        try:
            answer = ask(request, folder=output.parent)
        except CrashError as error:
            raise ConverterError(f"it {error}") from None
        if "usage" in answer:
            raise UsageError(answer["usage"], hint=answer["hint"])
        if "error" in answer:
            raise ConverterError(answer["error"])
        return output.read_bytes()


def _save(feed: Feed, path: Path) -> list[str]:
    """Writes the arrays of all samples one after the other; returns the names in their order."""
    import numpy as np

    names: list[str] = []
    with path.open("wb") as file:
        for sample in feed():
            names = list(sample)
            for array in sample.values():
                np.save(file, array, allow_pickle=False)
    return names


def _saved(path: Path, held: Sequence[str], wanted: Sequence[str]) -> Iterator[list[Array]]:
    """Reads them again; each sample in the order of `wanted` names."""
    import numpy as np

    size = path.stat().st_size
    with path.open("rb") as file:
        while file.tell() < size:
            arrays = {name: np.load(file, allow_pickle=False) for name in held}
            yield [arrays[name] for name in wanted]


def convert_here(request: Mapping[str, Any]) -> bytes:
    """What `convert` asks of the other process.

    Raises:
        ConverterError: TensorFlow's converter raised.
        UsageError: the Keras model cannot be opened, or TensorFlow is not installed.
    """
    given: Any = request["parameters"]
    held = {key: tuple(value) if isinstance(value, list) else value for key, value in given.items()}
    parameters = Parameters(**cast("Any", held))
    tf = import_tensorflow()
    loaded = load_model(Path(request["keras"]))
    function, module = concrete_function(loaded, request["batch"])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
    _configure(tf, converter, parameters)
    if parameters.is_static:
        names = graph_names(spec.name for spec in loaded.signature.inputs)
        samples = Path(request["samples"])
        converter.representative_dataset = lambda: _saved(samples, request["names"], names)
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
