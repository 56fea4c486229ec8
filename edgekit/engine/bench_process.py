"""Starting the process that measures, and what became of it."""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.child import ChildError, run_child
from edgekit.core.artifact import Signature
from edgekit.core.device import DeviceSpec
from edgekit.errors import EdgekitError

if TYPE_CHECKING:
    from edgekit.core.data import Array

__all__ = ["BenchModel", "WorkerError", "ask", "model_table", "save_inputs"]

_WORKER = "edgekit.engine.bench_worker"
_LIMIT_SECONDS = 600.0


@dataclass(frozen=True)
class BenchModel:
    """A model file and the runner to measure it with; `options` are the runner's, by name.

    Where it is measured on a device, `files` are the model and what belongs to it, by name.
    """

    path: Path
    format: str
    signature: Signature
    runner: str
    options: Mapping[str, Any]
    device: DeviceSpec | None = None
    files: Mapping[str, Path] = field(default_factory=dict)


class WorkerError(Exception):
    """Why a measuring process gave no figures."""


def ask(
    job: str,
    models: Sequence[BenchModel],
    inputs: Sequence[tuple[Array, ...]],
    **request: float,
) -> dict[str, Any]:
    """Starts a process, hands it a request, and returns its answer.

    Raises:
        WorkerError: it crashed, took too long, or could not run the model; says which.
    """
    with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as folder:
        tables = []
        for number, (model, sample) in enumerate(zip(models, inputs, strict=True)):
            files = save_inputs(model, sample, Path(folder) / f"model{number}")
            tables.append(model_table(model, files))
        return _start({"job": job, "models": tables, **request})


def save_inputs(model: BenchModel, inputs: tuple[Array, ...], stem: Path) -> list[str]:
    import numpy as np

    from edgekit.engine.inference import model_inputs

    if not inputs:
        return []
    try:
        stored = model_inputs(model.signature, inputs)
    except EdgekitError as error:
        raise WorkerError(str(error)) from None
    files = [f"{stem}-input{index}.npy" for index in range(len(stored))]
    for file, array in zip(files, stored, strict=True):
        np.save(file, array, allow_pickle=False)
    return files


def model_table(model: BenchModel, files: list[str]) -> dict[str, Any]:
    return {
        "path": str(model.path.resolve()),
        "runner": model.runner,
        "options": dict(model.options),
        "signature": dataclasses.asdict(model.signature),
        "inputs": files,
    }


def _start(request: Mapping[str, Any]) -> dict[str, Any]:
    try:
        said = run_child(_WORKER, request, limit_seconds=_LIMIT_SECONDS)
    except ChildError as error:
        raise WorkerError(f"the process that measures {error}") from None
    if not said:
        raise WorkerError("the process that measures gave no answer")
    answer: dict[str, Any] = json.loads(said)
    if "error" in answer:
        raise WorkerError(answer["error"])
    return answer
