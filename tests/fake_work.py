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
from edgekit.core.description import Description
from edgekit.core.notes import Note

__all__ = ["FakeWork", "artifact", "run"]


@dataclass
class FakeWork:
    """Implements `core.technique.Work` on one source model."""

    folder: Path
    source: Artifact
    seed: int = 0
    available: int = 1000
    scale: float = 1.0
    keras: Artifact | None = None
    notes: list[Note] = field(default_factory=list)
    steps: int = 0

    @property
    def output(self) -> Path:
        return self.folder / "result.tflite"

    def samples(self, split: str, count: int | None = None) -> Iterator[tuple[Any, ...]]:
        assert split == "calibrate"
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

    def advance(self, count: int = 1) -> None:
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
