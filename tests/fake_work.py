"""A `Work` for one pass, without an engine: seeded samples, LiteRT's built-in kernels, notes."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.artifact import Artifact
from edgekit.core.catalog import load
from edgekit.core.data import TrainingData
from edgekit.core.description import Description
from edgekit.core.notes import Note
from edgekit.core.training import Curve

__all__ = ["FakeWork", "artifact", "run"]


@dataclass
class FakeWork:
    """Implements `core.technique.Work` on one source model.

    `x` and `y` are what it trains on: the last fifth is the select split. `suffix` is that of the
    file it writes.
    """

    folder: Path
    source: Artifact
    seed: int = 0
    available: int = 1000
    scale: float = 1.0
    keras: Artifact | None = None
    notes: list[Note] = field(default_factory=list)
    steps: int = 0
    x: Any = None
    y: Any = None
    suffix: str = ".tflite"
    origin_artifact: Artifact | None = None
    hooks: dict[str, Any] = field(default_factory=dict)
    curves: list[Curve] = field(default_factory=list)

    @property
    def output(self) -> Path:
        return self.folder / f"result{self.suffix}"

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"

    @property
    def origin(self) -> Artifact:
        return self.origin_artifact or self.source

    def training_data(self) -> TrainingData:
        assert self.x is not None, "give x and y"
        x = self.x if isinstance(self.x, tuple) else (self.x,)
        cut = len(x[0]) * 4 // 5
        whole = self.y is not None and self.y.dtype.kind in "iu"
        return TrainingData(
            tuple(array[:cut] for array in x),
            None if self.y is None else self.y[:cut],
            tuple(array[cut:] for array in x),
            None if self.y is None else self.y[cut:],
            int(self.y.max()) + 1 if whole else None,
        )

    def open(self, model: str) -> Artifact:
        path = Path(model)
        return artifact(path, {".tflite": "tflite", ".onnx": "onnx"}.get(path.suffix, "keras"))

    def record(self, curve: Curve) -> None:
        self.curves.append(curve)

    def samples(self, split: str, count: int | None = None) -> Iterator[tuple[Any, ...]]:
        assert split in ("calibrate", "train", "select")
        inputs = self._random(min(self.available, count or self.available))
        for row in range(len(inputs[0])):
            yield tuple(array[row : row + 1] for array in inputs)

    def probes(self, count: int) -> tuple[Any, ...]:
        return self._random(count)

    def _random(self, count: int) -> tuple[Any, ...]:
        rng = np.random.default_rng(self.seed)
        specs = self.describe(self.source).signature.inputs
        shapes = [[count, *(size or 1 for size in spec.shape[1:])] for spec in specs]
        return tuple((self.scale * rng.normal(size=shape)).astype(np.float32) for shape in shapes)

    def describe(self, artifact: Artifact) -> Description:
        description: Description = load("formats", artifact.format).describe(artifact.path)
        return description

    def predict(self, artifact: Artifact, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        if artifact.format == "keras":
            from edgekit.frameworks import keras

            return keras.predict(keras.load_model(artifact.path), inputs)
        if artifact.format == "onnx":
            import onnxruntime

            session = onnxruntime.InferenceSession(str(artifact.path))
            names = [spec.name for spec in session.get_inputs()]
            return tuple(session.run(None, dict(zip(names, inputs, strict=True))))
        return run(artifact.path, inputs)

    def ancestor(self, format: str) -> Artifact | None:
        return self.keras if format == "keras" else self.source

    def note(self, what: str, item: str, reason: str) -> None:
        self.notes.append(Note(what, item, reason))

    def progress(self, text: str, total: int) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext(self)

    def evidence(self, what: str, item: str, found: str) -> None:
        self.notes.append(Note(what, item, found, is_evidence=True))

    def noted(self, what: str) -> list[Note]:
        """The notes of one kind."""
        return [note for note in self.notes if note.what == what]

    def advance(self, count: int = 1, text: str = "") -> None:
        self.steps += count


def run(path: Path, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Real values in and out, one sample at a time, on the built-in kernels."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        str(path), experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    details = interpreter.get_input_details()
    for detail, array in zip(details, inputs, strict=True):
        interpreter.resize_tensor_input(detail["index"], [1, *array.shape[1:]])
    interpreter.allocate_tensors()
    rows = []
    for row in range(len(inputs[0])):
        for detail, array in zip(details, inputs, strict=True):
            interpreter.set_tensor(detail["index"], stored(array[row : row + 1], detail))
        interpreter.invoke()
        rows.append(
            [real(interpreter.get_tensor(d["index"]), d) for d in interpreter.get_output_details()]
        )
    return tuple(np.concatenate(column) for column in zip(*rows, strict=True))


def stored(values: Any, detail: Any) -> Any:
    """Real values as a quantized tensor holds them."""
    scale, zero_point = detail["quantization"]
    if not scale:
        return values.astype(detail["dtype"])
    bounds = np.iinfo(detail["dtype"])
    return np.clip(np.round(values / scale) + zero_point, bounds.min, bounds.max).astype(
        detail["dtype"]
    )


def real(values: Any, detail: Any) -> Any:
    """The real values of a quantized tensor."""
    scale, zero_point = detail["quantization"]
    return (values.astype(np.float32) - zero_point) * np.float32(scale) if scale else values


def artifact(path: Path, format: str = "tflite") -> Artifact:
    """An artifact of a file, named after it."""
    return Artifact(path, format, path.name, path.stem)
