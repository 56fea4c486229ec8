"""Keras models: load, run, save, and trace to a concrete function."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import UsageError
from edgekit.frameworks._keras_load import (
    LoadedModel,
    load_model,
    saved_function,
    wrap,
)
from edgekit.frameworks._names import unique
from edgekit.frameworks._quiet import import_keras, import_tensorflow, import_tf_keras, quiet
from edgekit.frameworks._shared_objects import number_shared_objects

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = [
    "LoadedModel",
    "concrete_function",
    "graph_names",
    "import_keras",
    "import_tensorflow",
    "import_tf_keras",
    "load_model",
    "predict",
    "quiet",
    "save_keras",
    "wrap",
]


_BATCH = 256


def save_keras(model: Any, path: Path) -> None:
    """Saves a model as a `.keras` file; `path` may have any name.

    The same model gives the same content in every process.
    """
    import tempfile

    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        written = Path(folder) / "model.keras"
        with quiet():
            model.save(str(written))
        number_shared_objects(written)
        written.replace(path)


def predict(loaded: LoadedModel, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
    """Runs inputs of shape (count, ...) through the model, 256 at a time."""
    import numpy as np

    call = _inference(loaded)
    specs = loaded.signature.inputs
    fixed = next((spec.shape[0] for spec in specs if spec.shape and spec.shape[0]), None)
    step, count = fixed or _BATCH, len(inputs[0])
    parts = []
    for start in range(0, count, step):
        chunk = [
            np.asarray(rows[start : start + step], spec.dtype)
            for rows, spec in zip(inputs, specs, strict=True)
        ]
        held = len(chunk[0])
        if fixed and held < fixed:
            chunk = [
                np.concatenate([rows, np.repeat(rows[-1:], fixed - held, 0)]) for rows in chunk
            ]
        parts.append([np.asarray(output)[:held] for output in call(*chunk)])
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))


def concrete_function(loaded: LoadedModel, batch: int | None) -> tuple[Any, Any]:
    """Traces inference for a static batch (or a dynamic one, None): (concrete function, module).

    The module holds the variables and must live as long as the function. Inputs and outputs have
    the signature's names, made fit for TensorFlow.

    Raises:
        UsageError: the model was saved with another, fixed batch.
    """
    tf = import_tensorflow()
    call = _inference(loaded)
    for spec in loaded.signature.inputs:
        if loaded.library == "saved_model" and spec.shape[0] not in (None, batch):
            raise UsageError(
                f"input '{spec.name}': the model was saved with a fixed batch of {spec.shape[0]}",
                hint="save it with a dynamic batch (None)",
            )
    names = graph_names(spec.name for spec in loaded.signature.outputs)
    inputs = graph_names(spec.name for spec in loaded.signature.inputs)
    specs = [
        tf.TensorSpec((batch, *spec.shape[1:]), spec.dtype, name=name)
        for spec, name in zip(loaded.signature.inputs, inputs, strict=True)
    ]
    module = tf.Module()
    module.source = loaded.model if loaded.library == "saved_model" else None
    module.variables_held = _variables(loaded)
    module.infer = tf.function(lambda *args: dict(zip(names, call(*args), strict=True)))
    with quiet():
        return module.infer.get_concrete_function(*specs), module


def graph_names(names: Iterable[str]) -> list[str]:
    """Names that TensorFlow takes for graph nodes, each once."""
    return unique(
        re.sub(r"^[^A-Za-z0-9.]+", "", re.sub(r"[^A-Za-z0-9_.]", "_", name)) or "tensor"
        for name in names
    )


def _inference(loaded: LoadedModel) -> Callable[..., list[Any]]:
    """The model as a function of its flat inputs that returns its flat outputs."""
    tf = import_tensorflow()
    model, signature = loaded.model, loaded.signature
    if loaded.library == "saved_model":
        function = saved_function(model)
        names = [spec.name for spec in signature.inputs]

        def run_signature(*args: Any) -> list[Any]:
            tensors = {name: tf.convert_to_tensor(a) for name, a in zip(names, args, strict=True)}
            outputs = function(**tensors)
            return [outputs[spec.name] for spec in signature.outputs]

        return run_signature

    structure = _input_structure(model)

    def run_model(*args: Any) -> list[Any]:
        packed = args[0] if structure is None else tf.nest.pack_sequence_as(structure, list(args))
        flat: list[Any] = tf.nest.flatten(model(packed, training=False))
        return flat

    return run_model


def _input_structure(model: Any) -> Any:
    """How the model wants its inputs packed; None for a single bare tensor."""
    structure = getattr(model, "_inputs_struct", getattr(model, "_nested_inputs", None))
    if isinstance(structure, (list, tuple, dict)):
        return structure
    return list(model.inputs) if len(model.inputs) > 1 else None


def _variables(loaded: LoadedModel) -> list[Any]:
    """The TensorFlow variables; those of Keras 3 are wrapped."""
    if loaded.library == "saved_model":
        return []
    variables = loaded.model.variables
    return [v.value for v in variables] if loaded.library == "keras" else list(variables)
