"""From an `.onnx` file to what runs on cpu-onnxruntime, as a user does it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx_models import (
    answers,
    clear,
    cnn,
    images,
    save_model,
    tensor,
    token_model,
    tokens,
    value,
)
from support import Outcome, edgekit

CPU = ("--target", "cpu-onnxruntime")
_POOL = 300


@dataclass(frozen=True)
class Case:
    """A model and the data on which it is always right."""

    model: Path
    data: str

    def compress(self, recipe: object, out: Path, *more: object) -> tuple[Outcome, dict[str, Any]]:
        """Compresses, and returns what was said and what the report says."""
        data = ("--data", self.data)
        done = edgekit(
            "compress", self.model, "--recipe", recipe, *CPU, *data, *more, "--out", out
        )
        report = out / "report.json"
        return done, json.loads(report.read_text()) if report.is_file() else {}


def write_data(path: Path, arrays: Mapping[str, np.ndarray]) -> str:
    """Half to learn from, half to judge by, under the names of the inputs."""
    ends = {"train": slice(_POOL), "test": slice(_POOL, None)}
    np.savez(path, **{f"{k}_{end}": v[rows] for end, rows in ends.items() for k, v in arrays.items()})
    return f"npz:{path}"


@pytest.fixture(scope="module")
def image_case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("cnn")
    model, x = cnn(folder / "cnn.onnx"), images(800)
    (logits,) = answers(model, {"image": x})
    kept = clear(logits, 2 * _POOL)
    arrays = {"image": x[kept], "y": logits[kept].argmax(axis=1)}
    return Case(model, write_data(folder / "d.npz", arrays))


@pytest.fixture(scope="module")
def token_case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    folder = tmp_path_factory.mktemp("tokens")
    model, x = token_model(folder / "tokens.onnx"), tokens(1200)
    classes = answers(model, x)[1]
    kept = clear(classes, 2 * _POOL)
    arrays = {name: held[kept] for name, held in x.items()} | {"y": classes[kept].argmax(axis=1)}
    return Case(model, write_data(folder / "t.npz", arrays))


@pytest.fixture(autouse=True)
def _short_timing(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Latency is measured as always, but for a fifth of a second: its figures are not judged."""
    from edgekit.engine import bench, ladder, measure

    quick = partial(bench.compare_latency, seconds=0.2, processes=1)
    monkeypatch.setattr(measure, "compare_latency", quick)
    monkeypatch.setattr(ladder, "_SECONDS", 0.1)
    yield
