"""Opens Keras 3, Keras 2 and SavedModel for inference, once their content is checked."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from edgekit.core.artifact import Signature, TensorSpec
from edgekit.errors import UsageError
from edgekit.frameworks._keras_code import CUSTOM_HINT, find_code
from edgekit.frameworks._names import unique
from edgekit.frameworks._quiet import import_keras, import_tensorflow, import_tf_keras, quiet
from edgekit.frameworks._saved_graph import LAYERS, check_graph, layer_configs
from edgekit.frameworks.keras_files import Kind, check_file, keras_version, read_config

__all__ = ["Library", "LoadedModel", "load_model", "saved_function", "wrap"]

Library = Literal["keras", "tf_keras", "saved_model"]

_UNKNOWN = re.compile(
    r"(?:Unknown (?:layer|object|[a-z ]+)|Could not (?:locate|find)"
    r"(?: class| function| object)?):?\s+['\"]([^'\"]+)['\"]"
)


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model in memory and the library that holds it; `saved_model` has only its signature."""

    model: Any
    library: Library
    signature: Signature
    notes: tuple[str, ...] = ()


def load_model(path: Path) -> LoadedModel:
    """Opens a .keras or .h5 file or a SavedModel folder for inference.

    Nothing is loaded before its layers (`find_code`) and its graph (`check_graph`) are known to
    hold no code from outside Keras and TensorFlow and no op that touches files.

    Raises:
        UsageError: no Keras model, a custom layer or such code (named), only weights, or
            TensorFlow missing.
    """
    kind = check_file(path)
    import_keras(f"{path}")
    if kind == "saved_model":
        return _load_saved_model(path)
    if _changed_meaning(path, kind):
        return _load_legacy(path, kind, None)
    try:
        return wrap(_load_with(import_keras(), path, kind))
    except Exception as error:
        if not _is_legacy(path, kind):
            raise _explain(path, error) from error
        return _load_legacy(path, kind, error)


def wrap(model: Any) -> LoadedModel:
    """Makes a LoadedModel of a Keras 3 or tf_keras model in memory.

    Raises:
        UsageError: the model has no known inputs (it was never built).
    """
    library: Library = "keras" if isinstance(model, import_keras().Model) else "tf_keras"
    name = getattr(model, "name", "model")
    if not getattr(model, "inputs", None) or not getattr(model, "outputs", None):
        raise UsageError(
            f"{name}: the model does not say the shape of its inputs",
            hint="give it an Input layer, or call it once before saving",
        )
    inputs = _specs(model.inputs, [_tensor_name(tensor) for tensor in model.inputs])
    return LoadedModel(model, library, Signature(inputs, _specs(model.outputs, _outputs(model))))


def _load_with(keras: Any, path: Path, kind: Kind) -> Any:
    """Loads a file under the suffix that Keras expects of its kind, whatever its own name is."""
    suffix = ".keras" if kind == "zip" else ".h5"
    import tempfile

    with tempfile.TemporaryDirectory() as folder, quiet():
        link = path
        if path.suffix != suffix:
            link = Path(folder) / f"model{suffix}"
            link.symlink_to(path.resolve())
        return keras.models.load_model(str(link), compile=False, safe_mode=True)


def _is_legacy(path: Path, kind: Kind) -> bool:
    """Saved by Keras 2 (or a version before that said so)."""
    version = keras_version(path, kind)
    return version == "" or version.startswith(("1.", "2."))


def _changed_meaning(path: Path, kind: Kind) -> bool:
    """True for a file of Keras 2 with a name that computes something else in Keras 3.

    That is hard_sigmoid, with a slope of 1/5 then and of 1/6 now; Keras 3 opens it without a word.
    """
    old = keras_version(path, kind).startswith(("1.", "2."))
    return old and '"hard_sigmoid"' in json.dumps(read_config(path, kind))


def _load_legacy(path: Path, kind: Kind, first: Exception | None) -> LoadedModel:
    tf_keras = import_tf_keras(f"{path}, saved by Keras 2,")
    try:
        return wrap(_load_with(tf_keras, path, kind))
    except Exception as error:
        raise _explain(path, error) from first


def _explain(path: Path, error: Exception) -> UsageError:
    """One sentence for what a Keras loader raised."""
    if isinstance(error, UsageError):
        return error
    text = str(error)
    match = _UNKNOWN.search(text)
    if match is not None:
        kind = match.group(1).rpartition(">")[2]
        return UsageError(
            f"{path}: the layer type '{kind}' is not one of Keras's own",
            hint=CUSTOM_HINT,
        )
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    reason = next(
        (
            lines[i + 1]
            for i, line in enumerate(lines[:-1])
            if line.startswith("Exception encountered")
        ),
        lines[0] if lines else repr(error),
    )
    return UsageError(f"{path}: Keras cannot open it: {reason[:300]}")


def _load_saved_model(path: Path) -> LoadedModel:
    """By tf_keras where that made it and its layers are safe, else by its serving signature."""
    tf = import_tensorflow(f"{path}")
    check_graph(path)
    notes: tuple[str, ...] = ()
    try:
        model = _load_saved_keras(path)
        if model is not None:
            return wrap(model)
    except Exception as error:  # whatever is wrong with the layers, the graph is still there
        notes = (f"opened by its signature, not as layers: {_first_line(error)[:200]}",)
    try:
        with quiet():
            model = tf.saved_model.load(str(path))
    except Exception as error:
        raise UsageError(f"{path}: TensorFlow cannot open it: {_first_line(error)}") from error
    return LoadedModel(model, "saved_model", _saved_signature(path, model), notes)


def _load_saved_keras(path: Path) -> Any:
    """The layers of a SavedModel; None where Keras 2 did not make it.

    Raises:
        UsageError: its layers cannot be read, are not known to be safe, or tf_keras is missing.
    """
    if not (path / LAYERS).is_file():
        return None
    tf_keras = import_tf_keras(f"{path}, saved by Keras 2,")
    configs = layer_configs(path)
    refusal = find_code(configs)
    if refusal is not None:
        raise UsageError(refusal.problem)
    if not configs:
        return None
    with quiet():
        return tf_keras.models.load_model(str(path), compile=False)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [repr(error)])[0][:300]


def saved_function(model: Any) -> Any:
    signatures = dict(getattr(model, "signatures", {}))
    if "serving_default" in signatures:
        return signatures["serving_default"]
    return next(iter(signatures.values())) if len(signatures) == 1 else None


def _saved_signature(path: Path, model: Any) -> Signature:
    function = saved_function(model)
    if function is None:
        held = sorted(getattr(model, "signatures", {}))
        raise UsageError(
            f"{path}: has no signature 'serving_default' (it has {', '.join(held) or 'none'})",
            hint="save it with model.export(DIR)",
        )
    _, inputs = function.structured_input_signature
    outputs = function.structured_outputs
    return Signature(_saved_specs(path, inputs), _saved_specs(path, outputs))


def _saved_specs(path: Path, specs: dict[str, Any]) -> tuple[TensorSpec, ...]:
    for name, spec in specs.items():
        if spec.shape.rank is None:
            raise UsageError(f"{path}: the number of dimensions of '{name}' is not known")
    return tuple(
        TensorSpec(name, tuple(specs[name].shape), specs[name].dtype.name) for name in sorted(specs)
    )


def _specs(tensors: Any, names: list[str]) -> tuple[TensorSpec, ...]:
    return tuple(
        TensorSpec(name, tuple(tensor.shape), _dtype(tensor))
        for tensor, name in zip(tensors, unique(names), strict=True)
    )


def _dtype(tensor: Any) -> str:
    return str(getattr(tensor.dtype, "name", tensor.dtype))


def _tensor_name(tensor: Any) -> str:
    return str(tensor.name).partition(":")[0]


def _outputs(model: Any) -> list[str]:
    """Output names: the keys of a dict model, else the names of the last layers."""
    structure = getattr(model, "_outputs_struct", getattr(model, "_nested_outputs", None))
    if isinstance(structure, dict):
        return sorted(structure)
    names = getattr(model, "output_names", None)
    if names and len(names) == len(model.outputs):
        return list(names)
    histories = [getattr(tensor, "_keras_history", None) for tensor in model.outputs]
    return [
        history.operation.name if history is not None else f"output_{i}"
        for i, history in enumerate(histories)
    ]
